"""`fold`: a transformers model whose weights hold the steering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, hidden_size
from lm_eval_steer.engines.hf.steer import one_intervention
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.folding import ablation
from lm_eval_steer.folding.adapter import as_adapter
from lm_eval_steer.folding.biased import with_biases
from lm_eval_steer.folding.places import find_places
from lm_eval_steer.folding.shifts import constant_shifts
from lm_eval_steer.interventions.argument import declare
from lm_eval_steer.interventions.arguments import ARGUMENTS
from lm_eval_steer.interventions.intervention import Edit, Intervention, intervene
from lm_eval_steer.vectors.several import AnyVector

NAMES = (
    *(
        "alpha",
        "alpha_per_layer",
        "operator",
        "site",
        "preset",
        "layers",
        "layer_map",
        "width_map",
        "control",
        "blocks",
    ),
    "allow_other_child",
)
TAKEN = tuple(one for one in ARGUMENTS if one.name in NAMES)
"""The plan's arguments that say by what each block is shifted, or what is ablated where."""

_LOST = 0.01
"""Share of a shift that the dtype of the weights may lose."""


@dataclass(frozen=True, eq=False)
class Folded:
    """What came of a fold.

    Attributes:
        model: shares its weights with the child.
        done: what the weights do to the child: of shifts, those that are left of them in the dtype of the weights.
        count: how many weights are others.
        kind: what they are, in the plural.
        lost: the largest share of a block's shift, or of an ablation, that was lost in rounding.
    """

    model: Any
    done: Intervention
    count: int
    kind: str
    lost: float


@declare(TAKEN, before=("model", "vectors", "adapter"))
def fold(model: nn.Module, vectors: str | Path | AnyVector, adapter: bool = False, **arguments: Any) -> Any:
    """A model that answers as another one does under steering of every position, with no hook: biases shift its blocks.

    With `operator=ablate` its weights are orthogonalised instead, which is exact for the sites that write to the
    residual stream, `site=block_input+attention+mlp`, with one direction in all blocks.

        folded = lm_eval_steer.fold(model, "phi4_gsm8k.safetensors", alpha=0.04)
        folded.save_pretrained("phi4-folded")

    It shares all weights with the model that it was made from, which stays as it is. Where the family's configuration
    knows no such bias, Qwen2 and Mistral become Llama, which they are by another name; the others take an adapter.

    Args:
        model: a transformers model, not under PEFT.
        vectors: a vector file, the name of a shipped one, or a vector.
        adapter: make the model one under PEFT, whose adapter alone holds the steering.
        {arguments}

    Raises:
        SteeringError: one sentence for a value that is not understood, and for a model that no bias steers so.
        TypeError: for an argument that there is not.
    """
    _, intervention = one_intervention(model, vectors, arguments, TAKEN, "fold")
    return fold_intervention(model, intervention, arguments.get("blocks"), adapter).model


def fold_intervention(model: nn.Module, intervention: Intervention, path: str | None, adapter: bool) -> Folded:
    """`fold`, from what is done to the model.

    Args:
        model: a transformers model, not under PEFT.
        intervention: what is folded in.
        path: of the blocks in the model, where `find_blocks` cannot tell.
        adapter: as that of `fold`.

    Raises:
        SteeringError: one sentence where no weights do that.
    """
    if model is not base_model(model):
        raise SteeringError("the model is under PEFT: merge its adapter first (merge_and_unload)")
    if not any(edit.operator == ablation.OPERATOR for edit in intervention.edits):
        return fold_shifts(model, constant_shifts(intervention), path, adapter)
    if adapter:
        raise SteeringError("an adapter of biases ablates nothing: leave out --adapter")
    written = ablation.ablations(intervention)
    found, lost = ablation.orthogonalise(model, written, path)
    return Folded(found, intervention, len(written), "orthogonalised matrices", lost)


def fold_shifts(model: nn.Module, shifts: Mapping[int, np.ndarray], path: str | None, adapter: bool) -> Folded:
    """`fold`, from what each block is shifted by.

    Args:
        model: a transformers model, not under PEFT.
        shifts: block -> float32 [hidden].
        path: of the blocks in the model, where `find_blocks` cannot tell.
        adapter: as that of `fold`.
    """
    blocks = find_blocks(model, path)
    places = find_places(model, {number: blocks[number] for number in shifts}, hidden_size(model))
    biases: dict[str, Tensor] = {}
    rounded: dict[int, np.ndarray] = {}
    lost = 0.0
    for number, place in places.items():
        weight: Any = place.layer.weight
        dtype = torch.float32 if adapter else weight.dtype  # PEFT runs adapters in float32
        shift = torch.from_numpy(np.asarray(shifts[number], dtype=np.float32)).to(weight.device) / place.factor
        before = None if adapter else getattr(place.layer, "bias", None)
        before = torch.zeros_like(shift) if before is None else before.detach().float()
        biases[place.name] = (before + shift).to(dtype)
        kept = biases[place.name].float() - before
        share = float((kept - shift).norm() / shift.norm())
        if share > _LOST:
            raise SteeringError(
                f"{str(dtype).removeprefix('torch.')} loses {share:.1%} of the shift of block {number} beside the bias "
                "that is there: fold in float32 (--dtype float32)"
            )
        lost, rounded[number] = max(lost, share), (place.factor * kept).cpu().numpy()
    base, done = base_model(model), intervene([Edit(block, "add", one, 1.0) for block, one in rounded.items()])
    made = as_adapter(base, biases) if adapter else with_biases(base, biases)
    return Folded(made, done, len(biases), "biases", lost)
