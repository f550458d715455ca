"""What was run, as plain tables: conditions, steering, the vector's passport, and what the strengths came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.runs import sum_up_doses
from lm_eval_steer.interventions.alphas import alpha_name, alpha_order
from lm_eval_steer.report.tables.entries import short
from lm_eval_steer.report.tables.flat import strength
from lm_eval_steer.text import printable
from lm_eval_steer.vectors.show import flat_items

_APART = ("passport", "doses", "application", "votes", "transfer")
"""What a result file holds in `steering` beside its settings."""


@dataclass(frozen=True)
class Facts:
    """A table of facts.

    Attributes:
        title: above it.
        columns: their names; empty where the first cell of a row names it.
        rows: cells.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Settings:
    """All that a row was run with."""

    name: str
    facts: list[Facts]


def settings_of_row(row: Row, names: Mapping[str, str]) -> Settings:
    """A row's facts, from the arm that speaks for it."""
    run = row.runs[row.main] if row.main else row.any_run
    widest = max(row.runs.values(), key=lambda one: len(one.alphas), default=run)  # a vote has the doses of its set
    steering = run.steering
    plain = {key: value for key, value in steering.items() if key not in _APART}
    passport = dict(steering.get("passport") or {})
    blocks = passport.pop("blocks", None)
    facts = [
        _pairs("Conditions", run.conditions | run.own_conditions),
        _pairs("Steering", plain),
        _pairs("From parent to child", steering.get("transfer") or {}),
        _pairs("Choice of the strength", _validation(row)),
        _pairs("Passport of the vector", passport),
        _blocks(blocks),
        _doses(widest.steering.get("doses") or {}),
        _pairs("What the hooks counted", widest.steering.get("application") or {}),
        _files(row),
    ]
    name = ", ".join(filter(lambda part: part != "-", (short(row.child, names), row.group.name, row.vector)))
    if not row.is_sweep and row.main:
        name += f", {row.main if len(run.alphas) > 1 else strength(run)}"
    return Settings(name, [one for one in facts if one.rows])


def _validation(row: Row) -> dict[str, Any]:
    validation = next(iter(row.parts.values())).validation if row.parts else {}
    return {key: validation[key] for key in ("task", "n", "metric", "best", "scores") if key in validation}


def _files(row: Row) -> Facts:
    runs = ({"baseline": row.baseline} if row.baseline else {}) | row.runs
    return Facts("Result files", [], [[arm, printable(str(run.path))] for arm, run in runs.items()])


def _pairs(title: str, content: Mapping[str, Any]) -> Facts:
    return Facts(title, [], [[printable(key), printable(value)] for key, value in flat_items(dict(content))])


def _blocks(blocks: Any) -> Facts:
    known = [one for one in blocks if isinstance(one, dict)] if isinstance(blocks, list) else []
    columns = list(dict.fromkeys(key for one in known for key in one))
    rows = [[_number(one.get(column)) for column in columns] for one in known]
    return Facts("The vector by block", [printable(str(column)) for column in columns], rows)


def _doses(doses: Mapping[str, Any]) -> Facts:
    columns = ["strength", "blocks", "positions", "mean dose", "largest dose", "least survival"]
    rows = []
    for alpha in sorted(doses, key=lambda name: alpha_order(float(name))):
        found = sum_up_doses(doses[alpha])
        least = found["survival_least"]
        rows.append(
            [
                alpha_name(float(alpha)),
                str(found["blocks"]),
                f"{found['positions']:,}",
                f"{found['dose_mean']:.3%}",
                f"{found['dose_most']:.3%}",
                "-" if least is None else f"{least:.1%}",
            ]
        )
    return Facts("Doses: ‖αv‖ as a share of ‖h‖, and what the dtype left of it", columns, rows)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value)) if value is not None else "-"
