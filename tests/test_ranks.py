"""Several processes: each answers its own documents, and together they give the results of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import models
from conftest import make_vector
from lm_eval_steer.record import read_lines


def run(folder: Path, model: Path, processes: int) -> dict[str, Any]:
    """`lm_eval` over a set of strengths; its results and the answers of its samples by document."""
    launch = [sys.executable, "-m", "lm_eval"]
    if processes > 1:
        # `--multi_gpu` is accelerate's word for several processes; the environment below keeps them on the CPU.
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes),
                  "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                  "--main_process_port", "0", "-m", "lm_eval"]  # fmt: skip
    arguments = {"pretrained": str(model), "vectors": str(folder.parent / "v.pt"), "alpha": [1.0, 2.0, 3.0],
                 "record": str(folder / "record")}  # fmt: skip
    command = [*launch, "--model", "steered-hf", "--model_args", json.dumps(arguments), "--tasks", "arith_steer",
               "--limit", "5", "--batch_size", "8", "--gen_kwargs", "max_gen_toks=4", "--log_samples",
               "--output_path", str(folder)]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (result,) = folder.rglob("results_*.json")
    (samples,) = folder.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").split("\n") if line]
    return {
        "scores": json.loads(result.read_text())["results"]["arith_steer"]["exact_match,answer"],
        "responses": {row["doc_id"]: row["resps"][0][0] for row in rows},
    }


def test_two_processes_share_the_documents_and_give_the_results_of_one(tmp_path: Path) -> None:
    model = models.save_model(tmp_path / "model", "llama", max_position_embeddings=4096)
    make_vector().save(tmp_path / "v.pt")
    alone, together = run(tmp_path / "one", model, 1), run(tmp_path / "two", model, 2)
    assert together == alone
    by_rank = [
        {json.loads(text)["doc_id"] for text in path.read_text(encoding="utf-8").split("\n")[:-1] if '"doc_id"' in text}
        for path in sorted((tmp_path / "two" / "record").iterdir())
    ]
    assert by_rank == [{0, 2, 4}, {1, 3}]
    assert [len(list(read_lines(tmp_path / folder / "record"))) for folder in ("one", "two")] == [15, 15]
