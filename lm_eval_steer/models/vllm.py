"""`steered-vllm`: the harness's VLLM whose block outputs are shifted by α·v, each request by its own α in one batch."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.engines.vllm.support import EXTENSION, compiled_arguments, load_plugin, require_vllm
from lm_eval_steer.errors import SteeringError

VERSION = require_vllm()
ON_CPU = "cpu" in VERSION

from lm_eval.models.utils import maybe_truncate  # noqa: E402
from lm_eval.models.vllm_causallms import VLLM  # noqa: E402

from lm_eval_steer.engines.protocol import Done, Engine  # noqa: E402
from lm_eval_steer.engines.vllm.arguments import settle_arguments  # noqa: E402
from lm_eval_steer.engines.vllm.check import Checks  # noqa: E402
from lm_eval_steer.engines.vllm.engine import Together, VllmEngine  # noqa: E402
from lm_eval_steer.engines.vllm.ranks import Ranks  # noqa: E402
from lm_eval_steer.engines.vllm.rows import RowRunner  # noqa: E402
from lm_eval_steer.engines.vllm.start import auto_dtype, is_hybrid, start, starting, take_engines  # noqa: E402
from lm_eval_steer.engines.vllm.states import compare_states  # noqa: E402
from lm_eval_steer.engines.vllm.versions import config_of  # noqa: E402
from lm_eval_steer.interventions.intervention import Intervention  # noqa: E402
from lm_eval_steer.models.arms import take_plan  # noqa: E402
from lm_eval_steer.models.base import Steered  # noqa: E402
from lm_eval_steer.models.batches import bounded, chosen_batch_size  # noqa: E402
from lm_eval_steer.models.chat import Messages  # noqa: E402
from lm_eval_steer.models.checkpoint import checkpoint_digest, weights_digest  # noqa: E402
from lm_eval_steer.models.generation import check_generation, check_thinking  # noqa: E402
from lm_eval_steer.models.neutral import NEUTRAL  # noqa: E402
from lm_eval_steer.models.vllm_batches import InBatches  # noqa: E402
from lm_eval_steer.vectors.identity import Identity  # noqa: E402

SCORED = 2**32
"""Log-probabilities of so many bytes at most are asked for at once: rows x positions x vocabulary, in float32."""


class SteeredVLLM(Steered, VLLM):
    """VLLM plus steering: h' = h + α·v at the output of every chosen block.

    Takes every argument of the harness's `vllm` and those of the plan (interventions/arguments.py), which mean what
    they mean to `steered-hf`; dtype=auto is the checkpoint's, as in HFLM, where VLLM rounds float32 to bfloat16.
    alpha=0 alone takes VLLM's own path. All strengths of a set run in the same batches; the prefix cache keeps keys and
    values of different steerings apart. vLLM forms the batches itself, whatever batch_size says. It runs eagerly unless
    enforce_eager=False asks for a compiled model. data_parallel_size engines share the rows of a run
    (engines/vllm/replicas.py); processes started together (`accelerate launch`) have engines and documents of their own
    (engines/vllm/ranks.py).

    Args:
        pretrained: as in VLLM.
        **kwargs: as in VLLM, and the arguments of `SteeringPlan.build`.

    Raises:
        SteeringError: one sentence, before the model is loaded where that is possible, and where the self-check finds
            that steering does not act as it should.
    """

    model: Any  # VLLM's engine, or what stands for several
    engine: VllmEngine

    def __init__(self, pretrained: str, **kwargs: Any) -> None:
        plan = take_plan(kwargs)
        kwargs["batch_size"] = chosen_batch_size(kwargs) or "auto"
        if not isinstance(pretrained, str):
            raise SteeringError("steered-vllm loads models by name or folder: give pretrained as text")
        check_thinking(kwargs)
        if kwargs.get("distributed_executor_backend") == "external_launcher":
            raise SteeringError(
                "steered-vllm does not run inside an external launcher's processes: leave out "
                "distributed_executor_backend, and each of them has an engine and documents of its own"
            )
        if kwargs.setdefault("worker_extension_cls", EXTENSION) != EXTENSION:
            raise SteeringError("steered-vllm needs worker_extension_cls for itself: leave it out")
        workers = int(kwargs.get("tensor_parallel_size", 1)) * int(kwargs.get("pipeline_parallel_size", 1))
        engines = take_engines(kwargs)
        self._ranks = Ranks.found(os.environ, engines)
        self._model_settings = _settings(pretrained, kwargs)
        hybrid = ON_CPU and is_hybrid(pretrained, kwargs)
        if hybrid:
            kwargs.setdefault("enable_prefix_caching", False)  # elsewhere it is vLLM's choice
        if ON_CPU and "max_num_batched_tokens" not in kwargs and not (hybrid and kwargs["enable_prefix_caching"]):
            kwargs.setdefault("enable_chunked_prefill", False)  # see _refuse_to_draw
        compiled = not kwargs.setdefault("enforce_eager", True)
        if compiled:
            kwargs |= compiled_arguments(kwargs, plan.blocks, cpu=ON_CPU)
            load_plugin()
        try:
            if kwargs.get("dtype", "auto") == "auto":
                kwargs["dtype"] = auto_dtype(pretrained, kwargs)
            with starting(VERSION, self._ranks.engine(0, engines), workers):
                super().__init__(pretrained, **kwargs)
        except OSError as error:  # transformers' word for: no such model, no such file, no hub
            reason = str(error).strip().split("\n")[0]
            raise SteeringError(f"the model {pretrained!r} cannot be loaded: {reason}") from None
        models = [self.model]
        for number in range(1, engines):
            with starting(VERSION, self._ranks.engine(number, engines), workers):
                models.append(start(self.model_args))
        self._ranks.join()
        self._rank, self._world_size = self._ranks.rank, self._ranks.size
        config = config_of(self.model).model_config
        self._depth = int(config.hf_text_config.num_hidden_layers)
        self._width = int(config.get_hidden_size())
        self._model_settings["dtype"] = self._dtype()
        self._model_settings["weights"] = checkpoint_digest({"pretrained": pretrained} | kwargs)
        weights = weights_digest({"pretrained": pretrained} | kwargs)
        self.model_identity = Identity(pretrained, config.revision, config.hf_text_config.model_type, weights)
        self._bytes = int(config.get_vocab_size()) * torch.float32.itemsize
        self._penalty = float(config.try_get_generation_config().get("repetition_penalty", 1.0))
        if self._penalty != 1.0:
            self._model_settings["repetition_penalty"] = self._penalty
        text = self.tok_encode("The sum of two and three is five, and the sun rises in the east.")
        runners = [RowRunner(model, self.lora_request, compiled) for model in models]
        self.engine = VllmEngine(runners, Checks(text, self._compare))
        if engines > 1:
            self.model = Together(self.engine)
        self.steer(plan)

    def _shape(self, blocks: str | None) -> tuple[int, int]:
        return self._depth, self._width

    def _load(self, interventions: tuple[Intervention, ...], blocks: str | None) -> None:
        """As `Steered._load`.

        Raises:
            SteeringError: where steering does not act as it should, too.
        """
        if any(one.sample is not None for one in interventions):
            self._refuse_to_draw()
        self.engine.load(interventions, blocks)
        self.engine.cached = not (self.runs_plainly and all(one.is_plain for one in interventions))

    def _compare(self, text: list[int], states: dict[int, np.ndarray]) -> Collection[int]:
        """Hold blocks' states against those in transformers, once for a model; gives the blocks that were compared."""
        config = config_of(self.model).model_config
        forms = (self.model_args, self.model_args.get("model_loader_extra_config") or {})  # that of a compiled model
        unlike = {
            "the model is quantised": config.quantization,
            "the model has an adapter": self.lora_request,
            "the weights are none of the checkpoint's": any(form.get("load_format") == "dummy" for form in forms),
        }
        return compare_states(
            *(states, text, config.hf_config, config.model),
            next((reason for reason, holds in unlike.items() if holds), None),
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            cache_dir=self.model_args.get("download_dir"),
            local_files_only=True,
        )

    # What the harness asks for where several processes share the documents

    @property
    def device(self) -> torch.device:
        """Where tensors to be gathered lie."""
        return torch.device("cpu")

    def all_gather(self, tensor: Tensor) -> Tensor:
        return self._ranks.all_gather(tensor)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        return self._ranks.gather_object(obj, dst)

    def barrier(self) -> None:
        self._ranks.barrier()

    # How VLLM prepares and reads requests

    def modify_gen_kwargs(
        self, gen_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], list[str], int]:
        """VLLM's, and a repetition_penalty that the model's generation config asks for, which HFLM follows.

        Raises:
            SteeringError: for an argument that vLLM does not take, or that asks for several texts.
        """
        check_generation(gen_kwargs)
        arguments, until, new_tokens = super().modify_gen_kwargs(gen_kwargs, *args, **kwargs)
        arguments = settle_arguments(arguments)
        if self._penalty != 1.0:
            arguments = {"repetition_penalty": self._penalty} | arguments
        return arguments, until, new_tokens

    def _read_arguments(self, told: dict[str, Any]) -> tuple[dict[str, Any], list[str], int]:
        return self.modify_gen_kwargs(told, eos=self._end_of_text, default_max_gen_toks=self.max_gen_toks)

    @property
    def _end_of_text(self) -> str | None:
        return self.tokenizer.decode(self.eot_token_id) or getattr(self.tokenizer, "eos_token", None)

    def _for_engine(self, arguments: dict[str, Any], intervention: Intervention) -> tuple[dict[str, Any], bool]:
        if intervention.sample is not None:
            arguments = arguments | {"temperature": intervention.temperature}
        draws = bool(arguments.get("temperature")) and not self._is_plain
        if draws:
            self._refuse_to_draw()
        return arguments, draws

    def _looked_for(self, stop: list[str]) -> list[str]:
        """Of a text with thoughts only the end of the whole: stop strings may occur in the thoughts."""
        return [word for word in stop if word == self._end_of_text] if self.think_end_token else stop

    def _encode(self, prompt: str, new_tokens: int) -> list[int]:
        side: Any = self.truncation_side
        tokens, _ = maybe_truncate(
            self.tok_encode([prompt])[0],
            max_gen_toks=new_tokens,
            max_model_len=self.max_length,
            side=side,
            verbose=True,
        )
        return tokens

    def _text(self, done: Done, stop: Sequence[str]) -> str:
        """A response before it is cut: VLLM's own where it is asked, else as HFLM reads tokens.

        So both engines give one text: vLLM's own keeps special tokens, and leaves out a character that is cut off.
        """
        if self._is_plain:
            return done.text or ""
        tokens = done.tokens or []
        if self.think_end_token:  # special tokens say where thoughts and answer end, and are then left out
            special = dict(zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True))
            end = special.get(self.think_end_token)
            if end in tokens:
                tokens = tokens[len(tokens) - tokens[::-1].index(end) :]
            ends = {special[word] for word in stop if word in special}
            for place in (place for place, token in enumerate(tokens) if token in ends):
                if self.think_end_token not in self.tokenizer.decode(tokens[place:]):
                    tokens = tokens[:place]
                    break
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _refuse_to_draw(self) -> None:
        """Refuse to draw where drafts have a say in what is drawn, and where vLLM fails at it.

        It does on a CPU where a prompt may be run in pieces: vLLM 0.32 then rewinds a generator, and a CPU's cannot
        (vllm/v1/worker/gpu_model_runner.py, `_bookkeeping_sync`: `gen.set_offset(gen.get_offset() - 4)`).
        """
        config = config_of(self.model)
        if config.speculative_config is not None:
            raise SteeringError("drawn texts would depend on more than their seed: leave out speculative_config")
        if ON_CPU and config.scheduler_config.enable_chunked_prefill:
            raise SteeringError(
                "vLLM on a CPU fails at drawn texts whose prompts it runs in pieces: leave out max_num_batched_tokens "
                "and enable_chunked_prefill (and enable_prefix_caching for a hybrid model)"
            )

    @property
    def _runner(self) -> Engine:
        return InBatches(self.engine, self._batches, self._is_plain) if self._replays is None else self._replays

    @property
    def _longest(self) -> int:
        return int(self.max_length) - 2  # a token of the context before it, and one that vLLM runs behind it

    def _encode_choice(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return self._truncate(*super()._encode_choice(context, continuation))

    def _truncate(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        """A context and its continuation in the tokens that VLLM leaves of them: it runs one token behind them."""
        return context[-(self.max_length - 1 - len(continuation)) :], continuation

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """VLLM's, which scores too long a continuation in part."""
        for _, _, continuation in requests:
            self._refuse_unscorable(continuation)
        return super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm)

    def _model_generate(self, requests: Any, generate: bool = False, sampling_params: Any = None) -> Any:
        """VLLM's, with no more rows at once than `SCORED` allows where all of their log-probabilities are asked for."""
        if generate:
            return super()._model_generate(requests, generate, sampling_params)
        outputs = []
        for batch in bounded([len(row) for row in requests], self._bytes, SCORED):
            outputs += super()._model_generate([requests[number] for number in batch])
        return outputs

    def _choose_template(self, template: str) -> None:
        self.hf_chat_template = template  # VLLM hands it over itself

    def _has_template(self) -> bool:
        return super()._has_template() or self.hf_chat_template is not None

    # The control `identity`

    @contextmanager
    def _identity(self) -> Iterator[None]:
        before: Any = vars(self)["batch_size"]
        try:
            if any(one.regrouped for one in self._interventions):
                self.batch_size = 4
            yield
        finally:
            self.batch_size = before

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """The numbers of the rows of each call of vLLM, which forms batches itself, so all together.

        Few at once for `identity`, as many as VLLM gives it where nothing is steered, and no more than `SCORED` allows.

        Args:
            lengths: how many positions of each row log-probabilities are asked of.
        """
        most = None
        if any(one.regrouped for one in self._interventions):
            most = 4
        elif self._is_plain and self.batch_size != "auto":
            most = int(self.batch_size)
        return bounded(lengths, self._bytes, SCORED, most)

    # What the common part asks for

    def _dtype(self) -> str:
        return str(config_of(self.model).model_config.dtype).removeprefix("torch.")

    def _render(self, messages: Messages) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                chat_template=self.hf_chat_template,
                enable_thinking=self.enable_thinking,
                **self.chat_template_args,
            )
        )

    def get_model_info(self) -> dict[str, Any]:
        """What the harness puts into the result file's config."""
        return {"model_dtype": self._dtype(), "model_revision": self.model_args["revision"], "vllm": VERSION} | (
            super().get_model_info()
        )


def _settings(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What else of VLLM's arguments changes a response; dtype and penalty are known later."""
    named = {key: str(value) for key, value in kwargs.items() if key not in NEUTRAL | {"dtype", "revision"}}
    return named | {"engine": "vllm", "pretrained": name, "revision": str(kwargs.get("revision"))}
