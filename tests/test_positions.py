"""The table of the `tokens` argument, cell by cell, by hand."""

from __future__ import annotations

import pytest
import torch

from lm_eval_steer.interventions.tokens import canonical, generation_mask, scoring_mask, token_rule

# Two prompts of 4 and 2 tokens, padded on the left to 4.
PROMPTS = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("tokens", "prefill", "step"),
    [
        ("all", [[1, 1, 1, 1], [0, 0, 1, 1]], [[1], [1]]),
        ("prompt", [[1, 1, 1, 1], [0, 0, 1, 1]], [[0], [0]]),
        ("generated", [[0, 0, 0, 1], [0, 0, 0, 1]], [[1], [1]]),
        ("last", [[0, 0, 0, 1], [0, 0, 0, 1]], [[0], [0]]),
        ("first:3", [[0, 0, 0, 1], [0, 0, 0, 1]], [[0], [0]]),
        ("first:4", [[0, 0, 0, 1], [0, 0, 0, 1]], [[1], [1]]),
        ("after:3", [[0, 0, 0, 0], [0, 0, 0, 0]], [[1], [1]]),
        ("after:4", [[0, 0, 0, 0], [0, 0, 0, 0]], [[0], [0]]),
        ("last:-2", [[0, 0, 1, 0], [0, 0, 1, 0]], [[0], [0]]),
        ("last:-3", [[0, 1, 0, 0], [0, 0, 0, 0]], [[0], [0]]),
    ],
)
def test_generation(tokens: str, prefill: list[list[int]], step: list[list[int]]) -> None:
    assert generation_mask([token_rule(tokens)], PROMPTS, 0, 4).int().tolist() == prefill
    # The third generated token: positions 0 to 5 are in the cache, one new position is run.
    assert generation_mask([token_rule(tokens)], PROMPTS, 6, 1).int().tolist() == step


def test_generation_in_other_portions_steers_the_same_positions() -> None:
    """Without a cache every pass runs all positions; a long prompt may be run in pieces."""
    assert generation_mask([token_rule("generated")], PROMPTS, 0, 6).int().tolist() == [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]
    assert generation_mask([token_rule("last")], PROMPTS, 0, 6).int().tolist() == [
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0, 0],
    ]
    assert generation_mask([token_rule("all")], PROMPTS, 1, 2).int().tolist() == [[1, 1], [0, 1]]
    assert generation_mask([token_rule("generated")], PROMPTS, 1, 2).int().tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # Row 0: context of 3, continuation of 3 (5 tokens are run). Row 1: context of 2, continuation of 1 (2 are run).
        ("all", [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]),
        ("prompt", [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]),
        ("generated", [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]]),
        ("last", [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]]),
        ("first:2", [[0, 0, 1, 1, 0], [0, 1, 0, 0, 0]]),
        ("after:1", [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]),
        ("last:-3", [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]),
    ],
)
def test_scoring(tokens: str, expected: list[list[int]]) -> None:
    assert scoring_mask([token_rule(tokens)], torch.tensor([3, 2]), torch.tensor([5, 2]), 5).int().tolist() == expected


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last", "first:3", "after:2", "last:-2", "last:-4"])
def test_the_interval_is_the_mask(tokens: str) -> None:
    for prompt in (1, 2, 5):
        begin, end = token_rule(tokens).interval(prompt)
        interval = [begin <= position < (9 if end is None else end) for position in range(9)]
        assert [interval] == generation_mask([token_rule(tokens)], torch.ones(1, prompt), 0, 9).tolist()
        assert [interval] == scoring_mask([token_rule(tokens)], torch.tensor([prompt]), torch.tensor([9]), 9).tolist()


def test_rows_of_several_rules_share_a_pass() -> None:
    rules = [token_rule("prompt"), token_rule("generated")]
    assert generation_mask(rules, PROMPTS, 0, 5).int().tolist() == [[1, 1, 1, 1, 0], [0, 0, 0, 1, 1]]
    lengths = torch.tensor([5, 2])
    assert scoring_mask(rules, torch.tensor([3, 2]), lengths, 5).int().tolist() == [[1, 1, 1, 0, 0], [0, 1, 0, 0, 0]]


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last", "first:3", "after:2", "last:-2", "last:-4"])
def test_the_count_is_the_masks_sum(tokens: str) -> None:
    for prompt, run in ((1, 1), (3, 3), (3, 5)):
        assert token_rule(tokens).count(prompt, run, [0] * run) == int(
            generation_mask([token_rule(tokens)], torch.ones(1, prompt), 0, run).sum()
        )


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("first:3", "first:3"),
        (" first:03 ", "first:3"),
        ("first:1", "last"),
        ("after:0", "generated"),
        ("last:-1", "last"),
        ("last:-20", "last:-20"),
        *((name, None) for name in ("first", "first:0", "first:-1", "last:1", "last:-0", "after:1.5", "first:9999999")),
    ],
)
def test_windows_have_one_spelling(name: str, spelt: str | None) -> None:
    assert canonical(name) == spelt
