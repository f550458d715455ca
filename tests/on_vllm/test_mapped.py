"""steered-vllm with a vector that was transferred to its model: the responses of steered-hf, and the same refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_vllm import CONTEXTS, WIDTH, compare, plan, save, start, start_hf, stop

from conftest import make_transferred
from lm_eval_steer.errors import SteeringError


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = save(tmp_path_factory.mktemp("llama"), "llama")
    lm = start(folder)
    yield lm, start_hf(folder)
    stop(lm)


def test_a_mapped_file_gives_the_responses_of_steered_hf(pair: Any, tmp_path: Path) -> None:
    lm, hf = pair
    assert lm.model_identity.digest == hf.model_identity.digest
    child = {"name": "elsewhere", "digest": hf.model_identity.digest}  # the same weights under another name
    path = make_transferred(width=WIDTH, child=child).save(tmp_path / "mapped.safetensors")
    compare(lm, hf, tmp_path, {"vectors": str(path), "alpha": [0.5, 2.0]}, CONTEXTS[:4])
    told = [one.get_model_info()["steering"]["transfer"] for one in pair]
    assert told[0] == told[1]
    assert (told[0]["width_map"], told[0]["transferred"]) == ("ridge:0.05", True)


def test_both_refuse_a_vector_for_another_model_and_may_take_it(pair: Any) -> None:
    other = make_transferred(width=WIDTH, child={"name": "elsewhere", "architecture": "llama"})
    for one in pair:
        with pytest.raises(SteeringError, match=r"was transferred to elsewhere \(llama, .*, and this model is .*llama"):
            one.steer(plan(vectors=other, alpha=2.0))
        one.steer(plan(vectors=other, alpha=2.0, allow_other_child=True))
