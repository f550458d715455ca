"""Whether llama.cpp can be had here. It imports nothing of it, so that what is wrong is told at once."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version

from lm_eval_steer.errors import SteeringError

KNOWN = ((0, 3, 36), (0, 4))
"""The releases of llama-cpp-python that the engine is known to work with: from the first, below the second."""
INSTALL = "pip install 'lm_eval_steer[gguf]', which builds llama.cpp"


def require_llama_cpp() -> str:
    """The version of the llama-cpp-python that is installed.

    Raises:
        SteeringError: where there is none, or one that is not known to work.
    """
    try:
        found = version("llama-cpp-python")
    except PackageNotFoundError:
        found = ""
    if not found or importlib.util.find_spec("llama_cpp") is None:
        raise SteeringError(f"steered-gguf needs llama-cpp-python, which is not installed: {INSTALL}")
    if not KNOWN[0] <= tuple(map(int, re.findall(r"\d+", found)))[:3] < KNOWN[1]:
        lowest, above = (".".join(map(str, release)) for release in KNOWN)
        raise SteeringError(
            f"steered-gguf is known to work with llama-cpp-python >={lowest},<{above}, and {found} is installed: "
            f"pip install 'llama-cpp-python>={lowest},<{above}'"
        )
    return found
