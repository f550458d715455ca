"""Layer maps: which block of the child takes the direction of which block of the parent, one file each."""

from __future__ import annotations

from lm_eval_steer.interventions.layer_maps.choice import LayerMapChoice, layer_map_of_a_run, read_layer_map
from lm_eval_steer.interventions.layer_maps.greedy import greedy
from lm_eval_steer.interventions.layer_maps.layer_map import LayerMap
from lm_eval_steer.interventions.layer_maps.maps import LAYER_MAPS
from lm_eval_steer.interventions.layer_maps.proportional import proportional

__all__ = [
    "LAYER_MAPS",
    "LayerMap",
    "LayerMapChoice",
    "greedy",
    "layer_map_of_a_run",
    "proportional",
    "read_layer_map",
]
