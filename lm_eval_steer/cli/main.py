"""`lm-eval-steer`: joins the commands, and tells what a user or the machine has to mend in one sentence."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from contextlib import suppress

from lm_eval_steer import __version__
from lm_eval_steer.cli import (
    extract,
    figures,
    grid,
    leaderboard,
    model,
    rationales,
    report,
    serve,
    sweep,
    transfer,
    vectors,
)
from lm_eval_steer.errors import FULL, SteeringError, is_out_of_memory
from lm_eval_steer.text import printable

COMMANDS = (extract, transfer, rationales, model, sweep, grid, leaderboard, figures, report, vectors, serve)
"""In the order of the help."""


def main(argv: list[str] | None = None) -> int:
    """Run a command; whatever is the user's or the machine's to mend is told in one sentence on stderr.

    Returns:
        0, or what the command gives; 2 for what was told in a sentence, 130 where the user stopped it, 1 where nobody
        reads its output any more. An error of this program keeps its traceback.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before this process began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # as long as the process
        elif isinstance(stream, io.TextIOWrapper):  # names and tables hold what an old terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    args = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)  # it advertises --metadata at every task
    try:
        code = args.run(args)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:
        _drop_output()
        return 1
    except KeyboardInterrupt:
        told, code = "stopped", 130
    except Exception as error:
        told, code = _sentence(error, args), 2
        if not told:
            raise
        if isinstance(error, OSError):
            _drop_output()
    print(f"lm-eval-steer {args.command}: {told}", file=sys.stderr)
    return code


def _sentence(error: Exception, args: argparse.Namespace) -> str:
    """What the user is told of an error; nothing of one of this program."""
    if isinstance(error, SteeringError):
        return str(error)
    if is_out_of_memory(error):
        advice = "use a smaller --batch_size or dtype" if hasattr(args, "batch_size") else "free some and run again"
        return f"the memory does not suffice ({printable(str(error))[:200] or 'MemoryError'}): {advice}"
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        if error.filename is not None:
            return printable(f"{error.filename}: {reason}")
        return f"the output cannot be written ({reason})" if error.errno in FULL else printable(reason)
    return ""


def _drop_output() -> None:
    """Where standard output takes nothing any more, let nothing be written to it when Python ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    parser = argparse.ArgumentParser(
        prog="lm-eval-steer",
        description="Steering vectors for lm-evaluation-harness: make them and compare their runs.",
    )
    parser.add_argument("--version", action="version", version=f"lm_eval_steer {__version__}")
    group = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(group)
    return parser
