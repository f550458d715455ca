"""Scores that are no mean of a number per document: what a document adds to sums, and the score of the sums.

F1, BLEU or a perplexity of documents together is a function of sums over documents. So documents can be resampled, or
swapped between two arms, without reading a text again: parts are added up, and the score is that of the sums. A score
that a reader trusts must first come out of its documents (`fit`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

MOST_LABELS = 100
"""Of a task of classes; more are no classes but texts."""

Items = Sequence[Any]
"""[items], what the harness aggregates: per document a number, a pair, a list."""


@dataclass(frozen=True)
class Parts:
    """What items add to a score.

    Attributes:
        values: float64 [items, k].
        score: sums of values, float64 [..., k] -> scores [...].
    """

    values: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]

    @property
    def total(self) -> float:
        """The score of all items."""
        return float(self.score(self.values.sum(axis=0)))


@dataclass(frozen=True)
class Aggregate:
    """A way to come from items to a score.

    Attributes:
        read: items -> what they add; ValueError, TypeError, ... for items of another kind.
        is_share: whether scores are shares, from 0 to 1.
        by_name: whether it is only tried where a task names it: reading costs more than a look.
    """

    read: Callable[[Items], Parts]
    is_share: bool = False
    by_name: bool = False


def fit(items: Items, score: float, named: str = "") -> str | None:
    """The aggregate by which items give a score: the one that is named, or the first that does.

    Args:
        items: of all documents, two or more.
        score: as the harness computed it.
        named: a name of the harness (`f1`), the name of its metric, or the text of a function, of whose words `macro`,
            `micro` and `weighted` tell which F1 is tried first.

    Returns:
        A key of `AGGREGATES`; None where none gives the score.
    """
    if len(items) < 2 or any(one is None for one in items):
        return None
    if named in AGGREGATES:
        tried = [named]
    else:
        tried = [name for name, one in AGGREGATES.items() if not one.by_name]
        tried.sort(key=lambda name: name.split("_")[0] not in named)
    return next((name for name in tried if _gives(name, items, score)), None)


def _gives(name: str, items: Items, score: float) -> bool:
    try:
        parts = AGGREGATES[name].read(items)
        return bool(np.isfinite(parts.values).all()) and bool(np.isclose(parts.total, score, rtol=1e-6, atol=1e-9))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        return False  # items of another kind


def influences(parts: Parts) -> np.ndarray:
    """A number per item whose mean is the score, and which says how the item moves it: float64 [items].

    By the jackknife: of a mean, they are its numbers. To first order the score behaves as their mean does (Efron and
    Tibshirani 1993, chapter 10), so what takes a number per document takes these.
    """
    n, total = len(parts.values), parts.values.sum(axis=0)
    without = parts.score(total - parts.values)
    return float(parts.score(total)) + (n - 1) * (without.mean() - without)


# Numbers


def _numbers(items: Items) -> np.ndarray:
    """float64 [items, 2]: the number and 1."""
    if not all(isinstance(one, int | float) for one in items):
        raise TypeError("no numbers")
    values = np.array(items, dtype=np.float64)
    return np.stack([values, np.ones_like(values)], axis=1)


def _weighted(items: Items) -> np.ndarray:
    """float64 [items, 2]: of pairs of a number and its weight."""
    values = np.array(items, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 2:
        raise ValueError("no pairs")
    return values


def _known(items: Items) -> Parts:
    """The mean of those that are numbers."""
    values = _numbers(items)
    missing = np.isnan(values[:, 0])
    values[missing] = 0
    return Parts(values, _quotient)


def _lists(items: Items) -> Parts:
    """The mean over the members of lists."""
    if not all(isinstance(one, list | tuple) and all(isinstance(part, int | float) for part in one) for one in items):
        raise TypeError("no lists of numbers")
    return Parts(np.array([[float(sum(one)), float(len(one))] for one in items]), _quotient)


def _quotient(sums: np.ndarray) -> np.ndarray:
    return _over(sums[..., 0], sums[..., 1])


def _perplexity(sums: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-_quotient(sums)))


def _bits(sums: np.ndarray) -> np.ndarray:
    return np.asarray(-_quotient(sums) / np.log(2))


def _brier(items: Items) -> Parts:
    """Squared distances of probabilities from the right option."""
    shares = np.array([shares for _, shares in items], dtype=np.float64)
    right = np.eye(shares.shape[1])[[gold for gold, _ in items]]
    return Parts(_numbers(((shares - right) ** 2).sum(axis=1).tolist()), _quotient)


def _over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """A quotient; 0 where the divisor is 0, as scikit-learn has it."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom != 0)


# Classes: pairs of the right label and the predicted one


@dataclass(frozen=True)
class _Table:
    """What counts of pairs of labels come to, by label; all [..., labels].

    Attributes:
        right: predicted and right.
        gold: right.
        predicted: predicted.
    """

    right: np.ndarray
    gold: np.ndarray
    predicted: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """F1 of each label."""
        return _over(2 * self.right, self.gold + self.predicted)


def _classes(score: Callable[[_Table, list[Any]], np.ndarray]) -> Callable[[Items], Parts]:
    """Reads pairs of labels; `score` takes the counts and the labels."""

    def read(items: Items) -> Parts:
        pairs = [(_label(gold), _label(predicted)) for gold, predicted in items]
        labels = list(dict.fromkeys(label for pair in pairs for label in pair))
        if len(labels) > MOST_LABELS:
            raise ValueError(f"{len(labels)} labels")
        kinds = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        values = np.zeros((len(pairs), len(kinds)))
        values[np.arange(len(pairs)), [kinds[pair] for pair in pairs]] = 1
        golds, predictions = (
            np.array([[pair[side] == label for label in labels] for pair in kinds], dtype=np.float64) for side in (0, 1)
        )

        def of_sums(sums: np.ndarray) -> np.ndarray:
            return score(_Table(sums @ (golds * predictions), sums @ golds, sums @ predictions), labels)

        return Parts(values, of_sums)

    return read


def _label(value: Any) -> Hashable:
    if not isinstance(value, str | int | float):
        raise TypeError("no label")
    return value


def _binary_f1(table: _Table, labels: list[Any]) -> np.ndarray:
    """Of the label 1, where there are 0 and 1 alone."""
    if not set(labels) <= {0, 1}:
        raise ValueError("other labels than 0 and 1")
    return table.f1[..., labels.index(1)] if 1 in labels else np.zeros(table.gold.shape[:-1])


def _macro_f1(table: _Table, labels: list[Any]) -> np.ndarray:
    """The mean over the labels that occur."""
    occurs = (table.gold + table.predicted) > 0
    return _over(table.f1.sum(axis=-1), occurs.sum(axis=-1).astype(np.float64))


def _weighted_f1(table: _Table, labels: list[Any]) -> np.ndarray:
    """The mean over labels, by how often each is right."""
    return _over((table.f1 * table.gold).sum(axis=-1), table.gold.sum(axis=-1))


def _micro_f1(table: _Table, labels: list[Any]) -> np.ndarray:
    """The share of right predictions."""
    return _over(table.right.sum(axis=-1), table.gold.sum(axis=-1))


def _matthews(table: _Table, labels: list[Any]) -> np.ndarray:
    """The correlation of right and predicted labels (Gorodkin 2004)."""
    n = table.gold.sum(axis=-1)
    both = table.right.sum(axis=-1) * n - (table.gold * table.predicted).sum(axis=-1)
    golds, predictions = (n**2 - (one**2).sum(axis=-1) for one in (table.gold, table.predicted))
    return _over(both, np.sqrt(golds * predictions))


# Translations: pairs of references and a text


def _sacrebleu(name: str) -> Callable[[Items], Parts]:
    def read(items: Items) -> Parts:
        pairs = [(_references(references), _text(text)) for references, text in items]
        fewest = min(len(references) for references, _ in pairs)  # the harness asks as many of all documents
        values = np.array([_statistics(name, references[:fewest], text) for references, text in pairs])

        def score(sums: np.ndarray) -> np.ndarray:
            rows = sums.reshape(-1, sums.shape[-1]).tolist()
            return np.array([_metric(name)._compute_score_from_stats(row).score for row in rows]).reshape(
                sums.shape[:-1]
            )

        return Parts(values, score)

    return read


def _references(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(_text, value))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) == 1:
        (value,) = value
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


@cache
def _metric(name: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF, TER

    makers: dict[str, Callable[[], Any]] = {"bleu": BLEU, "chrf": CHRF, "ter": TER}
    return makers[name]() if name in makers else CHRF(word_order=2)


@lru_cache(maxsize=100_000)
def _statistics(name: str, references: tuple[str, ...], text: str) -> tuple[float, ...]:
    """What sacrebleu adds up over sentences, as its own resampling does."""
    (found,) = _metric(name)._extract_corpus_statistics([text], [[one] for one in references])
    return tuple(map(float, found))


AGGREGATES: Mapping[str, Aggregate] = {
    "nanmean": Aggregate(_known),
    "lists": Aggregate(_lists, is_share=True),
    "f1": Aggregate(_classes(_binary_f1), is_share=True),
    "macro_f1": Aggregate(_classes(_macro_f1), is_share=True),
    "weighted_f1": Aggregate(_classes(_weighted_f1), is_share=True),
    "micro_f1": Aggregate(_classes(_micro_f1), is_share=True),
    "matthews_corrcoef": Aggregate(_classes(_matthews)),
    "perplexity": Aggregate(lambda items: Parts(_numbers(items), _perplexity)),
    "weighted_perplexity": Aggregate(lambda items: Parts(_weighted(items), _perplexity)),
    "bits_per_byte": Aggregate(lambda items: Parts(_weighted(items), _bits)),
    "brier_score": Aggregate(_brier),
    **{name: Aggregate(_sacrebleu(name), by_name=True) for name in ("bleu", "chrf", "chrf++", "ter")},
}
"""Those of the harness by its names, and those that tasks bring functions of their own for."""

OF_METRICS: Mapping[str, str] = {
    "mcc": "matthews_corrcoef",
    "word_perplexity": "weighted_perplexity",
    "byte_perplexity": "weighted_perplexity",
}
"""Metrics of the harness whose aggregate has another name, where a task does not say which it takes."""
