"""Continuations scored: the choices of a document behind one context, in one row of a batch (choices.py)."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache

from lm_eval_steer.engines.application import Application
from lm_eval_steer.engines.hf.beginnings import Beginnings
from lm_eval_steer.engines.hf.choices import ScoredRow, Tree, is_plain, plant, tree_mask, tree_positions
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.hf.traits import Traits
from lm_eval_steer.engines.protocol import Done, Job
from lm_eval_steer.interventions.tokens import scoring_mask


class Scorer:
    """The scoring of some jobs.

    Args:
        traits: of the model.
        steerer: whose interventions the jobs name.
        application: what is counted of them.
        beginnings: what contexts share.
        jobs: with pairs to be scored.
    """

    def __init__(
        self,
        traits: Traits,
        steerer: Steerer,
        application: Application,
        beginnings: Beginnings,
        jobs: Sequence[Job],
    ) -> None:
        self._traits, self._steerer, self._application, self._beginnings = traits, steerer, application, beginnings
        self._jobs = jobs
        self._owners = [(job, choice) for job, one in enumerate(jobs) for choice in range(len(one.pairs))]
        self._rows = [ScoredRow(*jobs[job].pairs[choice], jobs[job].intervention) for job, choice in self._owners]
        self._found: list[dict[int, tuple[float, bool]]] = [{} for _ in jobs]
        limit = traits.child.max_length
        # In a row of several choices a position does not tell how far behind its context it is.
        apart = {number for number, rule in enumerate(steerer.sites.rules) if rule.parts_responses}
        trees = plant(self._rows, limit, together=True, apart=apart)
        if not all(map(is_plain, trees)) and not traits.takes_trees(max(len(tree.tokens) for tree in trees)):
            trees = plant(self._rows, limit, together=False)
        self._trees = trees
        beginnings.learn(tree.context for tree in trees)  # the last context token predicts: it is run anew

    def rows_that_fit(self) -> int:
        """Trees of a batch that memory holds."""
        longest = max(len(tree.tokens) for tree in self._trees)
        read = max(len(tree.tokens) - len(tree.context) + 1 for tree in self._trees)
        return self._traits.rows_that_fit(longest, read)

    def parts(self) -> Iterator[list[int]]:
        """Numbers of the trees, longest first, in parts that are run one after the other (Beginnings.parts)."""
        trees = self._trees
        order = sorted(range(len(trees)), key=lambda i: (-len(trees[i].tokens), trees[i].context, i))
        return self._beginnings.parts([tree.context for tree in trees], [tree.intervention for tree in trees], order)

    def run(self, batch: list[int]) -> Generator[tuple[int, list[Done]], None, None]:
        """Run a batch of trees; gives each tree, and the jobs that are whole with it."""
        for number, logprobs in zip(batch, self._logprobs([self._trees[i] for i in batch]), strict=True):
            tree = self._trees[number]
            self._imply(tree)
            whole = []
            for index, tail in tree.choices:
                places = [place - len(tree.context) + 1 for place in tree.predicting(tail)]
                job, choice = self._owners[index]
                found = self._found[job]
                found[choice] = read_score(logprobs[places], self._rows[index].continuation)
                if len(found) == len(self._jobs[job].pairs):
                    whole.append(Done(self._jobs[job], scores=[found[place] for place in range(len(found))]))
            yield number, whole

    def _logprobs(self, batch: list[Tree]) -> Iterator[Tensor]:
        """Log-probabilities [tokens from the last one of the context on, vocabulary] of each row."""
        child, device, steerer = self._traits.child, self._traits.child.device, self._steerer
        numbers = [tree.intervention for tree in batch]
        shared, cache = 0, dict[str, Cache]()
        if self._traits.can_share(0):
            # The last token of a context predicts, so that it cannot be shared.
            shared, cache = self._beginnings.prepare([tree.context for tree in batch], numbers)
        own = [torch.tensor(tree.tokens[shared:], device=device) for tree in batch]
        ids = pad_sequence(own, batch_first=True)
        width = shared + ids.shape[1]
        told: dict[str, Any] = {"input_ids": ids, "use_cache": bool(cache), **cache}
        # Padding is on the right, where a causal model does not look: as in HFLM there is no attention mask.
        if not all(map(is_plain, batch)):
            told["attention_mask"] = tree_mask(batch, shared, width, child.model.dtype, device)
            told["position_ids"] = tree_positions(batch, shared, width, device)
        first = min(len(tree.context) for tree in batch) - 1
        if "logits_to_keep" in inspect.signature(child.base.forward).parameters and not self._traits.mixes_tokens:
            told["logits_to_keep"] = width - first
        with torch.no_grad(), child.autocast(), steerer.attached():
            if steerer.acts:
                contexts = torch.tensor([len(tree.context) for tree in batch], device=device)
                lengths = torch.tensor([len(tree.tokens) for tree in batch], device=device)
                rules = [steerer.sites.rules[number] for number in numbers]
                mask = scoring_mask(rules, contexts, lengths, width, [tree.tokens for tree in batch])
                steerer.next_pass(numbers, mask[:, shared:])
            logits = child.model(**told).logits
        for tree, row in zip(batch, logits, strict=True):
            begin = len(tree.context) - 1 - width + len(row)
            yield F.log_softmax(row[begin : len(tree.tokens) - width + len(row)], dim=-1, dtype=child.softmax_dtype)

    def _imply(self, tree: Tree) -> None:
        """Count what the choices of a row imply, and as steered what they spare by standing behind one context."""
        number, context = tree.intervention, len(tree.context)
        count = self._application.positions
        implied = sum(count(number, context, len(tail) + 1, [*tree.context, *tail]) for _, tail in tree.choices)
        self._application.imply(number, implied)
        spared = implied - count(number, context, len(tree.tokens) - context + 1, tree.tokens)
        self._steerer.credit([number], spared)


def read_score(logprobs: Tensor, continuation: list[int]) -> tuple[float, bool]:
    """Sum of a continuation's log-probabilities, and whether greedy decoding would have written it.

    Args:
        logprobs: [tokens, vocabulary], where the continuation is predicted.
        continuation: token ids.
    """
    tokens = torch.tensor(continuation, device=logprobs.device)
    greedy = bool((logprobs.argmax(dim=-1) == tokens).all())
    return float(logprobs.gather(1, tokens[:, None]).sum()), greedy
