"""The table of layer maps."""

from __future__ import annotations

from lm_eval_steer.interventions.layer_maps.cka import CKA
from lm_eval_steer.interventions.layer_maps.greedy import GREEDY
from lm_eval_steer.interventions.layer_maps.layer_map import LayerMap
from lm_eval_steer.interventions.layer_maps.proportional import PROPORTIONAL
from lm_eval_steer.table import Table

LAYER_MAPS: Table[LayerMap] = Table("layer map", {"greedy": GREEDY, "proportional": PROPORTIONAL, "cka": CKA})
