"""lm-eval-steer sweep: what it shows while it runs and at its end, also where a score is no number."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.task import ConfigurableTask
from rich.console import Console

import models
import sweeps
from lm_eval_steer.axis.record import Line, read_lines
from lm_eval_steer.cli.main import main
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sweep import make_notes, make_table
from lm_eval_steer.sweep.board import Board
from lm_eval_steer.sweep.score import Scorer
from lm_eval_steer.sweep.state import without_volatile
from lm_eval_steer.sweep.tasks import build
from sweeps import SMALL, sweep

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(scope="module")
def small(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished sweep without controls."""
    folder = tmp_path_factory.mktemp("small") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(child, folder, **SMALL)


@pytest.mark.parametrize(
    ("value", "spoilt"),
    [(float("nan"), (1.0, 2.0)), (float("inf"), (1.0, 2.0)), (float("inf"), (1.0,))],
)
def test_an_arm_without_a_number_is_named_and_the_rest_stands(
    value: float, spoilt: tuple[float, ...], child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    score, sift = ConfigurableTask.process_results, ConfigurableTask.apply_filters
    lines = [line for line in read_lines(small[0] / "record") if not line.variant]
    bad = {line.response for line in lines if line.alpha in spoilt} - {
        line.response for line in lines if line.alpha not in spoilt
    }

    def filters(task: Any) -> None:
        sift(task)
        for one in task._instances:
            if one.resps[0] in bad:
                one.filtered_resps = dict.fromkeys(one.filtered_resps, "spoilt")

    def measure(task: Any, doc: Any, results: Any) -> dict[str, Any]:
        return {"exact_match": value} if results == ["spoilt"] else score(task, doc, results)

    monkeypatch.setattr(ConfigurableTask, "apply_filters", filters)
    monkeypatch.setattr(ConfigurableTask, "process_results", measure)
    search: dict[str, Any] = {"per_layer": "coordinate", "budget": 4} if value > 0 and spoilt == (1.0, 2.0) else {}
    state = sweep(child, tmp_path, **SMALL, **search)
    told = (tmp_path / "sweep.json").read_text(encoding="utf-8")
    assert json.loads(told, parse_constant=lambda word: pytest.fail(word)) == json.loads(json.dumps(state))
    task, whole = state["tasks"]["parity_steer"], small[1]["tasks"]["parity_steer"]
    scores, expected = task["validation"]["scores"]["vector"], whole["validation"]["scores"]["vector"]
    assert scores == {name: None if float(name) in spoilt else score for name, score in expected.items()}
    assert task["validation"]["best"]["vector"] == (2.0 if spoilt == (1.0,) else 1.0)
    assert without_volatile(task["test"]["baseline"]) == without_volatile(whole["test"]["baseline"])
    notes = make_notes("parity_steer", task)
    if spoilt == (1.0, 2.0):
        arm = task["test"]["best"]
        assert (arm["score"], arm["no_score"]) == (None, f"exact_match is {value}")
        assert set(arm["against_baseline"].values()) == {None}
        assert f"best of parity_steer has no score (exact_match is {value}) and is compared with nothing" in notes
    assert any("parity_steer_val, vector has no score at" in note for note in notes)
    if search:  # the strength itself is infinite; what was found is not
        found = task["per_layer"]["vector"]
        finite = {tuple(profile): score for profile, score in found["history"] if score is not None}
        assert found["start_score"] is None
        assert found["score"] == max(finite.values()) == finite[tuple(found["profile"])]
    out = io.StringIO()
    Console(file=out, width=140).print(make_table("parity_steer", task, "alpha"))
    assert "baseline" in out.getvalue()
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert sweep(child, tmp_path, **SMALL, **search) == json.loads(told)


def test_a_strength_that_makes_everything_infinite_leaves_a_whole_sweep(child: dict[str, Any], tmp_path: Path) -> None:
    state = sweep(child, tmp_path, **(SMALL | {"alpha": [1, 1e38]}))
    assert state["complete"]
    doses = state["tasks"]["parity_steer"]["test"]["vote"]["doses"]
    assert doses["1e+38"]["blocks"] < doses["1"]["blocks"] == models.DEPTH
    assert all(isinstance(arm["score"], float) for arm in state["tasks"]["parity_steer"]["test"].values())
    assert len(read_runs([tmp_path])) == 3


def lines_of(child: dict[str, Any], folder: Path) -> tuple[Scorer, list[Line]]:
    lm = SteeredHF(**child, alpha=[1, 2], record=str(folder), device="cpu", batch_size=8)
    requests = build("parity_steer", sweeps.manager(), lm, 3, False)
    heard: list[Line] = []
    lm.watch = lambda line, new: heard.append(line)
    lm.generate_until(requests.instances, disable_tqdm=True)
    return Scorer(requests), heard


def make_board(scorer: Scorer, console: Console) -> Board:
    return Board(scorer, "a pass", 6, ["vector"], lambda line: "vector", console)


def test_the_table_grows_with_the_responses(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, lines = lines_of(child, tmp_path)
    monkeypatch.setattr("lm_eval_steer.sweep.board._REFRESH", 0.0)
    out = io.StringIO()
    board = make_board(scorer, Console(file=out, force_terminal=True, width=80))
    with board:
        for line in lines[:3]:
            board.hear(dataclasses.replace(line, time=0.0), new=True)  # by a clock that was put back
    assert "3 of 6 responses" in out.getvalue()
    assert "left" in out.getvalue()
    assert sum(one.n for one in scorer.variants.values()) == 3
    assert (board.new, board.recorded) == (3, 0)


def test_elsewhere_a_line_is_printed_now_and_then(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, lines = lines_of(child, tmp_path)
    out = io.StringIO()
    with make_board(scorer, Console(file=out, width=80)) as board:
        for line in lines:
            board.hear(dataclasses.replace(line, time=4e9), new=False)  # by a clock that was fast
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("a pass: 6 of 6 responses, 0:00; 1 ")
    assert board.recorded == 6
    monkeypatch.setattr("lm_eval_steer.sweep.board._REPORT", 0.0)
    out.truncate(0)
    with make_board(Scorer(scorer.requests), Console(file=out)) as board:
        for line in lines:
            board.hear(line, new=False)
    assert out.getvalue().count("\n") == 7


def test_several_contenders_have_a_row_each_with_their_best_so_far(child: dict[str, Any], tmp_path: Path) -> None:
    scorer, lines = lines_of(child, tmp_path)
    out = io.StringIO()

    def whose(line: Line) -> str:
        return "vector" if line.alpha == 1 else "negated"

    names = ["vector", "negated", "random:1"]
    with Board(scorer, "a pass", 9, names, whose, Console(file=out, width=80)) as board:
        for line in [
            *lines,
            *(dataclasses.replace(line, alpha=0.0, settings="0" * 64) for line in lines if line.alpha == 1),
        ]:
            board.hear(line, new=line.alpha == 1)
    scores = {f"{one.first.alpha:g}": f"{scorer.value(one).value:.1%}" for one in scorer.variants.values()}
    assert out.getvalue() == (
        f"a pass: 9 of 9 responses, 0:00; vector 1 {scores['1']} (3), baseline {scores['0']} (3), "
        f"negated 2 {scores['2']} (3), random:1 - (0)\n"
    )
    assert dict(board.new_of) == {"vector": 3}
    assert board.seconds_of["vector"] == sum(line.seconds for line in lines if line.alpha == 1)


def test_the_example_of_the_help_runs(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    example = capsys.readouterr().out.partition("example:\n")[2]
    words = shlex.split(example.replace("\\\n", " "))
    assert words[:2] == ["lm-eval-steer", "sweep"]
    small = {"models/smollm2": child["pretrained"], "40": "2"}
    monkeypatch.chdir(tmp_path)
    argv = [small.get(word, word.replace("models/smollm2", child["pretrained"])) for word in words[1:]]
    assert argv[-2:] == ["--output_path", "sweep"]
    assert main([*argv[:-1], "a sweep", "--batch_size", "64"]) == 0
    out = capsys.readouterr().out
    for words_of_table in ("baseline", "vote", "random:2 best", "gained / lost", "18 values", " pt"):
        assert words_of_table in out
    last = shlex.split(out.strip().split("\n")[-1])
    assert last == ["lm-eval-steer", "leaderboard", "a sweep"]
    assert main(last[1:]) == 0
    assert "vote of 18" in capsys.readouterr().out


def test_bad_arguments_of_the_command_end_in_a_sentence(
    child: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sweep", "--model_args", f"pretrained={child['pretrained']}", "--tasks", "arith_steer"]
    assert main([*argv, "--alpha", "1", "--output_path", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lm-eval-steer sweep: alpha=1 needs vectors")
    assert error.count("\n") == 1
