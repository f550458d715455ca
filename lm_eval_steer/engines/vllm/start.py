"""What is settled before vLLM starts: how many engines, where each runs, in which dtype."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from pydantic import ValidationError
from vllm import LLM

from lm_eval_steer.engines.vllm.ranks import Ranks
from lm_eval_steer.engines.vllm.support import prepare_environment
from lm_eval_steer.engines.vllm.versions import EngineArgs, ModelConfig, stored_dtype
from lm_eval_steer.errors import SteeringError

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say


def take_engines(kwargs: dict[str, Any]) -> int:
    """How many engines share the rows, taken out of VLLM's arguments: the harness would start new ones at every call.

    Raises:
        SteeringError: where that is no number of engines, or they would have to work as one.
    """
    given = kwargs.pop("data_parallel_size", 1)
    if not str(given).isdecimal() or not int(given):
        raise SteeringError(f"data_parallel_size={given} is no number of engines: give 1 or more")
    if int(given) > 1 and kwargs.get("enable_expert_parallel"):
        raise SteeringError(
            f"data_parallel_size={given} starts engines that know nothing of each other, and enable_expert_parallel "
            "wants one over all devices: give tensor_parallel_size instead"
        )
    return int(given)


def read_config(pretrained: str, kwargs: Mapping[str, Any]) -> Any:
    """The model as vLLM reads its configuration, also of kinds that transformers does not know.

    Raises:
        SteeringError: where vLLM refuses it.
    """
    names = {field.name for field in fields(ModelConfig)} & {field.name for field in fields(EngineArgs)}
    given = {name: value for name, value in kwargs.items() if name in names and value is not None}
    try:
        return EngineArgs(**given | {"model": pretrained, "dtype": "auto"}).create_model_config()
    except (OSError, ValueError) as error:
        if str(pretrained).endswith(".gguf") or kwargs.get("load_format") == "gguf":
            raise SteeringError(
                f"vLLM 0.32 reads no GGUF files, as {pretrained!r} is one: use --model steered-hf with gguf_file="
            ) from None
        raise SteeringError(f"the model {pretrained!r} cannot be loaded: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What an error says, without what pydantic writes around it."""
    text = str(error).split("Value error, ")[-1].split("Assertion failed, ")[-1].split(" [type=")[0]
    return (text.strip() or type(error).__name__).split("\n")[0].rstrip(".")


def auto_dtype(pretrained: str, kwargs: Mapping[str, Any]) -> str:
    """What dtype=auto means: `float32` for a checkpoint in it, as in HFLM, and `auto` for all others.

    vLLM 0.32 would round such a checkpoint to bfloat16 (vllm/config/model.py, `_resolve_auto_dtype`).

    Raises:
        SteeringError: as `read_config`.
    """
    config = read_config(pretrained, kwargs)
    if config.quantization:
        return "auto"
    if stored_dtype(config, pretrained, kwargs.get("revision")) != torch.float32:
        return "auto"
    logger.info(
        "%s is in float32 and is run so, as by hf and steered-hf; vLLM by itself would take bfloat16, which is faster "
        "and rounds more of a shift away: dtype=bfloat16",
        pretrained,
    )
    return "float32"


def is_hybrid(pretrained: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a model has layers that keep states beside its attention.

    On a CPU vLLM 0.32 fails at the states that it caches, by its own default ('index out of bounds' in
    vllm/model_executor/layers/mamba/mamba_mixer2.py), and it caches those of prompts alone that are run in pieces.
    """
    return bool(read_config(pretrained, kwargs).is_hybrid)


@contextmanager
def starting(version: str, engine: Ranks, workers: int) -> Iterator[None]:
    """Start an engine on devices, or cores, of its own.

    Args:
        version: of vLLM.
        engine: among all engines.
        workers: how many it has.

    Raises:
        SteeringError: where it does not start.
    """
    prepare_environment(version, workers, engine.local_rank, engine.local_size)
    try:
        with engine.alone(workers):
            yield
    except (ValueError, TypeError) as error:  # of pydantic, or of a name that vLLM does not know
        if not isinstance(error, ValidationError) and "unexpected keyword" not in str(error):
            raise
        raise SteeringError(f"vLLM refuses this model or its arguments: {first_line(error)}") from None
    except RuntimeError as error:
        if "initialization failed" not in str(error):  # vllm/v1/engine/utils.py, `wait_for_engine_startup`
            raise
        memory = (
            f"VLLM_CPU_KVCACHE_SPACE, now {os.environ['VLLM_CPU_KVCACHE_SPACE']} GiB for each engine"
            if "cpu" in version
            else "gpu_memory_utilization, or max_length"
        )
        raise SteeringError(
            f"vLLM did not start, for the reason that it gives above; if that is memory, change {memory}"
        ) from None


def start(arguments: Mapping[str, Any]) -> LLM:
    """An engine of vLLM with these arguments."""
    return LLM(**arguments)
