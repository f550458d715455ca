"""What a pass shows while it runs: the scores so far, and the time that is left."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from lm_eval_steer.axis.record import Line
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name, alpha_order
from lm_eval_steer.interventions.controls import kind_of
from lm_eval_steer.sweep.score import AnyScorer, Given, Score, choose

_REFRESH = 0.5
"""Seconds between two updates of a terminal."""

_PACE = 0.1
"""Share of the new responses from which on they tell a pace: rows of one batch end together, late."""

_REPORT = 30.0
"""Seconds between two lines elsewhere."""


class Board:
    """Hears every line of a pass, has it scored and shows where things stand. Use it as a context.

    Attributes:
        recorded: how many lines were there before.
        new: how many came into being.
        new_of: contender -> how many of them are its own.
        seconds_of: contender -> seconds that they took.

    Args:
        scorer: of the pass.
        title: of the table.
        total: how many responses the pass can have.
        contenders: whose they are, in the order of the table.
        whose: tells that of a line.
        console: a live table on a terminal, a line every half minute elsewhere.
    """

    def __init__(
        self,
        scorer: AnyScorer,
        title: str,
        total: int,
        contenders: Sequence[str],
        whose: Callable[[Line], str],
        console: Console,
    ) -> None:
        self.scorer, self.title, self.total, self._console = scorer, title, total, console
        self.recorded = self.new = 0
        self.new_of = Counter[str]()
        self.seconds_of: defaultdict[str, float] = defaultdict(float)
        self._names, self._whose = tuple(dict.fromkeys(contenders)), whose
        self._measured: set[tuple[str, str]] = set()
        self._done = False
        self._begun = self._shown = time.monotonic()
        self._live = Live(self._table(), console=console, auto_refresh=False) if console.is_terminal else None

    def measured(self, contender: str, doses: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some doses by strength to which a contender has new responses."""
        return {name: found for name, found in doses.items() if (contender, name) in self._measured}

    def __enter__(self) -> Board:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done = True
        if kind is None:
            self.scorer.settle()
        if self._live:
            self._live.update(self._table(), refresh=True)
            self._live.stop()
        elif kind is None:
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Since the pass began."""
        return time.monotonic() - self._begun

    def hear(self, line: Line, new: bool) -> None:
        """Take a line in, from the record or new."""
        if new:
            contender = self._whose(line)
            self.new += 1
            self.new_of[contender] += 1
            self.seconds_of[contender] += line.seconds
            self._measured.add((contender, _name(line)))
        else:
            self.recorded += 1
        self.scorer.add(line)
        now = time.monotonic()
        if now - self._shown >= (_REFRESH if self._live else _REPORT):
            self._shown = now
            self.scorer.settle()
            if self._live:
                self._live.update(self._table(), refresh=True)
            else:
                self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _left(self) -> str:
        """Time that is left at the pace of what was new so far."""
        missing = self.total - self.recorded - self.new
        if self._done or not missing or self.new < _PACE * (self.total - self.recorded):
            return ""
        return f", about {_clock(missing * self.seconds / self.new)} left"

    def _state(self) -> str:
        return f"{self.recorded + self.new} of {self.total} responses, {_clock(self.seconds)}{self._left()}"

    def _table(self) -> Table:
        table = Table(title=self.title, caption=self._state(), min_width=48)
        rows = self._rows()
        for column in ("", "n", "score"):
            table.add_column(column, justify="right")
        for name, n, score in rows:
            table.add_row(name, str(n), score)
        return table

    def _line(self) -> str:
        return f"{self.title}: {self._state()}; " + ", ".join(
            f"{name} {score} ({n})" for name, n, score in self._rows()
        )

    def _rows(self) -> list[tuple[str, int, str]]:
        """Name, scored documents and score: of a single contender by strength, of several the best of each."""
        found: dict[str, list[Given]] = {name: [] for name in self._names}
        for one in self.scorer.variants.values():
            found[self._whose(one.first)].append(one)
        if len(found) == 1:
            return self._strengths(*found.values())
        rows = []
        for name, answers in found.items():
            unsteered = [one for one in answers if not one.first.alpha and not one.first.variant]
            rows += [("baseline", one.n, show(self._value(one))) for one in unsteered]
            rows.append(self._best(name, [one for one in answers if one not in unsteered]))
        return rows

    def _strengths(self, answers: list[Given]) -> list[tuple[str, int, str]]:
        variants = sorted(answers, key=lambda one: (alpha_order(one.first.alpha), _name(one.first)))
        names = [_name(one.first) for one in variants]
        if len(set(names)) < len(names):  # profiles of one strength
            names = [f"{name}, profile {place}" for place, name in enumerate(names, start=1)]
        return [(name, one.n, show(self._value(one))) for name, one in zip(names, variants, strict=True)]

    def _best(self, name: str, answers: list[Given]) -> tuple[str, int, str]:
        """The strength of a contender that is ahead, and its score so far."""
        ordered = sorted(answers, key=lambda one: alpha_order(one.first.alpha))
        scored = [(one, score) for one in ordered if (score := self._score(one)) is not None]
        n = sum(one.n for one in answers)
        if not scored:
            return name, n, "-"
        values = {float(place): score.value for place, (_, score) in enumerate(scored)}
        best, score = scored[int(choose(values, self.scorer.higher_is_better(scored[0][1])))]
        return f"{name} {_name(best.first)}", n, show(score.value)

    def _value(self, one: Given) -> float | None:
        score = self._score(one)
        return score.value if score else None

    def _score(self, one: Given) -> Score | None:
        """The score so far; None where a task cannot sum up so few documents."""
        with suppress(SteeringError):
            return self.scorer.score(one)
        return None


def show(value: float | None) -> str:
    """A score as tables show it."""
    if value is None:
        return "-"
    return f"{value:.1%}" if 0 <= value <= 1 else f"{value:.4g}"


def _name(line: Line) -> str:
    kind, _, number = line.variant.partition(" ")
    return f"sample {number:0>2}" if kind_of(kind).draws else alpha_name(line.alpha)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
