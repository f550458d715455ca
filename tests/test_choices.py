"""The choices of a document in one row: what the row looks like, and that each choice is scored as if alone."""

from __future__ import annotations

import pytest
import torch

import models
from lm_eval_steer.engines.hf.choices import ScoredRow, Tree, is_plain, plant, tree_mask, tree_positions
from lm_eval_steer.engines.hf.probes import follows_masks

CONTEXT = [1, 2, 3]


def rows(*continuations: list[int], context: list[int] = CONTEXT, intervention: int = 0) -> list[ScoredRow]:
    return [ScoredRow(context, continuation, intervention) for continuation in continuations]


def test_a_tree_by_hand() -> None:
    (tree,) = plant(rows([7, 8], [7, 9], [5], [4, 6, 6]), 100, together=True)
    assert tree.tokens == [1, 2, 3, 7, 4, 6]  # the last token of a choice is never run, and [7] is run once
    assert tree.parts == [0, 0, 0, 1, 3, 3]
    assert tree.positions == [0, 1, 2, 3, 3, 4]
    assert [tree.predicting(tail) for _, tail in tree.choices] == [[2, 3], [2, 3], [2], [2, 4, 5]]
    seen = (tree_mask([tree], 1, 7, torch.float32, torch.device("cpu")) == 0).int()[0, 0].tolist()
    assert seen == [
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 1, 0, 0],
        [1, 1, 1, 0, 1, 1, 0],
        [1, 1, 1, 0, 0, 0, 1],  # padding
    ]
    assert tree_positions([tree], 1, 7, torch.device("cpu")).tolist() == [[1, 2, 3, 3, 4, 0]]


def shapes(trees: list[Tree]) -> list[list[int]]:
    return [tree.tokens for tree in trees]


def test_what_stands_together() -> None:
    mixed = rows([7, 8], [9, 9]) + rows([7, 8], intervention=1) + rows([7, 8], context=[1, 2])
    assert shapes(plant(mixed, 100, together=True)) == [[1, 2, 3, 7, 9], [1, 2, 3, 7], [1, 2, 7]]
    assert shapes(plant(rows([7, 8], [9, 9], [7, 1]), 100, together=False)) == [[1, 2, 3, 7], [1, 2, 3, 9]]
    # Tails that are longer than their context would cost more than they spare.
    long = rows([7] * 3, [8] * 3, [9, 9])
    assert shapes(plant(long, 100, together=True)) == [[1, 2, 3, 7, 7], [1, 2, 3, 8, 8, 9]]
    # Texts that are too long lose their first tokens, each its own number of them.
    assert shapes(plant(rows([7, 8], [9, 9, 9], [6, 6]), 3, together=True)) == [[2, 3, 7, 6], [3, 9, 9]]


@pytest.mark.parametrize(("tails", "plain"), [([[5]], True), ([[5], [6, 7]], True), ([[5, 1], [6, 7]], False)])
def test_one_tail_needs_no_mask(tails: list[list[int]], plain: bool) -> None:
    (tree,) = plant(rows(*tails), 100, together=True)
    assert is_plain(tree) is plain


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", sorted(set(models.FAMILIES) - {"gemma2", "mistral"}))
def test_every_choice_has_the_logits_that_it_has_alone(family: str, attention: str) -> None:
    model = models.make_model(family)
    model.set_attn_implementation(attention)
    trees = plant(
        rows([7, 8, 9], [9, 9], [6, 5, 4, 3], context=[*range(20, 40)]) + rows([3, 4], [4, 4]), 100, together=True
    )
    width = max(len(tree.tokens) for tree in trees)
    ids = torch.tensor([tree.tokens + [0] * (width - len(tree.tokens)) for tree in trees])
    device = torch.device("cpu")
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            attention_mask=tree_mask(trees, 0, width, torch.float32, device),
            position_ids=tree_positions(trees, 0, width, device),
        ).logits
        for tree, row in zip(trees, logits, strict=True):
            for tail in tree.starts:
                alone = model(input_ids=torch.tensor([[*tree.context, *tail]])).logits[0, len(tree.context) - 1 :]
                assert torch.allclose(row[tree.predicting(tail)], alone, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", sorted(set(models.FAMILIES) - {"gemma2", "mistral"}))
def test_trees_are_taken_where_they_are_understood(family: str, dtype: torch.dtype) -> None:
    model = models.make_model(family).to(dtype)
    assert follows_masks(model, torch.device("cpu"))
    mask_is_lost(model)
    assert not follows_masks(model, torch.device("cpu"))


def mask_is_lost(model: torch.nn.Module) -> None:
    """As in code that makes its own mask, whatever it is given."""
    model.register_forward_pre_hook(
        lambda module, args, kwargs: (args, kwargs | {"attention_mask": None}), with_kwargs=True
    )


def test_a_mask_that_is_refused_is_no_error() -> None:
    model = models.make_model("llama")
    model.register_forward_pre_hook(refuse, with_kwargs=True)
    assert not follows_masks(model, torch.device("cpu"))


def refuse(module: torch.nn.Module, args: tuple[()], kwargs: dict[str, object]) -> None:
    if "attention_mask" in kwargs:
        raise ValueError("attention_mask must have 2 dimensions")
