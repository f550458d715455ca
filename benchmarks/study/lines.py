"""The lines of a cell's table, from its summary: what was tried, and what came of it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

Summary = Mapping[str, Any]
Numbers = Mapping[str, Any]

_APART = re.compile(r"(?P<arm>.+)-shuffled-\d+")
"""A map of shuffled texts that the leaderboard has in a row of its own, since it knows other texts than the map whose
control it is: as here, where a shipped map knows more of them."""

_SEED = re.compile(r"(?P<kind>random|map-shuffled):\d+ (?P<role>best|vote)")


@dataclass(frozen=True)
class Line:
    """An arm, or the mean of several seeds of a control.

    Attributes:
        arm: `baseline`, name of a vector, `random`, `prompt`, ...
        role: `best` or `vote` of what has strengths, else empty.
        control: of a vector: `negated`, `map-shuffled`; else empty.
        seeds: how many are the mean; 1 of an arm, and of a control that was drawn once.
        alpha: its strength, or the number of those that voted; None without.
        score: and its interval (`score`, `low`, `high`).
        change: against the baseline, as the leaderboard has it; empty of the baseline.
        metrics: other metric to its score.
        share: of own, by metric.
        tokens: written per document; None where unknown.
        cost: rise of the negative log-likelihood of unrelated text, nats per token (`value`, `low`, `high`).
    """

    arm: str
    role: str
    control: str
    seeds: int
    alpha: float | None
    score: Numbers
    change: Numbers = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    share: Mapping[str, Numbers] = field(default_factory=dict)
    tokens: float | None = None
    cost: Numbers | None = None

    @property
    def key(self) -> str:
        """How tables and sentences ask for it: `own best`, `smollm2 map-shuffled best`, `random best`, `prompt`."""
        return " ".join(word for word in (self.arm, self.control, self.role) if word)


def lines_of(summary: Summary) -> dict[str, Line]:
    """All of a cell, by key, in the order of its table."""
    return {line.key: line for line in _lines(summary)}


def _rows(summary: Summary) -> list[dict[str, Any]]:
    """The rows of a cell, what stands apart in the row of the arm whose control it is."""
    rows = {row["vector"].split(":")[0]: copy.deepcopy(row) for row in summary["rows"]}
    for name in [name for name in rows if _APART.fullmatch(name)]:
        apart, row = rows.pop(name), rows[name.rpartition("-shuffled-")[0]]
        for key in ("scores", "changes", "tokens"):
            row[key] |= {arm: told for arm, told in apart[key].items() if _SEED.fullmatch(arm)}
        for metric, of in apart["metrics"].items():
            row["metrics"][metric]["scores"] |= of["scores"]
    return list(rows.values())


def _lines(summary: Summary) -> Iterator[Line]:
    rows = _rows(summary)
    yield _line(rows[0], "baseline", "baseline", "", "")
    for row in rows:
        arm = row["vector"].split(":")[0]
        for role in ("best", "vote"):
            if role in row["scores"]:
                yield _line(row, role, arm, role, "")
            yield from _mean(row, arm, role, "map-shuffled")
            if f"negated {role}" in row["scores"]:
                yield _line(row, f"negated {role}", arm, role, "negated")
    for role in ("best", "vote"):
        yield from _mean(rows[0], "random", role, "random")
    for row in rows:
        for name in row["scores"]:
            if name.split(":")[0] in ("prompt", "shots", "model", "self-consistency"):
                yield _line(row, name, name, "", "")


def _line(row: Numbers, name: str, arm: str, role: str, control: str) -> Line:
    score, alpha, tokens = row["scores"][name], row["scores"][name].get("alpha"), row["tokens"].get(name)
    return Line(
        arm=arm,
        role=role,
        control=control,
        seeds=1,
        alpha=alpha if isinstance(alpha, float | int) and role == "best" else None,
        score=score,
        change=row["changes"].get(name, {}),
        metrics={metric: of["scores"][name]["score"] for metric, of in row["metrics"].items() if name in of["scores"]},
        share=row["shares"].get(name, {}),
        tokens=None if tokens is None else tokens / row["n"],
        cost=(row.get("cost_nll") or {}).get(name),
    )


def _mean(row: Numbers, arm: str, role: str, kind: str) -> Iterator[Line]:
    """The mean of a control's seeds, the range of their scores where an arm has its interval; one seed is an arm."""
    names = [name for name in row["scores"] if (found := _SEED.fullmatch(name)) and found.groups() == (kind, role)]
    control = "" if arm == kind else kind
    if len(names) < 2:
        yield from (_line(row, name, arm, role, control) for name in names)
        return
    scores = [row["scores"][name]["score"] for name in names]
    changes = [row["changes"][name]["change"] for name in names]
    tokens = [row["tokens"].get(name) for name in names]
    verdicts = [row["changes"][name]["verdict"] for name in names]
    told = [f"{verdicts.count(word)} of {len(names)} {short}" for word, short in (("helps", "help"), ("hurts", "hurt"))]
    yield Line(
        arm=arm,
        role=role,
        control=control,
        seeds=len(names),
        alpha=None,
        score={"score": fmean(scores), "low": min(scores), "high": max(scores)},
        change={"change": fmean(changes), "low": min(changes), "high": max(changes), "verdict": ", ".join(told)},
        metrics={metric: fmean(of["scores"][name]["score"] for name in names) for metric, of in row["metrics"].items()},
        tokens=None if None in tokens else fmean(tokens) / row["n"],
    )
