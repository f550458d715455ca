"""Encoder-decoders, one intervention and one request at a time as the oracle has it: no padding, no shared beginning.

The residual stream of the decoder is steered. The prompt is the encoder's, so that of the positions of
interventions/tokens.py the decoder's start token is the only prompt position, and the last one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils_hf import stop_sequences_criteria
from torch import Tensor
from transformers.generation.utils import GenerateEncoderDecoderOutput

from lm_eval_steer.engines.application import Application
from lm_eval_steer.engines.hf.arguments import GenerationArguments, understand
from lm_eval_steer.engines.hf.choices import ScoredRow
from lm_eval_steer.engines.hf.decode import Generated, drawing
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.hf.rows import Finish, Row, autocast
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.tokens import TOKENS, scoring_mask

logger = logging.getLogger(f"lm_eval.{__name__}")


class EncoderDecoderEngine:
    """Takes the place of RowEngine (rows.py), with its methods.

    Args:
        lm: the harness's model: transformers model, tokenizer, device.
    """

    def __init__(self, lm: HFLM) -> None:
        self._lm = lm
        self.load(())

    def load(self, interventions: Sequence[Intervention], blocks: str | None = None) -> None:
        """Take these from now on (RowEngine.load)."""
        steerer = None
        if any(one.acts for one in interventions):
            steerer = Steerer(self._lm.model, interventions, blocks)
            name = type(self._lm.model).__name__
            logger.info("Requests and interventions are run one at a time: %s has an encoder", name)
        self._steerer = steerer
        self._interventions = tuple(interventions)
        self.application = Application(self._steerer)

    def measured(self) -> Measured:
        """What was measured since `load`."""
        return self.application.measured()

    def generate(
        self,
        rows: Sequence[Row],
        stop: list[str],
        new_tokens: int,
        arguments: Mapping[str, Any],
        batch_size: int | None,
        finish: Finish,
    ) -> None:
        """Continue every row (RowEngine.generate)."""
        asked = understand(self._lm, arguments, new_tokens, self._steerer is not None)
        for number, row in enumerate(rows):
            written = self._continue(row, stop, asked)
            self._imply(row.intervention, len(written.tokens))
            finish(number, written)

    def _continue(self, row: Row, stop: list[str], asked: GenerationArguments) -> Generated:
        lm = self._lm
        ids = torch.tensor([row.prompt], device=lm.device)
        steering: Any = nullcontext()
        if self._steerer is not None:
            start = torch.ones(1, 1, dtype=torch.long, device=lm.device)
            steering = self._steerer.generating([row.intervention], start)
        told = {"pad_token_id": lm.tokenizer.pad_token_id, "use_cache": True} | asked.told
        criteria = stop_sequences_criteria(lm.tokenizer, stop, 1, 1)
        criteria += [asked.stop_strings] if asked.stop_strings else []
        with steering, drawing(row.seed, lm.device), autocast(lm), torch.no_grad():
            out = lm.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                stopping_criteria=criteria,
                **(told | {"max_length": 1 + asked.limit(1), "return_dict_in_generate": True, "output_logits": True}),
            )
        tokens = out.sequences[0, 1:].tolist()
        if not isinstance(out, GenerateEncoderDecoderOutput) or len(out.sequences) > 1:
            self.application.not_compared = "beams and several texts of a row run more than they return"
            return Generated(tokens)
        if lm.device.type == "mps":
            self.application.not_compared = "the loop of transformers runs a position more on an Apple GPU"
        return Generated(tokens, _logprob(torch.cat(out.logits or ()), tokens))

    def score(
        self, rows: Sequence[ScoredRow], batch_size: int | None, finish: Callable[[int, tuple[float, bool]], None]
    ) -> None:
        """Score every continuation (RowEngine.score), as HFLM scores those of an encoder-decoder."""
        lm = self._lm
        for number, row in enumerate(rows):
            ids = torch.tensor([row.context[-lm.max_length :]], device=lm.device)
            labels = torch.tensor([row.continuation[-lm.max_length :]], device=lm.device)
            steering: Any = nullcontext()
            if self._steerer is not None:
                width = labels.shape[1]
                start, length = torch.tensor([1], device=lm.device), torch.tensor([width], device=lm.device)
                rule = TOKENS[self._interventions[row.intervention].tokens]
                steering = self._steerer.scoring([row.intervention], scoring_mask([rule], start, length, width))
            with steering, autocast(lm), torch.no_grad():
                logits = lm.model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).logits[0]
            self._imply(row.intervention, labels.shape[1])
            greedy = bool((logits.argmax(dim=-1) == labels[0]).all())
            finish(number, (_logprob(logits, labels[0].tolist()), greedy))

    def _imply(self, number: int, new: int) -> None:
        self.application.imply(number, self.application.positions(number, 1, new))


def _logprob(logits: Tensor, tokens: list[int]) -> float:
    """Sum of the log-probabilities of tokens under logits [tokens, vocabulary]."""
    chosen = torch.tensor(tokens, device=logits.device)[:, None]
    return float(logits.float().log_softmax(dim=-1).gather(1, chosen).sum())
