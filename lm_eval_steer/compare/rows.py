"""One row per child x parent x task x conditions: its baseline, and the arms that are held against it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.runs import Run
from lm_eval_steer.compare.stats import RandomComparison, Verdict
from lm_eval_steer.compare.sweeps import Part, part_of
from lm_eval_steer.interventions.alphas import alpha_name, alpha_order
from lm_eval_steer.interventions.arguments import APART
from lm_eval_steer.interventions.controls import kind_of
from lm_eval_steer.text import printable

KINDS = ("best", "vote", "per-layer")
"""The arms of a sweep's vector, and of each of its controls."""


@dataclass(frozen=True)
class Change:
    """An arm against the baseline; `verdict` is None where the two cannot be paired.

    Attributes:
        change: score of the arm - score of the baseline.
        gained: documents, None where they are not right or wrong.
        lost: likewise.
        texts_changed: responses that differ; None where unpaired.
        verdict: what the statistics say; None where unpaired.
        in_family: whether it belongs to Holm's family; arms that steer nothing are tested alone.
        repeats: whether documents repeat, so that the test is by document.
    """

    change: float
    gained: int | None = None
    lost: int | None = None
    texts_changed: int | None = None
    verdict: Verdict | None = None
    in_family: bool = False
    repeats: bool = False


@dataclass
class Row:
    """A row of the leaderboard.

    Attributes:
        child: name or path of the evaluated model.
        parent: of the parent; `-` where nothing was steered.
        vector: name of the vector file, and what of its use is no default.
        group: of runs that can be compared.
        baseline: the unsteered run; None where there is none.
        runs: arm -> run: `best`, `vote`, `0.5`, `random:1 best`, ... without the baseline.
        parts: arm -> its place in a sweep; empty outside of one.
        tokens: arm, or `baseline` -> generated tokens; None where unknown.
        changes: arm -> against the baseline.
        random: `best` or `vote` -> the vector against its random controls.
    """

    child: str
    parent: str
    vector: str
    group: Group
    baseline: Run | None
    runs: dict[str, Run]
    parts: dict[str, Part] = field(default_factory=dict)
    tokens: dict[str, int | None] = field(default_factory=dict)
    changes: dict[str, Change] = field(default_factory=dict)
    random: dict[str, RandomComparison] = field(default_factory=dict)

    @property
    def any_run(self) -> Run:
        """What says which metric, unit and n the row has."""
        return self.baseline or next(iter(self.runs.values()))

    @property
    def is_sweep(self) -> bool:
        """Whether strengths were chosen on validation rows."""
        return bool(self.parts)

    @property
    def best_alpha(self) -> float | None:
        """The strength that a sweep chose."""
        return self.runs["best"].alphas[0] if "best" in self.runs else None

    @property
    def unit(self) -> str:
        """`alpha` or `dose`."""
        return next((str(run.steering["unit"]) for run in self.runs.values() if run.steering.get("unit")), "alpha")

    @property
    def main(self) -> str | None:
        """The arm that speaks for the row: the best, the vote, or its only one."""
        return next((arm for arm in ("best", "vote", *self.runs) if arm in self.runs), None)

    def of_control(self, kind: str, arm: str) -> dict[str, Run]:
        """Arms of the controls of a kind: of_control("random", "best") has `random:1 best`, ..."""
        return {name: run for name, run in self.runs.items() if name.startswith(kind) and name.endswith(f" {arm}")}


def find_rows(groups: Iterable[Group]) -> list[Row]:
    """The rows of all groups, without their statistics."""
    rows = [row for group in groups for row in _rows_of(group)]
    hashes: dict[str, set[str]] = {}
    for row in rows:
        hashes.setdefault(row.vector, set()).add(_fingerprint(row))
    for row in rows:
        if row.vector != "-" and len(hashes[row.vector] - {""}) > 1 and _fingerprint(row):
            row.vector = f"{row.vector} ({_fingerprint(row)})"
    return rows


def steers(run: Run) -> bool:
    """Whether the run steered at all; self-consistency samples at α = 0."""
    return any(run.alphas) and kind_of(run.steering.get("control")).steers


def _rows_of(group: Group) -> list[Row]:
    rows: dict[tuple[Any, ...], Row] = {}
    baselines: dict[tuple[str, Path | None], Run] = {}
    places: dict[int, Part | None] = {}
    arms: list[tuple[Run, Part | None]] = []
    for run in group.runs:
        part = part_of(run.path, run.task)
        if run.is_baseline:
            baselines.setdefault((run.child, part.folder if part else None), run)
            places[id(run)] = part
        else:
            arms.append((run, part))
    for run, part in sorted(arms, key=lambda item: _order(item[0])):
        key: tuple[Any, ...]
        control = run.steering.get("control")
        if part:
            key, arm = ("sweep", run.child, part.folder), part.arm.name
        elif len(run.alphas) > 1:
            arm = f"{control} vote" if control and steers(run) else control or "vote"
            key = ("vote", run.child, _vector_key(run), run.alphas)
        else:
            strength = () if kind_of(control).is_plain else (alpha_name(run.alphas[0]),)
            arm = " ".join(filter(None, (control, *strength)))
            key = ("run", run.path, run.arguments)
        if key in rows and arm in rows[key].runs:  # the same run again, in another folder
            key = (*key, run.path)
        if key not in rows:
            own = baselines.get((run.child, part.folder if part else None))
            baseline = own or next((b for (child, _), b in baselines.items() if child == run.child), None)
            rows[key] = Row(run.child, _parent(run), _vector(run), group, baseline, {})
        rows[key].runs[arm] = run
        if part:
            rows[key].parts[arm] = part
            if mine := places.get(id(rows[key].baseline)):
                rows[key].parts["baseline"] = mine
    used = {id(row.baseline) for row in rows.values()}
    alone = []
    for run in baselines.values():
        if id(run) not in used:
            mine = places[id(run)]
            alone.append(Row(run.child, "-", "-", group, run, {}, {"baseline": mine} if mine else {}))
    return sorted([*alone, *rows.values()], key=lambda row: (row.child, bool(row.runs), row.parent, not row.is_sweep))


def _fingerprint(row: Row) -> str:
    """Of the vector, short; vectors of one name may be several."""
    return next((printable(run.steering["vector"][:8]) for run in row.runs.values() if run.steering.get("vector")), "")


def _order(run: Run) -> tuple[Any, ...]:
    """The vector before its controls, so that the row bears its name; then by strength."""
    control = run.steering.get("control") or ""
    kind, _, seed = control.partition(":")
    return run.child, kind, int(seed or 0), len(run.alphas), *map(alpha_order, run.alphas)


def _vector_key(run: Run) -> str:
    return json.dumps([run.steering.get(key) for key in ("vector", *APART)], sort_keys=True, default=str)


def _vector(run: Run) -> str:
    if not steers(run):
        return run.vectors or "-"
    others = [
        f"{key}={json.dumps(run.steering[key]) if not isinstance(run.steering[key], str) else run.steering[key]}"
        for key, default in APART.items()
        if key not in ("unit", "alpha_per_layer") and run.steering.get(key, default) != default
    ]
    return printable(" ".join([run.vectors or str(run.steering.get("vector") or "-")[:8], *others]))


def _parent(run: Run) -> str:
    return printable(str((run.steering.get("transfer") or {}).get("parent") or "-"))
