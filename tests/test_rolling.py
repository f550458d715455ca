"""Rolling log-likelihoods of several strengths in one pass: those of a run per strength, and all in the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from conftest import make_vector
from lm_eval_steer.axis.record import Line, read_lines
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF
from test_hf import make

ALPHAS = [0.0, 0.5, -1.0, 3.0]
TEXTS = ["Hello", "The sun rises in the east, and it sets in the west. " * 4, "ab", "Q: What is 2 + 3?\nA: 5" * 3]
"""Of one window, and of several."""
SMALL: dict[str, Any] = {"max_length": 32, "batch_size": 3}


def texts() -> list[Instance]:
    return [Instance("loglikelihood_rolling", {}, (text,), 0, ("toy", i, 1)) for i, text in enumerate(TEXTS)]


def steered(folder: Path | None = None, **arguments: Any) -> SteeredHF:
    record = {} if folder is None else {"record": str(folder)}
    return make(**({"vectors": make_vector(), "alpha": 1.0} | SMALL | record | arguments))


def by_strength(folder: Path) -> dict[float, list[float | None]]:
    found: dict[float, list[float | None]] = {}
    for line in sorted(read_lines(folder), key=lambda line: line.doc_id):
        assert (line.kind, line.response, line.scores, line.answer) == ("rolling", None, None, None)
        found.setdefault(line.alpha, []).append(line.logprob)
    return found


def test_one_pass_over_several_strengths_gives_what_a_run_of_each_gives(tmp_path: Path) -> None:
    lm = steered(tmp_path)
    plans = [SteeringPlan.build(vectors=make_vector(), alpha=alpha, record=str(tmp_path)) for alpha in ALPHAS]
    lm.steer(*plans)
    heard: list[Line] = []
    lm.watch = lambda line, new: heard.append(line)
    first = lm.loglikelihood_rolling(texts())
    lm.watch = None
    told = by_strength(tmp_path)
    assert len(heard) == len(ALPHAS) * len(TEXTS)
    assert first == told[0.0]
    assert set(told) == set(ALPHAS)
    for alpha in ALPHAS:
        alone = steered(alpha=alpha).loglikelihood_rolling(texts())
        assert told[alpha] == pytest.approx(alone, abs=1e-4 * max(map(len, TEXTS)))
    assert len({round(sum(of or 0 for of in told[alpha]), 2) for alpha in ALPHAS}) == len(ALPHAS)
    application = lm.arm_info(1)["application"]
    assert application["steered"] == application["implied"]
    assert application["implied"][0] > 0


def test_a_run_goes_on_from_the_record_and_is_replayed_from_it(tmp_path: Path) -> None:
    whole = steered(tmp_path / "whole").loglikelihood_rolling(texts())
    steered(tmp_path / "part").loglikelihood_rolling(texts()[:2])
    lm = steered(tmp_path / "part")
    run, asked = lm.engine.run, []

    def noting(jobs: Any) -> Any:
        asked.extend(jobs)
        return run(jobs)

    lm.engine.run = noting  # type: ignore[method-assign]
    assert lm.loglikelihood_rolling(texts()) == pytest.approx(whole, abs=1e-3)
    assert len(asked) == len(TEXTS) - 2
    lm.replay(lm.plan)
    assert lm.loglikelihood_rolling(texts()) == by_strength(tmp_path / "part")[1.0]
    with pytest.raises(SteeringError, match="lacks 1 of the responses that are asked for"):
        lm.loglikelihood_rolling([*texts(), Instance("loglikelihood_rolling", {}, ("new",), 0, ("toy", 9, 1))])


@pytest.mark.parametrize("recorded", [False, True])
def test_alpha_zero_is_hf_byte_for_byte_with_a_record_and_without(recorded: bool, tmp_path: Path) -> None:
    lm = steered(tmp_path if recorded else None, alpha=0)
    theirs = make(HFLM, **SMALL).loglikelihood_rolling(texts())
    assert lm.loglikelihood_rolling(texts()) == theirs
    if recorded:
        assert by_strength(tmp_path) == {0.0: theirs}


def test_a_text_without_tokens_is_one_sentence() -> None:
    with pytest.raises(SteeringError, match=r"^a text of 0 tokens has no log-likelihood"):
        steered().loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("",), 0)])
