"""engines/vllm/turns.py, without vLLM: the tokens of a pass, each under an intervention of its own or none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lm_eval_steer.engines.vllm.anchors import Anchor
from lm_eval_steer.engines.vllm.sites import Sites
from lm_eval_steer.engines.vllm.turns import Tokens
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.interventions.operators.operator import OF_THE_FILE
from steerings import steering

WIDTH, TOKENS = 12, 60
DRAW = np.random.default_rng(0)
ROWS_OF_A_MAP = 5


def directions(operator: str) -> np.ndarray:
    count = OPERATORS[operator].directions
    drawn = DRAW.normal(size=(ROWS_OF_A_MAP if count == OF_THE_FILE else count, WIDTH)).astype(np.float32)
    return drawn[0] if count == 1 else drawn


EVERY = [steering({0: directions(name)}, 0.7, name) for name in OPERATORS]
INTERVENTIONS = [*EVERY, steering({0: directions("add")}, 0.5), steering({0: directions("ablate")}, 0.0, "ablate")]


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("is_pair", [True, False])
def test_each_token_is_changed_by_its_own_operator_alone(several: bool, is_pair: bool) -> None:
    """On a GPU nobody asks which tokens are steered, and all that an intervention may steer are computed."""
    sites = Sites(INTERVENTIONS, {0: Anchor(torch.nn.Identity(), pairs=True)}, torch.device("cpu"))
    chosen = range(len(INTERVENTIONS)) if several else [list(OPERATORS).index("turn")]
    whose = 1 + DRAW.choice(list(chosen), size=TOKENS)
    index = torch.from_numpy(np.where(DRAW.random(TOKENS) < 0.3, 0, whose))
    hidden, residual = (torch.from_numpy(DRAW.normal(size=(TOKENS, WIDTH)).astype(np.float32)) for _ in range(2))
    strength, steered = sites.strengths[0, index][:, None], sites.acts[0, index][:, None]
    turn = sites.turn(0, frozenset(chosen))

    def change(tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor | None]:
        return turn.apply(hidden, residual if is_pair else None, strength, steered, tokens, 1.0)

    asked = change(Tokens(index, whose))
    tokens = Tokens(index, whose)
    tokens.exact, tokens._whose = False, whose
    after, rest = change(tokens)
    for one, other in zip(asked, (after, rest), strict=True):  # of other sums, since others are computed beside them
        assert (one is None and other is None) or torch.allclose(one, other, rtol=0, atol=1e-6)  # type: ignore[arg-type]
    before, found = (hidden + residual, after + rest) if is_pair and rest is not None else (hidden, after)
    for place, number in enumerate((index - 1).tolist()):
        if number < 0 or not INTERVENTIONS[number].acts:
            assert torch.equal(found[place], before[place]), place
            continue
        (edit,) = INTERVENTIONS[number].edits
        operator = OPERATORS[edit.operator]
        of_it = torch.from_numpy(edit.direction)
        wanted = operator.apply(before[None, None, place], torch.tensor([[[edit.strength]]]), of_it)[0, 0]
        assert torch.allclose(found[place], wanted, atol=1e-5), edit.operator
        bounded = edit.operator in ("set_at_least", "set_at_most")  # which leave what is within their bound
        assert bounded or not torch.allclose(found[place], before[place], atol=1e-3), edit.operator


def test_shifts_of_two_operators_move_their_own_tokens_alone(request: pytest.FixtureRequest) -> None:
    """One of them may be an operator of one's own (docs/EXTENDING.md)."""
    OPERATORS.add("add_again", OPERATORS["add"])
    request.addfinalizer(lambda: OPERATORS.remove("add_again"))
    both = [steering({0: directions("add")}, 2.0, name) for name in ("add", "add_again")]
    sites = Sites(both, {0: Anchor(torch.nn.Identity(), pairs=True)}, torch.device("cpu"))
    index = torch.tensor([1, 2, 0, 2])
    hidden = torch.from_numpy(DRAW.normal(size=(4, WIDTH)).astype(np.float32))
    strength, steered = sites.strengths[0, index][:, None], sites.acts[0, index][:, None]
    after, _ = sites.turn(0, frozenset({0, 1})).apply(hidden, None, strength, steered, Tokens(index), 1.0)
    for place, number in enumerate((index - 1).tolist()):
        moved = 0 if number < 0 else 2 * torch.from_numpy(both[number].edits[0].direction)
        assert torch.allclose(after[place], hidden[place] + moved, atol=1e-6), place
