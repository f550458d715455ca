"""Several processes: each answers its own documents, and together they give the results of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import models
from conftest import make_vector
from lm_eval_steer.axis.record import read_lines
from lm_eval_steer.engines.vllm import ranks
from lm_eval_steer.engines.vllm.ranks import Ranks
from lm_eval_steer.errors import SteeringError

ALONE: list[list[str]] = [[]]
# `--multi_gpu` is accelerate's word for several processes; the environment below keeps them on the CPU.
PROCESSES = [["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m"]]  # fmt: skip
MACHINES = [["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank),
             "--master-addr", "127.0.0.1", "--master-port", "{port}", "-m"] for rank in (0, 1)]  # fmt: skip
"""Ways to start `lm_eval`: the words before it, of each command of a run."""


def run(
    folder: Path, model: Path, launches: list[list[str]], engine: str = "steered-hf", **more: Any
) -> dict[str, Any]:
    """`lm_eval` over the set of strengths in `more`; its results and the answers of its samples by document."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = {"pretrained": str(model), "vectors": str(folder.parent / "v.pt"),
                 "record": str(folder / "record")} | more  # fmt: skip
    command = ["lm_eval", "--model", engine, "--model_args", json.dumps(arguments), "--tasks", "arith_steer",
               "--limit", "5", "--batch_size", "8", "--gen_kwargs", "max_gen_toks=4", "--log_samples",
               "--output_path", str(folder)]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *(word.replace("{port}", port) for word in launch), *command],
            env=environment,
            stdout=(folder.parent / f"{folder.name}-{number}.log").open("w"),
            stderr=subprocess.STDOUT,
        )
        for number, launch in enumerate(launches)
    ]
    try:
        for number, process in enumerate(started):
            assert process.wait(timeout=600) == 0, (folder.parent / f"{folder.name}-{number}.log").read_text()[-3000:]
    finally:
        for process in started:  # one that waits for another that failed
            process.terminate()
    (result,) = folder.rglob("results_*.json")
    (samples,) = folder.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").split("\n") if line]
    content = json.loads(result.read_text())
    steering = content["config"]["steering"]
    return {
        "scores": content["results"]["arith_steer"]["exact_match,answer"],
        "responses": {row["doc_id"]: row["resps"][0][0] for row in rows},
        "steering": {key: steering[key] for key in ("votes", "application")} | {"counts": steering["responses"]},
        "doses": {
            (name, block): (measured["dose"], measured["positions"])
            for name, blocks in steering["doses"].items()
            for block, measured in blocks.items()
        },
    }


def compare(
    folder: Path, model: Path, ways: list[list[list[str]]], engine: str = "steered-hf", **more: Any
) -> Iterator[tuple[dict[Any, Any], dict[Any, Any]]]:
    """Hold runs of two processes, however they are started, against one of one; gives the doses of one and of two."""
    alone = run(folder / "alone", model, ALONE, engine, **more)
    assert len(list(read_lines(folder / "alone" / "record"))) == 15
    assert alone["steering"]["votes"]["requests"] == 5
    assert alone["steering"]["counts"] == {"run": 15, "from_record": 0}
    for number, launches in enumerate(ways):
        together = folder / f"together-{number}"
        found = run(together, model, launches, engine, **more)
        doses = found.pop("doses")
        assert found == {key: value for key, value in alone.items() if key != "doses"}
        assert doses.keys() == alone["doses"].keys()
        by_rank = [
            {
                json.loads(text)["doc_id"]
                for text in path.read_text(encoding="utf-8").split("\n")[:-1]
                if '"doc_id"' in text
            }
            for path in sorted((together / "record").glob("*.jsonl"))
        ]
        assert by_rank == [{0, 2, 4}, {1, 3}]
        assert len(list(read_lines(together / "record"))) == 15
        yield alone["doses"], doses


@pytest.mark.slow
def test_two_processes_share_the_documents_and_give_the_results_of_one(tmp_path: Path) -> None:
    model = models.save_model(tmp_path / "model", "llama", max_position_embeddings=4096)
    make_vector().save(tmp_path / "v.pt")
    ((alone, together),) = compare(tmp_path, model, [PROCESSES], alpha=[1.0, 2.0, 3.0])
    for key, (dose, positions) in together.items():
        assert dose == pytest.approx(alone[key][0], rel=0.05)
        assert positions > alone[key][1]  # each process runs a beginning that prompts share


def test_a_rank_that_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store = torch.distributed.HashStore()
    for rank in (0, 2):  # two of four that were here once
        store.set(f"1/{rank}", "here")
    monkeypatch.setattr(ranks, "WAIT", timedelta(seconds=0.2))
    meeting = ranks.Meeting(store, 2, 4)
    with pytest.raises(SteeringError, match=r"rank 2 of 4 waited 0\.2 s at most for ranks 1, 3 in vain"):
        meeting.wait()
    for rank in (0, 1, 3):
        store.set(f"2/{rank}", "here")
    meeting.wait()  # the next exchange, to which all have come


def test_a_first_rank_that_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(ranks, "WAIT", timedelta(seconds=0.5))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    with pytest.raises(SteeringError, match=r"rank 1 of 2 waited 0\.5 s at most for rank 0 in vain"):
        Ranks(1, 2, 1, 2).join()
    with pytest.raises(SteeringError, match=r"rank 0 of 2 waited 0\.5 s at most for rank 1 in vain"):
        Ranks(0, 2, 0, 2).join()


def test_what_a_launcher_says() -> None:
    assert Ranks.found({}) == Ranks(0, 1, 0, 1)
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert Ranks.found(told) == Ranks(5, 8, 1, 4)
    assert Ranks.found(told).engine(1, 3) == Ranks(16, 24, 4, 12)
    assert Ranks().engine(0, 1) == Ranks()
    inside = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    with pytest.raises(SteeringError, match=r"8 engines .* unset VLLM_ENABLE_V1_MULTIPROCESSING"):
        Ranks.found(told | inside)
    with pytest.raises(SteeringError, match=r"2 engines .* unset VLLM_ENABLE_V1_MULTIPROCESSING"):
        Ranks.found(inside, 2)
    assert Ranks.found(inside) == Ranks()


def test_every_process_has_gpus_of_its_own() -> None:
    assert [Ranks(5, 8, rank, 4).devices(None, 8, 2) for rank in range(4)] == ["0,1", "2,3", "4,5", "6,7"]
    assert Ranks(1, 2, 1, 2).devices("7,3,5", 3, 1) == "3"
    two = [Ranks(5, 8, 1, 2).engine(number, 2) for number in range(2)]
    assert [engine.devices(None, 8, 2) for engine in two] == ["4,5", "6,7"]
    with pytest.raises(SteeringError, match="2 engines of 2 GPUs each want 4, and this machine shows 3: start fewer"):
        Ranks(1, 2, 1, 2).devices("7,3,5", 3, 2)


def test_an_engine_is_started_as_if_it_were_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "OTHER": "x"}
    monkeypatch.setattr(os, "environ", dict(told))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with Ranks.found(told).alone(2):
        assert os.environ == {"CUDA_VISIBLE_DEVICES": "2,3", "OTHER": "x"}
    assert os.environ == told
    monkeypatch.setattr(os, "environ", {})
    with Ranks().engine(1, 2).alone(1):
        assert os.environ == {"CUDA_VISIBLE_DEVICES": "1"}
    with Ranks().alone(2):
        os.environ["MASTER_PORT"] = "1"  # what one engine sets for itself stays
    assert os.environ == {"MASTER_PORT": "1"}
