"""`lm-eval-steer vectors list`: the vectors of a folder in a table, and as a page to lie beside them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import make_console, quote
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import write_whole
from lm_eval_steer.text import printable

if TYPE_CHECKING:
    from lm_eval_steer.report.vectors.index import Validated
    from lm_eval_steer.vectors.several import AnyVector


def add(actions: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        actions,
        "list",
        list_vectors,
        "list the vectors of a folder, also as a page to publish beside them",
        "lm-eval-steer vectors list vectors --out vectors/README.md",
        "vectors list",
    )
    option = parser.add_argument
    option(
        "folder",
        nargs="?",
        type=read_path,
        metavar="DIR",
        help="a folder with vector files, also in folders of it (default: those that come with the package)",
    )
    option("--out", type=read_path, metavar="FILE", help="write the page, .md or .html, in place of a table here")
    option(
        "--sweeps",
        nargs="+",
        type=read_path,
        metavar="DIR",
        help="what sweeps wrote: the accuracy on validation rows that each vector's strength was chosen by",
    )


def list_vectors(args: argparse.Namespace) -> None:
    """Print the table or write the page, and say what is no vector."""
    from lm_eval_steer.report.tables.terminal import print_blocks
    from lm_eval_steer.report.vectors.index import WRITERS, check_index_file, read_index
    from lm_eval_steer.vectors.catalog import shipped_folder

    if args.out is not None:
        if args.folder is None:
            raise SteeringError(f"--out {args.out} is a page of no folder: name the one that it is to lie in")
        check_index_file(args.out)
    folder = str(shipped_folder()) if args.folder is None else args.folder
    words = ["lm-eval-steer", "vectors", "list", *([] if args.folder is None else [args.folder])]
    words += [] if args.out is None else ["--out", args.out]
    words += ["--sweeps", *args.sweeps] if args.sweeps else []
    index = read_index(folder, _validated(args.sweeps), quote(words))
    for sentence in index.left_out:
        print(printable(f"- not read: {sentence}"))
    if args.out is None:
        print_blocks(make_console(), [index.block], [])
        first = Path(index.lines[0].cells[0])
        if args.folder is None:
            print(f"Look at one:\n  lm-eval-steer vectors show {quote([first.stem])}")
            return
        print("Make a page of it, or look at one:")
        print(f"  {quote([*words, '--out', str(Path(args.folder) / 'README.md')])}")
        print(f"  lm-eval-steer vectors show {quote([str(Path(args.folder) / first)])}")
        return
    text = WRITERS[Path(args.out).suffix](index)
    write_whole(args.out, lambda part: part.write_text(text, encoding="utf-8"))
    print(printable(f"Wrote {args.out}: {len(index.lines)} vectors. Put them where others find them:"))
    print(f"  lm-eval-steer vectors push {quote([str(Path(args.folder) / index.lines[0].cells[0])])} ORG/NAME")


def _validated(sweeps: list[str] | None) -> Validated | None:
    """What sweeps know of vectors; None without sweeps."""
    if not sweeps:
        return None
    from lm_eval_steer.cli.results import expanded
    from lm_eval_steer.report.tables import read_leaderboard
    from lm_eval_steer.report.vectors.measured import of_vector, tell_validation

    board = read_leaderboard(expanded([Path(folder) for folder in sweeps]))

    def tell(vector: AnyVector) -> str:
        return tell_validation(of_vector(board, vector.fingerprint))

    return tell
