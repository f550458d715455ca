"""The process of a stage, and a whole study of tiny models."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import models
import sweeps
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import unwritable
from lm_eval_steer.grid import __main__ as process
from lm_eval_steer.grid import work
from lm_eval_steer.grid.check import find_problems
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.lock import held
from lm_eval_steer.grid.stage import Stage
from lm_eval_steer.grid.stages import make_stages
from lm_eval_steer.grid.study import Study, make_study

STAGE = Stage("extract", {"task": "a"}, {}, (), {}, "a" * 64)


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return Grid(tmp_path / "study")


@pytest.fixture
def at_work(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Runs the process of the stage `a` in this one, with another work."""
    before = signal.getsignal(signal.SIGTERM)

    def run(does: Callable[[], object]) -> int:
        monkeypatch.setattr(work, "_WORK", {"extract": lambda *_: does()})
        grid.enter([STAGE])
        try:
            return process.main(str(grid.root), STAGE.folder)
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


def refuse(error: BaseException) -> Callable[[], None]:
    def does() -> None:
        raise error

    return does


def test_a_stage_that_is_done_is_not_done_again(grid: Grid, at_work: Callable[..., int]) -> None:
    assert at_work(lambda: None) == 0
    state = grid.state(STAGE.folder)
    assert (state.word, state.why) == ("done", "")
    assert at_work(refuse(AssertionError("again"))) == 0


def test_a_stage_that_another_process_holds_is_left(grid: Grid, at_work: Callable[..., int]) -> None:
    grid.enter([STAGE])
    with held(grid.place(STAGE.folder), lambda: None):
        assert at_work(refuse(AssertionError("twice"))) == 75
        assert grid.state(STAGE.folder).word == "running"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SteeringError("there is no task x: name one"), "there is no task x: name one"),
        (MemoryError(), r"the memory does not suffice \(MemoryError\): say a smaller batch_size or dtype in the study"),
        (RuntimeError("CUDA out of memory. Tried"), r"the memory does not suffice \(CUDA out of memory. Tried\)"),
        (OSError(28, "No space left on device", "x.json"), r"x.json cannot be written \(No space left on device\)"),
        (unwritable("x.json", OSError(28, "No space left on device")), "x.json cannot be written .*: make room"),
        (KeyError("k"), r"KeyError: 'k' \(log.txt has the traceback\)"),
    ],
)
def test_why_a_stage_failed_is_one_sentence(
    grid: Grid, at_work: Callable[..., int], error: Exception, sentence: str
) -> None:
    assert at_work(refuse(error)) == 1
    state = grid.state(STAGE.folder)
    assert state.word == "failed"
    assert re.match(sentence, state.why), state.why
    assert at_work(lambda: None) == 0
    assert grid.state(STAGE.folder).word == "done"


def test_a_stage_that_is_told_to_end_lets_go(grid: Grid, at_work: Callable[..., int]) -> None:
    with pytest.raises(SystemExit):
        at_work(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert grid.state(STAGE.folder).word == "waiting"


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file system as an NFS without its daemon of locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)


@pytest.mark.usefixtures("hurried", "no_locks")
def test_a_study_is_run_and_an_edit_pays_for_what_is_new_alone(grid: Grid, tmp_path: Path) -> None:
    """Two models, a fitted map with its control, a sweep, both tables; then one more strength; all without locks."""
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"positive": f"{n} yes", "negative": f"{n} no"}) + "\n" for n in range(6)))
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"a text about the number {n}"}) + "\n" for n in range(12)))
    given: dict[str, Any] = {
        "parents": {"big": {"model_args": {"pretrained": str(models.save_model(tmp_path / "p", "llama", seed=1))}}},
        "children": {"one": {"model_args": {"pretrained": str(models.save_model(tmp_path / "c", "llama"))}}},
        "tasks": ["parity_steer"],
        "maps": ["procrustes"],
        "extract": {"pairs": str(pairs), "batch_size": 8},
        "transfer": {"texts": str(texts), "tokens": "all"},
        "model_args": {"max_length": 4096},
        "controls": "map-shuffled:1",
        "alpha": [1],
        "limit": 2,
        "val_limit": 2,
        "device": "cpu",
        "include_path": str(sweeps.PARITY),
    }

    def do(study: Study) -> dict[str, Any]:
        """Each stage in this process; the content of sweep.json."""
        stages = make_stages(study)
        grid.enter(stages)
        for one in stages:
            assert process.main(str(grid.root), one.folder) == 0, grid.state(one.folder).why
        (sweep,) = (one for one in stages if one.kind == "sweep")
        place = grid.place(sweep.folder) / "sweep"
        assert (grid.place(stages[-1].folder) / "report.html").stat().st_size > 10_000
        return dict(json.loads((place / "sweep.json").read_text()))

    before = signal.getsignal(signal.SIGTERM)
    try:
        study = make_study(given)
        assert find_problems(study, [one for one in make_stages(study) if one.kind != "sweep"]) == []
        first = do(study)
        second = do(make_study(given | {"alpha": [1, 2]}))
    finally:
        signal.signal(signal.SIGTERM, before)
    test = first["tasks"]["parity_steer"]["test"]
    arms = {"own best", "own vote", "big best", "big vote", "big map-shuffled:1 best", "big map-shuffled:1 vote"}
    assert set(test) == {"baseline", *arms}
    asked = [sum(one["new"] for one in found["tasks"]["parity_steer"]["passes"].values()) for found in (first, second)]
    # Validation and test, two documents each: the baseline and three contenders at one strength; then at another.
    assert asked == [2 * 2 * (1 + 3), 2 * 2 * 3]
    assert second["tasks"]["parity_steer"]["test"]["baseline"]["score"] == test["baseline"]["score"]


@pytest.mark.usefixtures("hurried")
def test_a_child_that_memory_does_not_hold_fails_in_a_sentence(
    grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At batch_size auto, which is halved as long as there is something to halve."""
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"positive": f"{n} yes", "negative": f"{n} no"}) + "\n" for n in range(6)))
    study = make_study(
        {
            "children": {"one": {"model_args": {"pretrained": str(models.save_model(tmp_path / "c", "llama"))}}},
            "tasks": ["parity_steer"],
            "extract": {"pairs": str(pairs), "batch_size": 8},
            "model_args": {"max_length": 4096},
            **{"alpha": [1], "limit": 2, "val_limit": 2, "device": "cpu", "include_path": str(sweeps.PARITY)},
        }
    )
    extract, sweep = make_stages(study)[:2]
    grid.enter([extract, sweep])
    rows: list[int] = []
    holds = transformers.LlamaModel.forward

    @functools.wraps(holds)
    def forward(self: Any, input_ids: Any = None, *args: Any, **options: Any) -> Any:
        if input_ids is None or input_ids.numel() < 64:  # a look at the model, before it is asked anything
            return holds(self, input_ids, *args, **options)
        rows.append(len(input_ids))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert process.main(str(grid.root), extract.folder) == 0
        monkeypatch.setattr(transformers.LlamaModel, "forward", forward)
        assert process.main(str(grid.root), sweep.folder) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "memory does not hold a single row of this run: use a smaller dtype" in grid.state(sweep.folder).why
    assert rows[-1] == 1
