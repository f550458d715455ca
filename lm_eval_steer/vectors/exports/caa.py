"""CAA: a folder with a tensor for each block, named after block and model."""

from __future__ import annotations

from pathlib import Path, PurePath

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.torch_file import save, tensor


def write(export: Export, path: Path) -> None:
    """vec_layer_N_MODEL.pt, tensor [hidden]."""
    for block, shift in export.shifts.items():
        save(tensor(shift), path / f"vec_layer_{block}_{PurePath(export.model).name}.pt")


CAA = ExportFormat(
    "a folder of CAA",
    "",
    write,
    "everything but the numbers, the block and the model's name; it is used one block at a time",
    "model.set_add_activations(L, {alpha} * torch.load({path!r} + '/vec_layer_L_MODEL.pt'))",
)
