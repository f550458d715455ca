"""The commands as a user types them, in subprocesses, on a tiny model."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

from conftest import make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError

BIN = Path(sys.executable).parent


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LMEVAL_LOG_LEVEL": "INFO"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def results(folder: Path) -> dict[str, Any]:
    (path,) = folder.rglob("results_*.json")
    return json.loads(path.read_text())


@pytest.fixture
def vector_file(tmp_path: Path) -> Path:
    return make_vector().save(tmp_path / "vectors" / "random.pt")


def test_lm_eval_runs_a_steered_evaluation_as_written(tiny_folder: Path, vector_file: Path, tmp_path: Path) -> None:
    """No extra flag: the model class, the task and the vector below ./vectors are found."""
    done = run(
        str(BIN / "lm_eval"), "--model", "steered-hf",
        "--model_args", f"pretrained={tiny_folder},vectors=random.pt,alpha=0.04,layers=[0,2],max_length=4096",
        "--tasks", "arith_steer", "--limit", "2", "--output_path", "out", "--log_samples",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "arith_steer" in done.stdout
    assert "Steering blocks 0, 2 of 3 (hidden 32) with random-0" in done.stdout + done.stderr
    steering = results(tmp_path / "out")["config"]["steering"]
    assert steering["alpha"] == 0.04
    assert steering["transfer"]["steered_blocks"] == [0, 2]
    assert steering["passport"]["parent"]["name"] == "random-0"
    table = run(str(BIN / "lm-eval-steer"), "leaderboard", "out", cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert "arith_steer" in table.stdout


def test_lm_eval_tells_bad_input_in_one_sentence(tiny_folder: Path, tmp_path: Path) -> None:
    failed = run(
        str(BIN / "lm_eval"), "--model", "steered-hf",
        "--model_args", f"pretrained={tiny_folder},vectors=phi4_gsm8k.pt,alpha=0.04", "--tasks", "arith_steer",
        cwd=tmp_path,
    )  # fmt: skip
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("lm_eval: no steering vector 'phi4_gsm8k.pt': looked at")
    assert "Traceback" not in failed.stderr


def test_accelerate_launch(tiny_folder: Path, vector_file: Path, tmp_path: Path) -> None:
    done = run(
        str(BIN / "accelerate"), "launch", "--cpu", "--num_processes", "1", "-m", "lm_eval", "--model", "steered-hf",
        "--model_args", f"pretrained={tiny_folder},vectors={vector_file},alpha=0.04,max_length=4096",
        "--tasks", "arith_steer", "--limit", "1", "--output_path", "out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert results(tmp_path / "out")["config"]["steering"]["alpha"] == 0.04


def evaluate(model_args: Any, **arguments: Any) -> Any:
    return lm_eval.simple_evaluate(
        model="steered-hf",
        model_args=model_args,
        tasks=["arith_steer"],
        limit=2,
        gen_kwargs="max_gen_toks=16",
        bootstrap_iters=0,
        **arguments,
    )


def test_simple_evaluate_with_a_string_and_with_a_dict(tiny_folder: Path, vector_file: Path) -> None:
    text = f"pretrained={tiny_folder},vectors={vector_file},alpha=2,max_length=4096"
    arguments = {"pretrained": str(tiny_folder), "vectors": str(vector_file), "alpha": 2, "max_length": 4096}
    manager = TaskManager()
    first, second = evaluate(text, task_manager=manager), evaluate(arguments, task_manager=manager)
    responses = [[sample["resps"] for sample in r["samples"]["arith_steer"]] for r in (first, second)]
    assert responses[0] == responses[1]
    assert first["config"]["steering"]["alpha"] == 2
    other = evaluate(arguments | {"alpha": 0}, task_manager=manager)
    assert [sample["resps"] for sample in other["samples"]["arith_steer"]] != responses[0]


def test_a_list_in_a_string_of_model_args_is_explained(tiny_folder: Path, vector_file: Path) -> None:
    with pytest.raises(SteeringError, match="was cut at a comma"):
        evaluate(f"pretrained={tiny_folder},vectors={vector_file},alpha=[0.01,0.02]")


def test_help_names_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    listing = "extract transfer rationales model sweep grid leaderboard figures report vectors serve"
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    (\w+)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    assert " ".join(listed) == listing
    for command in (*listed, "vectors show", "vectors compare"):
        with pytest.raises(SystemExit) as stopped:
            main([*command.split(), "--help"])
        assert stopped.value.code == 0
        assert f"example:\n  lm-eval-steer {command}" in capsys.readouterr().out


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "gpt5", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == (
        "lm-eval-steer model: there is no embedded model 'gpt5', only: smollm2, "
        "gemma3-270m, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b\n"
    )
    assert main(["leaderboard", str(tmp_path / "missing")]) == 2
    assert "no such folder of results" in capsys.readouterr().err


def test_help_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from lm_eval_steer.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in ('torch', 'transformers', 'lm_eval', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_whatever_the_machine_refuses_is_one_sentence_and_a_bug_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(error: BaseException) -> tuple[int, str]:
        def fail(*arguments: Any) -> None:
            raise error

        monkeypatch.setattr("lm_eval_steer.vectors.embedded.bring", fail)
        code = main(["model", "smollm2", "x"])
        return code, capsys.readouterr().err.removeprefix("lm-eval-steer model: ")

    assert told(OSError(errno.ENOSPC, "No space left")) == (2, "the output cannot be written (No space left)\n")
    assert told(ConnectionError("no route")) == (2, "no route\n")
    assert told(PermissionError(errno.EACCES, "Permission denied", "a\nb")) == (2, "a\\nb: Permission denied\n")
    assert told(KeyboardInterrupt()) == (130, "stopped\n")
    assert told(BrokenPipeError(errno.EPIPE, "Broken pipe")) == (1, "")
    for memory in (MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.")):
        code, sentence = told(memory)
        assert code == 2
        assert sentence.startswith("the memory does not suffice (")
        assert sentence.count("\n") == 1
    for bug in (TypeError("x"), KeyError("x"), RuntimeError("x"), ValueError("x")):
        with pytest.raises(type(bug)):
            told(bug)


def test_an_output_that_takes_nothing_more() -> None:
    """A full disk, a reader that leaves, a terminal without α: no traceback, also none while Python ends."""
    code = (
        "import sys; from lm_eval_steer.cli import main"
        "; from lm_eval_steer.vectors import embedded; embedded.bring = lambda *names: 'α'\n"
        "sys.exit(main.main(['model', 'smollm2', 'x']))"
    )
    command = [sys.executable, "-c", code]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    told = "lm-eval-steer model: the output cannot be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (2, told)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"pretrained=\u03b1" in done.stdout
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
