"""`steered-hf`: the harness's HFLM whose block outputs are shifted by α·v, for a whole set of α in one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from lm_eval_steer.axis.record import digest
from lm_eval_steer.engines.hf.arguments import refuse_several, understand
from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, hidden_size, identity_of
from lm_eval_steer.engines.hf.causal import CausalEngine
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.encoder_decoder import EncoderDecoderEngine
from lm_eval_steer.engines.protocol import Done, Engine
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.models.arms import take_plan
from lm_eval_steer.models.base import Steered
from lm_eval_steer.models.batches import chosen_batch_size
from lm_eval_steer.models.chat import Messages
from lm_eval_steer.models.checkpoint import checkpoint_digest, weights_digest
from lm_eval_steer.models.generation import check_thinking
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
    _plainly_unprepared = True
    engine: CausalEngine | EncoderDecoderEngine

    def __init__(self, pretrained: Any, **kwargs: Any) -> None:
        plan = take_plan(kwargs)
        check_thinking(kwargs)
        length = kwargs.get("max_length")
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise SteeringError(f"max_length={length!r} is no number of tokens: use one, as in max_length=2048")
        self._default_size = chosen_batch_size(kwargs) is None
        if self._default_size:
            kwargs["batch_size"] = "auto"
        # HFLM's own default is "cuda", which a machine without one refuses three libraries down.
        kwargs.setdefault("device", "cuda" if torch.cuda.is_available() else "cpu")
        with loading(pretrained, kwargs):
            super().__init__(pretrained, **kwargs)
        accelerator = getattr(self, "accelerator", None)
        if accelerator is not None and accelerator.num_processes > 1:
            # HFLM divides the documents only where it sees several GPUs, and numbers the ranks of each node from 0.
            self._rank, self._world_size = accelerator.process_index, accelerator.num_processes
        if getattr(getattr(self.model, "active_peft_config", None), "is_prompt_learning", False):
            raise SteeringError("steered-hf does not steer PEFT prompt learning, whose virtual tokens have no request")
        warn_of_slow_dtype(self.model.dtype, self.device)
        self._model_settings = _model_settings(self, kwargs)
        weights = weights_digest({"pretrained": self.pretrained} | kwargs)
        self.model_identity = replace(identity_of(self.model), digest=weights)
        kind = CausalEngine if self.backend == "causal" else EncoderDecoderEngine
        self.engine = kind(_child(self))
        self.steer(plan)

    def _shape(self, blocks: str | None) -> tuple[int, int]:
        return len(find_blocks(self.model, blocks)), hidden_size(self.model)

    def _load(self, interventions: tuple[Intervention, ...], blocks: str | None) -> None:
        self.engine.load(interventions, blocks)
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
        """HFLM's, which ends in an AssertionError at what cannot be scored."""
        for _, _, continuation in requests:
            self._refuse_unscorable(continuation)
        return super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        for told in {repr(request.args[1]): request.args[1] for request in requests}.values():
            refuse_several(self.engine.child, told)
            if not self._is_plain:
                for one in {one.temperature: one for one in self._interventions}.values():
                    asked = self.prepare(told, one).generation
                    understand(self.engine.child, asked.arguments, asked.new_tokens, self._steers)
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **generation_kwargs: Any) -> Any:
        """HFLM's, which lacks what transformers reads `stop_strings` with."""
        if generation_kwargs.get("stop_strings") or base_model(self.model).generation_config.stop_strings:
            generation_kwargs["tokenizer"] = self.tokenizer
        return super()._model_generate(context, max_length, stop, **generation_kwargs)

    # How HFLM prepares and reads requests

    def _read_arguments(self, told: dict[str, Any]) -> tuple[dict[str, Any], list[str], int]:
        arguments: dict[str, Any] = dict(normalize_gen_kwargs(told, self.max_gen_toks))
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        return arguments, handle_stop_sequences(arguments.pop("until", None), eos=end), arguments.pop("max_gen_toks")

    def _for_engine(self, arguments: dict[str, Any], intervention: Intervention) -> tuple[dict[str, Any], bool]:
        if intervention.sample is not None:
            # From all tokens, whatever the generation config or transformers (top_k=50) would leave out.
            arguments = {"top_k": 0, "top_p": 1.0} | arguments
            arguments |= {"do_sample": True, "temperature": intervention.temperature}
        elif arguments.get("temperature") == 0.0 and not arguments.get("do_sample"):
            arguments |= {"do_sample": False}
            arguments.pop("temperature")
        return arguments, bool(arguments.get("do_sample"))

    def _encode(self, prompt: str, new_tokens: int) -> list[int]:
        limit = self.max_length - new_tokens if self.backend == "causal" else self.max_length  # an encoder's is its own
        ids, _ = self.tok_batch_encode([prompt], left_truncate_len=limit, truncation=self.truncation)
        return ids[0].tolist()

    def _text(self, done: Done, stop: Sequence[str]) -> str:
        tokens, end = done.tokens or [], self.think_end_token
        if not isinstance(end, int):
            return str(self.tok_decode(tokens))
        if end in tokens:
            tokens = tokens[len(tokens) - tokens[::-1].index(end) :]
        return str(self.tok_decode(tokens)).lstrip()

    def _batch_rows(self) -> int | None:
        """Rows of a batch; None for `auto`."""
        return None if self.batch_size == "auto" else int(self.batch_size)

    @property
    def _runner(self) -> Engine:
        self.engine.batch_size = self._batch_rows()
        return super()._runner

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

    def _dtype(self) -> str:
        return str(self.model.dtype).removeprefix("torch.")

    def _render(self, messages: Messages) -> str:
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **self.chat_template_args))


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
