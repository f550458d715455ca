"""What `steered-gguf` knows before it needs llama.cpp: whether it is there, and what a control vector can do."""

from __future__ import annotations

import configparser
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from typing import Any

import numpy as np
import pytest

from conftest import ROOT, make_vector
from lm_eval_steer.engines.llama_cpp import support
from lm_eval_steer.engines.llama_cpp.shifts import control_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import NOTHING, intervene
from steerings import steering


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(found: str | None) -> None:
        def version(name: str) -> str:
            if found is None:
                raise PackageNotFoundError(name)
            return found

        monkeypatch.setattr(support, "version", version)
        monkeypatch.setattr(support.importlib.util, "find_spec", lambda name: ModuleSpec(name, None))

    return install


def test_a_llama_cpp_that_is_not_there_or_not_known_is_told_in_one_sentence(installed: Any) -> None:
    installed(None)
    with pytest.raises(SteeringError, match=r"needs llama-cpp-python, which is not installed: pip install 'lm_eval_st"):
        support.require_llama_cpp()
    for old in ("0.3.35", "0.2.90", "0.4.0"):
        installed(old)
        with pytest.raises(SteeringError, match=rf"llama-cpp-python >=0.3.36,<0.4, and {old} is installed: pip"):
            support.require_llama_cpp()
    for known in ("0.3.36", "0.3.40"):
        installed(known)
        assert support.require_llama_cpp() == known


def test_the_extra_is_the_known_range() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lowest, above = (".".join(map(str, release)) for release in support.KNOWN)
    assert setup["options.extras_require"]["gguf"].strip() == f"llama-cpp-python>={lowest},<{above}"


def test_a_control_vector_is_alpha_times_each_direction() -> None:
    directions = make_vector().directions
    found = control_vector(steering({1: directions[1], 2: directions[2]}, {1: 2.5, 2: -1.0}), 3)
    assert list(found) == [1, 2]
    assert all(row.dtype == np.float32 for row in found.values())
    np.testing.assert_array_equal(found[1], np.float32(2.5) * directions[1])
    np.testing.assert_array_equal(found[2], -directions[2])
    assert control_vector(NOTHING, 3) == {}


def test_what_it_cannot_do_is_refused() -> None:
    directions = {1: make_vector().directions[1]}
    for one, sentence in {
        steering(make_vector().directions, 1.0): r"llama.cpp steers no block 0: leave it out with layers=1-2,",
        steering(directions, 1.0, tokens="last"): r"tokens=last is nothing that llama.cpp can do",
        steering(directions, 0.1, unit="dose"): r"a dose hangs on the state that is steered",
        steering(directions, 1.0, "add_keep_norm"): r"llama.cpp adds vectors and cannot add_keep_norm",
        steering(directions, 1.0, site="mlp"): r"site=mlp is out of llama.cpp's reach, which adds to outputs of blocks",
        steering(directions, 1.0, "ablate"): r"llama.cpp adds vectors and cannot ablate",
        intervene(sample=1, temperature=0.7): r"steered-gguf draws no texts",
        intervene(regrouped=True): r"steered-gguf runs a row at a time",
    }.items():
        with pytest.raises(SteeringError, match=sentence):
            control_vector(one, 3)
