"""`steered-hf`: the harness's HFLM whose block outputs are shifted by α·v."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import Collator
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers.cache_utils import Cache

from lm_eval_steer.engine.prefix import Prefixes, can_share, move_padding, run_prefix
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.chat import Messages, accepts_system_role, merge_system_role
from lm_eval_steer.models.leaks import extraction_rows, refuse_leaks
from lm_eval_steer.models.plan import SteeringPlan, fingerprint
from lm_eval_steer.steering.blocks import base_model, decoder, find_blocks, hidden_size
from lm_eval_steer.steering.hooks import Steerer
from lm_eval_steer.steering.positions import scoring_mask
from lm_eval_steer.vector import SteeringVector

# A request of the harness inside `_loglikelihood_tokens`: (its strings or None, context tokens, continuation tokens).
Scored = tuple[tuple[str, str] | None, list[int], list[int]]

_CACHE_MARK = "lm_eval_steer.fingerprint"


class SteeredHF(HFLM):
    """HFLM plus steering: h' = h + α·v at the output of every chosen block.

    Takes every argument of HFLM. alpha=0 takes HFLM's own path, so its responses and log-likelihoods are those of `hf`
    byte for byte (where no system prompt had to be merged).

    Args:
        pretrained: as in HFLM.
        vectors: a steering vector file: a path, a name in ./vectors or a shipped name. Not needed for alpha=0.
        alpha: length of the shift, in units of the residual stream. There is no default.
        layers: the child's blocks to steer: `all`, `7`, `10-20` or `[1,4]`.
        tokens: `all`, `prompt`, `generated` or `last` (steering/positions.py).
        normalize: scale each steered block output back to the length that it had.
        width_map: `cut` (first components or zeros, back to unit length) or `cut-raw` (length left as it falls).
        system_role: for chat templates that refuse a system role: `merge` the system prompt into the first user turn,
            or `drop` it as `hf` does.
        blocks: path of the list of decoder blocks, for a model where it cannot be found by shape.
        allow_leak: evaluate on rows that the vector was extracted from; recorded in the result file.
        **kwargs: as in HFLM.

    Raises:
        SteeringError: one sentence, before the model is loaded where that is possible.
    """

    def __init__(
        self,
        pretrained: Any,
        vectors: str | SteeringVector | None = None,
        alpha: Any = None,
        layers: Any = "all",
        tokens: str = "all",
        normalize: bool = False,
        width_map: str = "cut",
        system_role: str = "merge",
        blocks: str | None = None,
        allow_leak: bool = False,
        **kwargs: Any,
    ) -> None:
        self.plan = SteeringPlan.build(
            vectors=vectors,
            alpha=alpha,
            layers=layers,
            tokens=tokens,
            normalize=normalize,
            width_map=width_map,
            system_role=system_role,
            blocks=blocks,
            allow_leak=allow_leak,
        )
        # HFLM's own default is "cuda", which a machine without one refuses three libraries down.
        kwargs.setdefault("device", "cuda" if torch.cuda.is_available() else "cpu")
        try:
            super().__init__(pretrained, **kwargs)
        except OSError as error:  # transformers' word for: no such model, no such file, no hub
            reason = str(error).strip().split("\n")[0]
            raise SteeringError(f"the model {pretrained!r} cannot be loaded: {reason}") from None
        if self.backend != "causal":
            raise SteeringError(f"steered-hf steers decoder-only models, {pretrained!r} is an encoder-decoder")
        if getattr(getattr(self.model, "active_peft_config", None), "is_prompt_learning", False):
            raise SteeringError("steered-hf does not steer PEFT prompt learning, whose virtual tokens have no request")
        self._model_settings = _model_settings(self, kwargs)
        child = self.plan.fit(len(find_blocks(self.model, blocks)), hidden_size(self.model))
        self._transfer = child.report if child else None
        if child and self.plan.steers:
            self._steerer = Steerer(self.model, child.directions, normalize=normalize, blocks=blocks)
        self._prefixes = Prefixes(self._run_prefix)
        self._merges_system = self.plan.system_role == "merge" and not self._takes_system_role()

    # Requests

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        self._refuse_leaks(requests)
        if self.plan.steers:
            self._prefixes.learn(self.tok_encode(request.args[0]) for request in requests)
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self._refuse_leaks(requests)
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _refuse_leaks(self, requests: list[Any]) -> None:
        if self.plan.steers and not self.plan.allow_leak:
            refuse_leaks(extraction_rows(self.plan.vector), requests)

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **generation_kwargs: Any) -> Tensor:
        if not self.plan.steers:
            return super()._model_generate(context, max_length, stop, **generation_kwargs)
        mask = generation_kwargs.pop("attention_mask")
        # `generate` multiplies rows for beams and samples, but not a cache that it is given.
        multiplied = {"num_beams", "num_return_sequences"} & generation_kwargs.keys()
        model = base_model(self.model)
        if not multiplied and can_share(model, max_length):
            rows = [row[real.bool()].tolist() for row, real in zip(context, mask, strict=True)]
            shared, cache = self._prefixes.prepare(model, rows)
            context, mask = move_padding(context, mask, shared)
            generation_kwargs |= cache
        with self._steerer.generating([self.plan.alpha] * len(context), self.plan.tokens, mask):
            return super()._model_generate(context, max_length, stop, attention_mask=mask, **generation_kwargs)

    @torch.no_grad()
    def _run_prefix(self, tokens: Sequence[int]) -> Cache | None:
        """The KV cache of a beginning, steered as its positions are in every prompt that begins so."""
        mask = torch.full((1, len(tokens)), self.plan.tokens in ("all", "prompt"), device=self.device)
        with self._steerer.scoring([self.plan.alpha], mask), self._autocast():
            return run_prefix(decoder(self.model), tokens, self.device)

    def _autocast(self) -> torch.autocast:
        dtype = self.mixed_precision_dtype
        return torch.autocast(device_type=self.device.type, dtype=dtype, enabled=dtype is not None)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        if self.plan.steers and self.plan.tokens != "all":
            raise SteeringError(
                f"tokens={self.plan.tokens!r} has no meaning for loglikelihood_rolling, which has no prompt: "
                "use tokens=all"
            )
        self._refuse_leaks(requests)
        return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: list[Scored], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """HFLM's scoring, which knows neither its padding nor where a context ends, with both known."""
        if not self.plan.steers:
            return super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)
        # Requests that differ in their last token only are one row: the forward pass never sees that token.
        rows: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
        for index, (_, context, continuation) in enumerate(requests):
            rows.setdefault((tuple(context), tuple(continuation[:-1])), []).append(index)
        self._prefixes.learn(context for _, context, _ in requests)  # the last context token predicts: it is run anew
        order = Collator(
            [requests[members[0]] for members in rows.values()],
            sort_fn=lambda request: (-len(request[1]) - len(request[2]), request[1] + request[2]),
        )
        fixed = self.batch_size if self.batch_size != "auto" else override_bs
        if not fixed:
            self.batch_sizes: dict[int, int] = {}
        batches = order.get_batched(n=fixed or 0, batch_fn=None if fixed else self._batch_scheduler)
        scores: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with tqdm(
            total=len(requests), disable=disable_tqdm or self.rank != 0, desc="Running loglikelihood requests"
        ) as progress:
            for batch in batches:
                for (_, context, continuation), logprobs in zip(batch, self._score(batch), strict=True):
                    members = rows[tuple(context), tuple(continuation[:-1])]
                    for index in members:
                        scores[index] = _read_score(logprobs, requests[index][2])
                        if (strings := requests[index][0]) is not None:
                            self.cache_hook.add_partial("loglikelihood", strings, scores[index])
                    progress.update(len(members))
        return scores

    def _score(self, batch: list[Scored]) -> list[Tensor]:
        """Log-probabilities [continuation, vocabulary] of each request's continuation positions."""
        inputs = [(context + continuation)[-(self.max_length + 1) : -1] for _, context, continuation in batch]
        lengths = torch.tensor([len(row) for row in inputs], device=self.device)
        continuations = torch.tensor([len(continuation) for _, _, continuation in batch], device=self.device)
        width = int(lengths.max())
        mask = scoring_mask(self.plan.tokens, lengths + 1 - continuations, lengths, width)
        model = base_model(self.model)
        shared, cache = self._prefixes.prepare(model, inputs) if can_share(model, 0) else (0, {})
        own = pad_sequence([torch.tensor(row[shared:], device=self.device) for row in inputs], batch_first=True)
        # Padding is on the right, where a causal model does not look: as in HFLM there is no attention mask.
        with torch.no_grad(), self._autocast(), self._steerer.scoring([self.plan.alpha] * len(batch), mask[:, shared:]):
            logits = self.model(input_ids=own, **cache).logits
        ends = (lengths - shared).tolist()
        return [
            F.log_softmax(row[end - continuation : end], dim=-1, dtype=self.softmax_dtype)
            for row, end, continuation in zip(logits, ends, continuations.tolist(), strict=True)
        ]

    # Prompts

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        if self._merges_system:
            chat_history = merge_system_role(chat_history)
        return super().apply_chat_template(chat_history, add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """The harness names cached prompts by it, and merged prompts must not be served from those of `hf`."""
        return super().tokenizer_name + ("__system_merged" if self._merges_system else "")

    def _takes_system_role(self) -> bool:
        if getattr(self.tokenizer, "chat_template", None) is None:
            return True
        return accepts_system_role(
            lambda messages: self.tokenizer.apply_chat_template(messages, tokenize=False, **self.chat_template_args)
        )

    # Results and caches

    def get_model_info(self) -> dict[str, Any]:
        info = super().get_model_info()
        vector = self.plan.vector
        settings = self.plan.settings()
        info["steering"] = settings | {
            "fingerprint": self.steering_fingerprint,
            "system_prompt": "merged into the first user turn" if self._merges_system else "as the template has it",
            "transfer": self._transfer,
            "passport": vector.passport if vector else None,
        }
        return info

    @property
    def steering_fingerprint(self) -> str:
        """What may share a response cache with this model: same model, vector, strength and positions."""
        return fingerprint({"model": self._model_settings, "steering": self.plan.settings()})

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Mark the harness's response cache, which cannot tell steerings apart, and refuse that of another one."""
        cache = cache_hook.dbdict
        if cache is not None:
            mark = cache.get(_CACHE_MARK)
            if mark is None and len(cache) == 0:
                cache[_CACHE_MARK] = self.steering_fingerprint
            elif mark != self.steering_fingerprint:
                held = "a model without steering" if mark is None else "another steering or another model"
                raise SteeringError(
                    f"the response cache {cache.filename} holds the responses of {held}, which the harness would "
                    "return as this run's: give this run a --use_cache path of its own"
                )
        super().set_cache_hook(cache_hook)


def _read_score(logprobs: Tensor, continuation: list[int]) -> tuple[float, bool]:
    """Sum of the continuation's log-probabilities, and whether greedy decoding would have written it."""
    tokens = torch.tensor(continuation, device=logprobs.device)
    greedy = bool((logprobs.argmax(dim=-1) == tokens).all())
    return float(logprobs.gather(1, tokens[:, None]).sum()), greedy


def _model_settings(lm: HFLM, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What else of HFLM's arguments changes a response; sizes of batches and places of weights do not."""
    neutral = {"batch_size", "max_batch_size", "device", "parallelize", "offload_folder"}
    named = {key: str(value) for key, value in kwargs.items() if key not in neutral}
    name = lm.pretrained if isinstance(lm.pretrained, str) else lm.model.config.name_or_path
    return named | {"pretrained": name, "dtype": str(lm.model.dtype), "revision": str(lm.revision)}
