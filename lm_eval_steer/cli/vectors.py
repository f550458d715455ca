"""`lm-eval-steer vectors`: `show` one, `compare` two; the other commands have files of their own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lm_eval_steer.cli import export, fold, import_vector, list_vectors, push
from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import make_console, quote, steered
from lm_eval_steer.text import printable


def add(group: Any) -> None:
    """Enter the commands and their arguments."""
    vectors = group.add_parser(
        "vectors",
        help="look at vector files, and take them to other programs",
        description="Look at vector files, and take them to other programs.",
        epilog="example:\n  lm-eval-steer vectors show smollm2_arith",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = vectors.add_subparsers(required=True, metavar="action")
    parser = add_command(
        actions,
        "show",
        show,
        "show a vector's passport and its blocks",
        "lm-eval-steer vectors show smollm2_arith",
        "vectors show",
    )
    parser.add_argument(
        "vector", type=read_path, metavar="FILE", help="a vector file, or the name of one as for `vectors=`"
    )
    parser.add_argument(
        "--out",
        type=read_path,
        metavar="FIGURE",
        help="draw how alike the blocks of parent and child are, and the path through them, of a vector that was "
        "transferred with --layer_map cka, as .svg or .png",
    )
    parser = add_command(
        actions,
        "compare",
        compare,
        "compare the directions of two vectors with each other, and with what random directions give",
        "lm-eval-steer vectors compare smollm2_arith smollm2_gsm8k --out compare.svg",
        "vectors compare",
    )
    option = parser.add_argument
    option("first", type=read_path, metavar="A", help="a vector file, or the name of one as for `vectors=`")
    option("second", type=read_path, metavar="B", help="another, of any width and number of blocks")
    option(
        "--out",
        type=read_path,
        metavar="FIGURE",
        help="draw heatmap and histogram, and, of two vectors of one model, the cosines by block, as .svg or .png",
    )
    export.add(actions)
    fold.add(actions)
    import_vector.add(actions)
    list_vectors.add(actions)
    push.add(actions)


def show(args: argparse.Namespace) -> None:
    """Print what a vector file says about itself, and what its directions are like; draw its blocks where asked to."""
    from lm_eval_steer.interventions.meant import meant
    from lm_eval_steer.report.figures import alignment_of, check_figure, save_figure
    from lm_eval_steer.sites import SITES
    from lm_eval_steer.vectors.catalog import find_vector
    from lm_eval_steer.vectors.load import load_vector
    from lm_eval_steer.vectors.show import blocks_table, passport_table

    if args.out is not None:
        check_figure(args.out)
    path = find_vector(args.vector)
    vector = load_vector(path)
    parts = [vector.at(site) for site in vector.sites]
    figure = alignment_of(parts[0]) if args.out is not None else None
    console = make_console()
    console.print(passport_table(vector, path))
    for one in parts:
        console.print(blocks_table(one))
    if figure is not None:
        print(printable(f"Wrote {save_figure(figure, args.out)}."))
    named = None if vector.transfer is None else parts[0].space["name"]
    child = named if named and "/" in named else "CHILD"  # of a folder the passport knows its own name, not its place
    steering = meant(vector.passport.get("steering"))
    compared = "" if len(parts) > 1 or SITES[parts[0].site].by_head else "Compare it with another, or s"
    print(f"{compared or 'S'}teer with it{' as it is meant to act' if steering else ''}:")
    if compared:
        print(f"  lm-eval-steer vectors compare {quote([args.vector])} OTHER --out compare.svg")
    print(f"  lm_eval --model steered-hf --model_args {steered(args.vector, child, steering)} --tasks TASK")


def compare(args: argparse.Namespace) -> None:
    """Print how alike two vectors are, beside what chance gives (the paper's Figure 2), and draw it where asked to."""
    from lm_eval_steer.report.figures import check_figure, correlation, save_figure
    from lm_eval_steer.sites import SITES
    from lm_eval_steer.vectors.catalog import find_vector
    from lm_eval_steer.vectors.load import load_one
    from lm_eval_steer.vectors.show import comparison_notes, comparison_table
    from lm_eval_steer.vectors.similarity import chance
    from lm_eval_steer.vectors.similarity import compare as cosines_of

    if args.out is not None:
        check_figure(args.out)
    sites = [site for site in SITES if not SITES[site].by_head]
    first, second = (load_one(find_vector(name), "vectors compare", sites) for name in (args.first, args.second))
    cosines = cosines_of(first, second, (Path(args.first).name, Path(args.second).name))
    null = chance(first, second)
    console = make_console()
    console.print(comparison_table(cosines, null))
    for note in comparison_notes(cosines, null, (first, second)):
        console.print(f"- {note}", markup=False, highlight=False)
    if args.out is not None:
        print(printable(f"Wrote {save_figure(correlation(cosines, null), args.out)}. Look at the vectors:"))
        print(f"  lm-eval-steer vectors show {quote([args.first])}")
    else:
        print("Draw it:")
        print(f"  lm-eval-steer vectors compare {quote([args.first, args.second])} --out compare.svg")
