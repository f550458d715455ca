"""vLLM-Hook: a direction and the mean projection on it; layer and strength stand in a configuration elsewhere."""

from __future__ import annotations

from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import number_of, one_row
from lm_eval_steer.vectors.foreign.source import Source


def recognises(source: Source) -> bool:
    """It has dir and avg_proj."""
    content = source.content
    return source.container == "torch" and isinstance(content, dict) and {"dir", "avg_proj"} <= content.keys()


def read(source: Source, answers: Answers) -> Said:
    """The direction, as `add_vector` adds it at the output of a block that is asked for."""
    direction = one_row(source.content["dir"], "dir")
    layer = answers.ask(
        "layer", "the layer of a vLLM-Hook direction stands in model_configs/activation_steer of its model"
    )
    note = (
        "avg_proj is left out: the method adjust_rs, which sets the projection to it in the middle of a block, is "
        "not what "
        "a strength does here."
    )
    return Said({number_of(layer, "--layer"): direction}, notes=(note,))


VLLM_HOOK = ForeignFormat("a direction of vLLM-Hook (.pt)", read, recognises)
