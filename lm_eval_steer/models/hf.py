"""`steered-hf`: the harness's HFLM whose block outputs are shifted by α·v, for a whole set of α in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from lm_eval_steer.axis.jobs import Asked, Scores, Written
from lm_eval_steer.axis.record import digest
from lm_eval_steer.engines.application import report
from lm_eval_steer.engines.doses import report_one
from lm_eval_steer.engines.hf.arguments import refuse_several, understand
from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, hidden_size
from lm_eval_steer.engines.hf.causal import CausalEngine
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.encoder_decoder import EncoderDecoderEngine
from lm_eval_steer.engines.protocol import Done, Generation, Job
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.models.base import Arm, Steered, gather, take_plan
from lm_eval_steer.models.batches import chosen_batch_size
from lm_eval_steer.models.chat import Messages
from lm_eval_steer.models.checkpoint import checkpoint_digest
from lm_eval_steer.models.generation import check_generation
from lm_eval_steer.models.load import loading
from lm_eval_steer.models.loaded import model_digest, tokenizer_digest
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.models.slow_dtype import warn_of_slow_dtype


class SteeredHF(Steered, HFLM):
    """HFLM plus steering: h' = h + α·v at the output of every chosen block.

    Takes every argument of HFLM and those of the plan (interventions/arguments.py). alpha=0 alone takes HFLM's own
    path, so its responses and log-likelihoods are those of `hf` byte for byte (where no system prompt had to be
    merged). A set of α is run side by side, requests × α as rows of one batch, and leaves as one response per request
    by vote. batch_size is `auto` where none is given, and HFLM's 1 for alpha=0 alone.

    Args:
        pretrained: as in HFLM.
        **kwargs: as in HFLM, and the arguments of `SteeringPlan.build`.

    Raises:
        SteeringError: one sentence, before the model is loaded where that is possible.
    """

    batch_size_per_gpu: Any  # HFLM sets it and says no type
    _rolls = False
    engine: CausalEngine | EncoderDecoderEngine

    def __init__(self, pretrained: Any, **kwargs: Any) -> None:
        plan = take_plan(kwargs)
        length = kwargs.get("max_length")
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise SteeringError(f"max_length={length!r} is no number of tokens: use one, as in max_length=2048")
        self._default_size = chosen_batch_size(kwargs) is None
        if self._default_size:
            kwargs["batch_size"] = "auto"
        # HFLM's own default is "cuda", which a machine without one refuses three libraries down.
        kwargs.setdefault("device", "cuda" if torch.cuda.is_available() else "cpu")
        with loading(pretrained):
            super().__init__(pretrained, **kwargs)
        accelerator = getattr(self, "accelerator", None)
        if accelerator is not None and accelerator.num_processes > 1:
            # HFLM divides the documents only where it sees several GPUs, and numbers the ranks of each node from 0.
            self._rank, self._world_size = accelerator.process_index, accelerator.num_processes
        if getattr(getattr(self.model, "active_peft_config", None), "is_prompt_learning", False):
            raise SteeringError("steered-hf does not steer PEFT prompt learning, whose virtual tokens have no request")
        warn_of_slow_dtype(self.model.dtype, self.device)
        self._model_settings = _model_settings(self, kwargs)
        kind = CausalEngine if self.backend == "causal" else EncoderDecoderEngine
        self.engine = kind(_child(self))
        self.steer(plan)

    def _shape(self, blocks: str | None) -> tuple[int, int]:
        return len(find_blocks(self.model, blocks)), hidden_size(self.model)

    def _load(self, arms: list[Arm], interventions: tuple[Intervention, ...]) -> None:
        self.engine.load(interventions, arms[0].plan.blocks)
        if self._default_size:  # HFLM's own where nothing is done, so that its results are the same
            self.batch_size_per_gpu = 1 if all(one.is_plain for one in interventions) else "auto"

    def _detect_batch_size(self, requests: Sequence[Any] | None = None, pos: int = 0) -> int:
        """HFLM's; on a CPU from the free memory, since a batch that is too large for it ends the process."""
        if self.device.type != "cpu" or self.backend != "causal":
            return int(super()._detect_batch_size(requests, pos))
        longest = min(self.max_length, len(requests[pos][1]) + len(requests[pos][2])) if requests else self.max_length
        return self.engine.traits.rows_that_fit(longest, longest if requests or self._rolls else 1)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        self._rolls = True
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self._rolls = False

    def _loglikelihood_tokens(
        self, requests: list[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """HFLM's scoring of windows of a text, which knows neither its padding nor where a context ends, with both."""
        for _, _, continuation in requests:
            self._refuse_unscorable(continuation)
        if not self._steers:
            return super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)
        jobs = [Job(place, 0, pairs=((context, end),)) for place, (_, context, end) in enumerate(requests)]
        found: dict[int, tuple[float, bool]] = {}
        self._run(jobs, lambda done: found.update({done.job.key: (done.scores or [])[0]}), override_bs)
        return [found[place] for place in range(len(jobs))]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        for told in {repr(request.args[1]): request.args[1] for request in requests}.values():
            refuse_several(self.engine.child, told)
            if not self._is_plain:
                for one in {one.temperature: one for one in self._interventions}.values():
                    _, new_tokens, arguments = self._generation(told, one)
                    understand(self.engine.child, arguments, new_tokens, self._steers)
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **generation_kwargs: Any) -> Any:
        """HFLM's, which lacks what transformers reads `stop_strings` with."""
        if generation_kwargs.get("stop_strings") or base_model(self.model).generation_config.stop_strings:
            generation_kwargs["tokenizer"] = self.tokenizer
        return super()._model_generate(context, max_length, stop, **generation_kwargs)

    # What the axis asks for

    def write(
        self, requests: Sequence[Instance], asked: Sequence[Asked], finish: Callable[[int, Written], None]
    ) -> None:
        """Continue prompts (asked.Engine)."""
        if self._is_plain:
            self._write_plainly(requests, asked, finish)
            return
        groups: dict[str, list[int]] = {}
        for place, one in enumerate(asked):
            temperature = self._interventions[one.variant].temperature
            groups.setdefault(repr((requests[one.item].args[1], temperature)), []).append(place)
        for places in groups.values():
            self._write_group(requests, asked, places, finish)

    def _write_group(
        self,
        requests: Sequence[Instance],
        asked: Sequence[Asked],
        places: list[int],
        finish: Callable[[int, Written], None],
    ) -> None:
        """Continue prompts that have the same generation arguments, as HFLM prepares and reads them."""
        first = asked[places[0]]
        intervention = self._interventions[first.variant]
        stop, new_tokens, arguments = self._generation(requests[first.item].args[1], intervention)
        draws = bool(arguments.get("do_sample"))
        limit = self.max_length - new_tokens if self.backend == "causal" else self.max_length  # an encoder's is its own
        generation = Generation(tuple(stop), new_tokens, arguments)
        prompts: dict[int, list[int]] = {}
        jobs = []
        for place in places:
            one = asked[place]
            if one.item not in prompts:
                prompts[one.item] = self._encode(requests[one.item].args[0], limit)
            seed = one.seed if draws else None
            jobs.append(Job(place, one.variant, prompts[one.item], generation, seed=seed))

        def finish_job(done: Done) -> None:
            tokens = done.tokens or []
            told = (len(tokens), done.logprob, done.stop, done.seconds)
            finish(done.job.key, Written(self._read(tokens, stop), *told))

        self._run(jobs, finish_job)

    def _generation(self, told: dict[str, Any], intervention: Intervention) -> tuple[list[str], int, dict[str, Any]]:
        """Stop strings, limit of new tokens and further arguments of `generate` in a request's, as HFLM reads them.

        Args:
            told: arguments of the request.
            intervention: a control may draw the text, from all tokens.

        Raises:
            SteeringError: for what the harness cannot read, and a limit that leaves no room for a prompt.
        """
        check_generation(told)
        arguments = normalize_gen_kwargs(told, self.max_gen_toks)
        stop = handle_stop_sequences(
            arguments.pop("until", None), eos=self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        )
        new_tokens = arguments.pop("max_gen_toks")
        if new_tokens >= self.max_length:
            raise SteeringError(
                f"max_gen_toks={new_tokens} leaves no room for a prompt in the {self.max_length} tokens of the model: "
                "lower it with --gen_kwargs, or set max_length"
            )
        if intervention.sample is not None:
            # From all tokens, whatever the generation config or transformers (top_k=50) would leave out.
            arguments = {"top_k": 0, "top_p": 1.0} | arguments
            arguments |= {"do_sample": True, "temperature": intervention.temperature}
        elif arguments.get("temperature") == 0.0 and not arguments.get("do_sample"):
            arguments |= {"do_sample": False}
            arguments.pop("temperature")
        return stop, new_tokens, arguments

    def _encode(self, prompt: str, limit: int) -> list[int]:
        """The tokens that HFLM gives a prompt, the last `limit` of them."""
        ids, _ = self.tok_batch_encode([prompt], left_truncate_len=limit, truncation=self.truncation)
        return ids[0].tolist()

    def _read(self, tokens: list[int], stop: list[str]) -> str:
        """The response in new tokens, as HFLM reads it."""
        end = self.think_end_token
        if isinstance(end, int) and end in tokens:
            tokens = tokens[len(tokens) - tokens[::-1].index(end) :]
        text = self.tok_decode(tokens)
        if isinstance(end, int):
            text = text.lstrip()
        return postprocess_generated_text(text, stop=stop, think_end_token=end if isinstance(end, str) else None)

    def score(
        self,
        documents: Sequence[Sequence[Instance]],
        asked: Sequence[Asked],
        finish: Callable[[int, Scores], None],
    ) -> None:
        """Score continuations (asked.Engine)."""
        if self._is_plain:
            self._score_plainly(documents, asked, finish)
            return
        pairs: dict[int, tuple[tuple[list[int], list[int]], ...]] = {}
        jobs = []
        for place, one in enumerate(asked):
            if one.item not in pairs:
                pairs[one.item] = tuple(self._encode_choice(*request.args) for request in documents[one.item])
            jobs.append(Job(place, one.variant, pairs=pairs[one.item]))
        self._run(jobs, lambda done: finish(done.job.key, done.scores or []))

    def _run(self, jobs: Sequence[Job], finish: Callable[[Done], None], batch_size: int | None = None) -> None:
        """Have the engine do jobs; whatever happens, no hooks are left."""
        self.engine.batch_size = batch_size or self._batch_rows()
        with closing(self.engine.run(jobs)) as work:
            for done in work:
                finish(done)

    def _batch_rows(self) -> int | None:
        """Rows of a batch; None for `auto`."""
        return None if self.batch_size == "auto" else int(self.batch_size)

    # alpha=0 on HFLM's own path

    @contextmanager
    def _identity(self) -> Iterator[None]:
        """Another batch size, if this is the control `identity`."""
        before = self.batch_size_per_gpu
        try:
            if any(one.regrouped for one in self._interventions):
                self.batch_size_per_gpu = 4 if before == "auto" else before // 2 if before > 1 else 2
            yield
        finally:
            self.batch_size_per_gpu = before

    @contextmanager
    def _collecting(self, collect: Callable[[tuple[Any, ...], Any], None]) -> Iterator[None]:
        """Hear of every response as HFLM tells its cache of it."""
        hook = self.cache_hook
        self.cache_hook = _Collector(collect)
        try:
            with self._identity():
                yield
        finally:
            self.cache_hook = hook

    def _write_plainly(
        self, requests: Sequence[Instance], asked: Sequence[Asked], finish: Callable[[int, Written], None]
    ) -> None:
        waiting: dict[str, list[int]] = {}
        for place, one in enumerate(asked):
            waiting.setdefault(repr(requests[one.item].args), []).append(place)
        with self._collecting(lambda args, text: finish(waiting[repr(args)].pop(0), Written(text))):
            HFLM.generate_until(self, [requests[one.item] for one in asked], disable_tqdm=True)

    def _score_plainly(
        self,
        documents: Sequence[Sequence[Instance]],
        asked: Sequence[Asked],
        finish: Callable[[int, Scores], None],
    ) -> None:
        waiting: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for place, one in enumerate(asked):
            for choice, request in enumerate(documents[one.item]):
                waiting.setdefault(request.args, []).append((place, choice))
        take = gather([len(documents[one.item]) for one in asked], finish)
        with self._collecting(lambda args, score: take(waiting[args].pop(0), score)):
            requests = [request for one in asked for request in documents[one.item]]
            HFLM.loglikelihood(self, requests, disable_tqdm=True)

    # What the common part asks for

    def _measured(self) -> list[dict[str, dict[str, Any]]]:
        doses = self.engine.measured().doses
        return [report_one(doses.get(one.fingerprint, {}), one) for one in self._interventions]

    def _application(self) -> dict[str, Any] | None:
        return report(self.engine.measured()) if self._steers else None

    def _dtype(self) -> str:
        return str(self.model.dtype).removeprefix("torch.")

    def _render(self, messages: Messages) -> str:
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **self.chat_template_args))


class _Collector:
    """Takes the place of the harness's cache hook."""

    def __init__(self, collect: Callable[[tuple[Any, ...], Any], None]) -> None:
        self._collect = collect

    def add_partial(self, attr: str, req: tuple[Any, ...], res: Any) -> None:
        self._collect(req, res)


def _child(lm: HFLM) -> Child:
    """What an engine needs of the harness's model."""
    return Child(
        model=lm.model,
        tokenizer=lm.tokenizer,
        device=lm.device,
        max_length=lm.max_length,
        max_rows=int(lm.max_batch_size),
        prefix=lm.prefix_token_id or 0,
        autocast_dtype=lm.mixed_precision_dtype,
        softmax_dtype=lm.softmax_dtype,
    )


def _model_settings(lm: HFLM, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What else of HFLM's arguments changes a response."""
    named = {key: str(value) for key, value in kwargs.items() if key not in NEUTRAL}
    name = lm.pretrained if isinstance(lm.pretrained, str) else lm.model.config.name_or_path
    model = {"pretrained": name, "dtype": str(lm.model.dtype), "revision": str(lm.revision)}
    return named | model | {"weights": _weights(lm, kwargs)}


def _weights(lm: HFLM, kwargs: dict[str, Any]) -> str:
    """Digest of the checkpoint; of what was handed over as an object instead, as far as that is so."""
    digests = [checkpoint_digest({"pretrained": lm.pretrained} | kwargs) or model_digest(lm.model)]
    if not isinstance(lm.pretrained, str) or not isinstance(kwargs.get("tokenizer") or "", str):
        digests.append(tokenizer_digest(lm.tokenizer))
    return digests[0] if len(digests) == 1 else digest(digests)
