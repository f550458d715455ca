"""What the commands of `lm-eval-steer` do: one thin function each. What they need is imported when they run."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lm_eval_steer import plugin
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import printable, shortened

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
UNATTENDED = 140
"""Columns of a table that goes to a file or a pipe."""


def extract(args: argparse.Namespace) -> None:
    """Algorithm 1: read a steering vector from a parent."""
    plugin.install(force=True)
    from lm_eval_steer.extraction.extract import ExtractionArgs, load_parent, load_source
    from lm_eval_steer.extraction.extract import extract as run
    from lm_eval_steer.extraction.keep import keep
    from lm_eval_steer.extraction.report import make_table
    from lm_eval_steer.files import refuse_unwritable

    wanted = _pick(ExtractionArgs, args)
    if Path(args.out).suffix not in (".safetensors", ".pt"):
        raise SteeringError(f"--out {shortened(args.out)}: name a .safetensors or a .pt file")
    refuse_unwritable(os.path.expanduser(args.out))  # now, not after an hour on a large parent
    source = load_source(wanted)
    vector = run(wanted, source, load_parent(args.model_args or {}, args.device))
    keep(vector, args.out)
    _console().print(make_table(vector))
    print(f"Wrote {args.out} ({len(vector.layers)} directions of width {vector.directions.shape[1]}). Use it:")
    task = args.task or "gsm8k_steer"
    print(f"  lm_eval --model steered-hf --model_args {_steered(args.out)} --tasks {task}")


def rationales(args: argparse.Namespace) -> None:
    """Let a model write the reasoning that a dataset lacks."""
    plugin.install(force=True)
    from lm_eval_steer.extraction.extract import load_parent
    from lm_eval_steer.extraction.pairs import load_task
    from lm_eval_steer.extraction.rationale_file import Author
    from lm_eval_steer.extraction.rationales import RationaleArgs, prepare, write_rationales
    from lm_eval_steer.extraction.templates import pair_template
    from lm_eval_steer.models.load import loading, model_class

    wanted = _pick(RationaleArgs, args)
    kind = model_class(args.model, "use hf, or another that lm_eval ls models names")
    template = pair_template(args.task)
    task = load_task(args.task)
    model_args = {"batch_size": args.batch_size} | (args.model_args or {})
    settings = {key: getattr(args, key) for key in ("max_gen_toks", "apply_chat_template")}
    author = Author.of(args.model, model_args, **settings)
    prepare(wanted, task, template["negative"], author)  # now, not after the model is loaded
    if args.model in ("hf", "steered-hf"):  # as extract loads a parent: the machine's device, system prompt merged
        writer = load_parent(model_args, args.device)
    else:
        with loading(author.name):
            writer = kind.create_from_arg_obj(model_args, {"device": args.device})
    attempts, kept = write_rationales(wanted, task, writer, template["negative"], author)
    print(f"{args.out} holds {attempts} rationales, {kept} of which reach the right answer.", end=" ")
    if kept < 2:
        print("A direction needs 2 at least: ask for more with --n, or a stronger model into another file.")
        return
    print("Use them:")
    more = f"--task {args.task} --rationales {_quoted([args.out])} --n {kept} --out FILE"
    print(f"  lm-eval-steer extract --model_args pretrained=PARENT {more}")


def model(args: argparse.Namespace) -> None:
    """Bring an embedded model."""
    from lm_eval_steer.vectors.embedded import bring

    folder = bring(args.name, args.folder)
    found = _quoted([f"pretrained={folder}"])
    print(f"Try: lm_eval --model hf --model_args {found} --tasks arith_steer --limit 8")


def sweep(args: argparse.Namespace) -> None:
    """Algorithms 2 and 3: search the strength on validation rows, then test it, its vote and its controls."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # a table shows the progress, and the replays of the arms have none
    plugin.install(force=True)
    from lm_eval_steer.sweep import SweepArgs, make_notes, make_table, run_sweep

    wanted = _pick(SweepArgs, args)
    found = run_sweep(wanted)
    console = _console()
    for name, task in found["tasks"].items():
        console.print(make_table(name, task, wanted.unit))
        for note in make_notes(name, task):
            print(f"- {note}")
    print(f"Wrote {Path(args.output_path) / 'sweep.json'}. All runs in one table:")
    print(f"  lm-eval-steer leaderboard {shlex.quote(args.output_path)}")


def leaderboard(args: argparse.Namespace) -> None:
    """Does steering help, by how much, and is it the concept?"""
    from lm_eval_steer.report.tables import next_command, read_leaderboard, render

    board = read_leaderboard(_places(args), args.child, args.parent, args.task, args.sort)
    console = _console(120)
    sys.stdout.write(render(board, args.format, args.layout, console))
    why, command = next_command(board, args.format)
    print(f"{why}\n  {printable(command)}", file=sys.stdout if args.format == "rich" else sys.stderr)


def figures(args: argparse.Namespace) -> None:
    """Every figure that results allow."""
    from lm_eval_steer.report.page import check_folder, write_figures
    from lm_eval_steer.report.tables import read_leaderboard

    check_folder(args.out)
    board = read_leaderboard(_places(args), args.child, args.parent, args.task)
    written, missing = write_figures(board, args.out)
    for path in written:
        print(printable(f"Wrote {path}"))
    for sentence in missing:
        print(printable(f"- {sentence}"))
    print("See them beside the table and the responses:")
    print(f"  lm-eval-steer report {_quoted(args.folders)} --out report.html")


def report(args: argparse.Namespace) -> None:
    """Everything about some runs on one page."""
    from lm_eval_steer.report.figures import missing_matplotlib
    from lm_eval_steer.report.page import check_page, write_page
    from lm_eval_steer.report.tables import read_leaderboard

    check_page(args.out)
    board = read_leaderboard(_places(args), args.child, args.parent, args.task)
    path = write_page(board, args.out)
    if without := missing_matplotlib():
        print(printable(f"Wrote {path}, without its figures ({without}). Open it in a browser; then, as files:"))
    else:
        print(printable(f"Wrote {path}. Open it in a browser; the figures as files:"))
    print(f"  lm-eval-steer figures {_quoted(args.folders)} --out figures")


def show(args: argparse.Namespace) -> None:
    """What a vector file says about itself, and what its directions are like."""
    from lm_eval_steer.vectors.catalog import find_vector
    from lm_eval_steer.vectors.show import blocks_table, passport_table
    from lm_eval_steer.vectors.vector import SteeringVector

    path = find_vector(args.vector)
    vector = SteeringVector.load(path)
    console = _console()
    console.print(passport_table(vector, path))
    console.print(blocks_table(vector))
    print("Compare it with another, or steer with it:")
    print(f"  lm-eval-steer vectors compare {_quoted([args.vector])} OTHER --out compare.svg")
    print(f"  lm_eval --model steered-hf --model_args {_steered(args.vector)} --tasks TASK")


def compare(args: argparse.Namespace) -> None:
    """The paper's Figure 2: how alike two vectors are, beside what chance gives."""
    from lm_eval_steer.report.figures import check_figure, correlation, save_figure
    from lm_eval_steer.vectors.catalog import find_vector
    from lm_eval_steer.vectors.show import comparison_notes, comparison_table
    from lm_eval_steer.vectors.similarity import chance
    from lm_eval_steer.vectors.similarity import compare as cosines_of
    from lm_eval_steer.vectors.vector import SteeringVector

    if args.out is not None:
        check_figure(args.out)
    first, second = (SteeringVector.load(find_vector(name)) for name in (args.first, args.second))
    cosines = cosines_of(first, second, (Path(args.first).name, Path(args.second).name))
    null = chance(first, second)
    console = _console()
    console.print(comparison_table(cosines, null))
    for note in comparison_notes(cosines, null, (first, second)):
        console.print(f"- {note}", markup=False, highlight=False)
    if args.out is not None:
        print(printable(f"Wrote {save_figure(correlation(cosines, null), args.out)}. Look at the vectors:"))
        print(f"  lm-eval-steer vectors show {_quoted([args.first])}")
    else:
        print("Draw it:")
        print(f"  lm-eval-steer vectors compare {_quoted([args.first, args.second])} --out compare.svg")


def _console(columns: int = UNATTENDED) -> Console:
    """Where tables go: as wide as the terminal, or as told where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else columns)


def _places(args: argparse.Namespace) -> list[Path]:
    """Where results are.

    Raises:
        SteeringError: for an empty name, which a shell makes of a variable that is not set.
    """
    if "" in args.folders:
        raise SteeringError("the name of a folder of results is empty: name what --output_path named, or . for here")
    return [Path(folder) for folder in args.folders]


def _steered(vector: str) -> str:
    """The model arguments that steer with a vector, for a shell."""
    return _quoted([f"pretrained=CHILD,vectors={vector},alpha=0.04"])


def _quoted(folders: list[str]) -> str:
    return printable(" ".join(map(shlex.quote, folders)))


def _pick(kind: type[T], args: argparse.Namespace) -> T:
    """The arguments of a command as the dataclass that checks them; fields and options bear the same names."""
    return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})  # type: ignore[arg-type]
