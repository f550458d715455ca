"""Proof that the steering was applied: what its hooks counted, and what prompts, responses and `tokens` imply."""

from __future__ import annotations

from typing import Any

import numpy as np

from lm_eval_steer.steering.hooks import Steerer


class Application:
    """The counts of an engine.

    Args:
        steerer: whose hooks count; None where no strength steers.
        strengths: float32 [strengths, steered blocks].
        tokens: which positions are steered (steering/positions.py).

    Attributes:
        counts: False once more was run than prompts and responses say: by transformers' own loop, which runs finished
            rows on, or twice for lack of memory.
    """

    def __init__(self, steerer: Steerer | None, strengths: np.ndarray, tokens: str) -> None:
        self._steerer, self._tokens = steerer, tokens
        self._steers = strengths != 0
        self._implied = np.zeros(strengths.shape[1], dtype=np.int64)
        self.counts = True

    def positions(self, prompt: int, new: int) -> int:
        """How many positions of a row are steered: of its `prompt` tokens, and its `new` ones but the last."""
        return {"all": prompt + new - 1, "prompt": prompt, "generated": new, "last": 1}[self._tokens]

    def imply(self, number: int, positions: int) -> None:
        """Count what a row of a strength implies."""
        self._implied += positions * self._steers[number]

    def report(self) -> dict[str, Any]:
        """Rows and positions per steered block.

        Returns:
            steered: block -> what its hook counted.
            implied: block -> what lengths of prompts and responses, and `tokens`, say; None where that is not `counts`.
        """
        assert self._steerer is not None
        steered = self._steerer.applied
        implied = dict(zip(steered, self._implied.tolist(), strict=True)) if self.counts else None
        return {"steered": steered, "implied": implied}
