"""One width map with its parameter, as it is named: `cut`, `ridge:0.05`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps.fitted import Fitted, FittedMap, Parameter
from lm_eval_steer.interventions.width_maps.maps import WIDTH_MAPS, WidthMap
from lm_eval_steer.interventions.width_maps.pairing import Pairing
from lm_eval_steer.interventions.width_maps.ridge import RIDGE
from lm_eval_steer.text import quoted


@dataclass(frozen=True)
class WidthMapChoice:
    """A width map, checked.

    Attributes:
        name: in `WIDTH_MAPS`.
        entry: what stands there.
        parameter: its number; None where it takes none.
    """

    name: str
    entry: WidthMap | FittedMap
    parameter: float | None = None

    @property
    def text(self) -> str:
        """What `read_width_map` reads back."""
        return self.name if self.parameter is None else f"{self.name}:{self.parameter}"

    @property
    def setting(self) -> dict[str, Any]:
        """For a passport, JSON-ready: `{"name": "ridge", "lambda": 0.05}`."""
        takes = _taken(self.entry)
        return {"name": self.name} | ({takes.name: self.parameter} if takes else {})

    def check(self, rows: int, widths: tuple[int, int]) -> None:
        """Refuse fewer rows than the map can stand, and a parameter that does not go with the widths.

        Args:
            rows: of states to fit on.
            widths: of parent and child.

        Raises:
            SteeringError: with the number that it needs.
        """
        if not isinstance(self.entry, FittedMap):
            return
        needed = self.entry.needs(widths, self.parameter)
        if rows < needed:
            fewest = RIDGE.needs(widths, None)
            advice = "give more texts" + (f", or take ridge, which needs {fewest}" if needed > fewest else "")
            raise SteeringError(
                f"width_map={self.text} from width {widths[0]} to {widths[1]} needs at least {needed} rows of states "
                f"to fit on and has {rows}: {advice}"
            )

    def fit(self, pairing: Pairing, seed: int) -> Fitted:
        """The map that is fitted on these states.

        Raises:
            SteeringError: as `check`; for states that are no finite numbers; for a map that is not fitted.
        """
        if not isinstance(self.entry, FittedMap):
            raise SteeringError(f"width_map={self.name} is not fitted: it takes a direction as it is")
        self.check(pairing.n, pairing.widths)
        return self.entry.fit(pairing, self.parameter, seed)


def read_width_map(text: Any) -> WidthMapChoice:
    """Read a width map's name, with its parameter behind a colon where it takes one.

    Raises:
        SteeringError: for a name that there is not, and for a parameter that is missing, not taken, or out of range.
    """
    name, colon, number = text.strip().partition(":") if isinstance(text, str) else ("", "", "")
    if name not in WIDTH_MAPS:
        raise SteeringError(
            f"width_map={quoted(text)} is not understood: use one of {', '.join(map(_form, WIDTH_MAPS))}"
        )
    entry = WIDTH_MAPS[name]
    takes = _taken(entry)
    if takes is None:
        if colon:
            raise SteeringError(f"width_map={quoted(text)} has a number, but {name} takes none: leave it out")
        return WidthMapChoice(name, entry)
    if not colon and takes.default is not None:
        return WidthMapChoice(name, entry, takes.default)
    found = _read_number(number, takes) if colon else None
    if found is None:
        raise SteeringError(
            f"width_map={quoted(text)} is not understood: {takes.name} is {takes.words}, as in {name}:{takes.example:g}"
        )
    return WidthMapChoice(name, entry, found)


def plain_width_map(text: Any) -> WidthMap:
    """A width map for a run, which has no texts to fit one on.

    Raises:
        SteeringError: as `read_width_map`; for a fitted one, with the command that uses it.
    """
    chosen = read_width_map(text)
    if isinstance(chosen.entry, FittedMap):
        raise SteeringError(
            f"width_map={chosen.text} is fitted on texts that parent and child read, which a run does not do: write a "
            f"vector for the child with `lm-eval-steer transfer VECTOR --width_map {chosen.text} ...` and name that "
            "file"
        )
    return chosen.entry


def _taken(entry: WidthMap | FittedMap) -> Parameter | None:
    """The parameter that an entry takes."""
    return entry.parameter if isinstance(entry, FittedMap) else None


def _form(name: str) -> str:
    """A name with the parameter that it takes: `ridge[:lambda]`, `lowrank:k`."""
    takes = _taken(WIDTH_MAPS[name])
    if takes is None:
        return name
    return f"{name}:{takes.name}" if takes.default is None else f"{name}[:{takes.name}]"


def _read_number(text: str, takes: Parameter) -> float | None:
    """The number of a parameter; None for what is none, or none that it takes."""
    if takes.whole and not re.fullmatch(r"[0-9]{1,9}", text):
        return None
    try:
        number = int(text) if takes.whole else float(text)
    except ValueError:
        return None
    return number if takes.accepts(number) else None
