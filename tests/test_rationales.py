"""Rationales: what is asked, what is kept, going on after a kill, and pairs made from them."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import models
from conftest import ROOT
from drawn import task_pairs
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.pairs import load_task, pair_template
from lm_eval_steer.extraction.rationale_file import Author, RationaleFile
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


def test_a_second_run_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"

    class Meanwhile(Writer):
        def generate_until(self, requests: list[Any]) -> list[str]:
            with pytest.raises(SteeringError, match=r"r\.jsonl is in use by another run of this process"):
                write(path, Writer())
            return super().generate_until(requests)

    assert write(path, Meanwhile()) == (10, 5)
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.jsonl"]


def test_a_whole_last_line_without_a_line_feed_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, Writer(), n=4)
    text = path.read_text()
    path.write_text(text.rstrip("\n"))
    second = Writer()
    assert write(path, second, n=4)[0] == 4
    assert second.prompts == []
    assert len(read_rationales(path)) == 2
    RationaleFile(path).add([{"row": "new", "rationale": "é\ud800", "kept": True, "response": ""}])
    assert path.read_text().startswith(text + '{"row": "new"')
    path.write_bytes(text.encode() + '{"row": "half", "rationale": "é'.encode()[:-1])  # a kill
    assert len(RationaleFile(path).attempts) == 4
    assert len(read_rationales(path)) == 2


def test_the_file_of_another_model_is_not_gone_on_with(
    tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, first = tmp_path / "r.jsonl", Author.of("hf", {"pretrained": "phi-4", "batch_size": 1}, max_gen_toks=5)
    assert first == Author.of("steered-hf", {"pretrained": "phi-4", "device": "cpu"}, max_gen_toks=5)
    RationaleFile(path, first).add([{"row": "a", "rationale": "b", "kept": True, "response": "c"}])
    assert json.loads(path.read_text())["model"] == "phi-4"
    assert RationaleFile(path, first).attempts.keys() == {"a"}
    with pytest.raises(SteeringError, match="holds rationales of phi-4, and this run asks qwen: name another --out"):
        RationaleFile(path, Author.of("hf", {"pretrained": "qwen"}, max_gen_toks=5))
    for other in (
        Author.of("hf", {"pretrained": "phi-4"}, max_gen_toks=6),
        Author.of("hf", {"pretrained": "phi-4", "revision": "x"}, max_gen_toks=5),
    ):
        with pytest.raises(SteeringError, match="of phi-4, which was asked in another way than now"):
            RationaleFile(path, other)
    moved = shutil.copytree(tiny_folder, tmp_path / tiny_folder.name)
    assert Author.of("hf", {"pretrained": str(moved)}) == Author.of("hf", {"pretrained": str(tiny_folder)})
    models.make_model("llama", seed=1).save_pretrained(moved)
    assert Author.of("hf", {"pretrained": str(moved)}) != Author.of("hf", {"pretrained": str(tiny_folder)})
    path.write_text('{"row": "a", "rationale": "b", "kept": true, "response": "c"}\n')
    RationaleFile(path, first)
    assert "holds 1 rationales that do not say who wrote them" in caplog.text


def test_what_a_model_thinks_is_no_rationale(tmp_path: Path) -> None:
    class Thinker(Writer):
        think_end_token = None
        tokenizer = models.make_tokenizer("opens")

        def apply_chat_template(self, turns: list[dict[str, str]]) -> str:
            return turns[-1]["content"] + "\n<|assistant|><think>\n"

        def generate_until(self, requests: list[Any]) -> list[str]:
            said = []
            for i, request in enumerate(requests):
                answer = f"The answer is {request.doc['answer'].split('####')[1].strip()}."
                said.append(["Hm. " + answer, f"Hm.</think>Add them. {answer}", f"Hm.</think> \\boxed{{x}}{answer}"][i])
            return said

    path = tmp_path / "r.jsonl"
    assert write(path, Thinker(), n=3, apply_chat_template=True) == (3, 1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["kept"] for line in lines] == [False, True, False]  # cut within its thought; right; no reasoning
    assert [line["rationale"].split(" The answer")[0] for line in lines] == ["", "Add them.", ""]
    assert len(read_rationales(path)) == 1


def test_a_folder_that_vanishes_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Vandal(Writer):
        def generate_until(self, requests: list[Any]) -> list[str]:
            if len(self.prompts) == 3:
                shutil.rmtree(tmp_path / "runs")
            return super().generate_until(requests)

    path = tmp_path / "runs" / "r.jsonl"
    assert write(path, Vandal()) == (10, 5)
    assert len(path.read_text().splitlines()) == 10
    assert "vanished while it was written: writing 6 lines again" in caplog.text


def test_a_disk_without_room_keeps_what_was_written(tmp_path: Path) -> None:
    path, limits = tmp_path / "r.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    write(path, Writer(), n=3)
    whole = path.read_bytes()
    file = RationaleFile(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
    try:
        with pytest.raises(
            SteeringError, match=r"r.jsonl cannot be written \(File too large\): make room and run again"
        ):
            file.add([{"row": "new", "rationale": "b", "kept": True, "response": "c"}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole
    assert write(path, Writer(), n=4)[0] == 4


def test_what_is_wrong_is_told_before_a_model_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "utf16": b"\xff\xfe{\0",
        "latin": b"\xe9\n",
        "id": b'{"id": "a", "rationale": "b"}\n',
        "kept": b'{"row": "a", "rationale": "b"}\n',
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for arguments, sentence in [
        (["--out", str(tmp_path)], "is a folder: name a file"),
        (["--out", "/etc/hostname/x"], "cannot be written (Not a directory): name another place"),
        (["--out", "x" * 300], "cannot be written (File name too long)"),
        (["--out", ""], "the name of a file to write is empty"),
        (["--out", "/dev/full"], "is a device, a pipe or a socket"),
        (["--out", str(tmp_path / "utf16")], "looks like UTF-16"),
        (["--out", str(tmp_path / "latin")], "latin, line 1: byte 0xe9 is no UTF-8 text"),
        (["--out", str(tmp_path / "id")], "id, line 1: this is no line of lm-eval-steer rationales (it has no row)"),
        (["--out", str(tmp_path / "kept")], "(it has no kept of true or false)"),
        (["--seed", "-1"], "seed=-1 is negative"),
        (["--n", "999"], "n=999 rows, but arith_steer has 300 extraction rows"),
        (["--model", "nope"], "--model nope is no model class of the harness"),
        (["--model_args", "pretrained=./no/model,alpha=1"], "has alpha=1, and this model is not steered"),
        ([], "the model './no/model' cannot be loaded"),
        (["--model", "local-completions"], "the model './no/model' cannot be loaded"),
    ]:
        command = ["rationales", "--model_args", "pretrained=./no/model", "--task", TASK, "--out", str(tmp_path / "r")]
        assert main([*command, *arguments]) == 2
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lm-eval-steer rationales:")]
        assert len(told) == 1
        assert sentence in told[0]
    assert {path.name for path in tmp_path.iterdir()} == set(files)


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
    with pytest.raises(SteeringError, match=r"own\.yaml, line 1: not a YAML file of pair templates"):
        pair_template(TASK, own)


def test_rationales_command(tiny_folder: Path, tmp_path: Path) -> None:
    """No --device: on a machine without CUDA the model goes to the CPU."""
    out = tmp_path / "r x.jsonl"
    command = [
        sys.executable,
        "-m",
        "lm_eval_steer.cli",
        "rationales",
        "--model_args",
        f"pretrained={tiny_folder}",
    ]
    command += ["--task", TASK, "--out", str(out), "--n", "3", "--max_gen_toks", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "holds 3 rationales, 0 of which reach the right answer. A direction needs 2 at least" in done.stdout
    assert "--n 0" not in done.stdout
    assert len(out.read_text().splitlines()) == 3
