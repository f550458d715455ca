"""The files that `lm_eval` writes: where they are, and whether they are whole."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, is_folder, parse_json, read_text
from lm_eval_steer.interventions.controls import read_control
from lm_eval_steer.shapes import (
    ANY,
    COUNT,
    NUMBER,
    OBJECT,
    SAID_COUNT,
    SAID_NUMBER,
    SECONDS,
    TEXT,
    Each,
    Either,
    Kind,
    Parts,
    Table,
    check,
)
from lm_eval_steer.text import shortened
from lm_eval_steer.vectors.transferred import TRANSFER

_DATED = re.compile(r"(?P<name>.+)_(?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)", re.ASCII)
"""NAME_DATE: the harness writes results_DATE.json into a folder, and NAME_DATE.json for --output_path NAME.json."""


def is_control(value: Any) -> bool:
    """Whether a value is the name of a control."""
    try:
        return isinstance(value, str) and read_control(value) is not None
    except SteeringError:
        return False


def _is_seconds(value: Any) -> bool:
    """The harness writes them as text."""
    return SECONDS.test(float(value) if SAID_NUMBER.test(value) else value)


CONTROL = Kind("the name of a control", lambda value: value == "" or is_control(value))

_DOSES = Table(Table(Parts({"dose": NUMBER, "positions": COUNT}, {"survival": NUMBER}), SAID_COUNT, 1), SAID_NUMBER)
_STEERING = Parts(
    {"alpha": Either(Each(NUMBER, 1), NUMBER)},
    {
        "settings": Each(TEXT),
        "control": CONTROL,
        **dict.fromkeys(("vector", "system_prompt", "unit", "date", "weights"), TEXT),
        "transfer": Parts({}, {"parent": TEXT}),
        **dict.fromkeys(("vote", "votes", "application"), OBJECT),
        "passport": Parts({}, {"transfer": TRANSFER}),
        "doses": _DOSES,
    },
)
_CONFIG = Parts(
    {},
    {
        "model": TEXT,
        "model_args": Kind("text or an object", lambda value: isinstance(value, str | dict)),
        "steering": _STEERING,
    },
)
_RESULTS = Parts(
    {
        "config": _CONFIG,
        "configs": Table(Parts({}, {"generation_kwargs": OBJECT})),
        **dict.fromkeys(("results", "n-samples", "n-shot"), OBJECT),
    },
    {
        "model_name": TEXT,
        "versions": OBJECT,
        "higher_is_better": Table(Kind("an object or null", lambda value: value is None or isinstance(value, dict))),
        "total_evaluation_time_seconds": Kind("seconds", _is_seconds),
    },
)
_OF_TASK = Parts({"results": OBJECT, "n-samples": Parts({"effective": COUNT}), "n-shot": ANY})
"""Of one task: its part of each of these."""

_SAMPLE = Parts({"filter": TEXT, "doc_hash": TEXT, "prompt_hash": TEXT, "resps": Each(ANY, 1), "doc_id": COUNT})


def find_result_files(place: Path) -> list[Path]:
    """The result files of a place, in order: a folder with all below it, one file, or what --output_path named.

    Raises:
        SteeringError: where there is no such place, and for a place without any.
    """
    if not is_folder(place):
        if os.path.lexists(place):
            return [place]
        if place.suffix == ".json" and is_folder(place.parent):  # --output_path runs/base.json, the date left out
            _, _, names = next(os.walk(place.parent), ("", [], []))
            dated = [path for name in names if stamp(path := place.with_name(name))[0] == place.stem]
            if found := sorted(path for path in dated if _is_result(path.name)):
                return found
        raise SteeringError(f"{shortened(place)}: no such folder of results")
    paths = sorted(
        Path(folder, name)
        for folder, folders, files in os.walk(place)
        for name in (*files, *folders)
        if _is_result(name)
    )
    # A sweep writes an arm into a folder of this name, and renames it when it is whole.
    paths = [path for path in paths if not path.relative_to(place).match("*.part/*/*")]
    if not paths and is_file(place / "sweep.json"):
        raise SteeringError(f"the sweep in {place} has no arm yet: start its command again, it goes on")
    if not paths:
        raise SteeringError(f"{place} holds no results_*.json of lm_eval: run lm_eval with --output_path {place}")
    return paths


def _is_result(name: str) -> bool:
    stem = name.removesuffix(".json")
    return stem != name and (stem.startswith("results_") or _DATED.fullmatch(stem) is not None)


def stamp(path: Path) -> tuple[str, str]:
    """What a result file was named, and its date; of a name without a date, all behind `results_` is the date."""
    found = _DATED.fullmatch(path.stem)
    return (found["name"], found["date"]) if found else ("results", path.stem.removeprefix("results_"))


def samples_file(path: Path, task: str) -> Path:
    """Where the samples of a task of a result file are, if they were logged."""
    return path.with_name(f"samples_{task}_{stamp(path)[1]}.jsonl")


def read_results(path: Path) -> dict[str, Any]:
    """The content of a result file, checked: whatever works with it need not check it again.

    Raises:
        SteeringError: for what is no regular file or no text.
        ValueError: for what is no result file.
    """
    content = parse_json(read_text(path, "results"))
    check(content, _RESULTS, "its content")
    return dict(content)


def check_results(content: Any) -> None:
    """Check the content of a result file with all its tasks.

    Raises:
        ValueError: names the part that is not as it should be.
    """
    check(content, _RESULTS, "its content")
    for task in content["configs"]:
        check_task(content, task)


def check_task(content: dict[str, Any], task: str) -> None:
    """Check what a result file says of one task.

    Raises:
        ValueError: names the part that is not as it should be.
    """
    told = {part: content[part][task] for part in _OF_TASK.needed if task in content[part]}
    check(told, _OF_TASK, f"what it says of {task}")


def read_samples(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of a file of samples, checked: name of a filter -> the rows that went through it, in order.

    Raises:
        SteeringError: for what is no text.
        ValueError: for a line that is no sample.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(read_text(file, "samples").split("\n"), start=1):
        if line:
            row = parse_json(line)
            check(row, _SAMPLE, f"line {number} of its samples")
            found.setdefault(row["filter"], []).append(row)
    return found
