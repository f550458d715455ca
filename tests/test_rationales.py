"""Rationales: what is asked, what is kept, going on after a kill, and pairs made from them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.pairs import load_task, pair_template, task_pairs
from lm_eval_steer.extraction.rationales import RationaleArgs, read_rationales, write_rationales

TASK = "arith_steer"  # any task will do: its own solutions are not looked at here


class Writer:
    """Answers every request: right for even numbers of requests so far, wrong for odd ones; dies when told to."""

    def __init__(self, die_after: int | None = None) -> None:
        self.prompts: list[str] = []
        self.die_after = die_after

    def generate_until(self, requests: list[Any]) -> list[str]:
        responses = []
        for request in requests:
            if self.die_after is not None and len(self.prompts) >= self.die_after:
                raise KeyboardInterrupt
            answer = request.doc["answer"].split("####")[1].strip()
            right = len(self.prompts) % 2 == 0
            self.prompts.append(request.args[0])
            responses.append(f"First this.\nThen that.\nSo \\boxed{{{answer if right else '-7'}}}.")
        return responses


def arguments(path: Path, **changes: Any) -> RationaleArgs:
    return RationaleArgs(**({"task": TASK, "out": str(path), "n": 10, "batch_size": 3} | changes))


def write(path: Path, writer: Writer, **changes: Any) -> tuple[int, int]:
    return write_rationales(arguments(path, **changes), load_task(TASK), writer, pair_template(TASK)["negative"])


def test_what_the_task_scores_as_right_is_kept(tmp_path: Path) -> None:
    path, writer = tmp_path / "r.jsonl", Writer()
    assert write(path, writer) == (10, 5)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["kept"] for line in lines] == [True, False] * 5
    assert {line["rationale"] for line in lines} == {"First this.\nThen that."}
    assert len(read_rationales(path)) == 5
    docs = {doc["row"]: doc for doc in load_task(TASK).training_docs()}
    doc = docs[lines[0]["row"]]
    answer = doc["answer"].split("####")[1].strip()
    assert f"Q: {doc['question']}" in writer.prompts[0]
    assert f"\n\nThe answer is {answer}.\n\nThat is the right answer." in writer.prompts[0]


def test_it_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    path, whole = tmp_path / "r.jsonl", tmp_path / "whole.jsonl"
    write(whole, Writer())
    with pytest.raises(KeyboardInterrupt):
        write(path, Writer(die_after=7))
    assert len(path.read_text().splitlines()) == 6  # two batches of three are on disk
    with path.open("a") as file:
        file.write('{"row": "half a li')  # a kill in the middle of a write
    second = Writer()
    attempts, _ = write(path, second)
    assert attempts == 10
    assert len(second.prompts) == 4
    rows = [[json.loads(line)["row"] for line in file.read_text().splitlines()] for file in (path, whole)]
    assert rows[0] == rows[1]
    third = Writer()
    write(path, third)
    assert third.prompts == []


def test_pairs_from_rationales(tmp_path: Path) -> None:
    task, path = load_task(TASK), tmp_path / "own.jsonl"
    template = {"positive": "{{ rationale }} END", "negative": "END"}
    with pytest.raises(SteeringError, match="has no reasoning of its own"):
        task_pairs(task, template, 2, 0, None)
    rows = [doc["row"] for doc in task.training_docs()][:4]
    path.write_text("".join(json.dumps({"row": row, "rationale": f"because {row}"}) + "\n" for row in rows))
    pairs = task_pairs(task, template, 4, 0, None, read_rationales(path))
    assert {pair.row for pair in pairs} == set(rows)
    assert all(pair.positive.endswith(f"because {pair.row} END") for pair in pairs)
    with pytest.raises(SteeringError, match="n=5 pairs, but arith_steer has 4 extraction rows with a rationale"):
        task_pairs(task, template, 5, 0, None, read_rationales(path))


def test_refusals(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"row": "a", "rationale": "b"}\n{"row": "a"}\n{"row": "c", "rationale": "d"}\n')
    with pytest.raises(SteeringError, match="line 2: expected"):
        read_rationales(bad)
    with pytest.raises(SteeringError, match="batch_size=0 is not positive"):
        arguments(bad, batch_size=0)
    with pytest.raises(SteeringError, match="no such file of rationales"):
        read_rationales(tmp_path / "missing.jsonl")
    with pytest.raises(SteeringError, match=r"n=999 rows, but arith_steer has \d+ extraction rows"):
        write(tmp_path / "r.jsonl", Writer(), n=999)


def test_own_pair_templates(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("arith_steer:\n  positive: 'yes {{ question }}'\n  negative: 'no'\nbroken:\n  positive: 'x'\n")
    assert pair_template(TASK, own)["positive"] == "yes {{ question }}"
    with pytest.raises(SteeringError, match="must have the texts `positive` and `negative`"):
        pair_template("broken", own)
    with pytest.raises(SteeringError, match=r"no pair template for task 'math_steer' in .*own\.yaml"):
        pair_template("math_steer", own)
    with pytest.raises(SteeringError, match="no such file of pair templates"):
        pair_template(TASK, ROOT / "nowhere.yaml")
    own.write_text("a: [")
    with pytest.raises(SteeringError, match="only for none"):
        pair_template(TASK, own)


def test_rationales_command(tiny_folder: Path, tmp_path: Path) -> None:
    """No --device: on a machine without CUDA the model goes to the CPU."""
    out = tmp_path / "r.jsonl"
    command = [sys.executable, "-m", "lm_eval_steer.cli", "rationales", "--model_args", f"pretrained={tiny_folder}"]
    command += ["--task", TASK, "--out", str(out), "--n", "3", "--max_gen_toks", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "holds 3 rationales" in done.stdout
    assert len(out.read_text().splitlines()) == 3
