"""Encoder-decoders, one intervention and one request at a time as the oracle has it: no padding, no shared beginning.

The residual stream of the decoder is steered. The prompt is the encoder's, so that of the positions of
interventions/tokens the decoder's start token is the only prompt position, and the last one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers.generation import StoppingCriteriaList
from transformers.generation.utils import GenerateEncoderDecoderOutput

from lm_eval_steer.engines.hf.arguments import GenerationArguments, understand
from lm_eval_steer.engines.hf.decode import Generated, drawing
from lm_eval_steer.engines.hf.engine import HFEngine, Loaded
from lm_eval_steer.engines.hf.stops import StopBest, Stops
from lm_eval_steer.engines.protocol import Done, Generation, Job
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.tokens import scoring_mask

logger = logging.getLogger(f"lm_eval.{__name__}")


class EncoderDecoderEngine(HFEngine):
    """The engine of an encoder-decoder.

    Args:
        child: the model.
    """

    def _adopt(self, loaded: Loaded) -> None:
        super()._adopt(loaded)
        if loaded.steerer.acts:
            logger.info("Requests and interventions are run one at a time: %s has an encoder", self.child.name)

    def _write(self, jobs: Sequence[Job], generation: Generation) -> Iterator[Done]:
        if generation.visible is not None:
            raise SteeringError(
                f"max_answer_toks limits what follows a thought, and {self.child.name} has an encoder and no thoughts "
                "known here: give max_gen_toks"
            )
        asked = understand(self.child, generation.arguments, generation.new_tokens, self._loaded.steerer.acts)
        stops = Stops(self.child.tokenizer, generation.stop, None)
        for job in jobs:
            written = self._continue(job, stops, asked)
            self._imply(job.intervention, written.tokens)
            yield written.done(job)

    def _continue(self, job: Job, stops: Stops, asked: GenerationArguments) -> Generated:
        child = self.child
        ids = torch.tensor([job.prompt], device=child.device)
        start = torch.ones(1, 1, dtype=torch.long, device=child.device)
        told = {"pad_token_id": child.tokenizer.pad_token_id, "use_cache": True} | asked.told
        criteria = StoppingCriteriaList([StopBest(stops, 1)])
        criteria += [asked.stop_strings] if asked.stop_strings else []
        steering = self._loaded.steerer.generating([job.intervention], start)
        with steering, drawing(job.seed, child.device), child.autocast(), torch.no_grad():
            out = child.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                stopping_criteria=criteria,
                **(told | {"max_length": 1 + asked.limit(1), "return_dict_in_generate": True, "output_logits": True}),
            )
        tokens = out.sequences[0, 1:].tolist()
        if not isinstance(out, GenerateEncoderDecoderOutput) or len(out.sequences) > 1:
            self._loaded.application.not_compared = "beams and several texts of a row run more than they return"
            return Generated(tokens)
        if child.device.type == "mps":
            self._loaded.application.not_compared = "the loop of transformers runs a position more on an Apple GPU"
        return Generated(tokens, _logprob(torch.cat(out.logits or ()), tokens))

    def _score(self, jobs: Sequence[Job]) -> Iterator[Done]:
        for job in jobs:
            yield Done(job, scores=[self._score_one(job.intervention, *pair) for pair in job.pairs])

    def _score_one(self, number: int, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        """A continuation's log-likelihood and whether it is the greedy one, as HFLM has them for such a model."""
        child, steerer = self.child, self._loaded.steerer
        ids = torch.tensor([context[-child.max_length :]], device=child.device)
        labels = torch.tensor([continuation[-child.max_length :]], device=child.device)
        width = labels.shape[1]
        start, length = torch.tensor([1], device=child.device), torch.tensor([width], device=child.device)
        text = [self._start, *continuation[-child.max_length :]]
        mask = scoring_mask([steerer.sites.rules[number]], start, length, width, [text[:width]])
        with steerer.scoring([number], mask), child.autocast(), torch.no_grad():
            logits = child.model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).logits[0]
        self._imply(number, text[1:])
        greedy = bool((logits.argmax(dim=-1) == labels[0]).all())
        return _logprob(logits, labels[0].tolist()), greedy

    @property
    def _start(self) -> int:
        """The token that the decoder's text begins with, which is all that it has of a prompt."""
        told = self.child.base.generation_config
        return int(told.bos_token_id if told.decoder_start_token_id is None else told.decoder_start_token_id)

    def _imply(self, number: int, new: Sequence[int]) -> None:
        application = self._loaded.application
        application.imply(number, application.positions(number, 1, len(new), [self._start, *new]))


def _logprob(logits: Tensor, tokens: list[int]) -> float:
    """Sum of the log-probabilities of tokens under logits [tokens, vocabulary]."""
    chosen = torch.tensor(tokens, device=logits.device)[:, None]
    return float(logits.float().log_softmax(dim=-1).gather(1, chosen).sum())
