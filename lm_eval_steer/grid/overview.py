"""The stages of a study as tables, and as lines for programs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from rich.markup import escape
from rich.table import Table

from lm_eval_steer.grid.folder import Grid, Word
from lm_eval_steer.grid.stage import KINDS, Stage
from lm_eval_steer.text import printable

if TYPE_CHECKING:  # it brings what reads models and tasks, and `grid status` needs none of that
    from lm_eval_steer.grid.estimate import Cost
    from lm_eval_steer.grid.queue import Queue
    from lm_eval_steer.grid.study import Study

    Costs = Mapping[str, tuple[Cost | None, Cost | None]]

WORDS: tuple[Word, ...] = get_args(Word)
_STYLES = {"done": "dim", "running": "green", "failed": "red", "stopped": "red"}


def tell_stages(stages: Sequence[Stage], hours: Mapping[str, float] | None = None) -> Iterator[str]:
    """A line per stage: its index, its folder, what it is, and the indices of the stages that it needs, by tabs; then,
    where a pilot was run, the hours that it takes."""
    index = {stage.folder: number for number, stage in enumerate(stages)}
    for number, stage in enumerate(stages):
        needs = ",".join(str(index[one]) for one in stage.needs)
        took = [] if hours is None else [f"{hours[stage.folder]:.4f}" if stage.folder in hours else ""]
        yield "\t".join([str(number), stage.folder, printable(stage.name), needs, *took])


def make_table(study: Study, stages: Sequence[Stage], costs: Costs, hours: Mapping[str, float] | None = None) -> Table:
    """How many stages of each kind there are and what they ask of models, and what it were if cells shared nothing.

    Args:
        study: whose title it bears.
        stages: of it.
        costs: as `estimate` has them (grid/estimate.py).
        hours: folder of a stage -> hours that it takes here, where a pilot was run (grid/pilot.py).
    """
    alone = count_alone(study)
    table = Table(title=f"{len(study.parents)} parents x {len(study.children)} children x {len(study.tasks)} tasks")
    table.add_column("stage")
    columns = ("number", "cell by cell", "GPUs", "hours at most", "forward passes", "cell by cell")
    here_columns = () if hours is None else ("hours here, each", "hours here, all")
    for column in (*columns, "prompt tokens", "new tokens, at most", *here_columns):
        table.add_column(column, justify="right")
    for kind in KINDS:
        found = [stage for stage in stages if stage.kind == kind]
        if found:
            spans = [_span([float(stage.resources.get(key) or 0) for stage in found]) for key in ("gpus", "hours")]
            here, apart = costs.get(kind, (None, None))
            asked = [_count(here.passes if here else None), _count(apart.passes if apart else None)]
            tokens = [_count(here.read), _count(here.written)] if here else ["", ""]
            table.add_row(kind, str(len(found)), str(alone[kind]), *spans, *asked, *tokens, *_hours(found, hours or {}))
    return table


def _hours(stages: Sequence[Stage], hours: Mapping[str, float]) -> list[str]:
    """Of one stage, from the least to the most, and of all; nothing where not all of them are known."""
    known = [hours[stage.folder] for stage in stages if stage.folder in hours]
    if len(known) < len(stages):
        return []
    low, high = f"{min(known):.2g}", f"{max(known):.2g}"
    return [low if low == high else f"{low} to {high}", f"{sum(known):.2g}"]


def tell_saving(costs: Costs) -> str:
    """What sharing saves, in a sentence; nothing where it is not known."""
    here, apart = costs.get("sweep", (None, None))
    if not here or not apart or not apart.passes:
        return ""
    share = 1 - here.passes / apart.passes
    return f"Cells share baselines, controls and own vectors: {share:.0%} of the sweeps' forward passes are spared."


def _count(number: float | None) -> str:
    return f"{number:,.0f}" if number else ""


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


def make_status(
    grid: Grid, stages: Sequence[Stage], shown: Sequence[Stage] | None = None, queue: Queue | None = None
) -> Table:
    """What has become of each stage, or of those that are to be shown: since when, by whom or why, and what the queue
    of a cluster says of the jobs of those that are not done."""
    table = Table(title=str(grid.root))
    table.add_column("", justify="right")
    for column in ("stage", "state", "since", "took", "who, or why"):
        table.add_column(column, overflow="fold")
    for number, stage in enumerate(stages):
        if shown is not None and stage not in shown:
            continue
        state = grid.state(stage.folder)
        since = "" if state.since is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(state.since))
        took = "" if state.seconds is None else f"{state.seconds:,.0f} s"
        job = queue.tell(stage.folder) if queue and state.word != "done" else ""
        cells = (str(number), stage.name, state.word, since, took, printable("; ".join(filter(None, (state.why, job)))))
        table.add_row(*map(escape, cells), style=_STYLES.get(state.word))
    return table


def make_progress(grid: Grid, stages: Sequence[Stage]) -> Table:
    """The stages that are at work or failed, for a table that is shown anew while a study runs."""
    shown = [stage for stage in stages if grid.state(stage.folder).word not in ("done", "waiting")]
    table = make_status(grid, stages, shown)
    table.caption = count_states(grid, stages)
    return table


def count_states(grid: Grid, stages: Sequence[Stage]) -> str:
    """In words: `12 done, 1 running, 1 failed, 4 waiting`."""
    found = Counter(grid.state(stage.folder).word for stage in stages)
    return ", ".join(f"{found[word]} {word}" for word in WORDS if found[word])
