"""What the processes of a server have in common, in vLLM's `additional_config`: which vectors steer which model."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from lm_eval_steer.engines.vllm.support import SETTINGS
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.serving.vectors import Model, Vectors, read_vectors
from lm_eval_steer.vectors.identity import Identity

_SERVED = "served"


def keep_settings(config: Any, folder: str, vectors: Vectors, default: dict[str, Any]) -> None:
    """Put the settings into a `VllmConfig`, which vLLM hands to all of its processes."""
    served = {
        "folder": folder,
        "model": asdict(vectors.model),
        "fingerprints": vectors.fingerprints,
        "default": default,
    }
    ours = config.additional_config.get(SETTINGS, {}) | {_SERVED: served}
    config.additional_config = {**config.additional_config, SETTINGS: ours}


def default_of(config: Any) -> dict[str, Any]:
    """What steers requests that say nothing of it."""
    return dict(config.additional_config[SETTINGS][_SERVED]["default"])


def vectors_of(config: Any) -> Vectors | None:
    """The vectors of an engine, read once in each process; None where it does not steer.

    Raises:
        SteeringError: where they are not those that the server was started with.
    """
    served = config.additional_config.get(SETTINGS, {}).get(_SERVED)
    return None if served is None else _read(json.dumps(served))


@lru_cache(maxsize=4)
def _read(served: str) -> Vectors:
    told = json.loads(served)
    identity = Identity(**told["model"].pop("identity"))
    vectors = read_vectors(told["folder"], Model(**told["model"], identity=identity))
    if vectors.fingerprints != told["fingerprints"]:
        raise SteeringError(f"the vectors in {told['folder']} changed while the server started: start it again")
    return vectors
