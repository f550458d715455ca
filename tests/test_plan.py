"""SteeringPlan: a sentence for every argument that is wrong, and a fingerprint that knows every argument."""

from __future__ import annotations

import decimal
import inspect
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_vector
from lm_eval_steer.axis.record import Record, digest, read_lines
from lm_eval_steer.cli.main import make_parser
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan


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
        (
            {"tokens": "first"},
            "tokens='first' is not understood: use one of all, prompt, generated, last, first:N, after:N, last:-N, "
            "or match:TOKENS",
        ),
        (
            {"tokens": None},
            "tokens=None is not understood: use one of all, prompt, generated, last, first:N, after:N, last:-N, "
            "or match:TOKENS",
        ),
        (
            {"tokens": "first:0"},
            "tokens='first:0' is not understood: use one of all, prompt, generated, last, first:N, after:N, last:-N, "
            "or match:TOKENS",
        ),
        (
            {"tokens": "last:2"},
            "tokens='last:2' is not understood: use one of all, prompt, generated, last, first:N, after:N, last:-N, "
            "or match:TOKENS",
        ),
        (
            {"tokens": ["all"]},
            "tokens=['all'] is not understood: use one of all, prompt, generated, last, first:N, after:N, last:-N, "
            "or match:TOKENS",
        ),
        (
            {"width_map": "pad"},
            "width_map='pad' is not understood: use one of cut, cut-raw, lstsq, ridge[:lambda], procrustes, "
            "lowrank:k, anchors:n",
        ),
        ({"system_role": "keep"}, "system_role='keep' is not understood: use one of merge, drop"),
        ({"normalize": "yes"}, "normalize='yes' is not understood: use True or False"),
        ({"normalize": 1}, "normalize=1 is not understood: use True or False"),
        ({"layers": "some"}, "layers='some' is not understood: use all, 7, 10-20 or [1,4]"),
        ({"layers": []}, "layers=[] names no block: use all, 7, 10-20 or [1,4]"),
        ({"blocks": []}, "blocks=[] is not understood: name where the list of blocks is, as in blocks=model.layers"),
        ({"record": True}, "record=True is not understood: name a folder, as in record=steer_records"),
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


class Unspeakable:
    """Neither shown, compared nor hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")


ODD: list[Any] = [
    *(None, True, False, -1, 0, 3, 1.5, float("nan"), float("inf"), 1e308, 10**30, 10**400, 10**5000),
    *("", "x", "é\n", "\x1b[31m", "9" * 5000, "-", "1-", "5-2", "0:1", "linear:", "peak:nan:1", "linear:1e308:-1e308"),
    *("a\x00b", "x" * 50_000, "/", "..", "~nobody/x", b"x", Path("x"), Path()),
    *([], [[]], ["a"], [1, "x"], [None], [True], [1e308], [10**5000], ["nan"], {}, {"a": 1}, {1: []}, set(), (), (1,)),
    *(np.zeros(3), np.array([["a"] * 30] * 30), np.float32(1), np.int64(1), np.bool_(True)),
    *(object(), 1j, range(3), lambda: 0, int, decimal.Decimal(1), iter([]), ..., Unspeakable()),
]


def said_of(**arguments: Any) -> str | None:
    """The sentence that refuses a plan of a child in float32; None where there is none."""
    try:
        plan = SteeringPlan.build(**arguments)
        plan.refuse_overflow(plan.interventions(3, plan.fit(3, 32)), "float32")
    except SteeringError as error:
        return str(error)
    assert json.loads(json.dumps(plan.settings(), allow_nan=False))
    return None


@pytest.mark.parametrize("argument", inspect.signature(SteeringPlan.build).parameters)
def test_every_odd_value_of_every_argument_is_understood_or_one_sentence(argument: str) -> None:
    common = {"vectors": make_vector()} | ({} if argument == "dose" else {"alpha": 0.5})
    said = [said_of(**(common | {argument: value})) for value in ODD]
    refused = [text for text in said if text is not None]
    assert len(refused) > 20
    for text in refused:
        assert text.isprintable()
        assert len(text) < 8000
        assert argument in text or argument == "vectors" or text.startswith("alpha is missing")


@pytest.mark.parametrize(
    ("dtype", "alpha", "told"),
    [
        ("float32", 1e308, "alpha=1e+308 shifts blocks by up to inf, and the largest number in float32 is 3.4e+38"),
        ("bfloat16", 2e39, "alpha=2e+39 shifts blocks by up to inf, and the largest number in bfloat16 is 3.4e+38"),
        ("float16", -4e5, "alpha=-400000 shifts blocks by up to 2e+05, and the largest number in float16 is 6.6e+04"),
        ("float16", 1e5, None),
        ("float32", 1e30, "warned"),
        ("float32", 1e18, None),
    ],
)
def test_a_shift_beyond_the_dtype_is_refused_and_one_beyond_its_norms_is_told(
    dtype: str, alpha: float, told: str | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)  # lm_eval's own logging switches it off
    vector = make_vector()
    vector.directions[:] = np.float32([0.5] * 4 + [0.0] * 28)
    plan = build(vectors=vector, alpha=alpha)
    found = plan.interventions(3, plan.fit(3, 32))
    if told and told != "warned":
        with pytest.raises(SteeringError) as caught:
            plan.refuse_overflow(found, dtype)
        assert str(caught.value) == f"{told}: use a smaller strength, such as 0.04"
    else:
        plan.refuse_overflow(found, dtype)
    warned = [text for text in caplog.messages if "whose square no float32 holds" in text]
    assert len(warned) == (told == "warned")


def test_the_home_folder_is_one_wherever_a_path_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    vector = make_vector(seed=5)
    assert vector.save("~/mine.pt") == tmp_path / "mine.pt"
    plan = build(vectors="~/mine.pt", record="~/record")
    assert plan.vector is not None
    assert plan.vector.fingerprint == vector.fingerprint
    assert plan.record == str(tmp_path / "record")
    Record("~/record")
    assert (tmp_path / "record").is_dir()
    assert list(read_lines("~/record")) == []
    line = ["sweep", "--model_args", "pretrained=x", "--tasks", "a", "--alpha", "paper", "--output_path=~/sweep"]
    assert make_parser().parse_args(line).output_path == str(tmp_path / "sweep")
    assert make_parser().parse_args(["leaderboard", "~/sweep"]).folders == [str(tmp_path / "sweep")]
    assert make_parser().parse_args(["figures", "x", "--out=~/drawn"]).out == str(tmp_path / "drawn")
    compared = make_parser().parse_args(["vectors", "compare", "~/mine.pt", "~/other.pt"])
    assert [compared.first, compared.second] == [str(tmp_path / "mine.pt"), str(tmp_path / "other.pt")]


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
        assert differing == {"vectors": ["vector"], "normalize": ["operator", "normalize"]}.get(argument, [argument])
        seen.add(digest(changed))
    assert len(seen) == 1 + len(CHANGES)


def test_fingerprint_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_a_strength_that_float32_has_no_number_for_is_refused() -> None:
    for unit in ("alpha", "dose"):
        plan = build(**({"alpha": None} | {unit: [1e-60, -2e-60]}))
        with pytest.raises(SteeringError, match=rf"^{unit}=-2e-60 is 0 in float32: use a larger strength"):
            plan.interventions(3, plan.fit(3, 32))
