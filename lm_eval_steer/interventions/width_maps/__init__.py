"""Width maps: how a direction of the parent's width fits the child's residual stream, one file each.

An entry is a function of a direction [parent hidden] and the child's hidden size that returns float32 [child hidden].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lm_eval_steer.interventions.width_maps.cut import cut
from lm_eval_steer.interventions.width_maps.cut_raw import cut_raw
from lm_eval_steer.table import Table

__all__ = ["WIDTH_MAPS", "WidthMap", "cut", "cut_raw"]

WidthMap = Callable[[np.ndarray, int], np.ndarray]

WIDTH_MAPS: Table[WidthMap] = Table("width map", {"cut": cut, "cut-raw": cut_raw})
