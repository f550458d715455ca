"""What a fitted width map is, what fitting it gives, and how directions of parents become one of the child."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps.moments import Moments
from lm_eval_steer.interventions.width_maps.pairing import Pairing

_NOTHING = 1e-12
"""What is shorter than this share of what it was made of is rounding."""


@dataclass(frozen=True)
class Parameter:
    """The one number that a fitted width map takes, as in `ridge:0.05`.

    Attributes:
        name: in the passport of a vector: `lambda`.
        words: which numbers it takes, for sentences: `a number above 0`.
        example: one of them.
        accepts: whether a number is one of them.
        whole: whether it is a whole number.
        default: where none is given; None where one must be.
    """

    name: str
    words: str
    example: float
    accepts: Callable[[float], bool]
    whole: bool = False
    default: float | None = None


@dataclass(frozen=True, eq=False)
class Fitted:
    """A map that was fitted at one block of each model: y ≈ mean_y + scale · (x - mean_x) @ into @ out.

    Attributes:
        into: float64 [parent width, shared]: v @ into are the coordinates of a parent's direction v in a space that is
            the same for every parent.
        out: float64 [shared, child width], from there to the child; None where they are the child's own components.
        mean_x: of the parent's states that it was fitted on [parent width].
        mean_y: of the child's [child width].
        scale: what brings mapped states to the scale of the child's; 1 for maps that keep it. A direction needs none.
    """

    into: np.ndarray
    out: np.ndarray | None
    mean_x: np.ndarray
    mean_y: np.ndarray
    scale: float = 1.0

    def apply(self, directions: np.ndarray) -> np.ndarray:
        """Directions of the parent [..., parent width] in the child: float64 [..., child width], of any length."""
        shared = directions.astype(np.float64) @ self.into
        return shared if self.out is None else shared @ self.out

    def predict(self, states: np.ndarray) -> np.ndarray:
        """The child's states [rows, child width] from the parent's [rows, parent width], in float64."""
        return np.asarray(self.mean_y + self.scale * self.apply(states - self.mean_x))


@dataclass(frozen=True)
class FittedMap:
    """A width map that is fitted on texts that both models read.

    Attributes:
        words: what it does, for sentences and lists: `least squares`.
        fit: (states, parameter, seed) -> the map. The parameter is None where it takes none; the seed is for a map that
            draws.
        needs: (widths of parent and child, parameter) -> how many rows of states it takes at least. It refuses a
            parameter that these widths do not allow, in one sentence.
        parameter: the number that it takes; None where it takes none.
    """

    words: str
    fit: Callable[[Pairing, float | None, int], Fitted]
    needs: Callable[[tuple[int, int], float | None], int]
    parameter: Parameter | None = None


def fitted(sums: Moments, into: np.ndarray, out: np.ndarray | None = None, *, keeps_scale: bool = True) -> Fitted:
    """The result of a fit, with means and scale by the rows that it was fitted on.

    Args:
        sums: over these rows.
        into: as in `Fitted`.
        out: as in `Fitted`.
        keeps_scale: whether mapped states have the scale of the child's. Where they have not, the scale is the number
            by which they come closest to them, in the sense of least squares.
    """
    scale = 1.0
    if not keeps_scale:
        whole = into if out is None else into @ out
        square = np.vdot(whole, sums.centred_xx @ whole)
        scale = float(np.vdot(whole, sums.centred_xy) / square) if square > 0 else 0.0
    return Fitted(into, out, sums.mean_x, sums.mean_y, scale)


def combine(parents: Sequence[tuple[Fitted, np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray]:
    """One direction of the child from directions of one parent or several.

    Each becomes a unit vector in the coordinates that parents share, whatever length its model and its map gave it.
    Their weighted mean goes on to the child and is brought to length 1.

    Args:
        parents: of each the map, the direction [parent width] and its weight. Maps of several parents are fitted with
            the same texts, child block and parameter.

    Returns:
        float32 [child width], of length 1; and float64 [parents], the length of each mapped direction before.

    Raises:
        SteeringError: where nothing of a direction, or of their mean, is left; for maps that share no coordinates.
    """
    first = parents[0][0]
    shared = np.zeros(first.into.shape[1])
    for one, direction, weight in parents:
        if not _same(one.out, first.out):
            raise SteeringError(
                f"the maps of {len(parents)} parents share no coordinates, since they were made of different rows: "
                "read one row per text, as with --tokens last"
            )
        coordinates = direction.astype(np.float64) @ one.into
        length = np.linalg.norm(coordinates)
        if not length > _NOTHING * np.linalg.norm(one.into) * np.linalg.norm(direction):
            raise SteeringError(
                "the width map leaves nothing of a direction: it was fitted on states that do not vary along it, so "
                "give more texts, or texts of another kind"
            )
        shared += weight * coordinates / length
    mapped = shared if first.out is None else shared @ first.out
    length = np.linalg.norm(mapped)
    if not length > _NOTHING * sum(abs(weight) for _, _, weight in parents):
        raise SteeringError(
            f"the directions of {len(parents)} parents cancel each other in the child: give other weights, or leave a "
            "parent out"
        )
    lengths = np.array([float(np.linalg.norm(one.apply(direction))) for one, direction, _ in parents])
    return (mapped / length).astype(np.float32), lengths


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def r2(found: Fitted, held_out: Pairing) -> float | None:
    """How much of the spread of a child's states on other texts a map predicts.

    1 - |Y - Ŷ|² / |Y - mean_y|², over rows and components together, with the mean of the rows that it was fitted on. It
    is below 0 where that mean alone comes closer, and None where there is no spread: no rows, or all of them that mean.

    Args:
        found: the map.
        held_out: states on texts that it was not fitted on.
    """
    missed = spread = 0.0
    for x, y in held_out.chunks():
        missed += float(np.square(y - found.predict(x)).sum())
        spread += float(np.square(y - found.mean_y).sum())
    return 1 - missed / spread if spread > 0 else None
