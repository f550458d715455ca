"""Layer maps: which block of the child takes the direction of which block of the parent, one file each."""

from __future__ import annotations

from lm_eval_steer.interventions.layer_maps.greedy import GREEDY, greedy
from lm_eval_steer.interventions.layer_maps.layer_map import LayerMap
from lm_eval_steer.table import Table

__all__ = ["LAYER_MAPS", "LayerMap", "greedy"]

LAYER_MAPS: Table[LayerMap] = Table("layer map", {"greedy": GREEDY})
