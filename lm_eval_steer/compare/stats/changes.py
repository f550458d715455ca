"""Paired scores as one sum and one size per document: what every interval and test here starts from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from lm_eval_steer.errors import SteeringError


@dataclass(frozen=True)
class Changes:
    """The changes of one arm against another, by document.

    Attributes:
        sums: float64 [documents], sum of after - before over a document's items.
        sizes: float64 [documents], its number of items.
        binary: every score of both arms is 0 or 1.
        reach: the largest change that one document can be expected to show, in the unit of the scores: 1 for binary
            scores, else the largest mean change of a document, or the range of the scores where nothing changed.
    """

    sums: np.ndarray
    sizes: np.ndarray
    binary: bool
    reach: float

    @property
    def mean(self) -> float:
        """Mean change per item."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def single(self) -> bool:
        """Every document occurs once."""
        return bool((self.sizes == 1).all())

    def with_pseudo_documents(self, reach: float | None = None) -> Changes:
        """The same with two more documents of mean size, one that gains `reach` per item and one that loses it.

        Bonett and Price (2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on
        paired data") add the same to a paired 2 x 2 table. Without them, an interval of a small sample in which
        nothing happened to change has width zero.
        """
        size, reach = self.sizes.mean(), self.reach if reach is None else reach
        sums = np.append(self.sums, [reach * size, -reach * size])
        return Changes(sums, np.append(self.sizes, [size, size]), self.binary, reach)


def read_scores(scores: Sequence[float], name: str) -> np.ndarray:
    """Scores as float64 [items].

    Raises:
        SteeringError: for none, or one that is no finite number.
    """
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SteeringError(f"the {name} scores are not a list of numbers: {error}") from error
    if values.ndim != 1 or not values.size:
        raise SteeringError(f"the {name} scores have the shape {list(values.shape)}: one number per item, at least one")
    if not np.isfinite(values).all():
        raise SteeringError(f"score {int(np.argmin(np.isfinite(values)))} of the {name} scores is not a finite number")
    return values


def is_binary(*scores: np.ndarray) -> bool:
    """Whether every score is 0 or 1."""
    return all(bool(np.isin(values, (0, 1)).all()) for values in scores)


def index_documents(clusters: Sequence[Hashable] | None, n: int) -> np.ndarray:
    """int [items], the number of each item's document in order of occurrence; without clusters each item has its own.

    Raises:
        SteeringError: for another number of clusters than items.
    """
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise SteeringError(f"there are {len(clusters)} clusters for {n} scores: name the document of each item")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in clusters])


def read_changes(
    before: Sequence[float], after: Sequence[float], clusters: Sequence[Hashable] | None = None
) -> Changes:
    """Pair the scores of two arms by position and sum their changes by document.

    Raises:
        SteeringError: for different lengths, no items, scores that are no finite numbers.
    """
    old, new = read_scores(before, "earlier"), read_scores(after, "later")
    if len(old) != len(new):
        raise SteeringError(f"there are {len(old)} scores before and {len(new)} after: pair them by item")
    return sum_changes(old, new, index_documents(clusters, len(old)))


def sum_changes(before: np.ndarray, after: np.ndarray, documents: np.ndarray) -> Changes:
    """`read_changes` for arrays that are checked; documents as `index_documents` numbers them."""
    sums = np.bincount(documents, weights=after - before)
    sizes = np.bincount(documents).astype(np.float64)
    if binary := is_binary(before, after):
        reach = 1.0
    else:
        reach = float(np.abs(sums / sizes).max()) or float(np.ptp(np.concatenate([before, after])))
    return Changes(sums, sizes, binary, reach)


def mean_variance(sums: np.ndarray, sizes: np.ndarray) -> float:
    """Sampling variance of sum(sums) / sum(sizes) when documents are drawn: the cluster-robust one of an intercept.

    nan for a single document. Source: Liang and Zeger (1986) with the factor documents / (documents - 1).
    """
    n = len(sums)
    if n < 2:
        return float("nan")
    residuals = sums - sizes * (sums.sum() / sizes.sum())
    return float(n / (n - 1) * (residuals**2).sum() / sizes.sum() ** 2)
