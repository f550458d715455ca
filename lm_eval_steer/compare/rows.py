"""One row per vector x child x task x conditions: its baseline, and the arms that are held against it.

Runs are joined by what they are, not by where they lie: by the model, by the vector with all that makes another one of
it, and by the strengths. So a control that was run elsewhere stands beside its vector.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import BASELINE, ONE, OWN, ROLES, Arm, arm_alone
from lm_eval_steer.compare.beside import Beside
from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.lengths import Lengths
from lm_eval_steer.compare.own import OfOwn
from lm_eval_steer.compare.runs import Run
from lm_eval_steer.compare.stats import RandomComparison, ShuffledComparison, Verdict
from lm_eval_steer.compare.sweeps import Part, part_of
from lm_eval_steer.compare.text_costs import TextCost
from lm_eval_steer.interventions.alphas import alpha_order
from lm_eval_steer.interventions.arguments import APART
from lm_eval_steer.interventions.controls import KINDS
from lm_eval_steer.text import as_text, printable

BEST, VOTE, PER_LAYER = Arm("best"), Arm("vote"), Arm("per-layer")

MAP_SHUFFLED = "map-shuffled"
"""The kind of control that a vector's map is held against."""


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
        judged: whether the verdict is one; of a member of a group it has an interval only, unless it was asked for.
    """

    change: float
    gained: int | None = None
    lost: int | None = None
    texts_changed: int | None = None
    verdict: Verdict | None = None
    in_family: bool = False
    repeats: bool = False
    judged: bool = True


@dataclass
class Row:
    """A row of the leaderboard: one vector, or a baseline alone.

    Attributes:
        child: name or path of the evaluated model.
        parent: of the parent; `-` where nothing was steered.
        vector: name of the vector file, and what of its use is no default; behind its name in a sweep of several.
        group: of runs that can be compared.
        baseline: the unsteered run; None where there is none.
        runs: without the baseline. No arm names its vector, which is the row's.
        folder: of the sweep; None outside of one.
        parts: places in a sweep, that of the baseline among them; empty outside of one.
        tokens: generated, by the baseline too; None where unknown.
        prompt_tokens: read, likewise; None outside of a sweep.
        lengths: of the responses, likewise; None where that is unknown, and where none were written.
        changes: against the baseline.
        random: arm of the vector -> against its random controls.
        shuffled: arm of the vector -> against its map-shuffled controls.
        controls: random controls of the vector: its own, or those that it shares with another vector of its sweep.
        own: role -> the arm of the vector `own` of its sweep, of whose effect the others have a share.
        beside: arm, the baseline too -> metric beside the first -> what it reached.
        shares: arm -> metric -> its share of own's effect.
        mean_shares: arm of the vector and kind of its controls -> metric -> the share of the mean of several seeds.
    """

    child: str
    parent: str
    vector: str
    group: Group
    baseline: Run | None
    runs: dict[Arm, Run]
    folder: Path | None = None
    parts: dict[Arm, Part] = field(default_factory=dict)
    tokens: dict[Arm, int | None] = field(default_factory=dict)
    prompt_tokens: dict[Arm, int | None] = field(default_factory=dict)
    lengths: dict[Arm, Lengths | None] = field(default_factory=dict)
    changes: dict[Arm, Change] = field(default_factory=dict)
    random: dict[Arm, RandomComparison] = field(default_factory=dict)
    shuffled: dict[Arm, ShuffledComparison[Arm]] = field(default_factory=dict)
    controls: dict[Arm, Run] = field(default_factory=dict)
    own: dict[str, Run] = field(default_factory=dict)
    beside: dict[Arm, dict[str, Beside]] = field(default_factory=dict)
    shares: dict[Arm, dict[str, OfOwn]] = field(default_factory=dict)
    mean_shares: dict[tuple[Arm, str], dict[str, OfOwn]] = field(default_factory=dict)

    @property
    def all_runs(self) -> dict[Arm, Run]:
        """The baseline, where there is one, and all others."""
        return ({BASELINE: self.baseline} if self.baseline else {}) | self.runs

    @property
    def any_run(self) -> Run:
        """What says which metric, unit and n the row has."""
        return next(iter(self.all_runs.values()))

    @property
    def of_group(self) -> str | None:
        """The group of which the row's task is a member, or lies in; None for others."""
        return self.any_run.group

    @property
    def is_sweep(self) -> bool:
        """Whether strengths were chosen on validation rows."""
        return bool(self.parts)

    @property
    def any_part(self) -> Part | None:
        """What says how the vector's strength was chosen, and what it took."""
        return next(iter(self.parts.values()), None)

    @property
    def text_costs(self) -> dict[Arm, TextCost]:
        """What arms cost on unrelated text, as far as a sweep measured it."""
        return {arm: part.text_cost for arm, part in self.parts.items() if part.text_cost}

    @property
    def best_alpha(self) -> float | None:
        """The strength that a sweep chose."""
        best = self.runs.get(BEST)
        return None if best is None or best.by_task else best.alphas[0]

    @property
    def unit(self) -> str:
        """`alpha` or `dose`."""
        return next((str(run.steering["unit"]) for run in self.runs.values() if run.steering.get("unit")), "alpha")

    @property
    def main(self) -> Arm | None:
        """The arm that speaks for the row: the best, the vote, or its only one."""
        return next((arm for arm in (BEST, VOTE, *self.runs) if arm in self.runs), None)

    @property
    def of_vector(self) -> list[Arm]:
        """The arms that the vector has, or would have beside its controls."""
        return list(dict.fromkeys(_without_control(arm) for arm in self.runs if arm.steers))

    @property
    def metrics(self) -> list[str]:
        """Of the task, beside its first, as far as any run has them."""
        return list(dict.fromkeys(metric for run in self.all_runs.values() for metric in run.others))

    @property
    def seeds(self) -> dict[tuple[Arm, str], dict[Arm, Run]]:
        """Arm of the vector and kind of its controls -> these, where they are two seeds or more."""
        found: dict[tuple[Arm, str], dict[Arm, Run]] = {}
        for arm, run in (self.controls | self.runs).items():
            if arm.control and arm.seed is not None:
                found.setdefault((_without_control(arm), arm.control), {})[arm] = run
        return {of: runs for of, runs in found.items() if len(runs) > 1}

    def randoms(self, arm: Arm) -> dict[Arm, Run]:
        """The random controls that had the search and the test of an arm of the vector."""
        return {one: run for one, run in self.controls.items() if _without_control(one) == arm}

    def shuffled_maps(self, arm: Arm) -> dict[Arm, Run]:
        """The map-shuffled controls that had the search and the test of an arm of the vector."""
        return {
            one: run for one, run in self.runs.items() if one.control == MAP_SHUFFLED and _without_control(one) == arm
        }


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
    return any(run.alphas) and (run.control is None or run.control.steers)


def _without_control(arm: Arm) -> Arm:
    """The arm of the vector that a control's stands beside."""
    return replace(arm, control=None, seed=None)


def _rows_of(group: Group) -> list[Row]:
    baselines: dict[tuple[str, Path | None], tuple[Run, Part | None]] = {}
    others: list[tuple[Arm, Run, Part | None]] = []
    for run in group.runs:
        part = part_of(run.path, run.task)
        arm = part.arm if part else arm_alone(run.alphas, run.control)
        if arm == BASELINE:
            baselines.setdefault((run.child, part.folder if part else None), (run, part))
        else:
            others.append((arm, run, part))
    rows: list[Row] = []
    for arm, run, part in sorted(others, key=_order):
        row = _row_for(rows, arm, run, part)
        if row is None:
            folder = part.folder if part else None
            first = next((found for (child, _), found in baselines.items() if child == run.child), (None, None))
            baseline, place = baselines.get((run.child, folder), first)
            row = Row(run.child, _parent(run), _vector(run, arm), group, baseline, {}, folder)
            rows.append(row)
        else:
            place = None
        own = replace(arm, vector=None)
        row.runs[own] = run
        row.parts |= {own: part} if part else {}
        row.parts |= {BASELINE: place} if part and place else {}
    for row in rows:
        row.controls = next((found for one in (row, *_sharing(row, rows)) if (found := _random_of(one))), {})
        row.own = next((whole for one in _beside(row, rows) if (whole := _own_of(one))), {})
    used = {id(row.baseline) for row in rows}
    for run, place in baselines.values():
        if id(run) not in used:
            rows.append(Row(run.child, "-", "-", group, run, {}, None, {BASELINE: place} if place else {}))
    return sorted(rows, key=lambda row: (row.child, bool(row.runs), row.parent, not row.is_sweep))


def _row_for(rows: list[Row], arm: Arm, run: Run, part: Part | None) -> Row | None:
    """The row that an arm joins, if there is one: that of its sweep, else one of its vector that lacks this arm."""
    of_child = [row for row in rows if row.child == run.child and replace(arm, vector=None) not in row.runs]
    if part:
        beside = [row for row in of_child if row.folder == part.folder]
        if (arm.control is None and arm.other is None) or arm.vector is not None:
            return next((row for row in beside if _named(row) == arm.vector), None)
        same = (row for row in beside if _same_vector(row, run)) if arm.other is None else iter(beside)
        return next(same, next(iter(beside), None))
    if arm.control is None:  # the same run again, in another folder, is a row apart
        return None
    of_vector = [row for row in of_child if _same_vector(row, run)]
    if not KINDS[arm.control].steers and not run.vectors and not run.steering.get("vector"):
        return None
    if arm.role == BASELINE.role:
        return next(iter(of_vector), None)
    beside = [
        row
        for row in of_vector
        for other, found in row.runs.items()
        if other.role == arm.role and found.alphas == run.alphas
    ]
    return next(iter([*beside, *(row for row in of_vector if row.folder and arm.role == ONE)]), None)


def _named(row: Row) -> str | None:
    """What a sweep calls the vector of a row."""
    return next(iter(row.parts.values())).arm.vector


def _same_vector(row: Row, run: Run) -> bool:
    """Whether a run is of a row's vector; a control that lies in a file is one of the vector that has its origin."""
    first = next(iter(row.runs.values()))
    files = run.control.files if run.control else None
    if files is None or run.steering.get("control"):
        return _vector_key(first) == _vector_key(run)
    found = files.origin(run.passport)
    return found is not None and found == files.origin(first.passport) and _use_of(first) == _use_of(run)


def _beside(row: Row, rows: Iterable[Row]) -> list[Row]:
    """A row, and the others of its sweep."""
    return [row, *(one for one in rows if row.folder and (one.folder, one.child) == (row.folder, row.child))]


def _sharing(row: Row, rows: Iterable[Row]) -> list[Row]:
    """Rows of the same sweep whose random controls are this row's, too, since all their directions have length 1."""
    return [one for one in _beside(row, rows) if _has_unit_directions(row) and _has_unit_directions(one)]


def _has_unit_directions(row: Row) -> bool:
    """Whether the child's directions have length 1: width maps that leave another length end in `-raw`."""
    return not any(str(_transfer(run).get("width_map")).endswith("-raw") for run in row.runs.values())


def _random_of(row: Row) -> dict[Arm, Run]:
    return {arm: run for arm, run in row.runs.items() if arm.control == "random"}


def _own_of(row: Row) -> dict[str, Run]:
    return {arm.role: row.runs[arm] for arm, part in row.parts.items() if part.arm.vector == OWN and not arm.control}


def _fingerprint(row: Row) -> str:
    """Of the vector, short; vectors of one name may be several."""
    return next((printable(run.steering["vector"][:8]) for run in row.runs.values() if run.steering.get("vector")), "")


def _order(item: tuple[Arm, Run, Part | None]) -> tuple[Any, ...]:
    """Sweeps first, and vectors before controls and others, so that the row bears their name; then by role, and by
    strength."""
    arm, run, part = item
    role = ROLES.index(arm.role) if part else len(run.alphas)
    return (
        run.child,
        arm.other is not None,
        bool(arm.control),
        part is None,
        arm.control or "",
        arm.seed or 0,
        role,
        *map(alpha_order, run.alphas),
    )


def _vector_key(run: Run) -> str:
    """What makes a vector another one."""
    return json.dumps([run.steering.get("vector") or run.vectors, _use_of(run)], sort_keys=True, default=str)


def _use_of(run: Run) -> list[Any]:
    """What of the use of a vector makes it another one."""
    return [run.steering.get(key, APART[key]) for key in APART]


def _vector(run: Run, arm: Arm) -> str:
    named = [f"{arm.vector}:"] if arm.vector else []
    if not steers(run):
        return run.vectors or "-"
    others = [
        f"{key}={as_text(run.steering[key])}"
        for key, default in APART.items()
        if key not in ("unit", "alpha_per_layer") and run.steering.get(key, default) != default
    ]
    return printable(" ".join([*named, run.vectors or str(run.steering.get("vector") or "-")[:8], *others]))


def _parent(run: Run) -> str:
    return printable(str(_transfer(run).get("parent") or "-"))


def _transfer(run: Run) -> Mapping[str, Any]:
    """How the vector came into the child."""
    return run.steering.get("transfer") or {}
