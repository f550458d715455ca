"""Several engines that share the rows of a run (`data_parallel_size`) against one engine and against steered-hf."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from test_vllm import ALPHAS, CONTEXTS, SHARED, TOKENS, choices, compare, plan, requests, save, start, start_hf, stop

from lm_eval_steer.axis.record import Line
from lm_eval_steer.engines.vllm.engine import deal, take_turns
from lm_eval_steer.engines.vllm.rows import Steps, VllmRow


def test_rows_are_dealt_out_by_intervention() -> None:
    rows = [VllmRow([1], 1, number) for number in (2, 0, 1, 0, 2, 1, 0)]
    assert deal(rows, 1) == [[1, 3, 6, 2, 5, 0, 4]]
    assert deal(rows, 3) == [[1, 3], [6, 2], [5, 0, 4]]
    assert deal(rows[:1], 3) == [[], [], [0]]


def test_runs_take_turns_and_end_together() -> None:
    told: list[str] = []

    def run(name: str, steps: int) -> Steps[str]:
        try:
            for step in range(steps):
                told.append(f"{name}{step}")
                yield [(step, name)] if step else []
            if steps == 2:
                raise RuntimeError(name)
        finally:
            told.append(f"end {name}")

    assert list(take_turns([run("a", 1), run("b", 3)])) == [(1, "b"), (2, "b")]
    assert told == ["a0", "b0", "end a", "b1", "b2", "end b"]
    told.clear()
    with pytest.raises(RuntimeError, match="c"):
        list(take_turns([run("a", 9), run("c", 2), run("b", 9)]))
    assert told[-3:] == ["end c", "end b", "end a"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two engines that share the rows, and steered-hf."""
    folder = save(tmp_path_factory.mktemp("shared"), "llama")
    lm = start(folder, data_parallel_size=2)
    yield lm, start_hf(folder)
    stop(lm)


@pytest.mark.parametrize("tokens", TOKENS)
def test_two_engines_share_the_rows_of_a_set(shared: Any, tokens: str, tmp_path: Path) -> None:
    compare(*shared, tmp_path, {"alpha": ALPHAS, "tokens": tokens}, CONTEXTS, SHARED)
    first, second = (runner.measured().implied for runner in shared[0].engine.runners)
    assert sum(first.values()) > 0 < sum(second.values())


def test_two_engines_give_the_results_of_one(shared: Any, tmp_path: Path) -> None:
    one = start(str(shared[1].pretrained))
    plans: list[dict[str, Any]] = [
        {"alpha": 0},
        {"alpha": 1.5},
        {"dose": [0.1, 0.5], "normalize": True},
        {"alpha": ALPHAS, "control": "self-consistency"},
    ]
    for chosen in plans:
        texts, counts, scores, doses = [], [], [], []
        for name, lm in (("two", shared[0]), ("one", one)):
            record = str(tmp_path / name) if len(chosen) > 1 else None  # alpha=0 alone is VLLM's own path
            lm.steer(plan(**chosen, record=record))
            texts.append([lm.generate_until(requests()), lm.generate_until(requests(CONTEXTS[:1]))])
            scores.append([])
            if not lm.plan.samples:
                scores[-1] += [score for score, _ in lm.loglikelihood(choices())]
            if len(lm.plan.variants) == 1:
                rolling = Instance("loglikelihood_rolling", {}, (SHARED,), 0, ("toy", 0, 1))
                scores[-1] += lm.loglikelihood_rolling([rolling])
            steering = lm.get_model_info()["steering"]
            counts.append([steering[key] for key in ("votes", "application", "responses")])
            doses.append({(name, block) for name, found in steering["doses"].items() for block in found})
            for strength, found in steering["doses"].items():
                for block in found.values():  # of a sample of the passes, but what holds at every position
                    assert block["positions"] > 0
                    assert "dose" not in chosen or block["dose"] == pytest.approx(float(strength), rel=0.2)  # a chord
                    assert block["survival"] is None or block["survival"] == pytest.approx(1, abs=1e-3)
        assert texts[0] == texts[1]
        assert counts[0] == counts[1]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)
        assert doses[0] == doses[1]
        assert bool(doses[0]) == (chosen not in (plans[0], plans[-1]))
    stop(one)


def test_a_run_that_fails_leaves_nothing_in_any_engine(shared: Any) -> None:
    lm, _ = shared
    lm.steer(plan(alpha=2.0))
    texts = lm.generate_until(requests())

    def fail(line: Line, new: bool) -> None:
        raise KeyboardInterrupt

    lm.watch = fail
    with pytest.raises(KeyboardInterrupt):
        lm.generate_until(requests())
    lm.watch = None
    assert not any(engine.llm.llm_engine.has_unfinished_requests() for engine in lm.engine.runners)
    assert lm.generate_until(requests()) == texts
