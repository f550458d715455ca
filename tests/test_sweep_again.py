"""lm-eval-steer sweep: a start in the folder of another one, which ended, is damaged, or is at work."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import models
import sweeps
from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sweep import run_sweep
from lm_eval_steer.sweep.replay import write_arm
from lm_eval_steer.sweep.state import without_volatile
from sweeps import (
    ALPHAS,
    CONTROLS,
    QUIET,
    SMALL,
    differences,
    make_args,
    outcome,
    own_manager,
    responses,
    single,
    sweep,
    texts,
)

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(scope="module")
def done(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep of three strengths and four controls, undisturbed."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(child, folder, controls=CONTROLS)


@pytest.fixture(scope="module")
def small(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished sweep without controls."""
    folder = tmp_path_factory.mktemp("small") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(child, folder, **SMALL)


def test_a_finished_sweep_is_told_again_without_a_model(
    child: dict[str, Any], done: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, state = done
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    elsewhere = child | {"device_map": "auto", "data_parallel_size": 2}
    assert sweep(elsewhere, folder, controls=CONTROLS, batch_size=2) == json.loads(json.dumps(state))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alpha": [0.5, 1]}, r"another alpha: it has \[0.5, 1.0, 2.0\], this one \[0.5, 1.0\]"),
        ({"limit": 9.0}, "another limit: it has 8.0, this one 9.0"),
        ({"val_limit": None}, "another val_limit: it has 6.0, this one None"),
        ({"seed": 1}, r"another seed: it has \[0, 1234, 1234, 1234\], this one \[1, 1, 1, 1\]"),
        ({"num_fewshot": 0}, "another num_fewshot: it has None, this one 0"),
        ({"gen_kwargs": {"max_gen_toks": 9}}, "another gen_kwargs: it has {}, this one {'max_gen_toks': 9}"),
        ({"system_instruction": "Think."}, "another system_instruction: it has None, this one 'Think.'"),
        ({"metadata": {"length": 9}}, "another metadata"),
        ({"controls": "random:1"}, "another controls"),
        ({"more": {"tokens": "last"}}, "another tokens in --model_args: it has None, this one 'last'"),
        ({"other": 7}, "another vector"),
        ({"val_task": ["arith_steer_val"]}, "another validation task of parity_steer"),
        ({"alpha": None, "dose": list(ALPHAS)}, "another alpha"),
    ],
)
def test_other_settings_are_refused(
    changes: dict[str, Any], sentence: str, child: dict[str, Any], done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = done
    before = (folder / "sweep.json").read_bytes()
    changes = {"controls": CONTROLS} | changes
    more = changes.pop("more", {})
    if seed := changes.pop("other", None):
        more = {"vectors": str(make_vector(seed=seed).save(tmp_path / "other.pt"))}
    with pytest.raises(SteeringError, match=sentence):
        sweep(child | more, folder, **changes)
    assert (folder / "sweep.json").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', '{"version": 1, "settings": {}}'])
def test_a_broken_state_is_refused(content: str, child: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(SteeringError, match=r"is no whole sweep\.json|is of version 1"):
        sweep(child, tmp_path)


def test_what_ended_before_its_first_pass_binds_nobody(child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="num_return_sequences=2"):  # known once the model is loaded
        sweep(child, tmp_path, alpha=[1, 2], limit=2.0, val_limit=2.0, gen_kwargs={"num_return_sequences": 2})
    assert (tmp_path / "sweep.json").exists()
    assert sweep(child, tmp_path, alpha=1, limit=1.0, val_limit=1.0)["complete"]


def test_controls_and_tasks_may_be_added(child: dict[str, Any], tmp_path: Path) -> None:
    small = {"alpha": [1, 2], "limit": 2.0, "val_limit": 2.0}
    first = sweep(child, tmp_path, **small)
    files = {arm["result"] for arm in first["tasks"]["parity_steer"]["test"].values()}
    second = sweep(child, tmp_path, **small, controls="negated", tasks=["parity_steer", "arith_steer"])
    assert list(second["tasks"]) == ["parity_steer", "arith_steer"]
    arms = second["tasks"]["parity_steer"]["test"]
    assert files <= {arm["result"] for arm in arms.values()}
    assert list(arms) == list(second["tasks"]["arith_steer"]["test"]) == [
        "baseline", "best", "vote", "negated best", "negated vote",
    ]  # fmt: skip
    assert second["tasks"]["parity_steer"]["passes"]["parity_steer"]["contenders"]["vector"]["new"] == 6


def test_a_search_by_block_may_be_added_and_goes_on_from_the_record(child: dict[str, Any], tmp_path: Path) -> None:
    small: dict[str, Any] = {"alpha": [1, 2], "limit": 2.0, "val_limit": 3.0}
    sweep(child, tmp_path, **small)
    first = sweep(child, tmp_path, **small, per_layer="optuna", budget=6)
    (tmp_path / "sweep.json").unlink()
    again = sweep(child, tmp_path, **small, per_layer="optuna", budget=6)
    assert without_volatile(again) == without_volatile(first)
    assert {log["new"] for log in again["tasks"]["parity_steer"]["passes"].values()} == {0}
    with pytest.raises(SteeringError, match="another per_layer"):
        sweep(child, tmp_path, **small)


def _drop_samples(path: Path) -> None:
    next(path.parent.glob("samples_*")).unlink()


def _cut_samples(path: Path) -> None:
    samples = next(path.parent.glob("samples_*"))
    samples.write_bytes(samples.read_bytes()[:-9])


def _be_wrong(path: Path) -> None:
    samples = next(path.parent.glob("samples_*"))
    samples.write_text(
        re.sub(r'"exact_match": [\d.]+', '"exact_match": "x"', samples.read_text(encoding="utf-8"), count=1)
    )


def _be_another(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"limit": 2.0', '"limit": 9.0'), encoding="utf-8")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:8192]),
    "no UTF-8": lambda path: path.write_bytes(path.read_bytes().replace(b"parity", b"\xffarity")),
    "nested": lambda path: path.write_text("[" * 200000),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a file in its place": lambda path: (shutil.rmtree(path.parents[1]), path.parents[1].write_text("")),
    "a score that is text": _be_wrong,
    "no samples": _drop_samples,
    "cut samples": _cut_samples,
    "of other settings": _be_another,
}


@pytest.mark.parametrize(
    ("complete", "names"),
    [(True, ["cut", "no UTF-8"]), (False, ["cut", "a score that is text", "nested"]),
     (False, ["a pipe", "no samples", "of other settings"]), (True, ["cut samples", "a file in its place"])],
)  # fmt: skip
def test_arms_that_are_damaged_are_written_again(
    complete: bool, names: list[str], child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole, state = small
    folder = shutil.copytree(whole, tmp_path / "sweep")
    for name, arm in zip(names, ("best", "baseline", "vote"), strict=False):
        (path,) = (folder / "arms" / "parity_steer" / arm).rglob("results_*.json")
        DAMAGES[name](path)
    if not complete:
        told = json.loads((folder / "sweep.json").read_text(encoding="utf-8")) | {"complete": False}
        (folder / "sweep.json").write_text(json.dumps(told), encoding="utf-8")
    again = sweep(child, folder, **SMALL)
    assert without_volatile(again) == without_volatile(state)
    assert differences(outcome(folder), outcome(whole)) == []
    assert {log["new"] for log in again["tasks"]["parity_steer"]["passes"].values()} == {6}  # none came since


@pytest.mark.parametrize(
    "change",
    [
        {"baseline": {"tokens": "x"}},
        {"vote": {"votes": "NaN"}},
        {"best": {"score": 0.99}},
        {"best": {"alpha": 9.0}},
        {"vote": {"result": "../elsewhere"}},
        {"more": {"score": 1.0}},
    ],
)
def test_a_finished_sweep_is_not_believed_against_its_arms(
    change: dict[str, dict[str, Any]], child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole, state = small
    folder = shutil.copytree(whole, tmp_path / "sweep")
    told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    for arm, entry in change.items():
        told["tasks"]["parity_steer"]["test"][arm] = told["tasks"]["parity_steer"]["test"].get(arm, {}) | entry
    (folder / "sweep.json").write_text(json.dumps(told), encoding="utf-8")
    again = sweep(child, folder, **SMALL)
    assert without_volatile(again["tasks"]["parity_steer"]["test"].get("best")) == without_volatile(
        state["tasks"]["parity_steer"]["test"]["best"]
    )
    assert differences(without_volatile(again), without_volatile(state)) == []


def test_a_full_disk_is_one_sentence_and_the_next_start_goes_on(
    child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness tells of it in a warning and leaves half a file; room for that much there was."""
    write = Path.write_text

    def fill(path: Path, text: str, **more: Any) -> int:
        if path.name.startswith("results_") and "best" in path.parts[-3]:
            write(path, text[: len(text) // 2], **more)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, text, **more)

    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(
        SteeringError, match=r"best cannot be written \(No space left on device\): make room and run again"
    ):
        sweep(child, tmp_path, **SMALL)
    assert [path.name for path in (tmp_path / "arms" / "parity_steer").iterdir()] == ["baseline"]
    monkeypatch.undo()
    sweeps.hurry(monkeypatch)
    sweep(child, tmp_path, **SMALL)
    assert differences(outcome(tmp_path), outcome(small[0])) == []


def test_a_second_start_is_refused_while_the_first_one_writes(
    child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def write(*args: Any) -> None:
        part = args[3].with_name(f"{args[3].name}.part")
        part.mkdir(parents=True)
        with pytest.raises(SteeringError) as told:
            sweep(child, tmp_path, **SMALL)
        refused.append(str(told.value))
        assert part.is_dir()
        write_arm(*args)

    monkeypatch.setattr("lm_eval_steer.sweep.work.write_arm", write)
    sweep(child, tmp_path, **SMALL)
    assert len(refused) == 3
    assert re.fullmatch(
        r"the sweep .* is in use by another run of this process \(\d+\): wait for its end, .*", refused[0]
    )
    assert differences(outcome(tmp_path), outcome(small[0])) == []


def test_weights_that_changed_are_noticed(
    child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, weights = shutil.copytree(small[0], tmp_path / "sweep"), Path(child["pretrained"], "model.safetensors")
    before = weights.read_bytes()
    try:
        models.make_model("llama", seed=1).save_pretrained(weights.parent)
        with pytest.raises(SteeringError, match=r"the weights .* changed since the sweep in .* ended"):
            sweep(child, folder, **SMALL)
        told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        (folder / "sweep.json").write_text(json.dumps(told | {"complete": False}), encoding="utf-8")
        again = sweep(child, folder, **SMALL)
        assert {log["new"] for log in again["tasks"]["parity_steer"]["passes"].values()} == {6}
        assert responses(folder, "baseline") == texts(single(child, limit=2.0, alpha=0))
    finally:
        weights.write_bytes(before)
    for arm in ("baseline", "best", "vote"):
        assert responses(folder, arm) != responses(small[0], arm)


def test_tasks_that_changed_are_noticed(child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval_steer.sweep.run.TaskManager", own_manager)
    own = tmp_path / "tasks" / "mine.yaml"
    own.parent.mkdir()
    given = {"tasks": ["mine"], "val_task": ["parity_steer_val"], "include_path": str(own.parent), "alpha": 1}

    def start(changed: str) -> dict[str, Any]:
        own.write_text(f"include: {sweeps.PARITY}/parity_steer.yaml\ntask: mine\n{changed}", encoding="utf-8")
        return run_sweep(make_args(child, tmp_path / "out", limit=1.0, val_limit=1.0, **given), None, QUIET)

    assert start("")["complete"]
    before = (tmp_path / "out" / "sweep.json").read_bytes()
    for changed in ("doc_to_text: 'Well? '\n", "doc_to_target: even\n", "filter_list: null\n"):
        with pytest.raises(SteeringError, match=r"the task mine \(its documents, .*\) changed since the sweep in"):
            start(changed)
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert start("")["complete"]
    assert (tmp_path / "out" / "sweep.json").read_bytes() == before
