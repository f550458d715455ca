"""How long stages take on this machine, told by running a few documents of them.

A model is what takes time, and of a sweep the task, too. So the pilot extracts and reads states with every model, and
sweeps every child on the first task and the first child on every task; any other sweep is told from these by the rule
of three. What is run is the study itself with few documents, without parents and controls in its sweeps, for these are
more of the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lm_eval_steer.compare.sweep_file import parse_sweep
from lm_eval_steer.extraction.args import DEFAULT_PAIRS
from lm_eval_steer.grid.folder import SWEEP_FOLDER, Grid
from lm_eval_steer.grid.stage import Stage
from lm_eval_steer.grid.stages import make_stages
from lm_eval_steer.grid.study import Study
from lm_eval_steer.transfer.defaults import TEXTS

PILOTED = ("extract", "states", "sweep")
"""Kinds that ask models; maps are fitted, and tables made, on what these leave."""


@dataclass(frozen=True)
class Pace:
    """How long a stage takes.

    Attributes:
        start: seconds before the first document: imports, and the model's loading.
        each: seconds per pair, text or response.
    """

    start: float
    each: float

    def hours(self, number: float) -> float:
        """Of so many pairs, texts or responses."""
        return (self.start + self.each * number) / 3600


def pilot_stages(study: Study, documents: int) -> list[Stage]:
    """What is run of a study, in the order of what needs what.

    Args:
        study: whole.
        documents: of each stage: pairs, texts, documents of validation and of test.
    """
    few = {
        "limit": documents, "val_limit": documents, "controls": None, "extract": {"n": max(documents, 2)},
        "transfer": {"n": documents},
    }  # fmt: skip
    others = {pattern: told for pattern, told in study.overrides.items() if pattern != "*"}
    last = study.overrides.get("*", {}) | few
    small = replace(study, own=True, overrides=others | {"*": last})
    child, task = next(iter(study.children)), next(iter(study.tasks))
    alone = make_stages(replace(small, parents={}))
    sweeps = [
        one for one in alone if one.kind == "sweep" and (one.about["child"] == child or one.about["task"] == task)
    ]
    needed = {folder for sweep in sweeps for folder in sweep.needs}
    found = {one.folder: one for one in alone if one.folder in needed}
    for one in make_stages(small):
        if one.kind == "states" or (one.kind == "extract" and one.about["task"] == task and _is_wanted(study, one)):
            found[one.folder] = one
    return [*found.values(), *sweeps]


def _is_wanted(study: Study, extraction: Stage) -> bool:
    return study.own or extraction.about["model"] in study.parents


def tell_hours(
    stages: Sequence[Stage], responses: Mapping[str, float], pilot: Sequence[Stage], grid: Grid
) -> dict[str, float]:
    """Folder of a stage -> hours that it takes here; of those alone whose pilot was run.

    Args:
        stages: of the study.
        responses: folder of a sweep -> how many it asks for.
        pilot: its stages, as `pilot_stages` has them.
        grid: the folder in which they were run.
    """
    paces = dict(_paces(pilot, grid))
    found = {}
    for stage in stages:
        number, pace = _size(stage, responses), _pace_of(stage, paces)
        if pace is not None and number is not None:
            found[stage.folder] = pace.hours(number)
    return found


def _size(stage: Stage, responses: Mapping[str, float]) -> float | None:
    if stage.kind == "extract":
        return float(stage.arguments["args"].get("n") or DEFAULT_PAIRS)
    if stage.kind == "states":
        return float(stage.arguments["texts"].get("n") or TEXTS)
    return responses.get(stage.folder)


def _paces(pilot: Sequence[Stage], grid: Grid) -> Iterator[tuple[tuple[str, str, str], Pace]]:
    """Kind, model and task -> pace; of extraction and states the task says nothing."""
    for stage in pilot:
        state = grid.state(stage.folder)
        if state.word != "done" or state.seconds is None:
            continue
        if stage.kind == "sweep":
            tasks = parse_sweep(grid.place(stage.folder) / SWEEP_FOLDER / "sweep.json")["tasks"].values()
            passes = [one for task in tasks for one in task["passes"].values()]
            asking, number = sum(one["seconds"] for one in passes), sum(one["new"] for one in passes)
            key = (stage.kind, stage.about["child"], stage.about["task"])
        else:
            asking, number = state.seconds - (state.loading or 0.0), _size(stage, {}) or 0
            key = (stage.kind, stage.about["model"], "")
        if number:
            yield key, Pace(max(state.seconds - asking, 0.0), asking / number)


def _pace_of(stage: Stage, paces: Mapping[tuple[str, str, str], Pace]) -> Pace | None:
    if stage.kind != "sweep":
        return paces.get((stage.kind, stage.about.get("model", ""), ""))
    child, task = stage.about["child"], stage.about["task"]
    if (found := paces.get(("sweep", child, task))) is not None:
        return found
    (_, first, of), *_ = [*(key for key in paces if key[0] == "sweep"), ("", "", "")]
    sides = [paces.get(("sweep", *one)) for one in ((child, of), (first, task), (first, of))]
    mine, other, both = sides
    if mine is None or other is None or both is None or not both.each:
        return None
    return Pace(mine.start, mine.each * other.each / both.each)
