"""Groups of which a sweep gave every task a strength of its own: a row for the group, pooled from its tasks' files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.compare.lengths import Lengths, add_up
from lm_eval_steer.compare.outcome import describe_run
from lm_eval_steer.compare.pool import pool
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.sweep_file import read_sweep
from lm_eval_steer.compare.sweeps import Part, part_of


def pool_sweeps(runs: Sequence[Run]) -> list[Run]:
    """The runs, and one for each group and arm of these sweeps; their tasks are then members of the group.

    An arm that a task of the group lacks has no run of the group.
    """
    places: dict[Path, dict[tuple[Arm, str], Run]] = {}
    for run in runs:
        part = part_of(run.path, run.task) if run.group is None else None
        if part is not None:
            places.setdefault(part.folder, {})[part.arm, run.task] = run
    pooled: list[Run] = []
    members: dict[tuple[Path, str], str] = {}
    for folder, found in places.items():
        for name, group in groups_of(read_sweep(folder / "sweep.json")).items():
            for arm in dict.fromkeys(arm for arm, _ in found):
                of_arm = [found[arm, task] for task in group["members"] if (arm, task) in found]
                if len(of_arm) == len(group["members"]):
                    pooled.append(pool_tasks(name, of_arm, group))
            members |= {(folder, task): name for task in group["members"]}
    return [*pooled, *(_lying(run, members) for run in runs)]


def groups_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Group -> its members and its rule, as `settings.groups` of sweep.json has them."""
    return dict(state["settings"].get("groups") or {})


def pool_tasks(name: str, runs: Sequence[Run], group: Mapping[str, Any]) -> Run:
    """The run of a group, of the runs of its tasks in one arm; metrics that one of them lacks are left out.

    Args:
        name: of the group.
        runs: of its tasks, in their order.
        group: its `metric`, and whether it weighs tasks by their documents (`weight_by_size`).
    """
    metric, sizes = group["metric"], [run.n for run in runs]
    shared = [one for one in runs[0].metrics if all(one in run.metrics for run in runs)]
    judged = metric if metric in shared else runs[0].metric
    scores = {one: _mean([run.by(one).score for run in runs], sizes, group["weight_by_size"]) for one in shared}
    limit = {"limit": f"{sum(sizes)} documents of {len(runs)} tasks"}
    found = pool(name, [run.by(judged) for run in runs], judged, scores, limit)
    return replace(found, by_task=True)


def _mean(scores: Sequence[float], sizes: Sequence[int], by_size: bool) -> float:
    weights = sizes if by_size else [1] * len(sizes)
    return math.fsum(map(math.prod, zip(scores, weights, strict=True))) / sum(weights)


def _lying(run: Run, members: Mapping[tuple[Path, str], str]) -> Run:
    part: Part | None = part_of(run.path, run.task) if run.group is None else None
    return run if part is None else replace(run, group=members.get((part.folder, run.task)))


def describe_groups(folder: Path, state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group -> what tables take of it, as a task's part of sweep.json has that.

    Args:
        folder: of the sweep.
        state: its sweep.json.
    """
    found = {}
    for name, group in groups_of(state).items():
        parts = [state["tasks"][task] for task in group["members"] if task in state["tasks"]]
        arms = [arm for arm in parts[0]["test"] if all(arm in part["test"] for part in parts)] if parts else []
        if len(parts) < len(group["members"]) or "baseline" not in arms:
            continue
        runs = {arm: _pool_arm(folder, name, [part["test"][arm] for part in parts], group) for arm in arms}
        count = sum(part["validation"].get("n") or 0 for part in parts)
        found[name] = {
            "test": {
                arm: describe_run(run, None, runs["baseline"], None, arm == "baseline")
                | {key: _sum([part["test"][arm].get(key) for part in parts]) for key in ("tokens", "prompt_tokens")}
                | {
                    "role": parts[0]["test"][arm]["role"],
                    "alpha": _alpha([part["test"][arm]["alpha"] for part in parts]),
                    "cost_nll": _same([part["test"][arm].get("cost_nll") for part in parts]),
                }
                for arm, run in runs.items()
            },
            "validation": {"task": f"its {len(parts)} tasks, each by itself", "n": count, "scores": {}, "best": {}},
            "refused": parts[0]["refused"],
        }
    return found


def _pool_arm(folder: Path, name: str, entries: Sequence[Mapping[str, Any]], group: Mapping[str, Any]) -> Run:
    runs = [run for entry in entries for run in read_runs([folder / entry["result"]]) if run.group is None]
    return pool_tasks(name, runs, group)


def _sum(counts: Sequence[int | None]) -> int | None:
    return None if None in counts else sum(count or 0 for count in counts)


def _lengths(told: Sequence[Mapping[str, Any] | None]) -> dict[str, int] | None:
    found = add_up(Lengths.read(one) for one in told)
    return found.to_json() if found else None


def _alpha(alphas: Sequence[Any]) -> Any:
    """The strength of all of them, or that each has its own."""
    return alphas[0] if all(alpha == alphas[0] for alpha in alphas) else "per task"


def _same(told: Sequence[Any]) -> Any:
    """What is told of all of them alike; None where it differs."""
    return told[0] if all(one == told[0] for one in told) else None
