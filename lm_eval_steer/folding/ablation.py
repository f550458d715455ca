"""Ablation in the weights: what writes to the residual stream writes nothing along a direction any more.

`operator=ablate` behind a linear layer is another linear layer, W' = (I - α v v'/‖v‖²) W (Arditi et al., arXiv
2406.11717, call it weight orthogonalisation), and so it is exact where the layer's output goes into the stream as it
is. Behind embeddings it is E' = E (I - α v v'/‖v‖²). In the stream itself nothing multiplies, so there an ablation is
in the weights only where it finds nothing left to do, as all that was written before lost the same direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lm_eval_steer.engines.hf.blocks import base_model, decoder, find_blocks, hidden_size, text_config
from lm_eval_steer.engines.hf.survey import Survey
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.folding.biased import share
from lm_eval_steer.interventions.intervention import Edit, Intervention
from lm_eval_steer.sites import Place, place_of, told

OPERATOR = "ablate"
EMBEDDINGS = place_of("block_input", 0)
"""The first block's input: what the embeddings write."""
WRITERS = ("attention", "mlp")
ADVICE = "ablate one direction in all blocks with site=block_input+attention+mlp, or steer in a run"
_LOST = 0.01
"""Share of what a matrix wrote along the direction that the dtype of the weights may leave."""


def ablations(intervention: Intervention) -> dict[Place, Edit]:
    """The ablations that weights have to do, by place: of embeddings, attention and MLP.

    Raises:
        SteeringError: where something else is done too, not at all positions, or in the stream itself with something
            left to do.
    """
    if intervention.tokens != "all":
        raise SteeringError(f"weights act at every position, and tokens={intervention.tokens} does not: steer in a run")
    for edit in intervention.edits:
        if edit.operator != OPERATOR:
            raise SteeringError(f"weights ablate, and operator={edit.operator} does something else: steer in a run")
    edits = {edit.place: edit for edit in intervention.edits}
    written = {place: edit for place, edit in edits.items() if place == EMBEDDINGS or edit.site in WRITERS}
    for place, edit in edits.items():
        if place not in written:
            _refuse_what_is_left(place, edit, written)
    return written


def _refuse_what_is_left(place: Place, edit: Edit, written: Mapping[Place, Edit]) -> None:
    """Refuse an ablation of the stream itself, unless nothing of its direction is in it any more.

    Raises:
        SteeringError: names what still writes along it.
    """
    if edit.site not in ("block", "block_input"):
        raise SteeringError(f"an ablation of {told(place)} is in no weight that writes to the stream: {ADVICE}")
    last = edit.block + (edit.site == "block")
    before = [EMBEDDINGS, *(place_of(site, number) for number in range(last) for site in WRITERS)]
    for writer in before:
        done = written.get(writer)
        if done is None or done.strength != 1 or done.sha != edit.sha:
            how = "is not asked for" if done is None else "is of another direction, or not of all of it"
            raise SteeringError(
                f"no weight ablates the residual stream itself ({told(place)}), and an ablation of {told(writer)}, "
                f"which writes to it, {how}: {ADVICE}"
            )


def orthogonalise(model: nn.Module, written: Mapping[Place, Edit], path: str | None) -> tuple[PreTrainedModel, float]:
    """A model whose weights do some ablations; it shares all other weights with the one that it was made from.

    Args:
        model: a transformers model, not under PEFT; it stays as it is.
        written: of embeddings, attention and MLP (`ablations`).
        path: of the blocks in the model, where `find_blocks` cannot tell.

    Returns:
        The model, and the largest share of what a matrix wrote along its direction that its dtype left.

    Raises:
        SteeringError: for quantised weights, and where no matrix's output is what enters the stream.
    """
    base, blocks = base_model(model), find_blocks(model, path)
    if getattr(base, "is_quantized", False):
        raise SteeringError(
            f"the weights of {type(base).__name__} are quantised and cannot be turned: fold into those it was made from"
        )
    layers = _writers(model, blocks, [place for place in written if place != EMBEDDINGS], hidden_size(model))
    found, lost = share(base), 0.0
    for place, name in layers.items():
        layer: Any = found.get_submodule(name)
        lost = max(lost, _turn(layer, written[place], by_row=isinstance(layer, Conv1D)))
    if EMBEDDINGS in written:
        lost = max(lost, _turn_embeddings(base, found, blocks[0], path, written[EMBEDDINGS]))
    if lost > _LOST:
        raise SteeringError(
            f"{str(base.dtype).removeprefix('torch.')} leaves {lost:.1%} of what a matrix writes along the direction: "
            "fold in float32 (--dtype float32)"
        )
    return found.eval(), lost


def _turn(layer: Any, edit: Edit, by_row: bool) -> float:
    """Take a direction out of what a layer gives; returns the share of it that its dtype left.

    Args:
        layer: its weight is [out, in], or [in, out] where `by_row`.
        edit: the ablation.
        by_row: whether each row of the weight is an output, as in an embedding.
    """
    v = torch.from_numpy(edit.direction).double().to(layer.weight.device)
    weight = layer.weight.detach()
    rows = weight.double() if by_row else weight.double().T
    turned = _ablated(rows, v, edit.strength)
    kept = turned.to(weight.dtype)
    layer.weight = nn.Parameter((kept if by_row else kept.T).contiguous(), requires_grad=False)
    bias = getattr(layer, "bias", None)
    if bias is not None:
        shorn = _ablated(bias.detach().double(), v, edit.strength).to(bias.dtype)
        layer.bias = nn.Parameter(shorn, requires_grad=False)
    before = (edit.strength * (rows @ v)).norm()
    return float(((kept.double() - turned) @ v).norm() / before) if before > 0 else 0.0


def _ablated(rows: Tensor, v: Tensor, strength: float) -> Tensor:
    """Rows [..., hidden] without a share of what they have along v."""
    return rows - strength * (rows @ v)[..., None] * v / (v @ v)


def _writers(model: nn.Module, blocks: list[nn.Module], places: list[Place], width: int) -> dict[Place, str]:
    """The linear layer whose output is what a place adds to the stream, by its name in the model.

    Raises:
        SteeringError: where a norm, or the sum of experts, comes between.
    """
    wanted = [str(place).rpartition(".") for place in places]
    survey = Survey(model, {int(number): blocks[int(number)] for *_, number in wanted})
    parts = {place: survey.added(int(number), site)[0] for place, (site, _, number) in zip(places, wanted, strict=True)}
    base = base_model(model)
    names = {module: name for name, module in base.named_modules()}
    gave = _outputs(model, {*parts.values(), *(one for part in parts.values() for one in part.modules())})
    found: dict[Place, str] = {}
    for place, part in parts.items():
        layers = [
            one
            for one in part.modules()
            if isinstance(one, nn.Linear | Conv1D)
            and one in gave
            and part in gave
            and gave[one].shape[-1] == width
            and torch.equal(gave[one].reshape(-1), gave[part].reshape(-1))
        ]
        if not layers:
            raise SteeringError(
                f"in {type(base).__name__} no matrix writes to the residual stream as {told(place)} (a norm or experts "
                "come between), so that no weight ablates there: steer in a run"
            )
        found[place] = names[layers[-1]]
    return found


def _turn_embeddings(
    base: PreTrainedModel, found: PreTrainedModel, block: nn.Module, path: str | None, edit: Edit
) -> float:
    """Take a direction out of all embeddings, and see that block 0 is then given what is left of it.

    Raises:
        SteeringError: where it is given something else, as behind a norm of the embeddings.
    """
    width, lost = hidden_size(base), 0.0
    inside = {module for one in find_blocks(found, path) for module in one.modules()}
    for module in decoder(found).modules():
        if isinstance(module, nn.Embedding) and module.embedding_dim == width and module not in inside:
            lost = max(lost, _turn(module, edit, by_row=True))
    for config in (found.config, text_config(found)):  # the head keeps the weights that it had
        config.tie_word_embeddings = False
    first = find_blocks(found, path)[0]
    before, after = _input(base, block).double(), _input(found, first).double()
    expected = _ablated(before, torch.from_numpy(edit.direction).double().to(before.device), edit.strength)
    if not float((after - expected).abs().max()) <= 8 * torch.finfo(base.dtype).eps * float(before.abs().max()):
        raise SteeringError(
            f"between the embeddings of {type(base).__name__} and its first block stands more than a sum, so that no "
            "embedding ablates there: steer in a run"
        )
    return lost


def _ids(model: PreTrainedModel) -> Tensor:
    ids = torch.arange(1, 8, device=next(model.parameters()).device)[None]
    return ids % text_config(model).vocab_size


def _input(model: PreTrainedModel, block: nn.Module) -> Tensor:
    """What a block is given in a short text."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        given = args[0] if args else kwargs["hidden_states"]
        kept.append(given.detach().clone())

    handle = block.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad():
            model(input_ids=_ids(model), use_cache=False)
    finally:
        handle.remove()
    return kept[0]


def _outputs(model: nn.Module, modules: set[nn.Module]) -> dict[nn.Module, Tensor]:
    """What modules give in a short text; nothing of those that give no tensor first."""
    kept: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, _: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor):
            kept[module] = first.detach().clone()

    base = base_model(model)
    handles = [module.register_forward_hook(keep) for module in modules]
    was_training = base.training
    base.eval()
    try:
        with torch.no_grad():
            base(input_ids=_ids(base), use_cache=False)
    finally:
        base.train(was_training)
        for handle in handles:
            handle.remove()
    return kept
