"""Pairs as an extraction draws them, without a model that they have to fit."""

from __future__ import annotations

from itertools import islice
from typing import Any

from lm_eval_steer.extraction.pairs import ContrastPair, candidates


def task_pairs(task: Any, template: dict[str, str], n: int, *more: Any, **options: Any) -> list[ContrastPair]:
    """The pairs of the `n` rows that the seed draws; arguments as those of `candidates`."""
    return list(islice(candidates(task, template, n, *more, **options), n))
