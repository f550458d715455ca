"""Files that are known and are no directions of block outputs: each is refused with what it is."""

from __future__ import annotations

from typing import Any

from lm_eval_steer.vectors.foreign.containers.pickles import Made
from lm_eval_steer.vectors.foreign.lm_steer import recognises as is_lm_steer
from lm_eval_steer.vectors.foreign.source import Source
from lm_eval_steer.vectors.formats.header import KEY


def refusal(source: Source) -> str:
    """Why a file or folder can be no vector, whatever is said of it; empty where it may be one."""
    content = source.content
    if is_own(source):
        return "it is a vector file of this project already: name it as it is"
    if isinstance(content, Made) and str(content).endswith("RepReader"):
        return (
            f"it is a pickled object of the class {content} (RepE), whose directions, signs and layers are kept "
            "apart: save "
            "direction times sign of each block as a tensor and import that"
        )
    if isinstance(content, Made) and not str(content).startswith("steering_vectors."):
        return f"it is a pickled object of the class {content}, which is never loaded: save its tensors"
    if source.container == "torch" and isinstance(content, list) and not is_lm_steer(source):
        return f"it is a list of {len(content)} entries, and nothing says what they are: save each vector by itself"
    if source.container == "torch" and _is_cache(content):
        return "it holds keys and values of a cache (cache-steering), which are no directions of block outputs"
    if source.container == "torch" and getattr(content, "ndim", 0) == 3:
        return (
            f"it holds a tensor of shape {list(content.shape)}, such as a transform of UNLOCK from one model to "
            "another: fit "
            "a map of your own with lm-eval-steer transfer"
        )
    if source.container == "folder" and (source.path / "manifold.json").is_file():
        return "it is a manifold of saklas, which may be curved: export its vector from saklas as .gguf and import that"
    return ""


def is_own(source: Source) -> bool:
    """Whether it is a vector file of this project, in one of its two containers."""
    if source.container == "safetensors":
        return KEY in source.content.metadata
    return source.container == "torch" and isinstance(source.content, dict) and KEY in source.content


def _is_cache(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    return all(isinstance(content.get(key), dict | list) for key in ("keys", "values"))
