"""LM-Steer: a map of low rank, or a vector, of the last norm's output, in a checkpoint of its training.

Read in Glaciohound/LM-Steer, `lm_steer/models/steers.py` and `experiments/training/train.py` (arXiv 2305.12798): the
head is given h + ε·Σ sᵢ·(h Pᵢ)Qᵢᵀ, or h + ε·Σ sᵢ·vᵢ, with a value sᵢ for each of `num_steers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.containers.pickles import Made
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import numbers
from lm_eval_steer.vectors.foreign.source import Source
from lm_eval_steer.vectors.low_rank import LowRank

_MAP, _SHIFT, _OFFSET = {"projector1", "projector2"}, {"add_vec"}, {"offset_vec"}
_SITE = "final_norm"


def recognises(source: Source) -> bool:
    """The arguments of its training, its parameters, and how many steps it took."""
    return source.container == "torch" and _parameters(source.content) is not None


def read(source: Source, answers: Answers) -> Said:
    """The steer that is asked for, where there are several, at strength 1 for its value 1."""
    parts = _parameters(source.content)
    if parts is None:
        raise SteeringError("it holds no projector1 and projector2, and no add_vec, as LM-Steer's training writes them")
    said = _arguments(source.content)
    if parts.keys() == _OFFSET:
        raise SteeringError("it is a checkpoint of LM-Steer that adds to logits, and steering adds to hidden states")
    component = said.get("adapted_component")
    if component != "final_layer":
        raise SteeringError(
            f"its arguments say adapted_component {quoted(component)}, and the steers that are read are those of "
            "final_layer: they change the output of the last norm"
        )
    size = said.get("epsilon")
    if not isinstance(size, float) or not np.isfinite(size) or not size:
        raise SteeringError(f"its arguments say epsilon {quoted(size)}, expected the factor of all that it adds")
    tensors = {name: numbers(one, name) for name, one in parts.items()}
    axes = 3 if parts.keys() == _MAP else 2
    shapes = {one.shape for one in tensors.values()}
    if len(shapes) > 1 or any(one.ndim != axes or not one.size for one in tensors.values()):
        told = ", ".join(f"{name} {list(one.shape)}" for name, one in sorted(tensors.items()))
        raise SteeringError(f"its parameters are {told}, expected [steers, width{', rank' if axes == 3 else ''}]")
    row = _row(answers, len(next(iter(tensors.values()))))
    model = said.get("model_name")
    parent = {"name": model} if isinstance(model, str) else {}
    says: dict[str, Any] = {"epsilon": size, "steer": row} | ({"model": model} if parent else {})
    if axes == 2:
        return Said({0: size * tensors["add_vec"][row]}, "LM-Steer", parent, says, site=_SITE)
    one = LowRank(tensors["projector1"][row], np.zeros(shapes.pop()[2]), size * tensors["projector2"][row])
    note = "It is a map of the last norm's output: steer with operator=low_rank, alpha is LM-Steer's value."
    says["rank"] = one.rank
    return Said({0: one.direction}, "LM-Steer", parent, says, (note,), maps={0: one}, site=_SITE)


def _parameters(content: Any) -> Mapping[str, Any] | None:
    parts = content[1] if isinstance(content, list) and len(content) == 3 else None
    return parts if isinstance(parts, dict) and parts.keys() in (_MAP, _SHIFT, _OFFSET) else None


def _arguments(content: list[Any]) -> Mapping[str, Any]:
    """What its training was told (an `argparse.Namespace`), which no code is run for."""
    if isinstance(content[0], Made) and isinstance(content[0].state, dict):
        return content[0].state
    raise SteeringError(
        "it is a checkpoint of LM-Steer without the arguments of its training, so nothing says how large its steers "
        "are (epsilon): import the one that train.py wrote"
    )


def _row(answers: Answers, steers: int) -> int:
    if steers == 1:
        return 0
    row = answers.ask("row", f"it has {steers} steers: say which of them is meant, from 0 on")
    if type(row) is not int or not 0 <= row < steers:
        raise SteeringError(f"--row {row} is no steer of it: there are {steers}, from 0 on")
    return row


LM_STEER = ForeignFormat("a checkpoint of LM-Steer (.pt)", read, recognises)
