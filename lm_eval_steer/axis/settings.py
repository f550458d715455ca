"""Settings of record lines: all that determines a response but the request."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from lm_eval_steer.axis.record import digest
from lm_eval_steer.interventions.intervention import Intervention


class LineSettings:
    """The settings of the lines of one intervention.

    The seed belongs to text that is drawn: to samples, and to what the arguments of a request ask to be drawn.

    Args:
        model: what there is to say of the model, JSON-ready.
        intervention: what is done to it.
        seed: of tokens that are drawn.

    Attributes:
        contents: digest -> content, of every settings that a line of the intervention may have.
    """

    def __init__(self, model: Mapping[str, Any], intervention: Intervention, seed: int) -> None:
        self.contents: dict[str, dict[str, Any]] = {}
        self._shas: dict[tuple[bool, bool], str] = {}
        for drawn, beside in product((False, True), repeat=2):
            content: dict[str, Any] = {"model": dict(model), "intervention": intervention.content()}
            content |= {"seed": seed} if drawn or intervention.sample is not None else {}
            content |= {"weighed": True} if beside else {}
            self._shas[drawn, beside] = digest(content)
            self.contents[self._shas[drawn, beside]] = content

    def of(self, drawn: bool, beside: bool = False) -> str:
        """SHA-256 of the settings of a line.

        Args:
            drawn: whether the request asks for tokens to be drawn.
            beside: whether the line stands beside one without log-probabilities (`Axis`).
        """
        return self._shas[drawn, beside]
