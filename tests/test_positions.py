"""The table of the `tokens` argument, cell by cell, by hand."""

from __future__ import annotations

import pytest
import torch

from lm_eval_steer.interventions.tokens import TOKENS, generation_mask, scoring_mask

# Two prompts of 4 and 2 tokens, padded on the left to 4.
PROMPTS = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("tokens", "prefill", "step"),
    [
        ("all", [[1, 1, 1, 1], [0, 0, 1, 1]], [[1], [1]]),
        ("prompt", [[1, 1, 1, 1], [0, 0, 1, 1]], [[0], [0]]),
        ("generated", [[0, 0, 0, 1], [0, 0, 0, 1]], [[1], [1]]),
        ("last", [[0, 0, 0, 1], [0, 0, 0, 1]], [[0], [0]]),
    ],
)
def test_generation(tokens: str, prefill: list[list[int]], step: list[list[int]]) -> None:
    assert generation_mask([TOKENS[tokens]], PROMPTS, 0, 4).int().tolist() == prefill
    # The third generated token: positions 0 to 5 are in the cache, one new position is run.
    assert generation_mask([TOKENS[tokens]], PROMPTS, 6, 1).int().tolist() == step


def test_generation_in_other_portions_steers_the_same_positions() -> None:
    """Without a cache every pass runs all positions; a long prompt may be run in pieces."""
    assert generation_mask([TOKENS["generated"]], PROMPTS, 0, 6).int().tolist() == [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]
    assert generation_mask([TOKENS["last"]], PROMPTS, 0, 6).int().tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0]]
    assert generation_mask([TOKENS["all"]], PROMPTS, 1, 2).int().tolist() == [[1, 1], [0, 1]]
    assert generation_mask([TOKENS["generated"]], PROMPTS, 1, 2).int().tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # Row 0: context of 3, continuation of 3 (5 tokens are run). Row 1: context of 2, continuation of 1 (2 are run).
        ("all", [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]),
        ("prompt", [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]),
        ("generated", [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]]),
        ("last", [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]]),
    ],
)
def test_scoring(tokens: str, expected: list[list[int]]) -> None:
    assert scoring_mask([TOKENS[tokens]], torch.tensor([3, 2]), torch.tensor([5, 2]), 5).int().tolist() == expected


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
def test_the_interval_is_the_mask(tokens: str) -> None:
    for prompt in (1, 2, 5):
        begin, end = TOKENS[tokens].interval(prompt)
        interval = [begin <= position < (end or 9) for position in range(9)]
        assert [interval] == generation_mask([TOKENS[tokens]], torch.ones(1, prompt), 0, 9).tolist()
        assert [interval] == scoring_mask([TOKENS[tokens]], torch.tensor([prompt]), torch.tensor([9]), 9).tolist()


def test_rows_of_several_rules_share_a_pass() -> None:
    rules = [TOKENS["prompt"], TOKENS["generated"]]
    assert generation_mask(rules, PROMPTS, 0, 5).int().tolist() == [[1, 1, 1, 1, 0], [0, 0, 0, 1, 1]]
    lengths = torch.tensor([5, 2])
    assert scoring_mask(rules, torch.tensor([3, 2]), lengths, 5).int().tolist() == [[1, 1, 1, 0, 0], [0, 1, 0, 0, 0]]


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
def test_the_count_is_the_masks_sum(tokens: str) -> None:
    for prompt, run in ((1, 1), (3, 3), (3, 5)):
        assert TOKENS[tokens].count(prompt, run) == int(
            generation_mask([TOKENS[tokens]], torch.ones(1, prompt), 0, run).sum()
        )
