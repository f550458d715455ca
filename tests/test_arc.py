"""The four tasks of ARC-Challenge: rows, splits, shots and scores."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM

import models
from conftest import make_vector
from data import arc_rows, manager, provided, script, write
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.pairs import load_task
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.tasks.arc_challenge import make_manifest
from lm_eval_steer.tasks.arc_challenge import task as arc
from lm_eval_steer.tasks.splits import DATA_VARIABLE, SPLITS, Manifest, digest

GENERATIVE = ("arc_challenge_steer", "arc_challenge_steer_val")
CHOICE = ("arc_challenge_steer_mc", "arc_challenge_steer_mc_val")
SIZES = {"extraction": 1113, "validation": 299, "test": 1172}


@pytest.fixture(scope="module", autouse=True)
def is_published(tmp_path_factory):
    with provided(tmp_path_factory.mktemp("data")) as published:
        yield "arc_challenge" in published


@pytest.fixture(scope="module")
def tasks(is_published):
    return {name: load_task(name) for name in GENERATIVE + CHOICE}


# Rows and splits


def test_committed_manifest():
    folder = Path(arc.__file__).parent
    manifest = Manifest.read(folder / "manifest.json")  # reading asserts digests and disjointness
    assert {name: len(rows) for name, rows in manifest.splits.items()} == SIZES
    for name in GENERATIVE + CHOICE:
        split = "validation" if name.endswith("_val") else "test"
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        assert f"split: {split}\n" in text
        assert f'split_digest: "{digest(manifest.splits[split])}"' in text


def test_the_manifest_can_be_made_again(tmp_path, is_published):
    train, validation, test = (arc.read(name) for name in ("train", "validation", "test"))
    manifest = make_manifest.make(train, validation, test)
    manifest.write(tmp_path / "manifest.json")
    assert (tmp_path / "manifest.json").read_bytes() == arc.MANIFEST.read_bytes()
    # 5 shots and one row that repeats another are left out of train.
    assert len(manifest.splits["extraction"]) == len(train) - 6
    assert set(make_manifest.make(train[::-1], validation, test).splits["extraction"]) == set(
        manifest.splits["extraction"]
    )


@pytest.mark.parametrize("name", GENERATIVE + CHOICE)
def test_splits_are_disjoint_and_hold_no_shot(tasks, name, is_published):
    task = tasks[name]
    manifest = Manifest.read(arc.MANIFEST)
    assert {split: tuple(task.dataset[split]["row"]) for split in SPLITS} == manifest.splits
    assert task.eval_docs["row"] == task.dataset["validation" if name.endswith("_val") else "test"]["row"]
    if is_published:
        assert {split: len(task.dataset[split]) for split in SPLITS} == SIZES
    asked = {
        split: Counter((doc["question"], *doc["texts"]) for doc in task.dataset[split])
        for split in (*SPLITS, "fewshot")
    }
    assert asked["fewshot"].total() == 5
    everything = sum(asked.values(), Counter())
    assert max(everything.values()) == 1


def test_shots_are_named_in_the_yaml_and_spread_over_the_letters(tasks):
    shots = list(tasks["arc_challenge_steer"].dataset["fewshot"])
    text = (Path(arc.__file__).parent / "arc_challenge_steer.yaml").read_text(encoding="utf-8")
    assert all(f"{shot['id']}\n" in text or f"{shot['id']} " in text for shot in shots)
    assert Counter(shot["answerKey"] for shot in shots) == {"A": 1, "B": 2, "C": 1, "D": 1}
    for shot in shots:
        assert 90 <= len(shot["rationale"].split()) <= 135
        headings = re.findall(r"^\d\. \*\*(.+?):\*\*", shot["rationale"], re.MULTILINE)
        assert headings == ["Deconstruct the Question", "Analyze the Options", "Synthesize and Conclude"]
        assert shot["rationale"].endswith(f", so {shot['answerKey']} is correct.")


def test_every_question_shows_its_own_labels(tasks):
    for doc in tasks["arc_challenge_steer"].eval_docs:
        prompt = tasks["arc_challenge_steer"].doc_to_text(doc)
        expected = [f"({label}) {text}" for label, text in zip(doc["labels"], doc["texts"], strict=True)]
        assert prompt == "\n".join([f"Q: {doc['question']}", *expected, "A:"])
        assert tasks["arc_challenge_steer"].doc_to_target(doc) == doc["answerKey"] in doc["labels"]


def test_all_label_sets_occur(tasks, is_published):
    docs = [doc for name in GENERATIVE for doc in tasks[name].eval_docs]
    assert {"".join(doc["labels"]) for doc in docs} == {"ABCD", "1234", "123", "ABC", "ABCDE"}


@pytest.mark.parametrize("name", CHOICE)
def test_choices_are_the_options_texts(tasks, name):
    task, docs = tasks[name], tasks[name].eval_docs
    for doc in docs:
        assert task.doc_to_choice(doc) == doc["texts"]
        assert doc["labels"][task.doc_to_target(doc)] == doc["answerKey"]
    generative = tasks[name.replace("_mc", "")]
    assert task.config.description == generative.config.description
    prompt, other = task.fewshot_context(docs[0], 5), generative.fewshot_context(docs[0], 5)
    questions = [[part.partition("\nA:")[0] for part in text.split("\n\nQ: ")[1:]] for text in (prompt, other)]
    assert questions[0] == questions[1]
    assert "\nA: nervous and muscular systems\n\n" in prompt


# Scores


@pytest.mark.parametrize("name", GENERATIVE)
@pytest.mark.parametrize(
    ("response", "right"),
    [
        (" **Final Answer:** \\boxed{{{key}}}", True),
        (" So the answer is {text}", True),
        (" The answer is {other}.", False),
        ("<think>The answer is {key}.", False),
        ("", False),
    ],
)
def test_scoring_through_the_task(tasks, name, response, right):
    task = tasks[name]
    task.build_all_requests(limit=1)
    (instance,) = task.instances
    doc = instance.doc
    text = doc["texts"][doc["labels"].index(doc["answerKey"])]
    other = next(label for label in doc["labels"] if label != doc["answerKey"])
    instance.resps.append(response.format(key=doc["answerKey"], text=text, other=other))
    task.apply_filters()
    assert task.process_results(doc, [instance.filtered_resps["answer"]]) == {"exact_match": float(right)}


@pytest.mark.parametrize(
    "frame", [r"\boxed{{{0}}}", r"\boxed{{\text{{({0}) {1}}}}}", "The answer is {0}. {1}", "{0}) {1}"]
)
def test_every_option_of_every_question_can_be_stated(tasks, frame):
    for name in GENERATIVE:
        for doc in tasks[name].eval_docs:
            stated = [frame.format(*option) for option in zip(doc["labels"], doc["texts"], strict=True)]
            assert arc.answers([stated], [doc]) == [doc["labels"]]


def make(cls: type) -> Any:
    arguments = {"vectors": make_vector(), "alpha": 1.0} if cls is SteeredHF else {}
    model = models.make_model("llama", num_hidden_layers=1, max_position_embeddings=16384)
    return cls(pretrained=model, tokenizer=models.make_tokenizer(), batch_size=1, max_length=16384, **arguments)


@pytest.mark.parametrize("cls", [HFLM, SteeredHF])
@pytest.mark.parametrize("name", [GENERATIVE[0], CHOICE[0]])
def test_one_right_and_one_wrong(tasks, monkeypatch, cls, name):
    lm, (first, second) = make(cls), list(tasks[name].eval_docs)[:2]
    if name in CHOICE:
        gold = tasks[name].doc_to_target(first)
        wrong = (tasks[name].doc_to_target(second) + 1) % len(second["texts"])
        scores = [(-1.0 if i == gold else -100.0, False) for i in range(len(first["texts"]))]
        scores += [(-1.0 if i == wrong else -100.0, False) for i in range(len(second["texts"]))]
        script(lm, scores, monkeypatch)
    else:
        other = next(label for label in second["labels"] if label != second["answerKey"])
        script(lm, [rf"\boxed{{{first['answerKey']}}}", rf"\boxed{{{other}}}"], monkeypatch)
    out = simple_evaluate(
        model=lm,
        tasks=[name],
        task_manager=manager(),
        limit=2,
        gen_kwargs={"max_gen_toks": 4} if name in GENERATIVE else None,
        bootstrap_iters=0,
    )
    metrics = ("acc", "acc_norm") if name in CHOICE else ("exact_match",)
    for metric in metrics:
        assert [sample[metric] for sample in out["samples"][name]] == [1.0, 0.0]
    assert [sample["doc"]["row"] for sample in out["samples"][name]] == [first["row"], second["row"]]


def test_acc_norm_divides_by_the_length_of_the_text(tasks):
    task = tasks[CHOICE[0]]
    doc = {"texts": ["a", "a much longer text"], "labels": ["A", "B"], "answerKey": "B"}
    assert task.process_results(doc, [(-3.0, False), (-9.0, False)]) == {"acc": 0.0, "acc_norm": 1.0}


# Refusals, each one sentence


def broken(folder: Path, monkeypatch, change) -> None:
    rows = arc_rows()
    change(rows)
    write(folder / "arc_challenge", rows)
    monkeypatch.setenv(DATA_VARIABLE, str(folder))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda rows: rows["test"][0]["choices"]["text"].pop(),
            "own_test_t has the choices .* not as many texts as lab",
        ),
        (lambda rows: rows["test"][0].update(answerKey="X"), "own_test_t has the answer X, but only A, B, C, D"),
        (lambda rows: rows["test"][0].update(choices="A"), r"Line 1 of .*test\.jsonl .*choices is not a dict"),
        (lambda rows: rows["train"].pop(1), "lack 1 of the 5 few-shot rows, first MCAS_2006_9_21"),
        (lambda rows: rows["test"].pop(), "test of arc_challenge needs"),
    ],
)
def test_broken_rows_are_refused(tmp_path, monkeypatch, change, told):
    broken(tmp_path, monkeypatch, lambda rows: None)
    parts = [arc.read(name) for name in ("train", "validation", "test")]
    make_manifest.make(*parts).write(tmp_path / "manifest.json")
    monkeypatch.setattr(arc, "MANIFEST", tmp_path / "manifest.json")
    arc.splits()
    broken(tmp_path / "broken", monkeypatch, change)
    with pytest.raises(SteeringError, match=told):
        arc.splits()


def test_a_shot_inside_a_split_is_refused(tmp_path, monkeypatch):
    broken(tmp_path, monkeypatch, lambda rows: None)
    monkeypatch.setattr(make_manifest, "rationales", dict)
    parts = [arc.read(name) for name in ("train", "validation", "test")]
    make_manifest.make(*parts).write(tmp_path / "manifest.json")
    monkeypatch.setattr(arc, "MANIFEST", tmp_path / "manifest.json")
    with pytest.raises(SteeringError, match="extraction of arc_challenge holds 5 of the 5 few-shot rows"):
        arc.splits()


def test_the_files_hold_no_question_of_arc():
    # The questions are CC BY-SA 4.0 and come from the data; shots.jsonl holds ids and reasoning of our own.
    lines = (Path(arc.__file__).parent / "shots.jsonl").read_text(encoding="utf-8").splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [["id", "rationale"]] * 5
