"""Shared beginnings: what is shared, and that nothing but the work changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import torch
from transformers.cache_utils import Cache

import models
from lm_eval_steer.engines.hf.prefix import Prefixes, can_share, move_padding, run_prefix, shared_length
from lm_eval_steer.engines.hf.probes import continues_from_cache, heeds_padding


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),  # each keeps one token of its own
        ([[1, 2], [1, 2, 3], [1, 2, 4]], 1),
        ([[5], [5, 6]], 0),
        ([[1, 2], [2, 1]], 0),
        ([[1, 2, 3, 9], [1, 2, 3, 9, 4], [1, 2, 8, 9, 9]], 2),
    ],
)
def test_shared_length(sequences: list[list[int]], expected: int) -> None:
    assert shared_length(sequences) == expected


def test_move_padding_by_hand() -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5], [0, 0, 1, 2, 6], [0, 1, 2, 7, 8]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    moved, moved_mask = move_padding(ids, mask, 2)
    assert moved.tolist() == [[1, 2, 3, 4, 5], [1, 2, 0, 0, 6], [1, 2, 0, 7, 8]]
    assert moved_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 1], [1, 1, 0, 1, 1]]


@pytest.mark.parametrize("family", models.FAMILIES)
def test_a_copied_beginning_gives_the_same_logits(family: str) -> None:
    model = models.make_model(family)
    ids = torch.randint(0, 250, (2, 30), generator=torch.Generator().manual_seed(1))
    ids[1, :20] = ids[0, :20]
    with torch.no_grad():
        runs: list[int] = []
        prefixes = Prefixes(lambda held: held)

        def run(tokens: Sequence[int], numbers: Sequence[int]) -> Cache | None:
            runs.append(len(tokens))
            return run_prefix(model, tokens, len(numbers), torch.device("cpu"))

        prefixes.learn(ids.tolist())
        for _ in range(2):  # the second time from the cache, which the first has left as it was
            shared, cache = prefixes.prepare(model, ids.tolist(), [0, 0], run)
            assert shared == 20
            both = model(input_ids=ids[:, shared:], **cache).logits
            assert torch.allclose(both, model(ids).logits[:, shared:], atol=1e-4)
    assert runs == [20]


def test_only_what_all_rows_begin_with_is_shared() -> None:
    model, beginning = models.make_model("llama"), list(range(20))
    prefixes = Prefixes(lambda held: held)

    def prepare(rows: list[list[int]]) -> tuple[int, dict[str, Cache]]:
        return prefixes.prepare(
            model, rows, [0] * len(rows), lambda tokens, n: run_prefix(model, tokens, len(n), torch.device("cpu"))
        )

    prefixes.learn([[*beginning, 1, 2], [*beginning, 3], [7] * 30, [7] * 30, [8] * 30])
    with torch.no_grad():
        assert prepare([[*beginning, 1, 2], [*beginning, 3]])[0] == 20
        assert prepare([[*beginning, 1, 2], [7] * 30]) == (0, {})  # rows of two tasks
        assert prepare([beginning]) == (0, {})  # nothing of its own (a truncated prompt)
        assert prepare([[8] * 30]) == (0, {})  # alone in its run
        assert prepare([[7] * 30])[0] == 29


def test_a_prompt_that_is_a_kept_beginning_is_run_with_a_token_of_its_own() -> None:
    """Of a document of the run before the beginning was kept, and a context of this run is that beginning."""
    model, beginning = models.make_model("llama"), list(range(20))
    prefixes = Prefixes(lambda held: held)
    prefixes.learn([[*beginning, 1], [*beginning, 2]])
    rows = [beginning, [*beginning, 3]]
    prefixes.learn(rows)
    with torch.no_grad():
        shared, _ = prefixes.prepare(
            model, rows, [0, 0], lambda tokens, n: run_prefix(model, tokens, len(n), torch.device("cpu"))
        )
    assert shared == 19


def test_beginnings_are_let_go_oldest_first(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tasks at three strengths, of which eight beginnings may be kept; those of a batch stay anyway."""
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)  # lm_eval's own logging switches it off
    caplog.set_level(logging.INFO, "lm_eval")
    model = models.make_model("llama")
    tasks = [[[task] * 20 + [1], [task] * 20 + [2]] for task in range(4)]
    one = run_prefix(model, [0] * 20, 1, torch.device("cpu"))
    assert one is not None
    size = sum(layer.keys.nbytes + layer.values.nbytes for layer in one.layers)
    limits, ran = [8 * size], []
    prefixes = Prefixes(lambda held: limits[0])
    prefixes.learn(row for rows in tasks for row in rows)

    def use(task: int, *strengths: int) -> None:
        def run(tokens: Sequence[int], numbers: Sequence[int]) -> Cache | None:
            ran.extend((task, number) for number in numbers)
            return run_prefix(model, tokens, len(numbers), torch.device("cpu"))

        with torch.no_grad():
            rows = [tasks[task][0]] * len(strengths)
            assert prefixes.prepare(model, rows, strengths, run)[0] == 20

    for task in range(4):
        use(task, 0, 1, 2)
    assert len(prefixes._caches) == 8
    assert len(ran) == 12
    use(1, 1)  # is there, and so the last used from now on
    assert len(ran) == 12
    use(0, 0)  # takes the place of the longest unused, (1, 2)
    use(1, 1, 2)
    assert ran[12:] == [(0, 0), (1, 2)]
    limits[0] = 0
    use(2, 0, 1, 2)
    assert [message for message in caplog.messages if "let go" in message][1:] == []
    assert set(prefixes._caches) == {((2,) * 16, number) for number in range(3)}


def test_a_model_with_other_state_than_keys_and_values_shares_nothing() -> None:
    model = models.make_model("llama")
    assert run_prefix(model, [1, 2], 1, torch.device("cpu")) is not None
    model.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    assert run_prefix(model, [1, 2], 1, torch.device("cpu")) is None


def test_a_state_beside_the_cache_is_found() -> None:
    """As RecurrentGemma keeps one in its blocks, whatever cache it is given."""
    model = models.make_model("llama")
    assert continues_from_cache(model, torch.device("cpu"))
    state = torch.zeros(models.WIDTH)

    def remember(module: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        nonlocal state
        if output.shape[1] > 2:  # a text from its first token on
            state = torch.zeros(models.WIDTH)
        before, state = state, output[0, -1]
        return output + before

    model.model.layers[0].register_forward_hook(remember)
    assert not continues_from_cache(model, torch.device("cpu"))


def test_what_a_checkpoint_asks_of_generation_does_not_hide_that_padding_is_heeded() -> None:
    model = models.make_model("llama")
    model.generation_config.cache_implementation = "offloaded"  # which a CPU refuses
    assert heeds_padding(model, torch.device("cpu"))
    assert model.generation_config.cache_implementation == "offloaded"


def test_windows_and_alibi_are_not_shared() -> None:
    assert can_share(models.make_model("llama"), 2000)
    assert can_share(models.make_model("mistral"), 16)
    assert not can_share(models.make_model("mistral"), 17)
    assert not can_share(models.make_model("falcon", alibi=True), 5)
