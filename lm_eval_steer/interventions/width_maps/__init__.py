"""Width maps: how a direction of the parent's width fits the child's residual stream, one file each.

An entry is a function of a direction [parent hidden] and the child's hidden size that returns float32 [child hidden],
or a `FittedMap`, which is fitted on states of both models on the same texts.
"""

from __future__ import annotations

from lm_eval_steer.interventions.width_maps.choice import WidthMapChoice, plain_width_map, read_width_map
from lm_eval_steer.interventions.width_maps.cut import cut
from lm_eval_steer.interventions.width_maps.cut_raw import cut_raw
from lm_eval_steer.interventions.width_maps.fitted import Fitted, FittedMap, Parameter, combine, fitted, r2
from lm_eval_steer.interventions.width_maps.maps import WIDTH_MAPS, WidthMap
from lm_eval_steer.interventions.width_maps.moments import Moments, moments
from lm_eval_steer.interventions.width_maps.pairing import Arrays, Pairing

__all__ = [
    "WIDTH_MAPS",
    "Arrays",
    "Fitted",
    "FittedMap",
    "Moments",
    "Pairing",
    "Parameter",
    "WidthMap",
    "WidthMapChoice",
    "combine",
    "cut",
    "cut_raw",
    "fitted",
    "moments",
    "plain_width_map",
    "r2",
    "read_width_map",
]
