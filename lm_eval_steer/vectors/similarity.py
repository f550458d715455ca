"""How alike two vectors' directions are, and how alike random directions would be (the paper's Figure 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.svd import svd
from lm_eval_steer.vectors.vector import SteeringVector

LEVEL = 0.95
"""A cosine beyond this quantile of |cos| of random directions counts as `beyond`; 5 % of random ones are."""

TURNS = 199
"""How many random turns of the second vector are tried."""


@dataclass(frozen=True, eq=False)
class Cosines:
    """Cosine of every direction of one vector with every direction of another.

    Attributes:
        names: of the first and the second vector.
        layers: blocks of the first, which are the rows, and of the second, which are the columns.
        values: cosines, float64 [blocks of the first, blocks of the second].
        widths: of the first and of the second.
        same_space: whether both are of one model's residual stream, so that block l has a meaning in both.
        kept: median share of a direction's squared length in the components compared, of the first and the second.
    """

    names: tuple[str, str]
    layers: tuple[tuple[int, ...], tuple[int, ...]]
    values: np.ndarray
    widths: tuple[int, int]
    same_space: bool = False
    kept: tuple[float, float] = (1.0, 1.0)

    @property
    def width(self) -> int:
        """How many components are compared: the first ones of the wider vector, all of the other."""
        return min(self.widths)

    @property
    def common(self) -> tuple[int, ...]:
        """The blocks that both have."""
        return tuple(block for block in self.layers[0] if block in self.layers[1])

    def same_blocks(self) -> np.ndarray:
        """Cosines of block l with block l, over the blocks that both have."""
        first, second = ({layer: i for i, layer in enumerate(layers)} for layers in self.layers)
        return np.array([self.values[first[block], second[block]] for block in self.common])


@dataclass(frozen=True)
class Null:
    """What chance alone gives.

    Two random unit directions of width d have a cosine c with (c + 1) / 2 ~ Beta((d - 1) / 2, (d - 1) / 2), exactly.
    The blocks of one model resemble each other, so the cosines of a matrix are not independent: one lucky direction
    makes many. A second null keeps that: the second vector as a whole, turned at random.

    Attributes:
        width: d.
        turned_beyond: share of cosines beyond `quantile(LEVEL)`, per random turn.
        turned_most: the largest |cos|, per random turn.
    """

    width: int
    turned_beyond: tuple[float, ...] = ()
    turned_most: tuple[float, ...] = ()

    def quantile(self, level: float) -> float:
        """Quantile of |cos| of two random directions."""
        return float(math.sqrt(beta(0.5, (self.width - 1) / 2).ppf(level)))

    def most(self, pairs: int) -> float:
        """Median of the largest |cos| of so many pairs of random directions, as if the pairs were independent."""
        return self.quantile(0.5 ** (1 / pairs))

    def expected(self, edges: np.ndarray, pairs: int) -> np.ndarray:
        """How many of so many cosines of random directions fall between neighbouring `edges`."""
        half = (self.width - 1) / 2
        return np.asarray(pairs * np.diff(beta(half, half).cdf((np.asarray(edges) + 1) / 2)))


def compare(first: SteeringVector, second: SteeringVector, names: tuple[str, str]) -> Cosines:
    """Cosines of all pairs of directions. Of different widths, the first components that both have are compared,
    brought back to length 1 as the width map `cut` does.

    Raises:
        SteeringError: where nothing is left to compare.
    """
    width = min(first.directions.shape[1], second.directions.shape[1])
    if width < 2:
        raise SteeringError(
            f"{names[0]} is {first.directions.shape[1]} wide and {names[1]} {second.directions.shape[1]}, and in one "
            "component every cosine is 1 or -1: compare vectors that are at least 2 wide"
        )
    rows, kept_of_first = _fit(first, width, names[0])
    columns, kept_of_second = _fit(second, width, names[1])
    values = np.clip(rows @ columns.T, -1, 1)
    widths = (first.directions.shape[1], second.directions.shape[1])
    layers, kept = (first.layers, second.layers), (kept_of_first, kept_of_second)
    return Cosines(names, layers, values, widths, first.shares_space(second), kept)


def chance(first: SteeringVector, second: SteeringVector, turns: int = TURNS, seed: int = 0) -> Null:
    """The null of `compare(first, second)`, with so many random turns of the second vector."""
    width = min(first.directions.shape[1], second.directions.shape[1])
    limit = Null(width).quantile(LEVEL)
    # directions = mix @ axes with orthonormal axes [rank, width]; between two sets of axes, one of them turned at
    # random, lie the cosines of `_random_corner`, so nothing of the whole width is drawn
    mixes = []
    for vector in (first, second):
        left, stretch, _ = svd(_fit(vector, width, "")[0])
        mixes.append(left * stretch)
    generator = np.random.default_rng(seed)
    beyond, most = [], []
    for _ in range(turns):
        corner = _random_corner(generator, width, mixes[0].shape[1], mixes[1].shape[1])
        values = np.abs(mixes[0] @ corner @ mixes[1].T)
        beyond.append(float((values > limit).mean()))
        most.append(float(values.max()))
    return Null(width, tuple(beyond), tuple(most))


def share_beyond(cosines: Cosines, null: Null) -> float:
    """Share of |cos| beyond the null's quantile; 1 - LEVEL for random directions."""
    return float((np.abs(cosines.values) > null.quantile(LEVEL)).mean())


def p_value(cosines: Cosines, null: Null) -> float:
    """How often a random turn reaches the observed share or the observed largest |cos|; Bonferroni over the two.

    Counts the observed vector among the turns, so it is at least 2 / (turns + 1).
    """
    observed = (share_beyond(cosines, null), float(np.abs(cosines.values).max()))
    ranks = [
        (1 + sum(value >= seen - 1e-12 for value in turned)) / (1 + len(turned))
        for seen, turned in zip(observed, (null.turned_beyond, null.turned_most), strict=True)
    ]
    return min(1.0, 2 * min(ranks))


def least_p(null: Null) -> float:
    """The smallest `p_value` that so many turns can give."""
    return 2 / (1 + len(null.turned_most))


def _random_corner(generator: np.random.Generator, width: int, rows: int, columns: int) -> np.ndarray:
    """The upper left [rows, columns] of a random rotation of `width` axes.

    Of the first columns of a normal matrix, made orthonormal, only the upper rows are wanted. The rows below them count
    by their products alone, and these have a Wishart distribution, whose triangular root is drawn (Bartlett).
    """
    below = width - rows
    if below < columns:
        lower = generator.normal(size=(below, columns))
    else:
        lower = np.triu(generator.normal(size=(columns, columns)), 1)
        np.fill_diagonal(lower, np.sqrt(generator.chisquare(below - np.arange(columns))))
    frame, upper = np.linalg.qr(np.vstack([generator.normal(size=(rows, columns)), lower]))
    return np.asarray((frame * np.sign(np.diag(upper)))[:rows])  # qr chooses signs, which would not be uniform


def _fit(vector: SteeringVector, width: int, name: str) -> tuple[np.ndarray, float]:
    """First `width` components at length 1, float64, and the median share of a direction's squared length in them."""
    rows = vector.directions[:, :width].astype(np.float64)
    if not rows.any(axis=1).all():
        raise SteeringError(
            f"{name}: the first {width} of the direction's {vector.directions.shape[1]} components are all zero: "
            "nothing is left to compare"
        )
    whole = np.square(vector.directions.astype(np.float64))
    kept = whole[:, :width].sum(1) / whole.sum(1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), float(np.median(kept))
