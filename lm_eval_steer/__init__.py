"""Steering vectors inside EleutherAI's lm-evaluation-harness, and outside of it.

`lm_eval --model steered-hf` and `lm-eval-steer` are the ways in; in Python, `lm_eval_steer.steer` steers a transformers
model in a `with` block, with a file or a `lm_eval_steer.SteeringVector`, `lm_eval_steer.SteeredModel` steers one until
it is unloaded and keeps that in a folder, and `lm_eval_steer.fold` gives a model whose weights hold the steering.
Importing this package imports neither torch nor transformers; these names bring what they need when they are first
used.
"""

TYPE_CHECKING = False  # `typing.TYPE_CHECKING` to a type checker: every Python process imports this package (plugin/)
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"
__all__ = ["SteeredModel", "SteeringVector", "fold", "steer"]

_MODULES = {
    "SteeredModel": "lm_eval_steer.engines.hf.steered",
    "SteeringVector": "lm_eval_steer.vectors.vector",
    "fold": "lm_eval_steer.folding.fold",
    "steer": "lm_eval_steer.engines.hf.steer",
}


def __getattr__(name: str) -> "Any":
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
