"""What an argument of the plan is, and what is made of a list of them: signature, docstring, a table."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

Read = Callable[[str, Any], Any]
"""(name of the argument, what is given) to what the plan holds; it refuses the rest in one sentence."""

Changes = Literal["response", "prompt", "vote", "nothing"]
"""What differs where an argument does: a response, what the model is asked, which response counts, or none of these."""


def take(name: str, value: Any) -> Any:
    """`Read` for what is checked together with other arguments."""
    return value


@dataclass(frozen=True)
class Argument:
    """One argument of `SteeringPlan.build`, which model classes, `--model_args` and sweeps take, too.

    Attributes:
        name: as the user writes it.
        attribute: of the plan, which holds what it came to.
        default: where it is not given.
        help: what it means, for docstrings and the table.
        changes: what differs where it does.
        read: checks what is given and turns it into what the plan holds.
        told: the default as the table tells it.
        setting: its key in a result file's `config.steering` (in `vote` there, where it changes the vote); None where
            it is not recorded.
        show: from what the plan holds to JSON, for the result file.
        plain: what stands there for the default.
        apart: whether the leaderboard takes vectors that differ in it for different ones.
        shared: whether the arms of one pass have it in common, since they share requests, prompts, answers and record.
        option: what a sweep has in its place.
    """

    name: str
    attribute: str
    default: Any
    help: str
    changes: Changes
    read: Read
    told: str
    setting: str | None
    show: Callable[[Any], Any]
    plain: Any
    apart: bool
    shared: bool
    option: str | None


def argument(
    default: Any,
    help: str,
    *,
    changes: Changes,
    read: Read = take,
    name: str | None = None,
    told: str | None = None,
    setting: str | None = None,
    recorded: bool = True,
    show: Callable[[Any], Any] = lambda value: value,
    plain: Any = ...,
    apart: bool = False,
    shared: bool = False,
    option: str | None = None,
) -> Any:
    """Declares an argument, as the field of a dataclass.

    The parameters are the attributes of `Argument`; what is left out follows from the field's name and the default.
    With `recorded=False` there is no setting of it in result files.
    """
    more = {
        "default": default,
        "help": help,
        "changes": changes,
        "read": read,
        "told": ("-" if default is None else f"`{default}`") if told is None else told,
        "show": show,
        "plain": default if plain is ... else plain,
        "apart": apart,
        "shared": shared,
        "option": option,
    }
    return dataclasses.field(metadata={"name": name, "setting": setting, "recorded": recorded, "more": more})


def arguments_of(declared: type) -> tuple[Argument, ...]:
    """The arguments that a dataclass declares, in their order."""
    found = []
    for one in dataclasses.fields(declared):
        name = one.metadata["name"] or one.name
        setting = (one.metadata["setting"] or name) if one.metadata["recorded"] else None
        found.append(Argument(name, one.name, setting=setting, **one.metadata["more"]))
    return tuple(found)


def declare(arguments: Sequence[Argument], before: Sequence[str] = ("cls",)) -> Callable[[F], F]:
    """Gives a function of `**arguments` the signature and the docstring of these.

    The docstring is that of the function, with what each argument means in the place of its line `{arguments}`.

    Args:
        arguments: those that it takes by name.
        before: names of those that come before them, by place.
    """

    def adorn(function: F) -> F:
        first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in before]
        more = [inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default) for one in arguments]
        function.__dict__["__signature__"] = inspect.Signature([*first, *more])
        function.__doc__ = re.sub(
            r"^( *)\{arguments\}$",
            lambda found: "\n".join(_meaning(one, found[1]) for one in arguments),
            function.__doc__ or "",
            flags=re.MULTILINE,
        )
        return function

    return adorn


def _meaning(one: Argument, indent: str) -> str:
    """A line of a docstring, and more of them where it is long."""
    return textwrap.fill(
        f"{one.name}: {one.help}",
        width=120,
        initial_indent=indent,
        subsequent_indent=indent + " " * 4,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(arguments: Sequence[Argument]) -> str:
    """The arguments as the table of docs/ARGUMENTS.md."""
    rows = [f"| `{one.name}` | {one.told} | {one.help} |" for one in arguments]
    return "\n".join(["| argument | default | meaning |", "|---|---|---|", *rows]) + "\n"
