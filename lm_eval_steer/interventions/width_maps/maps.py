"""The table of width maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lm_eval_steer.interventions.width_maps.anchors import ANCHORS
from lm_eval_steer.interventions.width_maps.cut import cut
from lm_eval_steer.interventions.width_maps.cut_raw import cut_raw
from lm_eval_steer.interventions.width_maps.fitted import FittedMap
from lm_eval_steer.interventions.width_maps.lowrank import LOWRANK
from lm_eval_steer.interventions.width_maps.lstsq import LSTSQ
from lm_eval_steer.interventions.width_maps.procrustes import PROCRUSTES
from lm_eval_steer.interventions.width_maps.ridge import RIDGE
from lm_eval_steer.table import Table

WidthMap = Callable[[np.ndarray, int], np.ndarray]
"""(direction of the parent [parent hidden], hidden size of the child) -> float32 [child hidden]: nothing is fitted."""

WIDTH_MAPS: Table[WidthMap | FittedMap] = Table(
    "width map",
    {
        "cut": cut,
        "cut-raw": cut_raw,
        "lstsq": LSTSQ,
        "ridge": RIDGE,
        "procrustes": PROCRUSTES,
        "lowrank": LOWRANK,
        "anchors": ANCHORS,
    },
)
