"""DIR/sweep.json, what a sweep was told and what it found: its only reader and writer (docs/SWEEP.md)."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import OTHER, ROLES, VECTOR, Arm
from lm_eval_steer.compare.result_files import is_control
from lm_eval_steer.compare.validation import check_validation
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import parse_json, read_text, write_whole
from lm_eval_steer.shapes import (
    ANY,
    COUNT,
    NUMBER,
    OBJECT,
    SAID_NUMBER,
    SECONDS,
    TEXT,
    YES_OR_NO,
    Each,
    Either,
    Kind,
    Parts,
    Table,
    check,
)

VERSION = 2
"""Goes up when a key means something else or a reader needs a new one."""


WORD = re.compile(r"[\w-]+", re.ASCII)
"""What a vector of a sweep may be called."""


def _is_contender(value: Any) -> bool:
    """`vector`, `own`, `random:1`, `own negated`, `shots:5`."""
    if not isinstance(value, str):
        return False
    if OTHER.fullmatch(value):
        return True
    vector, _, control = value.rpartition(" ")
    is_named = WORD.fullmatch(vector or value) is not None
    return is_control(value) or (is_named and (not vector or is_control(control)))


_CONTENDER = Kind(
    f"{VECTOR}, the name of a vector, a control, behind the name of its vector or alone, or a baseline of another kind",
    _is_contender,
)
_SCORE = Kind("a number or null", lambda value: value is None or NUMBER.test(value))
_ENDS = {"interval": Each(NUMBER, 2)}
_COST = Parts({"n": COUNT, "tokens": COUNT}, dict.fromkeys(("value", "low", "high"), NUMBER))
_METRIC = Parts(
    {"score": NUMBER, "proportion": YES_OR_NO},
    _ENDS | {"against_baseline": Parts({}, _ENDS | dict.fromkeys(("change", "p"), NUMBER))},
)
_ARM = Parts(
    {
        "role": Kind(f"one of {', '.join(ROLES)}", lambda value: value in ROLES),
        "alpha": Either(Each(NUMBER, 1), NUMBER),
        "result": TEXT,
        **dict.fromkeys(("n", "responses", "skipped"), COUNT),
    },
    {
        "seed": COUNT,
        **dict.fromkeys(("vector", "control", "metric", "no_score", "digest"), TEXT),
        "score": NUMBER,
        **_ENDS,
        **dict.fromkeys(("prompt_tokens", "tokens"), COUNT),
        "lengths": Parts({"responses": COUNT, "tokens": COUNT, "cut": COUNT}, {"mean_tokens": NUMBER}),
        "other": Kind("a baseline of another kind", lambda value: OTHER.fullmatch(str(value)) is not None),
        "given": TEXT,
        "cost_nll": _COST,
        "votes": OBJECT,
        "against_baseline": Parts(
            {}, dict.fromkeys(("change", "p"), NUMBER) | dict.fromkeys(("texts_changed", "gained", "lost"), COUNT)
        ),
        "doses": Table(OBJECT),
        "metrics": Table(_METRIC),
        "share_of_own": Table(Parts({}, _ENDS | {"share": NUMBER, "note": TEXT})),
    },
)
_SHARE = Parts(
    {"alphas": Each(NUMBER, 1), "seconds": SECONDS, "new": COUNT},
    {"doses": Table(Table(Parts({"positions": COUNT}, {"dose": NUMBER, "survival": NUMBER})))},
)
_PASS = Parts(
    {"task": TEXT, "seconds": SECONDS, "new": COUNT, "contenders": Table(_SHARE, _CONTENDER)}, {"application": OBJECT}
)
_VALIDATION = Parts(
    {"task": TEXT, "scores": Table(Table(_SCORE, SAID_NUMBER), _CONTENDER), "best": Table(NUMBER, _CONTENDER)},
    {
        **{"n": COUNT, "kind": TEXT, "metric": TEXT, "higher_is_better": YES_OR_NO},
        **{"most_cost": NUMBER, "affordable": Table(Each(NUMBER), _CONTENDER)},
        "documents": Table(Table(COUNT, SAID_NUMBER), _CONTENDER),
    },
)
_PROFILE = Parts({"alpha": NUMBER, "profile": Each(NUMBER, 1)}, {"score": NUMBER, "cost_nll": _COST})
_TASK = Parts(
    {"validation": _VALIDATION, "test": Table(_ARM), "refused": Table(TEXT), "passes": Table(_PASS)},
    {"per_layer": Table(_PROFILE, _CONTENDER)},
)
_COSTS = Parts({"strengths": Table(Table(_COST, SAID_NUMBER), _CONTENDER), "passes": Table(_PASS)})
_ANY_STATE = Parts({"version": ANY})
_STATE = Parts({"complete": YES_OR_NO, "settings": OBJECT, "tasks": Table(_TASK)}, {"cost": _COSTS})


def read_sweep(file: Path) -> dict[str, Any]:
    """The content of a sweep.json, checked: whoever works with it need not check it again.

    Raises:
        SteeringError: for a file that is none, or not whole, and for one of another version.
    """
    return _read(file, _parse_and_check)


def parse_sweep(file: Path) -> dict[str, Any]:
    """The content of a sweep.json of this version, not checked any further.

    Raises:
        SteeringError: for a file that cannot be read or is no such thing, and for one of another version.
    """
    return _read(file, _parse)


def _read(file: Path, parse: Callable[[Path, int, int], dict[str, Any]]) -> dict[str, Any]:
    try:
        status = file.stat()
        state = parse(file, status.st_size, status.st_mtime_ns)
    except SteeringError:
        raise
    except (OSError, ValueError) as error:
        raise _broken(file, error) from None
    if state["version"] != VERSION:
        raise SteeringError(
            f"{file} is of version {state['version']!r}, but this lm_eval_steer reads version {VERSION}: use the "
            "lm_eval_steer that wrote it, or sweep again into another --output_path"
        )
    return state


def check_sweep(state: Mapping[str, Any]) -> None:
    """Check a content with all its parts.

    Raises:
        ValueError: names the part that is wrong, what it is, and what was expected.
    """
    check(state, _STATE, "its content")
    check_validation(state["settings"].get("validation") or {}, "its content.settings.validation")
    for name, task in state["tasks"].items():
        for key, entry in task["test"].items():
            expected = arm_of(entry).name
            if key != expected:
                raise ValueError(f"a key of its content.tasks.{name}.test is {key[:60]!r}, expected {expected!r}")


def arm_of(entry: Mapping[str, Any]) -> Arm:
    """What an entry of `test` is about.

    Raises:
        ValueError: for a control with a seed that it does not take.
    """
    try:
        arm = Arm(entry["role"], entry.get("vector"), entry.get("control"), entry.get("seed"), other=entry.get("other"))
        _ = arm.name
    except SteeringError as error:
        raise ValueError(str(error)) from None
    return arm


def write_sweep(file: Path, state: Mapping[str, Any]) -> None:
    """Write a sweep.json whole, so that a reader and a killed sweep see the old one or the new one.

    Raises:
        SteeringError: where the system refuses it, as on a full disk.
    """
    text = json.dumps(finite(state), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(file, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def finite(content: Any) -> Any:
    """The content with null for what is no finite number: JSON has no others."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


@functools.lru_cache(maxsize=1024)
def _parse(file: Path, size: int, time: int) -> dict[str, Any]:
    state = parse_json(read_text(file, "the state of a sweep"))
    check(state, _ANY_STATE, "its content")
    return dict(state)


@functools.lru_cache(maxsize=1024)  # every result file asks for its sweep, and a check of many tasks takes a while
def _parse_and_check(file: Path, size: int, time: int) -> dict[str, Any]:
    state = _parse(file, size, time)
    if state["version"] == VERSION:
        check_sweep(state)
    return state


def _broken(file: Path, error: Exception) -> SteeringError:
    return SteeringError(
        f"{file} is no whole sweep.json ({error}): remove it and start the sweep again, it goes on from its record"
    )
