"""`steered-vllm`: the harness's VLLM whose block outputs are shifted by α·v, each request by its own α in one batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from lm_eval.api.instance import Instance
from torch import Tensor

from lm_eval_steer.engines.vllm.support import compiled_arguments, load_plugin, require_vllm
from lm_eval_steer.errors import SteeringError

VERSION = require_vllm()
ON_CPU = "cpu" in VERSION

from lm_eval.models.utils import maybe_truncate, postprocess_generated_text  # noqa: E402
from lm_eval.models.vllm_causallms import VLLM  # noqa: E402

from lm_eval_steer.axis.jobs import Asked, Scores, Written  # noqa: E402
from lm_eval_steer.engines.doses import report_one  # noqa: E402
from lm_eval_steer.engines.protocol import Done, Generation, Job  # noqa: E402
from lm_eval_steer.engines.vllm.arguments import settle_arguments  # noqa: E402
from lm_eval_steer.engines.vllm.check import Checks  # noqa: E402
from lm_eval_steer.engines.vllm.engine import Together, VllmEngine  # noqa: E402
from lm_eval_steer.engines.vllm.ranks import Ranks  # noqa: E402
from lm_eval_steer.engines.vllm.rows import RowRunner  # noqa: E402
from lm_eval_steer.engines.vllm.start import auto_dtype, is_hybrid, start, starting, take_engines  # noqa: E402
from lm_eval_steer.engines.vllm.states import compare_states  # noqa: E402
from lm_eval_steer.engines.vllm.versions import config_of  # noqa: E402
from lm_eval_steer.interventions.intervention import Intervention  # noqa: E402
from lm_eval_steer.models.base import Arm, Steered, collect, gather, take_plan  # noqa: E402
from lm_eval_steer.models.batches import bounded, chosen_batch_size  # noqa: E402
from lm_eval_steer.models.chat import Messages  # noqa: E402
from lm_eval_steer.models.checkpoint import checkpoint_digest  # noqa: E402
from lm_eval_steer.models.generation import check_generation  # noqa: E402
from lm_eval_steer.models.neutral import NEUTRAL  # noqa: E402

T = TypeVar("T")

SCORED = 2**32
"""Log-probabilities of so many bytes at most are asked for at once: rows x positions x vocabulary, in float32."""
EXTENSION = "lm_eval_steer.engines.vllm.worker.SteeringWorker"


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

    def __init__(self, pretrained: str, **kwargs: Any) -> None:
        plan = take_plan(kwargs)
        kwargs["batch_size"] = chosen_batch_size(kwargs) or "auto"
        if not isinstance(pretrained, str):
            raise SteeringError("steered-vllm loads models by name or folder: give pretrained as text")
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
        self._bytes = int(config.get_vocab_size()) * torch.float32.itemsize
        self._penalty = float(config.try_get_generation_config().get("repetition_penalty", 1.0))
        if self._penalty != 1.0:
            self._model_settings["repetition_penalty"] = self._penalty
        text = self.tok_encode("The sum of two and three is five, and the sun rises in the east.")
        runners = [RowRunner(model, self.lora_request, compiled) for model in models]
        self._engine = VllmEngine(runners, Checks(text, self._compare))
        if engines > 1:
            self.model = Together(self._engine)
        self.steer(plan)

    def _shape(self, blocks: str | None) -> tuple[int, int]:
        return self._depth, self._width

    def _load(self, arms: list[Arm], interventions: tuple[Intervention, ...]) -> None:
        """As `Steered._load`.

        Raises:
            SteeringError: where steering does not act as it should, too.
        """
        if any(one.sample is not None for one in interventions):
            self._refuse_to_draw()
        self._engine.load(interventions, arms[0].plan.blocks)
        self._engine.cached = not all(one.is_plain for one in interventions)

    def _compare(self, text: list[int], states: dict[int, np.ndarray]) -> None:
        """Hold blocks' states against those in transformers, once for a model."""
        config = config_of(self.model).model_config
        forms = (self.model_args, self.model_args.get("model_loader_extra_config") or {})  # that of a compiled model
        unlike = {
            "the model is quantised": config.quantization,
            "the model has an adapter": self.lora_request,
            "the weights are none of the checkpoint's": any(form.get("load_format") == "dummy" for form in forms),
        }
        compare_states(
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

    # What the axis asks for

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

    def write(
        self, requests: Sequence[Instance], asked: Sequence[Asked], finish: Callable[[int, Written], None]
    ) -> None:
        """Continue prompts (asked.Engine), as VLLM prepares and reads them."""
        eos = self.tokenizer.decode(self.eot_token_id) or getattr(self.tokenizer, "eos_token", None)
        prompts: dict[int, tuple[list[int], int]] = {}
        stops: list[list[str]] = []
        jobs = []
        for place, one in enumerate(asked):
            arguments, stop, new_tokens = self.modify_gen_kwargs(
                requests[one.item].args[1], eos=eos, default_max_gen_toks=self.max_gen_toks
            )
            if new_tokens >= self.max_length:
                raise SteeringError(
                    f"max_gen_toks={new_tokens} leaves no room for a prompt in the {self.max_length} tokens of the "
                    "model: lower it with --gen_kwargs, or set max_length"
                )
            if one.item not in prompts:
                tokens = self.tok_encode([requests[one.item].args[0]])[0]
                side: Any = self.truncation_side
                prompts[one.item] = maybe_truncate(
                    tokens, max_gen_toks=new_tokens, max_model_len=self.max_length, side=side, verbose=True
                )
            prompt, new_tokens = prompts[one.item]
            intervention, seed = self._interventions[one.variant], None
            if intervention.sample is not None:
                arguments["temperature"] = intervention.temperature
            if arguments.get("temperature") and not self._is_plain:
                self._refuse_to_draw()
                seed = one.seed
            # Of a text with thoughts only the end of the whole is looked for: stop strings may occur in the thoughts.
            shown = [word for word in stop if word == eos] if self.think_end_token else stop
            stops.append(stop)
            told = Generation(tuple(shown), new_tokens, arguments)
            jobs.append(Job(place, one.variant, prompt=prompt, generation=told, seed=seed))
        order = list(range(len(jobs)))
        if self._is_plain:  # as VLLM orders them, so that its batches and texts are the same
            order.sort(key=lambda place: (-len(jobs[place].prompt), requests[asked[place].item].args[0]))
        for batch in self._batches([0] * len(jobs)):
            for done in self._engine.run([jobs[order[number]] for number in batch]):
                stop, tokens = stops[done.job.key], done.tokens or []
                text = postprocess_generated_text(self._text(done, stop), stop, self.think_end_token)
                finish(done.job.key, Written(text, len(tokens), done.logprob, done.stop))

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

    def score(
        self,
        documents: Sequence[Sequence[Instance]],
        asked: Sequence[Asked],
        finish: Callable[[int, Scores], None],
    ) -> None:
        """Score continuations (asked.Engine)."""
        if self.enable_thinking:
            raise SteeringError("enable_thinking=True has no meaning for multiple choice: leave it out here")
        jobs = [
            Job((place, choice), one.variant, pairs=(self._truncate(*self._encode_choice(*request.args)),))
            for place, one in enumerate(asked)
            for choice, request in enumerate(documents[one.item])
        ]
        take = gather([len(documents[one.item]) for one in asked], finish)
        for done in self._score(jobs):
            take(done.job.key, (done.scores or [])[0])

    def _score(self, jobs: Sequence[Job]) -> Iterator[Done]:
        """Score single continuations; where nothing is steered, in VLLM's order and without the cache, as it does."""
        tokens = [context + continuation for ((context, continuation),) in (job.pairs for job in jobs)]
        order = list(range(len(jobs)))
        if self._is_plain:
            order.sort(key=lambda place: (-len(tokens[place]), tokens[place]))
        for batch in self._batches([len(tokens[place]) for place in order]):
            yield from self._engine.run([jobs[order[number]] for number in batch])

    @property
    def _longest(self) -> int:
        return int(self.max_length) - 2  # a token of the context before it, and one that vLLM runs behind it

    def _truncate(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        """A context and its continuation in the tokens that VLLM leaves of them: it runs one token behind them."""
        return context[-(self.max_length - 1 - len(continuation)) :], continuation

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """VLLM's scoring of windows of a text, under the steering."""
        for _, _, continuation in requests:
            self._refuse_unscorable(continuation)
        if not self._steers:
            return super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm)
        jobs = [
            Job(place, 0, pairs=(self._truncate(context, continuation),))
            for place, (_, context, continuation) in enumerate(requests)
        ]

        def run(take: Callable[[int, tuple[float, bool]], None]) -> None:
            for done in self._score(jobs):
                take(done.job.key, (done.scores or [])[0])

        return collect(len(jobs), run)

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

    def _measured(self) -> list[dict[str, dict[str, Any]]]:
        doses = self._engine.measured().doses
        return [report_one(doses.get(one.fingerprint, {}), one) for one in self._interventions]

    def _application(self) -> dict[str, Any] | None:
        found = self._engine.measured()
        return {"steered": found.steered, "implied": found.implied} if self._steers else None

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
