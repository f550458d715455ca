"""What vLLM's worker makes of token rules that match tokens, on a runner that stands in for vLLM's own."""

from __future__ import annotations

import numpy as np
import torch

import models
from conftest import make_vector
from lm_eval_steer.engines.vllm.matches import Matches
from lm_eval_steer.engines.vllm.spans import Spans
from lm_eval_steer.engines.vllm.versions import Batch
from lm_eval_steer.engines.vllm.worker import ARGUMENT, _SteeredRunner, pack, unpack_automata
from lm_eval_steer.interventions.tokens import token_rule, token_rules
from steerings import steering

TOKENIZER, V = models.make_tokenizer(), make_vector().directions


class FakeRunner:
    """What a worker asks of vLLM's model runner, of texts that are run in pieces."""

    def __init__(self, texts: dict[str, tuple[int, ...]], asked: dict[str, list[int]], prompts: int) -> None:
        self.texts, self.asked, self.prompts = texts, asked, prompts
        self.pieces: dict[str, tuple[int, int]] = {}

    def batch(self) -> Batch:
        start, stop = np.array(list(self.pieces.values())).T
        return Batch(list(self.pieces), start, stop - start)

    def tokens(self, count: int) -> np.ndarray:
        run = [token for name, (start, stop) in self.pieces.items() for token in self.texts[name][start:stop]]
        assert len(run) == count
        return np.array(run)

    def prompt(self, name: str) -> tuple[int, ...]:
        return self.texts[name][: self.prompts]

    def extra(self, name: str) -> dict[str, list[int]]:
        return {ARGUMENT: self.asked[name]} if name in self.asked else {}


def test_a_worker_finds_the_tokens_of_each_request_of_a_pass() -> None:
    """Matching and plain requests side by side, with padding behind, in pieces, behind what the cache held."""
    rules = ['match:"ab"', "all", 'generated:match:"b"', 'match:"ab"']
    ones = [steering(V, 1.0 + number, tokens=rule) for number, rule in enumerate(rules)]
    settings = pack(ones, 3, None, token_rules(rules, lambda: TOKENIZER))
    assert len(settings["matches"]) == 2  # one for both that look for the same
    text, prompt = tuple(TOKENIZER.encode("abxabaabbb")), 5
    asked = {}
    for number in range(4):
        first, end = token_rule(rules[number], lambda: TOKENIZER).interval(prompt)
        asked[f"r{number}"] = [number, number, first, 2**31 - 1 if end is None else end]
    runner = FakeRunner(dict.fromkeys([*asked, "plain"], text), asked, prompt)
    worker = object.__new__(_SteeredRunner)
    worker._runner, worker._count, worker._known = runner, 4, {}  # type: ignore[assignment]
    worker._automata, worker._spans = unpack_automata(settings), Spans(4, 4)
    worker._matches = Matches(worker._automata, 4)
    hits = {0: {1, 4, 7}, 1: set(range(10)), 2: {4, 7, 8, 9}, 3: {1, 4, 7}}
    passes: list[dict[str, tuple[int, int]]] = [
        {"plain": (0, 3), "r0": (0, 4), "r1": (0, 5), "r3": (1, 3)},
        {"r0": (4, 5), "plain": (3, 5), "r2": (4, 5), "r3": (3, 5), "r1": (5, 6)},
        {"r2": (5, 6), "r0": (5, 8), "r3": (5, 6)},
    ]
    for pieces in passes:
        runner.pieces = pieces
        places = [place for start, stop in pieces.values() for place in range(start, stop)]
        found = worker._index(torch.tensor([*places, 0, 0]))
        assert found is not None
        wanted = [
            (1 + int(name[1])) * (place in hits[int(name[1])]) if name in asked else 0
            for name, (start, stop) in pieces.items()
            for place in range(start, stop)
        ]
        assert found[0].tolist() == [*wanted, 0, 0]
    assert (worker._spans.again + worker._matches.needless([7, 6, 5, 6])).tolist() == [1, 0, 0, 0]
