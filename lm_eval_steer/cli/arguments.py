"""How the commands read their arguments: as `lm_eval` and a shell do."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")
PAIRS = "key=value,..."
"""How the help shows an argument that `Pairs` reads."""


def add_command(
    group: Any,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    example: str,
    full: str | None = None,
) -> argparse.ArgumentParser:
    """Enter a command into argparse.

    Args:
        group: what `add_subparsers` returned.
        name: as it is typed.
        run: does the work, and may give an exit code; `main` calls it with what was typed.
        summary: one phrase for the list of commands and for the head of its help.
        example: a command line.
        full: the name with those of the commands above it, for messages; the name itself where there are none.
    """
    parser = group.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, command=full or name)
    return parser


def pick(kind: type[T], args: argparse.Namespace) -> T:
    """The arguments of a command as the dataclass that checks them; its fields bear the names of the options."""
    return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})  # type: ignore[arg-type]


class Pairs(argparse.Action):
    """Reads key=value pairs or a JSON object exactly as `lm_eval` does."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        from lm_eval._cli.utils import MergeDictAction

        try:
            MergeDictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        except ValueError as error:  # of its JSON
            parser.error(f"argument {option_string}: {error}")


class Names(argparse.Action):
    """Reads names that commas or spaces part, as `lm_eval` reads its tasks."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        names = [name.strip() for value in values for name in value.split(",") if name.strip()]
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest, None) or []), *names])


def read_path(text: str) -> str:
    """A path as a shell would have it, which leaves the ~ of --out=~/vector.pt as it is."""
    return os.path.expanduser(text)


def read_seeds(text: str) -> list[int | None]:
    """One seed or four, as `lm_eval` reads them."""
    from lm_eval._cli.utils import _int_or_none_list_arg_type

    try:
        return _int_or_none_list_arg_type(3, 4, "0,1234,1234,1234", text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not understood: give one number, or four as in 0,1234,1234,1234"
        ) from None


def read_batch_size(text: str) -> int | str:
    """A number of rows, or a word that is judged later (`auto`)."""
    return int(text) if text.isdecimal() else text


def read_layers(text: str) -> Any:
    """`[1,4]` becomes a list as in --model_args; the rest is judged once the model is known."""
    try:
        return json.loads(text) if text.startswith("[") else text
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not understood: use all, 7, 10-20 or [1,4]") from None
