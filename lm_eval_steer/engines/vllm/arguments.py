"""Generation arguments on vLLM: what it takes, what has no meaning there, and what is refused in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm import SamplingParams

from lm_eval_steer.engines.vllm.versions import VLLMClientError
from lm_eval_steer.errors import SteeringError

_SEVERAL = ("n", "best_of", "num_return_sequences", "num_beams")
_SILENT = ("cache_implementation", "use_cache")
"""How transformers keeps what it has computed: vLLM has its own way, and no text depends on it."""
_OWN = frozenset(
    ("extra_args", "stop", "logprobs", "prompt_logprobs", "detokenize", "output_kind", "skip_reading_prefix_cache")
)
"""What steered-vllm or the harness sets."""


def settle_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What of a task's arguments vLLM gets.

    Raises:
        SteeringError: for one that asks for several texts, or that vLLM does not know.
    """
    given = {name: value for name, value in arguments.items() if value is not None and name not in _SILENT}
    for name in _SEVERAL:
        value = given.pop(name, 1)
        if str(value) != "1":
            raise SteeringError(f"{name}={value} asks for several texts, and a request has one response: leave it out")
    for name, value in given.items():
        if name == "stop_strings":
            raise SteeringError(f"stop_strings={value} is an argument of transformers: give vLLM the same as until=")
        if name == "max_time":
            raise SteeringError(
                f"max_time={value} is an argument of transformers, and vLLM limits no text by time: leave it out, or "
                "use --model steered-hf"
            )
        if name in _OWN:
            raise SteeringError(f"{name}={value} is no argument of a task: steered-vllm sets it, leave it out")
        if name not in SamplingParams.__struct_fields__ or name.startswith("_"):
            raise SteeringError(
                f"vLLM does not know the generation argument {name}={value}: leave it out, or use --model steered-hf"
            )
    return given


def sampling(**arguments: Any) -> SamplingParams:
    """vLLM's parameters of a text.

    Raises:
        SteeringError: where it refuses a value.
    """
    try:
        return SamplingParams(**arguments)
    except (TypeError, ValueError, VLLMClientError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise SteeringError(f"vLLM does not take one of the generation arguments ({reason})") from None
