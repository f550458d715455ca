"""A model class of the harness by name, and what goes wrong while it loads its model, in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from lm_eval.api.registry import get_model

from lm_eval_steer.errors import SteeringError, is_out_of_memory
from lm_eval_steer.files import is_file, is_folder

_LONGEST_REASON = 300
"""Characters of what a library said."""
_NONE: Mapping[str, Any] = MappingProxyType({})


def model_class(name: str, advice: str) -> Any:
    """The model class that the harness knows as `name`.

    Raises:
        SteeringError: where there is none, with `advice` as its end.
    """
    try:
        return get_model(name)
    except SteeringError:  # says what the class needs
        raise
    except (KeyError, ValueError):
        raise SteeringError(f"--model {name} is no model class of the harness: {advice}") from None


@contextmanager
def loading(model: Any, arguments: Mapping[str, Any] = _NONE) -> Iterator[None]:
    """Tell whatever the harness and transformers raise while a model is loaded, since its arguments are the user's.

    Args:
        model: its folder or its name on the hub.
        arguments: others, of which `peft`, `delta` and `gguf_file` name more that has to be there.

    Raises:
        SteeringError: names the model and the reason; the error itself is its cause. Memory that does not suffice is
            left to the caller.
    """
    checkpoints = [name for name in (model, arguments.get("peft"), arguments.get("delta")) if isinstance(name, str)]
    if missing := _missing(checkpoints, arguments):
        raise SteeringError(f"the model {model!r} cannot be loaded: {missing}")
    try:
        yield
    except SteeringError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        kind = "" if isinstance(error, OSError) and reason else f" ({type(error).__name__})"
        elsewhere = [name for name in checkpoints if not os.path.lexists(name)]
        elsewhere = [name for name in elsewhere if name in str(error)] or elsewhere * isinstance(error, OSError)
        here = f"there is no folder {elsewhere[0]!r} here, and the hub gives none: " if elsewhere else ""
        raise SteeringError(f"the model {model!r} cannot be loaded: {here}{reason}{kind}") from error


def _missing(checkpoints: list[str], arguments: Mapping[str, Any]) -> str | None:
    """What is not on the disk and cannot be on the hub either; None where nothing is missing."""
    for name in checkpoints:
        is_path = os.path.isabs(name) or name.startswith((".", "~")) or name.count("/") > 1
        if is_path and not os.path.lexists(name):
            return f"there is no folder {name!r}"
    adapter, gguf = arguments.get("peft"), arguments.get("gguf_file")
    if isinstance(adapter, str) and is_folder(adapter) and not is_file(os.path.join(adapter, "adapter_config.json")):
        return f"peft={adapter!r} is no adapter, as the folder has no adapter_config.json"
    if isinstance(gguf, str) and is_folder(checkpoints[0]) and not is_file(os.path.join(checkpoints[0], gguf)):
        return f"the folder has no file {gguf!r} (gguf_file)"
    return None
