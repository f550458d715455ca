"""A sparse autoencoder of SAELens: the row of W_dec that is the direction of one feature."""

from __future__ import annotations

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.containers.safetensors_file import Tensors
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.neuronpedia import block_of_hook
from lm_eval_steer.vectors.foreign.source import Source

_WEIGHTS = "sae_weights.safetensors"
_DECODER = "W_dec"


def recognises(source: Source) -> bool:
    """Weights with W_dec, or the folder of such."""
    if source.container == "folder":
        return (source.path / _WEIGHTS).is_file()
    return source.container == "safetensors" and _DECODER in source.content.places


def read(source: Source, answers: Answers) -> Said:
    """The row that is asked for, at the hook that cfg.json says."""
    opened = source.open(_WEIGHTS) if source.container == "folder" else source
    weights = opened.content
    if not isinstance(weights, Tensors) or _DECODER not in weights.places:
        raise SteeringError(f"{opened.path.name} holds no {_DECODER}")
    rows = weights[_DECODER]
    if rows.ndim != 2:
        raise SteeringError(f"{_DECODER} has shape {list(rows.shape)}, expected [features, width]")
    row = answers.ask("row", f"it has {len(rows)} features: say which row of {_DECODER} is meant")
    if type(row) is not int or not 0 <= row < len(rows):
        raise SteeringError(f"--row {row} is no feature of it: there are {len(rows)}, from 0 on")
    config = source.json("cfg.json")
    said = config if isinstance(config, dict) else {}
    said = said | (said["metadata"] if isinstance(said.get("metadata"), dict) else {})
    hook = said.get("hook_name")
    if hook is None:
        hook = answers.ask(
            "hook", "there is no cfg.json beside it that says where it acts, such as blocks.7.hook_resid_post"
        )
    model = said.get("model_name")
    says = {"feature": row, "hook": str(hook)} | ({"model": model} if isinstance(model, str) else {})
    return Said({block_of_hook(hook): rows[row]}, "sae", says=says)


SAE = ForeignFormat("a feature of a sparse autoencoder of SAELens (folder or .safetensors)", read, recognises)
