"""steering-vectors: a pickled SteeringVector of that library, of which its fields are read and nothing is made."""

from __future__ import annotations

from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.containers.pickles import Made
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import number_of, one_row
from lm_eval_steer.vectors.foreign.source import Source


def recognises(source: Source) -> bool:
    """An object of its class."""
    name = str(source.content) if isinstance(source.content, Made) else ""
    return name.startswith("steering_vectors.") and name.endswith(".SteeringVector")


def read(source: Source, answers: Answers) -> Said:
    """Layer N acts at the output of block N, where its type is decoder_block."""
    state: Any = source.content.state
    if not isinstance(state, dict) or not isinstance(state.get("layer_activations"), dict):
        raise SteeringError("its SteeringVector has no layer_activations")
    kind = state.get("layer_type", "decoder_block")
    if kind != "decoder_block":
        raise SteeringError(
            f"its layer_type is {quoted(kind)}, and a vector acts at the outputs of blocks: decoder_block"
        )
    shifts = {
        number_of(layer, "a layer"): one_row(shift, f"layer {layer}")
        for layer, shift in state["layer_activations"].items()
    }
    return Said(shifts)


STEERING_VECTORS = ForeignFormat("a SteeringVector of the library steering-vectors, pickled (.pt)", read, recognises)
