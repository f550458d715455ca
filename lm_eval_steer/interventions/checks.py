"""Checks of the plan's arguments: each takes the name of an argument and what is given, and returns what is meant.

All raise SteeringError for anything else, in one sentence that says what was given and what may be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lm_eval_steer.answers.named import reader_of_function
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.argument import Read
from lm_eval_steer.interventions.controls import Control, read_control
from lm_eval_steer.interventions.layer_maps import layer_map_of_a_run
from lm_eval_steer.interventions.layers import read_layers
from lm_eval_steer.interventions.width_maps import plain_width_map
from lm_eval_steer.sites import SITES
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.several import AnyVector, SeveralSites
from lm_eval_steer.vectors.vector import SteeringVector

LAST_SEED = 2**63 - 1


def one_of(names: Callable[[], Iterable[str]]) -> Read:
    """A name of a table, or of another set of names, which is asked for when it is needed."""

    def read(name: str, value: Any) -> str:
        known = tuple(names())
        if not isinstance(value, str) or value not in known:
            raise SteeringError(f"{name}={quoted(value)} is not understood: use one of {', '.join(known)}")
        return value

    return read


def tokens(name: str, value: Any) -> str:
    """A token rule, a window in its one spelling."""
    from lm_eval_steer.interventions.tokens import TOKENS, canonical  # brings torch
    from lm_eval_steer.interventions.tokens.match import LONGEST

    if isinstance(value, str) and (value in TOKENS or canonical(value)):
        return canonical(value) or value
    rules = f"one of {', '.join(TOKENS.names)}, first:N, after:N, last:-N"
    if isinstance(value, str) and "match:" in value:
        raise SteeringError(
            f"{name}={quoted(value)} is not understood: match: takes token ids, as in match:[198,271], or a text of at "
            f"most {LONGEST} bytes in double quotes, the whole in single quotes for the shell, as in "
            f"'tokens=match:\"\\n\\n\"'; before it may stand {rules}, as in generated:match:271"
        )
    raise SteeringError(f"{name}={quoted(value)} is not understood: use {rules}, or match:TOKENS")


def sites(name: str, value: Any) -> tuple[str, ...] | None:
    """Sites, each once and in the order of the table; None for those of the vector file."""
    if value is None:
        return None
    named = value.split("+") if isinstance(value, str) else value
    if (
        not isinstance(named, list | tuple)
        or not named
        or not all(isinstance(one, str) and one in SITES for one in named)
    ):
        raise SteeringError(
            f"{name}={quoted(value)} is not understood: use one of {', '.join(SITES.names)}, or several, as in "
            "block_input+attention+mlp"
        )
    return tuple(one for one in SITES if one in named)


def switch(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise SteeringError(f"{name}={quoted(value)} is not understood: use True or False")
    return value


def named(example: str) -> Read:
    """A text that names something, or None."""

    def read(name: str, value: Any) -> str | None:
        if value is not None and (not isinstance(value, str) or not value):
            raise SteeringError(f"{name}={quoted(value)} is not understood: name {example}")
        return value

    return read


def seed(name: str, value: Any) -> int:
    """A seed of random numbers."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LAST_SEED:
        raise SteeringError(f"{name}={quoted(value)} is not understood: use a whole number from 0 to {LAST_SEED}")
    return value


def folder(name: str, value: Any) -> str | None:
    """A folder, where `~` is the home folder; or None."""
    if value is not None and (not isinstance(value, str | Path) or not str(value)):
        raise SteeringError(f"{name}={quoted(value)} is not understood: name a folder, as in record=steer_records")
    return None if value is None else os.path.expanduser(value)


def vector(name: str, value: Any) -> str | Path | AnyVector | None:
    """A vector, or the name or path of its file, which is not opened yet; or None."""
    if value is not None and not isinstance(value, str | Path | SteeringVector | SeveralSites):
        raise SteeringError(f"{name}={quoted(value)} is not understood: name one steering vector file")
    return value


def control(name: str, value: Any) -> Control | None:
    """The control that takes the vector's place; None for the vector itself."""
    found = read_control(value)
    if found is not None and found.files is not None:
        raise found.is_a_file()
    return found


def layers(name: str, value: Any) -> Any:
    """What names blocks, as it is given: a model says later how many there are."""
    read_layers(value)
    return value


def layer_map(name: str, value: Any) -> str:
    """A layer map that a run can make, in its one spelling."""
    chosen, _ = layer_map_of_a_run(value)
    return chosen.text


def width_map(name: str, value: Any) -> str:
    """The name of a width map that a run can make."""
    plain_width_map(value)
    return str(value)


def vote(names: Iterable[str]) -> Read:
    """A rule of the vote. The harness reads vote=none as None."""
    check = one_of(lambda: names)
    return lambda name, value: check(name, "none" if value is None else value)


_named_filter = named("one of the task's filters, as in vote_filter=strict-match")
_named_function = named("a function, as in vote_answer=package.module:function")


def vote_filter(name: str, value: Any) -> str | None:
    """A filter of a task, or None. The command line makes a number of vote_filter=1."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return _named_filter(name, quoted(value) if number else value)


def vote_answer(name: str, value: Any) -> str | None:
    """A function that can be called with (response) or (response, doc), or None."""
    _named_function(name, value)
    if value is not None:
        reader_of_function(value)
    return value
