"""Logits processors for rows of different length: each row's own are asked, with its own tokens alone.

transformers makes the processors of a batch for its padded prompts. Some count the padding (a least length) or penalise
it, some keep something per row (a watermark, the tokens of the prompt), which no longer fits once rows have left, and
none knows that padding may stand behind a shared beginning.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers.generation import LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.generation import logits_process as kinds

_SCORES_ONLY = {
    getattr(kinds, name, None)  # some came with later versions of transformers
    for name in (
        *("TemperatureLogitsWarper", "TopHLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper"),
        *("TypicalLogitsWarper", "EpsilonLogitsWarper", "EtaLogitsWarper", "InfNanRemoveLogitsProcessor"),
        *("SuppressTokensLogitsProcessor", "LogitNormalization"),
    )
}
"""They know nothing of a row but its scores."""


def reads_scores_only(processors: LogitsProcessorList) -> bool:
    """Whether a row's text so far has no say in what is made of its scores."""
    return all(type(processor) in _SCORES_ONLY for processor in processors)


class RowProcessors:
    """The processors of a batch.

    Args:
        shared: as `generate` makes them for the batch.
        alone: those that it makes for the prompt of one row by itself, given its number.
    """

    def __init__(self, shared: LogitsProcessorList, alone: Callable[[int], LogitsProcessorList]) -> None:
        self._shared, self._alone = shared, alone
        self._own: dict[int, LogitsProcessorList] = {}

    def __call__(self, rows: list[int], ids: Tensor, mask: Tensor, scores: Tensor) -> Tensor:
        """Scores of the next tokens [rows, vocabulary].

        Args:
            rows: numbers of the rows that are there.
            ids: their tokens so far [rows, positions].
            mask: 0 at padding, wherever it stands [rows, positions].
            scores: the model's logits [rows, vocabulary], float32; may be changed in place.
        """
        for place, processor in enumerate(self._shared):
            if type(processor) in _SCORES_ONLY:
                scores = processor(ids, scores)
            elif type(processor) is RepetitionPenaltyLogitsProcessor:
                # Which tokens a row has is all that counts: padding becomes one of them, and the rows stay together.
                first = ids.gather(1, mask.int().argmax(dim=1, keepdim=True))
                alike = RepetitionPenaltyLogitsProcessor(processor.penalty)
                scores = alike(torch.where(mask.bool(), ids, first), scores)
            else:
                found = [
                    self._of(row)[place](tokens[real][None], score[None])
                    for row, tokens, real, score in zip(rows, ids, mask.bool(), scores, strict=True)
                ]
                scores = torch.cat(found)
        return scores

    def _of(self, row: int) -> LogitsProcessorList:
        if row not in self._own:
            self._own[row] = self._alone(row)
        return self._own[row]
