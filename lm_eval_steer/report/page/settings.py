"""What was run, as plain tables: conditions, steering, the vector's passport, and what the strengths came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval_steer.compare.doses import sum_up_doses
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.interventions.alphas import alpha_name, alpha_order
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.vectors.show import flat_items, said_of_blocks, without_blocks

_APART = ("passport", "doses", "application", "votes", "transfer")
"""What a result file holds in `steering` beside its settings."""


def facts_of_row(row: Row) -> list[Block]:
    """A row's facts, from the arm that speaks for it: tables with names of columns, or with a name in each line."""
    run = row.runs[row.main] if row.main else row.any_run
    widest = max(row.runs.values(), key=lambda one: len(one.alphas), default=run)  # a vote has the doses of its set
    passport = run.steering.get("passport") or {}
    validation: Mapping[str, Any] = row.any_part.validation if row.any_part else {}
    chosen = {key: validation[key] for key in ("task", "kind", "n", "metric", "best", "scores") if key in validation}
    facts = [
        _pairs("Conditions", run.conditions | run.own_conditions),
        _pairs("Steering", {key: value for key, value in run.steering.items() if key not in _APART}),
        _pairs("From parent to child", run.steering.get("transfer")),
        _pairs("Choice of the strength", chosen),
        _pairs("Passport of the vector", without_blocks(passport) if passport else None),
        _blocks(said_of_blocks(passport)),
        _doses(widest.steering.get("doses") or {}),
        _pairs("What the hooks counted", widest.steering.get("application")),
        _pairs("Result files", {arm.name: str(one.path) for arm, one in row.all_runs.items()}),
    ]
    return [one for one in facts if one.rows]


def _pairs(title: str, content: Mapping[str, Any] | None) -> Block:
    return Block(title, [], set(), [list(item) for item in flat_items(dict(content or {}))])


def _blocks(blocks: Any) -> Block:
    known = [one for one in blocks if isinstance(one, dict)] if isinstance(blocks, list) else []
    columns = list(dict.fromkeys(key for one in known for key in one))
    rows = [[_number(one.get(column)) for column in columns] for one in known]
    return Block("The vector by block", list(map(str, columns)), set(), rows)


def _doses(doses: Mapping[str, Any]) -> Block:
    rows = []
    for name in sorted(doses, key=lambda alpha: alpha_order(float(alpha))):
        found = sum_up_doses(doses[name])
        least = "-" if found["survival_least"] is None else f"{found['survival_least']:.1%}"
        shares = [f"{found[share]:.3%}" for share in ("dose_mean", "dose_most")]
        rows.append([alpha_name(float(name)), str(found["blocks"]), f"{found['positions']:,}", *shares, least])
    columns = ["strength", "blocks", "positions", "mean dose", "largest dose", "least survival"]
    return Block("Doses: ‖αv‖ as a share of ‖h‖, and what the dtype left of it", columns, set(), rows)


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
