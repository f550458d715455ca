"""AISteer360: `.svec`, JSON with a list of directions per block."""

from __future__ import annotations

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import at_output_or_input, carried, number_of, numbers, scalars
from lm_eval_steer.vectors.foreign.source import Source
from lm_eval_steer.vectors.formats.header import KEY


def directions_of(source: Source) -> dict[str, list[object]]:
    """What stands under `directions` beside a `model_type`; nothing in other files."""
    content = source.content
    if source.container != "json" or not isinstance(content, dict) or "model_type" not in content:
        return {}
    found = content.get("directions")
    return found if isinstance(found, dict) and all(isinstance(one, list) and one for one in found.values()) else {}


def recognises(source: Source) -> bool:
    """Every block has a list of directions."""
    found = directions_of(source)
    return bool(found) and all(isinstance(one[0], list) for one in found.values())


def read(source: Source, answers: Answers) -> Said:
    """One direction per block, at the site that the control which it was made for steers."""
    content = source.content
    if content.get("num_heads") is not None or content.get("head_dim") is not None:
        raise SteeringError("its directions are of attention heads, and a vector acts at the outputs of blocks")
    found = {
        number_of(block, "a block"): numbers(one, f"block {block}") for block, one in directions_of(source).items()
    }
    if several := [block for block, one in found.items() if one.ndim != 2 or len(one) != 1]:
        raise SteeringError(
            f"block {several[0]} has directions of shape {list(found[several[0]].shape)}, expected [1, width]: of "
            "ActAdd "
            "they are one per position, of angular steering a plane"
        )
    if passport := carried(content.get(KEY)):  # exported for CAA
        return Said({block: one[0] for block, one in found.items()}, passport=passport)
    shifts, notes = at_output_or_input(
        {block: one[0] for block, one in found.items()},
        answers,
        "the file does not say for which control of AISteer360 it was made",
        {"output": "CAA and ablation", "input": "ActAdd and CAST"},
    )
    return Said(shifts, None, {"architecture": content["model_type"]}, scalars(content), notes)


AISTEER360 = ForeignFormat("a steering vector of AISteer360 (.svec)", read, recognises)
