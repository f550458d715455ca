"""vLLM 0.32 as this package uses it: every name that is no part of vLLM's public face stands here, and only here.

Another release is a change of this file: its number in `KNOWN`, and what moved. It imports no vLLM before a name of it
is asked for, so that what is wrong is told before that takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any

import numpy as np

KNOWN = ((0, 32), (0, 33))
"""From the first release, below the second."""

STAND_IN = "PPMissingLayer"
"""Class of what stands for the blocks of other pipeline ranks."""

_MODULES = {
    "BaseModelLoader": "vllm.model_executor.model_loader.base_loader",
    "CUDAGraphMode": "vllm.config",
    "ChatCompletionRequest": "vllm.entrypoints.openai.chat_completion.protocol",
    "CompletionRequest": "vllm.entrypoints.openai.completion.protocol",
    "CPUWorker": "vllm.v1.worker.cpu_worker",
    "EngineArgs": "vllm.engine.arg_utils",
    "EngineDeadError": "vllm.v1.engine.exceptions",
    "InputProcessor": "vllm.v1.engine.input_processor",
    "ModelArchConfigConvertorBase": "vllm.transformers_utils.model_arch_config_convertor",
    "ModelConfig": "vllm.config",
    "VLLMClientError": "vllm.exceptions",
    "VLLMValidationError": "vllm.exceptions",
    "Worker": "vllm.v1.worker.gpu_worker",
    "current_platform": "vllm.platforms",
    "direct_register_custom_op": "vllm.utils.torch_utils",
    "get_forward_context": "vllm.forward_context",
    "get_model_loader": "vllm.model_executor.model_loader",
    "main": "vllm.entrypoints.cli.main",
    "register_model_loader": "vllm.model_executor.model_loader",
}
"""Where each name is that other files import from this one."""


OWN_ARGUMENTS = ("ec_transfer_params", "kv_cache_report_mode", "kv_transfer_params", "session_id")
"""Keys of `SamplingParams.extra_args` that vLLM itself reads."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _named(name)


def _named(name: str) -> Any:
    return getattr(import_module(_MODULES[name]), name)


def platform_worker() -> tuple[type, str]:
    """The class of a worker on this platform, and its name as a configuration has it."""
    name = "CPUWorker" if _named("current_platform").is_cpu() else "Worker"
    return _named(name), f"{_MODULES[name]}.{name}"


def run_command(arguments: Sequence[str]) -> None:
    """Be the command `vllm` in this process."""
    sys.argv = ["vllm", *arguments]
    _named("main")()


def use_piecewise_graphs(args: Any) -> None:
    """Have an engine capture CUDA graphs between attentions, where nobody says which.

    Args:
        args: `EngineArgs`.
    """
    if args.compilation_config.cudagraph_mode is None and not _named("current_platform").is_cpu():
        args.compilation_config.cudagraph_mode = _named("CUDAGraphMode").PIECEWISE


def around_engines(before: Callable[[Any], None], after: Callable[[Any], None]) -> None:
    """Have every engine of this process started with changes.

    Args:
        before: is given its `EngineArgs`.
        after: is given the `VllmConfig` that vLLM makes of them.
    """
    arguments = _named("EngineArgs")
    make = arguments.create_engine_config

    @wraps(make)
    def make_changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        before(self)
        config = make(self, *args, **kwargs)
        after(config)
        return config

    arguments.create_engine_config = make_changed


def around_requests(change: Callable[[Any, Any], None], refuse_beams: Callable[[Any], None]) -> None:
    """Have every request of this process changed before an engine gets it; ValueErrors are the client's (HTTP 400).

    Args:
        change: is given the engine's `VllmConfig` and the `EngineCoreRequest` that vLLM makes of what was asked.
        refuse_beams: is given the `vllm_xargs` of a beam search, which are not handed on.
    """
    processor = _named("InputProcessor")
    process = processor.process_inputs

    @wraps(process)
    def process_changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = process(self, *args, **kwargs)
        with _as_client_error():
            change(self.vllm_config, request)
        return request

    processor.process_inputs = process_changed
    for kind in (_named("CompletionRequest"), _named("ChatCompletionRequest")):
        kind.to_beam_search_params = _checked(kind.to_beam_search_params, refuse_beams)


def _checked(make: Callable[..., Any], refuse: Callable[[Any], None]) -> Callable[..., Any]:
    @wraps(make)
    def make_checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _as_client_error():
            refuse(self.vllm_xargs)
        return make(self, *args, **kwargs)

    return make_checked


@contextmanager
def _as_client_error() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise _named("VLLMValidationError")(str(error)) from None


def config_of(llm: Any) -> Any:
    """vLLM's whole configuration of an engine; its `model_config` is that of the model."""
    return llm.llm_engine.vllm_config


def stored_dtype(config: Any, pretrained: str, revision: str | None) -> Any:
    """The dtype of a checkpoint's weights.

    Args:
        config: vLLM's `ModelConfig` of it.
        pretrained: its name or folder.
        revision: as the user gives it.
    """
    return _named("ModelArchConfigConvertorBase").get_torch_dtype(config.hf_config, pretrained, revision, "hf")


class Requests:
    """The requests of an engine while it runs them.

    Args:
        llm: `vllm.LLM`.
    """

    def __init__(self, llm: Any) -> None:
        self._llm, self._engine = llm, llm.llm_engine

    def add(self, prompts: Sequence[Any], params: Sequence[Any], lora: Any) -> list[str]:
        """Hand over requests; gives the name of each, as its output bears it."""
        names = self._llm.enqueue(prompts, params, lora_request=lora, use_tqdm=False)
        return [name.split("-")[0] for name in names]  # inside the engine, a dash and random characters follow

    @property
    def under_way(self) -> bool:
        """Whether any is not done."""
        return bool(self._engine.has_unfinished_requests())

    def step(self) -> list[Any]:
        """Run one batch; gives the outputs that it changed."""
        return list(self._engine.step())

    def abort(self, names: Sequence[str]) -> None:
        """Give requests up."""
        self._engine.abort_request(list(names))


@dataclass(frozen=True)
class Batch:
    """What one forward pass runs.

    Attributes:
        names: of its requests.
        start: position in its text at which each begins, int64 [requests].
        width: how many tokens of each are run [requests].
    """

    names: list[str]
    start: np.ndarray
    width: np.ndarray


class Runner:
    """vLLM's first model runner (vllm/v1/worker/gpu_model_runner.py), which every batch goes through.

    Args:
        runner: a worker's `model_runner`.

    Raises:
        ValueError: where it lacks what is used here, in a sentence.
    """

    _NEEDED = (
        *("_model_forward", "_dummy_run", "input_batch", "input_ids", "query_start_loc", "requests", "get_model"),
        "vllm_config",
    )

    def __init__(self, runner: Any) -> None:
        missing = [name for name in self._NEEDED if not hasattr(runner, name)]
        if missing:
            raise ValueError(
                f"vLLM's model runner {type(runner).__name__} has no {missing[0]}, which steering hangs on"
            )
        self._runner = runner
        self.forward: Callable[..., Any] = runner._model_forward
        self.model: Any = runner.get_model()
        self.compiled = not runner.vllm_config.model_config.enforce_eager

    def replace_forward(self, forward: Callable[..., Any]) -> None:
        """Have `forward` called in the place of the runner's own, which stays `self.forward`."""
        self._runner._model_forward = forward

    def restore_forward(self) -> None:
        """Let the class's own show again."""
        del self._runner._model_forward

    def batch(self) -> Batch:
        """The batch that is to be run."""
        batch = self._runner.input_batch
        count = batch.num_reqs
        return Batch(
            list(batch.req_ids[:count]),
            batch.num_computed_tokens_cpu[:count].astype(np.int64),
            np.diff(self._runner.query_start_loc.np[: count + 1]),
        )

    def tokens(self, count: int) -> np.ndarray:
        """Ids of the first tokens of the pass that is to be run, int64; waits for those that a GPU has yet to pick."""
        return self._runner.input_ids.gpu[:count].cpu().numpy().astype(np.int64)

    def prompt(self, name: str) -> Sequence[int]:
        """Token ids of the prompt of a request."""
        return list(self._runner.requests[name].prompt_token_ids)

    def extra(self, name: str) -> dict[str, Any]:
        """What its sender put into the sampling parameters of a request."""
        params = self._runner.requests[name].sampling_params
        return (params.extra_args if params else None) or {}

    def run_nothing(self, tokens: int) -> None:
        """Run a pass of so many tokens of no request, as vLLM does to warm up.

        With attention: else vLLM leaves its output as the memory was, on a CPU.
        """
        self._runner._dummy_run(tokens, force_attention=True)

    @staticmethod
    def positions(args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Of a pass's tokens in their texts, from the arguments of `forward`: [tokens], with padding at the end."""
        found = kwargs["positions"] if "positions" in kwargs else args[1]
        return found if found.dim() == 1 else found[0]  # [3, tokens], equal for text

    @staticmethod
    def skip_compiled() -> None:
        """Run a compiled model's pass as it was before."""
        context: Any = _named("get_forward_context")()
        context.skip_compiled = True
