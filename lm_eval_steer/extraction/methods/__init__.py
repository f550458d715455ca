"""Extraction methods: from the differences of contrast pairs to the direction of one block, one file each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lm_eval_steer.extraction.methods.mean import mean
from lm_eval_steer.extraction.methods.pca import pca
from lm_eval_steer.table import Table

__all__ = ["METHODS", "Method", "mean", "pca"]

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(differences, orders) -> direction [hidden] of any length, pointing from negative to positive.

Differences are float64 [pairs, hidden], positive minus negative, at least two of them. Orders are int [pairs] of +1 and
-1, half and half, for a method that centres what it reads (`shuffle_orders`).
"""

METHODS: Table[Method] = Table("extraction method", {"pca": pca, "mean": mean})
