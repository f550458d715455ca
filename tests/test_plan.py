"""SteeringPlan: a sentence for every argument that is wrong, and a fingerprint that knows every argument."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.plan import SteeringPlan
from lm_eval_steer.record import digest


def build(**changes: Any) -> SteeringPlan:
    arguments: dict[str, Any] = {
        "vectors": make_vector(),
        "alpha": 0.5,
        "layers": "all",
        "tokens": "all",
        "normalize": False,
        "width_map": "cut",
        "system_role": "merge",
        "blocks": None,
        "allow_leak": False,
    }
    return SteeringPlan.build(**(arguments | changes))


def refusal(**changes: Any) -> str:
    with pytest.raises(SteeringError) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("alpha", "strength"),
    [(0.04, 0.04), (-3, -3.0), (0, 0.0), (0.0, 0.0), (1e-3, 1e-3), (np.float64(0.25), 0.25), (10**30, 1e30)],
)
def test_alpha_is_one_finite_number(alpha: Any, strength: float) -> None:
    plan = build(alpha=alpha)
    assert plan.alphas == (strength,)
    assert type(plan.alphas[0]) is float
    assert plan.steers == (strength != 0)


LIST_CUT = (
    "was cut at a comma: model_args given as one string to simple_evaluate cannot hold a list; "
    "pass model_args as a dict"
)
NO_NUMBER = "is not understood: use 0.04, [0.04,0.5], 0.01:0.09:0.01 or paper"
NOT_FINITE = "is not a finite number: use a strength such as alpha=0.04"


@pytest.mark.parametrize(
    ("alpha", "words"),
    [
        (None, "alpha is missing: say how long the shift is, as in alpha=0.04, or alpha=0 for none"),
        ("[0.01", f"alpha='[0.01' {LIST_CUT}"),
        ("", f"alpha='' {NO_NUMBER}"),
        (True, f"alpha=True {NO_NUMBER}"),
        (False, f"alpha=False {NO_NUMBER}"),
        (1j, f"alpha=1j {NO_NUMBER}"),
        (float("nan"), f"alpha=nan {NOT_FINITE}"),
        (float("inf"), f"alpha=inf {NOT_FINITE}"),
        (float("-inf"), f"alpha=-inf {NOT_FINITE}"),
    ],
)
def test_alpha_refused(alpha: Any, words: str) -> None:
    assert refusal(alpha=alpha) == words


def test_an_integer_beyond_every_float_is_refused() -> None:
    assert refusal(alpha=10**400).endswith(NOT_FINITE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokens": "first"}, "tokens='first' is not understood: use one of all, prompt, generated, last"),
        ({"tokens": None}, "tokens=None is not understood: use one of all, prompt, generated, last"),
        ({"tokens": ["all"]}, "tokens=['all'] is not understood: use one of all, prompt, generated, last"),
        ({"width_map": "pad"}, "width_map='pad' is not understood: use one of cut, cut-raw"),
        ({"system_role": "keep"}, "system_role='keep' is not understood: use one of merge, drop"),
        ({"normalize": "yes"}, "normalize='yes' is not understood: use True or False"),
        ({"normalize": 1}, "normalize=1 is not understood: use True or False"),
        ({"layers": "some"}, "layers='some' is not understood: use all, 7, 10-20 or [1,4]"),
        ({"layers": []}, "layers=[] names no block: use all, 7, 10-20 or [1,4]"),
        ({"vectors": 5}, "vectors=5 is not understood: name one steering vector file"),
        ({"vectors": ["a", "b"]}, "vectors=['a', 'b'] is not understood: name one steering vector file"),
        (
            {"vectors": None},
            "alpha=0.5 needs vectors: name a steering vector file, as in vectors=phi4_gsm8k.safetensors",
        ),
    ],
)
def test_refused(changes: dict[str, Any], words: str) -> None:
    assert refusal(**changes) == words


def test_a_vector_that_is_not_there() -> None:
    assert refusal(vectors="/no/such.pt").startswith("no steering vector '/no/such.pt': looked at /no/such.pt; make it")


def test_a_vector_by_name_by_path_and_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = make_vector(seed=5)
    path = vector.save(tmp_path / "vectors" / "mine.pt")
    monkeypatch.chdir(tmp_path)
    for given in ("mine", "mine.pt", str(path), path, vector):
        assert build(vectors=given).vector.fingerprint == vector.fingerprint  # type: ignore[union-attr]


def test_a_broken_vector_is_refused_for_alpha_0_too(tmp_path: Path) -> None:
    (tmp_path / "v.pt").write_bytes(b"")
    assert "v.pt: not a readable .pt file" in refusal(vectors=str(tmp_path / "v.pt"), alpha=0)


def test_alpha_0_needs_no_vector() -> None:
    plan = build(vectors=None, alpha=0)
    assert not plan.steers
    assert plan.fit(3, 32) is None
    assert plan.settings()["vector"] is None


def test_fit_carries_every_argument_over() -> None:
    plan = build(vectors=make_vector(blocks=4, width=8), layers="1-2", width_map="cut-raw")
    child = plan.fit(blocks=3, width=6)
    assert child is not None
    assert list(child.directions) == [1, 2]
    assert np.array_equal(child.directions[2], make_vector(blocks=4, width=8).directions[2, :6])
    assert child.report["width_map"] == "cut-raw"


def test_fit_says_what_is_steered(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)  # lm_eval's own logging switches it off
    with caplog.at_level(logging.INFO, "lm_eval"):
        build(vectors=make_vector(blocks=4, width=8), alpha=0.25).fit(blocks=3, width=6)
        build(vectors=make_vector(blocks=4, width=8), layers=1).fit(blocks=3, width=6)
    many, one = caplog.messages
    assert many == (
        "Steering blocks 0-2 of 3 (hidden 6) with random-0 (4 blocks, hidden 8): alpha=0.25, tokens=all, "
        "layer map greedy, width map cut"
    )
    assert one.startswith("Steering block 1 of 3")


CHANGES: dict[str, Any] = {
    "vectors": make_vector(seed=1),
    "alpha": 0.25,
    "layers": "0-1",
    "tokens": "last",
    "normalize": True,
    "width_map": "cut-raw",
    "system_role": "drop",
    "blocks": "model.layers",
}


def test_settings_and_fingerprint_know_every_argument() -> None:
    base = build().settings()
    assert json.loads(json.dumps(base)) == base
    assert digest(build().settings()) == digest(base)
    seen = {digest(base)}
    for argument, value in CHANGES.items():
        changed = build(**{argument: value}).settings()
        differing = [key for key in base if changed[key] != base[key]]
        assert differing == [argument.replace("vectors", "vector")]
        seen.add(digest(changed))
    assert len(seen) == 1 + len(CHANGES)


def test_fingerprint_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
