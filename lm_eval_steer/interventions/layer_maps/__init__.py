"""Layer maps: which block of the child takes the direction of which block of the parent, one file each."""

from __future__ import annotations

from lm_eval_steer.interventions.layer_maps.choice import LayerMapChoice, layer_map_of_a_run, read_layer_map
from lm_eval_steer.interventions.layer_maps.cka import most_similar_path
from lm_eval_steer.interventions.layer_maps.greedy import greedy
from lm_eval_steer.interventions.layer_maps.layer_map import LayerMap
from lm_eval_steer.interventions.layer_maps.maps import LAYER_MAPS
from lm_eval_steer.interventions.layer_maps.proportional import proportional
from lm_eval_steer.interventions.layer_maps.similarity import debiased_cka

__all__ = [
    "LAYER_MAPS",
    "LayerMap",
    "LayerMapChoice",
    "debiased_cka",
    "greedy",
    "layer_map_of_a_run",
    "most_similar_path",
    "proportional",
    "read_layer_map",
]
