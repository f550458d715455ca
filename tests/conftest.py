"""Fixtures shared by the tests: tiny models, the embedded real model, the plugin in this process."""

from __future__ import annotations

import os
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from huggingface_hub import constants

import models
from lm_eval_steer import plugin
from lm_eval_steer.vectors.embedded import bring
from lm_eval_steer.vectors.vector import SteeringVector

os.environ["HF_HUB_OFFLINE"] = "1"  # in processes that tests start
constants.HF_HUB_OFFLINE = True  # in this one, where it was read by what is imported above
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# vLLM lives in an environment of its own, `make test-vllm`; here its tests are not even collected.
collect_ignore = [] if find_spec("vllm") else ["on_vllm"]
# So do other programs, `make test-elsewhere` and `make test-elsewhere-vllm`.
PROGRAMS = {"llama_cpp": "llama_cpp", "others": "repeng", "saklas": "saklas", "vllm_lens": "vllm_lens"}
collect_ignore += [f"other_programs/test_{name}.py" for name, package in PROGRAMS.items() if not find_spec(package)]
ROOT = Path(__file__).resolve().parent.parent
if "LM_EVAL_STEER_DATA" not in os.environ and (ROOT.parent / "shared" / "data").is_dir():
    os.environ["LM_EVAL_STEER_DATA"] = str(ROOT.parent / "shared" / "data")
plugin.install(force=True)
if find_spec("hypothesis"):  # not in vLLM's environment, whose tests do without
    from hypothesis import settings

    # Ends what never ends. The default of 200 ms is about the machine: it is shared, and one comparison of MATH answers
    # may take five seconds of its processor.
    settings.register_profile("shared machine", deadline=timedelta(seconds=60))
    settings.load_profile("shared machine")


def make_vector(blocks: int = models.DEPTH, width: int = models.WIDTH, seed: int = 0) -> SteeringVector:
    """Random unit directions for every block of a parent."""
    directions = np.random.default_rng(seed).normal(size=(blocks, width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    parent = {"name": f"random-{seed}", "hidden_size": width, "num_blocks": blocks}
    return SteeringVector(directions.astype(np.float32), tuple(range(blocks)), {"parent": parent})


def make_transferred(
    blocks: int = models.DEPTH, width: int = models.WIDTH, seed: int = 0, parents: int = 1, **changes: Any
) -> SteeringVector:
    """Random unit directions for every block of a child, as if they came from one or more parents of 5 x 6.

    Args:
        blocks: of the child.
        width: of the child.
        seed: of the directions.
        parents: how many.
        **changes: of the passport's `transfer`; those of `child` are added to what it says.
    """
    vector = make_vector(blocks, width, seed)
    passports = [
        {"parent": {"name": f"org/parent-{number}", "num_blocks": 5, "hidden_size": 6}} for number in range(parents)
    ]
    child = {"name": "child", "num_blocks": blocks, "hidden_size": width} | changes.pop("child", {})
    each = [0.5] * parents if parents > 1 else 0.5
    transfer = {
        "child": child,
        "parents": [
            {"name": one["parent"]["name"], "weight": 1 / parents} | ({"passport": one} if number else {})
            for number, one in enumerate(passports)
        ],
        "width_map": {"name": "ridge", "lambda": 0.05},
        "layer_map": {"name": "proportional"},
        "texts": {"source": "task", "tasks": ["toy"], "rows": ["a", "b"], "held_out": 1},
        "blocks": [
            {
                "block": block,
                "source": [min(block, 4)] * parents if parents > 1 else min(block, 4),
                **{"r2": each, "length": each, "cos_cut": 0.01},
            }
            for block in range(blocks)
        ],
    }
    return SteeringVector(vector.directions, vector.layers, passports[0] | {"transfer": transfer | changes})


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face folder; brought once and kept in the checkout."""
    folder = ROOT / "models" / "smollm2"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # the other process of pytest-xdist waits
        return bring("smollm2", folder)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a Hugging Face folder."""
    return models.save_model(tmp_path_factory.mktemp("tiny"), "llama")


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """model_args of a tiny model and a vector, as sweeps take them."""
    import sweeps  # of tests that need them: it imports what sweeps do

    return sweeps.make_child(tmp_path_factory.mktemp("child"))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps without what takes seconds and changes nothing."""
    import sweeps

    sweeps.hurry(monkeypatch)
