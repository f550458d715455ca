"""Runs become rows: joined by what they are, not by where they lie.

They are joined by the model, by the vector with all that makes another one of it, and by the strengths. So a control
that was run elsewhere stands beside its vector.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import BASELINE, ONE, OWN, ROLES, Arm, arm_alone
from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.rows import Row, steers
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.sites import site_of
from lm_eval_steer.compare.sweeps import Part, part_of
from lm_eval_steer.interventions.alphas import alpha_order
from lm_eval_steer.interventions.arguments import APART
from lm_eval_steer.interventions.controls import KINDS
from lm_eval_steer.text import as_text, printable


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


def _rows_of(group: Group) -> list[Row]:
    baselines: dict[tuple[str, Path | None], tuple[Run, Part | None]] = {}
    others: list[tuple[Arm, Run, Part | None]] = []
    for run in group.runs:
        part = part_of(run.path, run.task)
        arm = part.arm if part else arm_alone(run.alphas, run.control, run.has_strength)
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
        row.own = next((whole for one in row.of_sweep(rows) if (whole := _own_of(one))), {})
    used = {id(row.baseline) for row in rows}
    for run, place in baselines.values():
        if id(run) not in used:
            rows.append(Row(run.child, "-", "-", group, run, {}, None, {BASELINE: place} if place else {}))
    return sorted(rows, key=lambda row: (row.child, bool(row.runs), row.parent, not row.is_sweep, _place(row)))


def _place(row: Row) -> int:
    """Single blocks of a sweep in their order, behind all other rows."""
    block = site_of(row)
    return -1 if block is None else block


def _row_for(rows: list[Row], arm: Arm, run: Run, part: Part | None) -> Row | None:
    """The row that an arm joins, if there is one: that of its sweep, else one of its vector that lacks this arm."""
    of_child = [row for row in rows if row.child == run.child and replace(arm, vector=None) not in row.runs]
    if part:
        beside = [row for row in of_child if row.folder == part.folder]
        if (arm.control is None and arm.other is None) or arm.vector is not None:
            return next((row for row in beside if row.named == arm.vector), None)
        if arm.other is None:
            same = (row for row in beside if _same_vector(row, run))
        else:  # whatever its prompts and its model, it stands beside the sweep's first vector
            same = (row for row in beside if row.named == part.first)
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


def _same_vector(row: Row, run: Run) -> bool:
    """Whether a run is of a row's vector; a control that lies in a file is one of the vector that has its origin."""
    first = next(iter(row.runs.values()))
    files = run.control.files if run.control else None
    if files is None or run.steering.get("control"):
        return _vector_key(first) == _vector_key(run)
    found = files.origin(run.passport)
    return found is not None and found == files.origin(first.passport) and _use_of(first) == _use_of(run)


def _sharing(row: Row, rows: Iterable[Row]) -> list[Row]:
    """Rows of the same sweep whose random controls are this row's, too, since all their directions have length 1."""
    return [one for one in row.of_sweep(rows) if _has_unit_directions(row) and _has_unit_directions(one)]


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
