"""Two runs of the same documents, and one run's own interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from lm_eval_steer.compare.counts import Count, count_of
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.samples import Document, Logged, Sample
from lm_eval_steer.compare.stats import Pair, mean_interval, read_together, score_interval

T = TypeVar("T", Sample, Logged, Document)
Key = tuple[tuple[str, str], int]
"""A document with its prompt, and which of its occurrences it is."""


@dataclass(frozen=True)
class Paired:
    """An arm's samples beside its baseline's, in one order.

    Attributes:
        before: the baseline's.
        after: the arm's.
        repeats: whether a document occurs more than once.
        aggregate: as that of both runs.
    """

    before: list[Sample]
    after: list[Sample]
    repeats: bool
    aggregate: str | None = None

    @property
    def gained_and_lost(self) -> tuple[int, int] | tuple[None, None]:
        """Documents that became right, and those that became wrong; None where scores are not right or wrong."""
        if self.aggregate is not None or not (is_binary(self.before) and is_binary(self.after)):
            return None, None
        changes = [new.score - old.score for old, new in zip(self.before, self.after, strict=True)]
        return changes.count(1), changes.count(-1)

    @property
    def texts_changed(self) -> int:
        """Documents whose response differs."""
        return sum(old.response != new.response for old, new in zip(self.before, self.after, strict=True))

    def pair(self, higher_is_better: bool) -> Pair:
        """For the statistics, where more is better."""
        sign = 1 if higher_is_better else -1
        clusters = [sample.key[0] for sample in self.before] if self.repeats else None
        together = None
        if self.aggregate is not None:
            items = [[one.item for one in samples] for samples in (self.before, self.after)]
            together = read_together(self.aggregate, items, clusters, sign)
        return Pair([sign * s.score for s in self.before], [sign * s.score for s in self.after], clusters, together)


def pair_runs(baseline: Run | None, run: Run) -> Paired | None:
    """Paired by what documents and prompts are, not by place; None where they are not the same, or unknown.

    Baselines of another kind ask the same documents with prompts of their own, so these are paired by document alone.
    None, too, where it is not known how documents become a score, or not in the same way.
    """
    if baseline is None or not run.samples or not baseline.samples or baseline.documents != run.documents:
        return None
    if baseline.aggregate != run.aggregate:
        return None
    before, after = keyed(baseline.samples), keyed(run.samples)
    repeats = len({key[0] for key, _ in before}) < len(before)
    if baseline.prompts != run.prompts:
        after = dict(zip(as_asked(before, after), after.values(), strict=True))
    return Paired(list(before.values()), [after[key] for key in before], repeats, run.aggregate)


def as_asked(asked: Iterable[Key], others: Iterable[Key]) -> list[Key]:
    """For each document of one run, the same in another run of the same documents, whatever prompts both had.

    Args:
        asked: keys of the other run.
        others: of the run, in an order.
    """
    places: dict[str, list[Key]] = {}
    for key in asked:
        places.setdefault(key[0][0], []).append(key)
    return [places[key[0][0]].pop(0) for key in others]


def is_binary(samples: list[Sample]) -> bool:
    """Whether every document is right or wrong."""
    return bool(samples) and {sample.score for sample in samples} <= {0.0, 1.0}


def count_right(samples: list[Sample]) -> Count | None:
    """The right ones among documents of which each is right or wrong; None among others."""
    return Count(sum(sample.score == 1 for sample in samples), len(samples)) if is_binary(samples) else None


def interval(run: Run) -> tuple[float, float] | None:
    """Of the score, at 95 %: Wilson's for right and wrong, else t's of a mean, or the bootstrap of documents together.

    None where nothing is known of how documents become the score. A run without samples is taken for one of right and
    wrong where its score is a number of documents.
    """
    documents = [one.key[0] for one in run.samples]
    if run.aggregate is not None:
        return score_interval(run.aggregate, [one.item for one in run.samples], documents)
    count = count_right(run.samples) if run.has_samples_file else count_of(run.score, run.n)
    if count:
        return count.interval
    return mean_interval([one.score for one in run.samples], documents) if documents else None


def keyed(samples: Iterable[T]) -> dict[Key, T]:
    """By document and prompt, and which of its occurrences it is."""
    seen: Counter[tuple[str, str]] = Counter()
    found: dict[Key, T] = {}
    for sample in samples:
        found[sample.key, seen[sample.key]] = sample
        seen[sample.key] += 1
    return found
