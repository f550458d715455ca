"""The stages of a study as a table, and as lines for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from lm_eval_steer.grid.settings import KINDS
from lm_eval_steer.grid.stages import Stage
from lm_eval_steer.grid.study import Study
from lm_eval_steer.text import printable

_WHAT = {
    "extract": "vectors, per model and task",
    "states": "what models make of the texts, per model",
    "transfer": "vectors in a child's space, per pair of models, task and map",
    "sweep": "strengths, votes and controls, per child and task",
    "leaderboard": "all sweeps in one table",
    "report": "all sweeps on one page",
}


def tell_stages(stages: Sequence[Stage]) -> Iterator[str]:
    """A line per stage: its index, its folder, what it is, and the indices of the stages that it needs, by tabs."""
    index = {stage.folder: number for number, stage in enumerate(stages)}
    for number, stage in enumerate(stages):
        needs = ",".join(str(index[one]) for one in stage.needs)
        yield "\t".join([str(number), stage.folder, printable(stage.name), needs])


def make_table(study: Study, stages: Sequence[Stage]) -> Table:
    """How many stages of each kind there are, and how many there would be if every cell was run by itself."""
    alone = count_alone(study)
    table = Table(title=f"{len(study.parents)} parents x {len(study.children)} children x {len(study.tasks)} tasks")
    table.add_column("stage")
    for column in ("number", "cell by cell", "GPUs", "hours at most"):
        table.add_column(column, justify="right")
    table.add_column("what")
    for kind in KINDS:
        found = [stage for stage in stages if stage.kind == kind]
        if found:
            spans = [_span([float(stage.resources.get(key) or 0) for stage in found]) for key in ("gpus", "hours")]
            table.add_row(kind, str(len(found)), str(alone[kind]), *spans, _WHAT[kind])
    return table


def count_alone(study: Study) -> Mapping[str, int]:
    """Kind -> how many stages there would be where each cell, a parent, a child, a task and a map, shares nothing."""
    cells = len(study.parents) * len(study.children) * len(study.tasks)
    reading = sum(carried.reads for carried in study.maps)
    carrying = sum(not carried.is_of_runs for carried in study.maps)
    own = cells * len(study.maps) if study.own else 0
    return {
        "extract": cells * len(study.maps) + own,
        "states": 2 * cells * reading,
        "transfer": cells * carrying,
        "sweep": cells * len(study.maps),
        "leaderboard": 1,
        "report": 1,
    }


def _span(numbers: Sequence[float]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
