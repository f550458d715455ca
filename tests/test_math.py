"""The three tasks of MATH and MATH-500, on problems of our own in the published schema."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import make_table

import models
from conftest import make_vector
from data import FIXTURES, MATH_VALIDATION, manager, provided, script
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.pairs import load_task
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.tasks.math import task as math
from lm_eval_steer.tasks.splits import DATA_VARIABLE, SPLITS, digest, read_jsonl

NAMES = ("math_steer", "math_steer_val", "math500_steer")
# 26 train rows, of which one repeats another and one is a test row; 5 shots.
SIZES = {"extraction": 26 - 2 - 5 - MATH_VALIDATION, "validation": MATH_VALIDATION, "test": 21}


@pytest.fixture(scope="module", autouse=True)
def published(tmp_path_factory):
    with provided(tmp_path_factory.mktemp("data")):
        yield


@pytest.fixture(scope="module")
def tasks(published):
    return {name: load_task(name) for name in NAMES}


def problems(rows: Any) -> list[str]:
    return [" ".join(row["problem"].split()) for row in rows]


# Rows and splits


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint_and_hold_no_shot(tasks, name):
    data = tasks[name].dataset
    sizes = SIZES | {"test": 5} if name == "math500_steer" else SIZES
    assert {split: len(data[split]) for split in data} == sizes | {"fewshot": 5}
    everything = [problem for split in data for problem in problems(data[split])]
    assert len(set(everything)) == len(everything)
    assert tasks[name].eval_docs["row"] == data["validation" if name.endswith("_val") else "test"]["row"]


def test_the_three_tasks_share_shots_and_train_rows(tasks):
    for split in ("fewshot", "extraction", "validation"):
        assert len({tuple(tasks[name].dataset[split]["row"]) for name in NAMES}) == 1


def test_the_rows_chosen_do_not_depend_on_their_order():
    train, test = math.read("train"), math.read("test")
    manifest, shots = math.choose(train, test)
    for seed in range(3):
        mixed = random.Random(seed).sample(train, len(train))
        again, shots_again = math.choose(mixed, random.Random(seed).sample(test, len(test)))
        assert shots_again == shots
        assert again.splits["extraction"] == manifest.splits["extraction"]
        assert again.splits["validation"] == manifest.splits["validation"]


def test_another_seed_chooses_other_rows(monkeypatch):
    train, test = math.read("train"), math.read("test")
    before = math.choose(train, test)[1]
    monkeypatch.setattr(math, "SEED", 1)
    assert math.choose(train, test)[1] != before


def test_a_train_problem_that_is_a_test_problem_is_dropped_and_test_is_whole(tasks):
    lcm = "What is the least common multiple of 4 and 10?"
    assert lcm in problems(math.read("train"))
    data = tasks["math_steer"].dataset
    assert [split for split in data if lcm in problems(data[split])] == ["test"]
    assert problems(data["test"]) == problems(math.read("test"))


def test_rows_that_are_alike_in_test_are_all_kept():
    train, test = math.read("train"), math.read("test")
    manifest, _ = math.choose(train, math._numbered([*test, dict(test[0])]))
    assert len(set(manifest.splits["test"])) == len(test) + 1


def test_answers_come_out_of_the_boxes(tasks):
    docs = tasks["math_steer"].eval_docs
    answers = dict(zip(docs["problem"], docs["answer"], strict=True))
    assert answers["What is $x$ if $\\frac{x}{6} = 7$?"] == "42"
    assert {r"\dfrac{3}{8}", r"\frac13", r"\{-3, 5\}", r"\text{Ben}", r"15\%", r"10\text{ inches}"} <= set(
        answers.values()
    )
    assert "\\begin{pmatrix} 1/2 & 0 \\\\ 0 & 1/5 \\end{pmatrix}" in answers.values()
    (zero,) = [row for row in math.read("train") if row["level"] == "?"]
    assert zero["answer"] == "0"  # \boxed 0, without braces


def test_the_result_file_names_the_rows_that_were_chosen(tasks):
    for name in NAMES:
        data, chosen = tasks[name].dataset, tasks[name].dump_config()["metadata"]["chosen"]
        assert chosen["shots"] == data["fewshot"]["row"][:]
        assert chosen["rows"] == {split: len(data[split]) for split in SPLITS}
        assert chosen["digests"] == {split: digest(data[split]["row"]) for split in SPLITS}
        json.dumps(chosen)


# Scores


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("So it is $\\boxed{{{0}}}$.", True),
        ("Final Answer: The final answer is ${0}$. I hope it is correct.", True),
        ("So it is $\\boxed{{123456}}$.", False),
        ("<think>So it is $\\boxed{{{0}}}$.", False),
        ("", False),
    ],
)
def test_scoring_through_the_task(tasks, name, response, right):
    task = tasks[name]
    task.build_all_requests(limit=1)
    (instance,) = task.instances
    doc = instance.doc
    instance.resps.append(response.format(task.doc_to_target(doc)))
    task.apply_filters()
    names = {"exact_match", f"exact_match_{doc['subject']}", f"exact_match_level_{doc['level']}"}
    assert task.process_results(doc, [instance.filtered_resps["answer"]]) == dict.fromkeys(names, float(right))


def test_a_level_that_is_none_counts_in_the_subject_and_the_total(tasks):
    doc = {"answer": "0", "subject": "algebra", "level": "?"}
    assert math.process_results(doc, ["0"]) == {"exact_match": 1.0, "exact_match_algebra": 1.0}


def test_every_published_answer_is_equal_to_itself_in_its_own_solution(tasks):
    for doc in [*math.read("test"), *math.read("train")]:
        (answer,) = math.answers([[doc["solution"]]], [doc])[0]
        assert math.process_results(doc, [answer])["exact_match"] == 1.0


def make(cls: type) -> Any:
    arguments = {"vectors": make_vector(), "alpha": 1.0} if cls is SteeredHF else {}
    model = models.make_model("llama", num_hidden_layers=1, max_position_embeddings=4096)
    return cls(pretrained=model, tokenizer=models.make_tokenizer(), batch_size=1, max_length=4096, **arguments)


def test_total_subjects_and_levels(tasks, monkeypatch):
    docs = list(tasks["math_steer"].eval_docs)
    wrong = {"algebra", "geometry"}
    replies = [rf"\boxed{{{'7777' if doc['subject'] in wrong else doc['answer']}}}" for doc in docs]
    script(lm := make(HFLM), replies, monkeypatch, really=False)
    out = simple_evaluate(model=lm, tasks=["math_steer"], task_manager=manager(), bootstrap_iters=100)
    scores = out["results"]["math_steer"]
    assert scores["exact_match,answer"] == 15 / 21
    assert next(key for key in scores if "," in key) == "exact_match,answer"  # the one that leaderboards take
    for subject in math.SUBJECTS:
        assert scores[f"exact_match_{subject},answer"] == float(subject not in wrong)
    for level in "12345":
        of_level = [doc["subject"] not in wrong for doc in docs if doc["level"] == level]
        assert scores[f"exact_match_level_{level},answer"] == sum(of_level) / len(of_level)
        assert 0 <= scores[f"exact_match_level_{level}_stderr,answer"] < 1
    assert (
        out["configs"]["math_steer"]["metadata"]["chosen"]["rows"]["test"]
        == out["n-samples"]["math_steer"]["effective"]
        == 21
    )
    assert "exact_match_precalculus" in make_table(out)


@pytest.mark.parametrize("name", ["math_steer_val", "math500_steer"])
@pytest.mark.parametrize("cls", [HFLM, SteeredHF])
def test_one_right_and_one_wrong(tasks, monkeypatch, cls, name):
    first = tasks[name].eval_docs[0]
    script(lm := make(cls), [rf"\boxed{{{first['answer']}}}", r"\boxed{7777}"], monkeypatch)
    out = simple_evaluate(
        model=lm, tasks=[name], task_manager=manager(), limit=2, gen_kwargs={"max_gen_toks": 2}, bootstrap_iters=0
    )
    assert [sample["exact_match"] for sample in out["samples"][name]] == [1.0, 0.0]


# Sources and refusals


def test_the_hub_gives_the_same_rows(monkeypatch, tasks):
    asked = []

    def hub(repository, configuration, *, split):
        asked.append((repository, configuration, split))
        if repository == "HuggingFaceH4/MATH-500":
            fields, folder = ("problem", "solution", "answer", "subject", "level", "unique_id"), FIXTURES / "math500"
        else:
            fields, folder = ("problem", "level", "type", "solution"), FIXTURES / "math" / configuration
        return datasets.Dataset.from_list(read_jsonl(folder / f"{split}.jsonl", fields, {"level": (int, str)}))

    monkeypatch.delenv(DATA_VARIABLE)
    monkeypatch.setattr(datasets, "load_dataset", hub)
    loaded = math.math500(version=1.0, pretrained="a model argument")
    assert {split: loaded[split]["row"][:] for split in loaded} == {
        split: tasks["math500_steer"].dataset[split]["row"][:] for split in loaded
    }
    expected = {("EleutherAI/hendrycks_math", s, split) for s in math.SUBJECTS for split in ("train", "test")}
    assert set(asked) == expected | {("HuggingFaceH4/MATH-500", "default", "test")}


def changed(folder: Path, monkeypatch, file: str, change) -> None:
    """The fixture with one file's rows changed."""
    shutil.copytree(FIXTURES, folder / "data")
    path = folder / "data" / file
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setenv(DATA_VARIABLE, str(folder / "data"))


def test_a_test_row_without_an_answer_is_refused(tmp_path, monkeypatch):
    changed(tmp_path, monkeypatch, "math/geometry/test.jsonl", lambda rows: rows[0].update(solution="It is clear."))
    with pytest.raises(SteeringError, match=r"test row of MATH \(geometry\) has a solution without an answer"):
        math.math()


def test_a_train_row_without_an_answer_is_left_out(tmp_path, monkeypatch):
    changed(tmp_path, monkeypatch, "math/geometry/train.jsonl", lambda rows: rows[0].update(solution="It is clear."))
    loaded = math.math()
    assert len(loaded["extraction"]) == SIZES["extraction"] - 1


def test_a_math_500_problem_among_the_train_rows_is_refused(tmp_path, monkeypatch):
    train = math.read("train")
    kept = math.math()["extraction"][0]["problem"]
    assert kept in problems(train)
    changed(tmp_path, monkeypatch, "math500/test.jsonl", lambda rows: rows[0].update(problem=kept))
    with pytest.raises(SteeringError, match="Train and test of math500 share 1 problems"):
        math.math500()
    math.math()


def test_too_few_rows_are_refused(monkeypatch):
    monkeypatch.setattr(math, "VALIDATION_ROWS", 19)
    with pytest.raises(
        SteeringError, match=r"24 of 26 train rows .* 5 few-shot rows, 19 for validation and some for extr"
    ):
        math.math()


def test_the_fixture_is_large_enough():
    rows = [*math.read("train"), *math.read("test")]
    assert len(rows) >= 40
    assert {row["subject"] for row in rows} == set(math.SUBJECTS)
