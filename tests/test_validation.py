"""Validation documents of a sweep where a task has no twin: the harness's own tasks on small rows."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager
from rich.console import Console

import sweeps
from fixtures.others import rows
from lm_eval_steer.cli.main import main
from lm_eval_steer.compare.groups import group_runs
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.sweep_file import check_sweep
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sweep import make_table, run_sweep
from lm_eval_steer.sweep.harness import HarnessArgs
from lm_eval_steer.sweep.tasks import Read, Twin, build, find_twins
from lm_eval_steer.sweep.validation import Choice, split_by_hash
from sweeps import QUIET, make_args, samples

ROWS = Path(rows.__file__)
HARNESS = Path(lm_eval.__file__).parent / "tasks"
YAML = {
    "hellaswag": "hellaswag/hellaswag.yaml", "arc_easy": "arc/arc_easy.yaml", "winogrande": "winogrande/default.yaml",
    "boolq": "super_glue/boolq/default.yaml", "gsm8k": "gsm8k/gsm8k.yaml",
}  # fmt: skip


def write_task(folder: Path, name: str, yaml: str, source: str, more: str = "") -> None:
    """A task of the harness, read from our rows."""
    (folder / "rows.py").write_text(ROWS.read_text(encoding="utf-8"), encoding="utf-8")
    text = f"include: {HARNESS / yaml}\ntask: {name}\ncustom_dataset: !function rows.{source}\n{more}"
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for name, yaml in YAML.items():
        write_task(folder, name, yaml, name)
    write_task(folder, "three", YAML["hellaswag"], "three")
    write_task(folder, "nothing", YAML["hellaswag"], "nothing", "process_docs: null\n")
    write_task(folder, "gsm8k_first", YAML["gsm8k"], "gsm8k", "fewshot_config: {sampler: first_n}\n")
    shots = "num_fewshot: 1\ntraining_split: null\n"
    write_task(folder, "shots_of_test", YAML["hellaswag"], "hellaswag", shots)
    return folder


@functools.cache
def manager(folder: Path) -> TaskManager:
    return TaskManager(include_path=str(folder), include_defaults=False)


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sweeps.make_child(tmp_path_factory.mktemp("child"))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps.hurry(monkeypatch)


def find(folder: Path, name: str, **changes: Any) -> tuple[Twin, dict[str, Read]]:
    known: dict[str, Read] = {}
    harness = changes.pop("harness", HarnessArgs())
    limit = changes.pop("limit", None)
    found = find_twins([name], [], manager(folder), harness, None, known, Choice(**changes), limit)
    return found[name], known


def documents(task: Any) -> list[Any]:
    return [doc for _, doc in task.doc_iterator(rank=0, limit=None, world_size=1)]


def questions(task: Any, docs: list[Any]) -> set[str]:
    return {json.dumps([task.doc_to_text(doc), task.doc_to_choice(doc)]) for doc in docs}


# The rule


def test_halves_are_disjoint_by_question_and_have_their_share() -> None:
    asked = [f"question {number % 70}" for number in range(100)]
    validation, test = split_by_hash(asked, 0.3, 0)
    assert sorted([*validation, *test]) == list(range(100))
    assert not {asked[place] for place in validation} & {asked[place] for place in test}
    assert 28 <= len(validation) <= 30
    assert split_by_hash(asked, 0.3, 0) == (validation, test) != split_by_hash(asked, 0.3, 1)
    moved = split_by_hash(asked[::-1], 0.3, 0)  # the order of documents is of no matter
    assert {asked[::-1][place] for place in moved[0]} == {asked[place] for place in validation}
    assert split_by_hash(["same"] * 10, 0.3, 0) == ([], list(range(10)))


@pytest.mark.parametrize(
    ("name", "kind", "split", "counts"),
    [
        ("hellaswag", "share", None, (12, 28)),
        ("arc_easy", "split", "validation", (7, 12)),  # one of the eight is asked in the test
        ("winogrande", "share", None, (6, 14)),
        ("boolq", "share", None, (5, 11)),
    ],
)
def test_the_first_that_applies_is_chosen(
    name: str, kind: str, split: str | None, counts: tuple[int, int], folder: Path
) -> None:
    twin, known = find(folder, name)
    facts = twin.facts
    assert (facts["kind"], facts.get("split")) == (kind, split)
    assert twin.name == f"{name}:{split or 'share'}"
    validation, test = (documents(known[one].task) for one in (twin.name, name))
    assert (len(validation), len(test)) == counts == (facts["validation"]["n"], facts["test"]["n"])
    task = known[name].task
    if name == "winogrande":  # whose text is the number of an option: the options are what is asked
        assert not {doc["sentence"] for doc in validation} & {doc["sentence"] for doc in test}
    else:
        assert not {task.doc_to_text(doc) for doc in validation} & {task.doc_to_text(doc) for doc in test}
    other = find(folder, name, seed=1)[0].facts
    assert (other == facts) is (kind == "split")


def shots_of(prompts: list[str]) -> set[str]:
    """Questions of the shots of gsm8k."""
    return {part.split("\n")[0] for prompt in prompts for part in prompt.split("Question: ")[1:-1]}


@pytest.mark.parametrize("name", ["gsm8k", "gsm8k_first"])
def test_shots_are_in_no_validation_document(name: str, folder: Path) -> None:
    """Drawn, or the first ones: training rows that are shots are left out, and validation draws from them."""
    twin, known = find(folder, name)
    validation = {doc["question"] for doc in documents(known[twin.name].task)}
    prompts = {
        one: [instance.args[0] for instance in build(one, manager(folder), None, None, False, known=known).instances]
        for one in (name, twin.name)
    }
    plain = [instance.args[0] for instance in build(name, manager(folder), None, None, False).instances]
    assert prompts[name] == plain
    shots = shots_of(plain)
    assert (twin.facts["kind"], twin.facts["split"]) == ("split", "train")
    assert len(validation) == 60 - len(shots) == 60 - twin.facts["left_out"]["shots"]
    assert not validation & (shots | shots_of(prompts[twin.name]))
    assert len(prompts[twin.name]) == len(validation)


def test_shots_from_the_test_documents_are_in_no_half(folder: Path) -> None:
    twin, known = find(folder, "shots_of_test", limit=4)
    test, validation = (documents(known[one].task) for one in ("shots_of_test", twin.name))
    requests = build("shots_of_test", manager(folder), None, 4, False, known=known)
    searched = build(twin.name, manager(folder), None, None, False, known=known)
    assert twin.facts["left_out"]["shots"] >= 4
    for instance in [*requests.instances, *searched.instances]:
        shot = instance.args[0].split("\n\n")[0]
        assert not any(shot.startswith(doc["query"]) for doc in [*test, *validation])
    with pytest.raises(SteeringError, match=r"that are shots of its prompts are too few to be parted.*--num_fewshot 0"):
        find(folder, "shots_of_test", harness=HarnessArgs(num_fewshot=5))


def test_a_named_split_overrules(folder: Path) -> None:
    twin, known = find(folder, "hellaswag", split="train")
    assert (twin.name, len(documents(known[twin.name].task))) == ("hellaswag:train", 10)
    assert len(documents(known["hellaswag"].task)) == 40
    assert find(folder, "arc_easy", split="share", share=0.5)[0].facts["validation"]["n"] == 6


@pytest.mark.parametrize(
    ("name", "choice", "sentence"),
    [
        ("three", {}, r"its 3 test documents \(3 different questions\) are too few .* leaves 1 .* and 2 .* 4 of each"),
        ("nothing", {}, "the task nothing has no documents to be tested on"),
        ("hellaswag", {"split": "dev"}, "--val_split dev is no split of hellaswag, which has train, validation, test"),
        ("hellaswag", {"split": "validation"}, "--val_split validation is the split that hellaswag is tested on"),
        ("hellaswag", {"split": "test"}, r"--val_split test cannot be read as documents of hellaswag \(ValueError"),
        ("three", {"split": "share", "share": 0.9}, "--val_share 0.9 leaves 3 to choose a strength on and 0"),
    ],
)
def test_what_cannot_be_is_one_sentence(name: str, choice: dict[str, Any], sentence: str, folder: Path) -> None:
    with pytest.raises(SteeringError, match=sentence) as told:
        find(folder, name, **choice)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"val_share": 1.0}, "--val_share 1 leaves no document to test it on"),
        ({"val_share": 0.0}, "--val_share 0 leaves no document to choose a strength on"),
        ({"val_share": float("nan")}, "--val_share nan leaves no document"),
        ({"val_split": "train", "val_task": ["arc_easy"]}, "--val_task arc_easy and --val_split train are two choices"),
        ({"val_split": "train", "val_share": 0.5}, "--val_share 0.5 parts nothing beside --val_split train"),
        ({"tasks": ["arc_easy"], "val_share": 0.5}, "--val_share 0.5 parts nothing, for .* arc_easy:validation"),
        ({"val_task": ["ai2_arc"]}, "--val_task ai2_arc is a group of tasks"),
    ],
)
def test_arguments_that_contradict_are_one_sentence(
    changes: dict[str, Any], sentence: str, child: dict[str, Any], folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    with pytest.raises(SteeringError, match=sentence):
        run_sweep(make_args(child, tmp_path, **({"tasks": ["hellaswag"]} | changes)), manager(folder), QUIET)


# A sweep


@pytest.fixture(scope="module")
def done(child: dict[str, Any], folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    out, told = tmp_path_factory.mktemp("sweep"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        args = make_args(child, out, **SWEPT)
        return out, run_sweep(args, manager(folder), Console(file=told, width=400)), told.getvalue()


SWEPT: dict[str, Any] = {"tasks": ["hellaswag", "gsm8k"], "alpha": [5, 20], "limit": 0.5, "val_limit": 4.0}
SWEPT |= {"gen_kwargs": {"max_gen_toks": 8}}


def test_every_arm_is_the_run_of_lm_eval_on_its_documents(
    child: dict[str, Any], folder: Path, done: tuple[Path, Any, str]
) -> None:
    out, state, told = done
    assert "hellaswag: strengths are chosen on 12 of its test documents, parted by hash (share 0.3, seed 0)" in told
    assert "gsm8k: strengths are chosen on" in told
    for name, n in (("hellaswag", 14), ("gsm8k", 3)):
        best = state["tasks"][name]["validation"]["best"]["vector"]
        for arm, alpha in (("baseline", 0.0), ("best", best), ("vote", [5, 20])):
            found = samples(out, arm, name)
            numbers = sorted({one["doc_id"] for one in found})
            assert len(numbers) == n
            assert (numbers == list(range(n))) is (name == "gsm8k")
            extra = {"record": str(out / "alone")} if arm == "vote" else {}
            plain: Any = lm_eval.simple_evaluate(
                model="steered-hf", model_args=child | {"alpha": alpha} | extra, tasks=[name], batch_size=32,
                samples={name: numbers}, device="cpu", task_manager=manager(folder), gen_kwargs=SWEPT["gen_kwargs"],
            )  # fmt: skip
            (path,) = (out / "arms" / name / arm).rglob("results_*.json")
            content = json.loads(path.read_text(encoding="utf-8"))
            assert content["results"][name] == plain["results"][name]
            assert content["n-samples"] == plain["n-samples"] == {name: {"original": len(ALL[name]), "effective": n}}
            alone = plain["samples"][name]
            keys = ("doc_id", "doc_hash", "prompt_hash", "filter", *content["higher_is_better"][name])
            assert [[one[key] for key in keys] for one in found] == [[one[key] for key in keys] for one in alone]
            for one, other in zip(found, alone, strict=True):
                assert _responses(one) == [
                    response if isinstance(response, str) else pytest.approx(response, rel=1e-4)
                    for response in _responses(other)
                ]
            (run,) = read_runs([path])
            assert (run.n, len(run.samples)) == (n, n)


def _responses(sample: dict[str, Any]) -> list[Any]:
    """Texts, or the numbers of the options."""
    return [float(one[0][0]) if isinstance(one[0], list | tuple) else one[0] for one in sample["resps"]]


ALL = {"hellaswag": rows.hellaswag()["validation"], "gsm8k": rows.gsm8k()["test"]}


def test_a_later_start_must_have_the_same_documents(
    child: dict[str, Any], folder: Path, done: tuple[Path, Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, state, _ = done
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    args = make_args(child, out, **SWEPT)
    assert run_sweep(args, manager(folder), QUIET) == json.loads(json.dumps(state))
    with pytest.raises(SteeringError, match=r"another --val_share of hellaswag: it has 0\.3, this one 0.5"):
        run_sweep(make_args(child, out, **SWEPT, val_share=0.5), manager(folder), QUIET)
    with pytest.raises(SteeringError, match="another validation task of hellaswag: it has 'hellaswag:share'"):
        run_sweep(make_args(child, out, **SWEPT, val_split="train"), manager(folder), QUIET)
    for name in SWEPT["tasks"]:
        write_task(tmp_path, name, YAML[name], name)
    text = (tmp_path / "rows.py").read_text(encoding="utf-8")
    (tmp_path / "rows.py").write_text(text.replace("range(100, 160)", "range(100, 159)"), encoding="utf-8")
    with pytest.raises(SteeringError, match=r"(gsm8k|gsm8k:train).* changed since the sweep"):
        run_sweep(args, manager(tmp_path), QUIET)


def test_tables_say_on_which_documents_a_strength_was_chosen(
    done: tuple[Path, Any, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, state, _ = done
    captions = [str(make_table(name, state["tasks"][name], "alpha").caption) for name in ("hellaswag", "gsm8k")]
    assert "chosen on hellaswag:share (4 documents, a part of its own that is not tested here)" in captions[0]
    assert "chosen on gsm8k:train (4 documents, another split of its data)" in captions[1]
    assert main(["leaderboard", str(out), "--format", "markdown"]) in (0, None)
    told = " ".join(capsys.readouterr().out.split())
    assert "strengths are chosen on 12 of its test documents, parted by hash (share 0.3, seed 0), and tested on" in told
    assert "of its split train, without" in told


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"kind": "half"}, "hellaswag.kind is 'half', expected one of twin, split, share"),
        ({"kind": ["twin"]}, "expected one of twin, split, share"),
        ({"kind": "split"}, "expected an object with split"),
        ({"test": {"n": "many", "sha256": ""}}, "hellaswag.test.n is 'many', expected a whole number"),
    ],
)
def test_damaged_facts_are_named(facts: dict[str, Any], sentence: str, done: tuple[Path, Any, str]) -> None:
    state = json.loads((done[0] / "sweep.json").read_text(encoding="utf-8"))
    state["settings"]["validation"]["hellaswag"] |= facts
    with pytest.raises(ValueError, match=sentence):
        check_sweep(state)
    del state["settings"]["validation"]  # as in older releases
    check_sweep(state)


def test_sweeps_with_other_halves_stay_apart(
    child: dict[str, Any], folder: Path, done: tuple[Path, Any, str], tmp_path: Path
) -> None:
    """Also where no samples tell which documents they had."""
    given = SWEPT | {"tasks": ["hellaswag"]}
    run_sweep(make_args(child, tmp_path / "other", **given, seed=3), manager(folder), QUIET)
    again = make_args(child, tmp_path / "same", **given | {"alpha": [5, 30]})
    run_sweep(again, manager(folder), QUIET)
    places = [done[0] / "arms" / "hellaswag", tmp_path / "other", tmp_path / "same"]
    for path in [path for place in places for path in place.rglob("samples_*")]:
        path.rename(path.with_name("hidden"))
    groups = group_runs(read_runs(places))
    assert sorted(len({run.path.parents[4] for run in group.runs}) for group in groups) == [1, 2]
    assert all("parted by hash" in group.differs["test documents"] for group in groups)
