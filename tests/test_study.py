"""benchmarks/study: README and RESULTS say what the summaries say, and the plan is one that the product takes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_steer.cli.main import make_parser

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "benchmarks" / "study"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, check=False, capture_output=True, text=True)


def test_pages_and_figure_are_made_of_the_summaries() -> None:
    done = run("benchmarks/study/tables.py", "--check")
    assert done.returncode == 0, done.stderr


def test_a_page_that_says_another_number_is_found(tmp_path: Path) -> None:
    for name in ("README.md", "docs/RESULTS.md", "docs/figures/study.svg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "study").symlink_to(STUDY)
    page = tmp_path / "README.md"
    text = page.read_text(encoding="utf-8")
    start = text.index("<!-- study: first page -->")
    place = next(at for at in range(start, len(text)) if text[at] == "%") - 2
    page.write_text(text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :], encoding="utf-8")
    done = run("benchmarks/study/tables.py", "--check", "--root", str(tmp_path))
    assert (done.returncode, "README.md" in done.stderr) == (1, True)
    assert run("benchmarks/study/tables.py", "--root", str(tmp_path)).returncode == 0
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("more", [(), ("--engine", "steered-hf", "--device", "cuda")])
def test_the_plan_is_of_commands_that_there_are(more: tuple[str, ...], tmp_path: Path) -> None:
    done = run("benchmarks/study/run.py", "--print", "--folder", str(tmp_path), *more)
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    sweeps = [make_parser().parse_args(words[2:]) for words in commands if words[2] == "sweep"]
    assert {words[:2] == ["$", "lm-eval-steer"] for words in commands} == {True}
    assert len({args.output_path for args in sweeps}) == len(sweeps) > 20
    assert {(args.model, args.device) for args in sweeps} == {(more[1], more[3]) if more else ("steered-vllm", None)}
    assert [words for words in commands if words[2] in ("extract", "transfer")] == []  # all that it needs is shipped


def test_summaries_hold_no_path() -> None:
    summaries = sorted((STUDY / "summaries").glob("*.json"))
    assert summaries
    for path in summaries:
        assert '"/' not in path.read_text(encoding="utf-8")
        assert all(row["n"] >= 100 for row in json.loads(path.read_text(encoding="utf-8"))["rows"])
