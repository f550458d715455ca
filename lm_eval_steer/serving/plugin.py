"""The entry point `vllm.general_plugins`, called in each process of vLLM; it steers where that was asked for."""

from __future__ import annotations

import os

from lm_eval_steer.engines.vllm.support import load_plugin as load_compiled

VECTORS = "LM_EVAL_STEER_VECTORS"
"""Names the folder of the vectors that requests may name; without it nothing here happens."""
DEFAULT = "LM_EVAL_STEER_DEFAULT"
"""What steers requests that say nothing of it, a JSON object as `vllm_xargs`."""


def load_plugin() -> None:
    """Make this process of vLLM one that steers; does nothing where nobody asked."""
    load_compiled()
    if os.environ.get(VECTORS):
        from lm_eval_steer.serving.start import steer_engines

        steer_engines(os.environ[VECTORS], os.environ.get(DEFAULT))
