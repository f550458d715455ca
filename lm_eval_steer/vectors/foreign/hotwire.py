"""hotwire-vllm: a tensor whose model and layer stand in its folder's manifest.json, or a baked one that has both."""

from __future__ import annotations

from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import by_rows, carried, number_of, numbers, scalars
from lm_eval_steer.vectors.foreign.source import Source
from lm_eval_steer.vectors.formats.header import KEY

_MANIFEST = "manifest.json"


def recognises(source: Source) -> bool:
    """A manifest of directions lies beside it or in it, or it says base_model, layer and bias."""
    if source.container not in ("torch", "folder"):
        return False
    return _is_baked(source.content) or isinstance(_manifest(source).get("directions"), list)


def read(source: Source, answers: Answers) -> Said:
    """Rows of blocks, or one row whose layer is asked for. A baked one has its strength inside."""
    if source.container == "folder":
        source = _only_file(source)
    content = source.content
    if _is_baked(content):
        layer = number_of(content["layer"], "its layer")
        model = content["base_model"]
        parent = {"name": model} if isinstance(model, str) and model else {}
        return Said({layer: numbers(content["bias"], "its bias").reshape(-1)}, None, parent, scalars(content))
    manifest = _manifest(source)
    entries = [one for one in manifest.get("directions", []) if isinstance(one, dict)]
    says = next((scalars(one) for one in entries if one.get("name") == source.path.stem), {})
    model = manifest.get("model")
    parent = {"name": model} if isinstance(model, str) and model else {}
    tensor = _first_tensor(content)
    if passport := carried(manifest.get(KEY)):
        return Said(dict(enumerate(tensor)), passport=passport)
    if tensor.ndim == 1:
        told = f"; its manifest recommends {says['recommended_layer']}" if "recommended_layer" in says else ""
        layer = answers.ask("layer", f"it holds one vector for whatever layer is asked for{told}")
        return Said({number_of(layer, "--layer"): tensor}, None, parent, says)
    return Said(by_rows(tensor, answers, "the file", parent.get("name")), None, parent, says)


def _only_file(source: Source) -> Source:
    """The file of a folder that holds one direction.

    Raises:
        SteeringError: where it holds several.
    """
    names = sorted(path.name for path in source.path.glob("*.pt"))
    if len(names) != 1:
        raise SteeringError(
            f"it holds {len(names)} directions{' such as ' * bool(names)}{', '.join(names[:3])}: name one file"
        )
    found = source.open(names[0])
    return Source(found.path, found.container, found.content, source.files)


def _first_tensor(content: Any) -> np.ndarray:
    """The tensor, or the first one of a table, which is the one that hotwire-vllm takes."""
    if isinstance(content, dict):
        content = next((one for one in content.values() if isinstance(one, np.ndarray)), None)
    found = numbers(content, "the file")
    if found.ndim not in (1, 2) or not found.size:
        raise SteeringError(
            f"the file holds a tensor of shape {list(found.shape)}, expected [width] or [blocks, width]"
        )
    return found


def _is_baked(content: Any) -> bool:
    return isinstance(content, dict) and {"base_model", "layer", "bias"} <= content.keys()


def _manifest(source: Source) -> dict[str, Any]:
    found = source.json(_MANIFEST)
    return found if isinstance(found, dict) else {}


HOTWIRE = ForeignFormat("a direction of hotwire-vllm (.pt)", read, recognises)
