"""What is exported: a vector, and the strength at which it is to act elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.formats.header import make_header
from lm_eval_steer.vectors.vector import SteeringVector


@dataclass(frozen=True, eq=False)
class Export:
    """A vector on its way into a file of another tool.

    Attributes:
        vector: in the space of the model that is steered there.
        alpha: strength. A format with a field for it keeps the two apart (`vector.shifts` and alpha), any other holds
            their product (`shifts`), so that strength 1 there is alpha here.
        layers: blocks that are exported, of those that the vector has; None for all.
        path: of the list of blocks in transformers' model without its head, as in `layers` or `h`; None where no model
            was named.

    Raises:
        SteeringError: for a strength that does nothing, and for blocks without a direction.
    """

    vector: SteeringVector
    alpha: float = 1.0
    layers: tuple[int, ...] | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        self.vector.refuse_maps("a file of another tool")
        if not np.isfinite(self.alpha) or self.alpha == 0:
            raise SteeringError(f"--alpha {self.alpha:g} exports nothing: give a strength other than 0")
        missing = [block for block in self.layers or () if block not in self.vector.layers]
        if missing:
            raise SteeringError(f"--layers names block {missing[0]}, and the vector has none for it")
        if self.layers is not None and not self.layers:
            raise SteeringError("--layers names no block")

    @property
    def rows(self) -> dict[int, np.ndarray]:
        """Block -> what it is shifted by at strength 1, float32 [hidden]."""
        rows = dict(zip(self.vector.layers, self.vector.shifts, strict=True))
        return rows if self.layers is None else {block: rows[block] for block in sorted(self.layers)}

    @property
    def shifts(self) -> dict[int, np.ndarray]:
        """Block -> what it is shifted by at strength alpha, float32 [hidden]; infinite beyond float32."""
        with np.errstate(over="ignore"):
            return {block: np.float32(self.alpha) * row for block, row in self.rows.items()}

    @property
    def num_blocks(self) -> int:
        """Of the model that is steered."""
        return int(self.vector.space["num_blocks"])

    @property
    def hidden_size(self) -> int:
        """Of the model that is steered."""
        return int(self.vector.space["hidden_size"])

    @property
    def model(self) -> str:
        """Name of the model that is steered."""
        return str(self.vector.space["name"])

    @property
    def architecture(self) -> str:
        """`model_type` of the model that is steered; `unknown` where the passport does not say it."""
        passport = self.vector.passport
        said = passport["parent"] if self.vector.transfer is None else passport["transfer"]["child"]
        return str(said.get("architecture") or "unknown")

    @property
    def header(self) -> str:
        """The vector's passport, for formats that have room for it."""
        return make_header(self.vector.passport)

    def table(self, before: int = 0) -> np.ndarray:
        """What every block of the model is shifted by at strength alpha, float32 [before + blocks, hidden].

        Args:
            before: rows of zeros before that of block 0.
        """
        table = np.zeros((before + self.num_blocks, self.hidden_size), dtype=np.float32)
        for block, shift in self.shifts.items():
            table[before + block] = shift
        return table
