"""A group's run, pooled from the runs of its members: one run whose documents are those of all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lm_eval_steer.compare.conditions import digest_of
from lm_eval_steer.compare.metrics import Metric
from lm_eval_steer.compare.samples import Logged, as_member, is_number
from lm_eval_steer.text import printable

if TYPE_CHECKING:
    from lm_eval_steer.compare.run import Run


def read_group(
    content: Mapping[str, Any], group: str, tasks: Mapping[str, Run], metric: str, scores: Mapping[str, Any]
) -> Run:
    """The run of a group of a result file.

    Args:
        content: of the file.
        group: its name.
        tasks: the runs of the file's tasks.
        metric: by which the group is judged.
        scores: what it reached by each of its metrics.

    Raises:
        ValueError: where a member has no run.
    """
    names = _leaves(group, content["group_subtasks"])
    missing = [name for name in names if name not in tasks]
    if missing or not names:
        raise ValueError(f"the group {group} lacks {missing[0] if missing else 'members'}")
    samples = [content["n-samples"][name] for name in names]
    effective, original = (sum(one.get(key) or 0 for one in samples) for key in ("effective", "original"))
    conditions = {
        "limit": f"{effective} of {original} documents",
        "group version": printable(str((content.get("versions") or {}).get(group, "unknown"))),
    }
    reached = {name: float(score) for name, score in scores.items() if name == metric or is_number(score)}
    return pool(group, [tasks[name] for name in names], metric, reached, conditions)


def pool(
    name: str, members: Sequence[Run], metric: str, scores: Mapping[str, float], conditions: Mapping[str, str]
) -> Run:
    """The run of a group.

    An item of a member is scaled so that the mean over all documents is the group's score: where the group weighs
    members by their documents it stays as it is, where all members weigh alike it counts the more the fewer documents
    its member has. Which of the two it is, the score tells; by a metric of neither rule, and by one that is no mean of
    a number per document in every member, the run has no samples.

    Args:
        name: of the group.
        members: the runs of its tasks, of one result file.
        metric: by which the group is judged.
        scores: what it reached by each of its metrics, this one among them.
        conditions: of the group, beside those that all members share.
    """
    first = members[0]
    scales = {one: _scales(members, one, score) for one, score in scores.items()}
    logged = [
        Logged(
            key=as_member(run.task, one.key),
            response=one.response,
            items={each: _scaled(one.items.get(each), scales[each], place) for each in scores},
        )
        for place, run in enumerate(members)
        for one in run.logged
    ]
    complete = all(run.has_samples_file for run in members)
    found = replace(
        first,
        task=name,
        arguments=json.dumps(list(dict.fromkeys(run.arguments for run in members))),
        conditions=_shared([run.conditions for run in members]) | {"metric": metric} | dict(conditions),
        metric=metric,
        n=sum(run.n for run in members),
        higher_is_better=_way(members, metric),
        aggregation="",
        has_samples_file=complete,
        members=tuple(run.task for run in members),
    )
    others = {one: Metric(score, _way(members, one)) for one, score in scores.items() if one != metric}
    return found.with_documents(scores[metric], logged if complete else [], others)


def _way(members: Sequence[Run], metric: str) -> bool:
    """Whether higher is better, as the first member that has the metric says."""
    return next((run.by(metric).higher_is_better for run in members if metric in run.metrics), True)


def _shared(conditions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """A value that all members have; a digest of them where they differ."""
    found = {}
    for name in dict.fromkeys(name for one in conditions for name in one):
        values = [one.get(name, "none") for one in conditions]
        differ = len(set(values)) > 1
        found[name] = f"differs by task ({digest_of(values)})" if differ else values[0]
    return found


def _scales(members: Sequence[Run], metric: str, score: float) -> list[float] | None:
    """What items of each member are multiplied by; None where the rule or an item is none that can be paired."""
    if any(metric not in run.metrics or not run.by(metric).samples for run in members):
        return None
    scores, sizes = [run.by(metric).score for run in members], [len(run.logged) for run in members]
    every = sum(sizes)
    if _is(math.fsum(map(math.prod, zip(scores, sizes, strict=True))) / every, score):
        return [1.0] * len(members)
    if _is(math.fsum(scores) / len(scores), score):
        return [every / (len(members) * size) for size in sizes]
    return None


def _is(value: float, score: float) -> bool:
    return math.isclose(value, score, rel_tol=1e-9, abs_tol=1e-12)


def _scaled(item: Any, scales: Sequence[float] | None, place: int) -> float | None:
    return float(item) * scales[place] if scales is not None and is_number(item) else None


def _leaves(group: str, children: Mapping[str, Iterable[str]]) -> list[str]:
    """The tasks of a group and its subgroups, in their order; `children` has the names in each."""
    return [
        leaf for name in children.get(group, ()) for leaf in (_leaves(name, children) if name in children else [name])
    ]


def roots(content: Mapping[str, Any]) -> dict[str, str]:
    """Task or group of a result file -> the outermost group with a score that it is or lies in, where there is one."""
    children = content.get("group_subtasks") or {}
    below = {group: [group, *_below(group, children)] for group in content.get("groups") or {}}
    found: dict[str, str] = {}
    for group in sorted(below, key=lambda one: -len(below[one])):
        if group not in found:
            found |= {one: group for one in below[group] if one not in found}
    return found


def _below(group: str, children: Mapping[str, Iterable[str]]) -> list[str]:
    """All that lies in a group, at any depth."""
    return [one for name in children.get(group, ()) for one in (name, *_below(name, children))]
