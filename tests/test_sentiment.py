"""The positive control: rows whose splits share nothing, log_odds by hand, and a direction that moves it both ways."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

import models
from conftest import make_vector
from drawn import task_pairs
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.source import load_source
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.tasks.sentiment import generate, task
from lm_eval_steer.tasks.splits import DATA_VARIABLE, SPLITS, Manifest, digest

NAMES = {"sentiment_steer": "test", "sentiment_steer_val": "validation"}


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    return TaskManager(include_path=str(task.HERE), include_defaults=False)


def evaluate(lm: Any, manager: TaskManager, name: str = "sentiment_steer", limit: int = 8, **more: Any) -> Any:
    return simple_evaluate(model=lm, tasks=[name], task_manager=manager, limit=limit, bootstrap_iters=0, **more)


def log_odds(out: Any, name: str = "sentiment_steer") -> list[float]:
    return [sample["log_odds"] for sample in sorted(out["samples"][name], key=lambda sample: sample["doc_id"])]


def tiny(**steering: Any) -> SteeredHF:
    model = models.make_model("llama")
    return SteeredHF(pretrained=model, tokenizer=models.make_tokenizer(), batch_size=4, **steering)


# Rows


def test_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    generate.main(tmp_path)
    for name in ("extraction.jsonl", "validation.jsonl", "test.jsonl", "manifest.json"):
        assert (tmp_path / name).read_bytes() == (task.HERE / name).read_bytes()


def test_splits_share_no_template_and_no_word() -> None:
    """Read from the rows alone: a template is what is left of a stem without people and things."""
    drawn = {word for person in generate.PEOPLE for word in person} | set(generate.THINGS)
    rows = generate.generate()
    templates = {
        split: {re.sub(r"\w+", lambda word: "_" if word[0] in drawn else word[0], row["stem"]) for row in rows[split]}
        for split in SPLITS
    }
    words = {split: [row[side] for row in rows[split] for side in ("positive", "negative")] for split in SPLITS}
    assert {split: len(found) for split, found in templates.items()} == {"extraction": 10, "validation": 7, "test": 11}
    assert len(set().union(*templates.values())) == 28
    assert sum(len(set(found)) for found in words.values()) == len({word for every in words.values() for word in every})
    assert not set(words["extraction"]) & {
        word for split in SPLITS for row in rows[split] for word in row["stem"].split()
    }


def test_endings_are_alike_and_nothing_depends_on_their_place() -> None:
    for split, rows in generate.generate().items():
        assert len({(row["stem"], row["positive"]) for row in rows}) == len(rows) == generate.ROWS[split]
        assert all(abs(len(row["positive"]) - len(row["negative"])) <= 4 for row in rows)
        lengths = [len(row["positive"]) - len(row["negative"]) for row in rows]
        assert abs(np.mean(lengths)) < 0.7
        assert 0.4 < np.mean([row["first"] == "positive" for row in rows]) < 0.6


def test_tasks_need_no_data_of_elsewhere(manager: TaskManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    manifest = Manifest.read(task.HERE / "manifest.json")
    for name, found in manager.load(list(NAMES))["tasks"].items():
        assert found.eval_docs["row"] == list(manifest.splits[NAMES[name]])
        assert found.config.metadata["split"] == NAMES[name]
        assert found.config.metadata["split_digest"] == digest(manifest.splits[NAMES[name]])
        for doc in found.eval_docs:
            assert found.doc_to_choice(doc)[found.doc_to_target(doc)] == doc["positive"]
            assert sorted(found.doc_to_choice(doc)) == sorted((doc["positive"], doc["negative"]))
            assert found.fewshot_context(doc, num_fewshot=0) == doc["stem"]


def test_pairs_are_a_stem_with_either_ending(manager: TaskManager) -> None:
    source = load_source(ExtractionArgs(task="sentiment_steer", method="mean", n=64))
    docs = {doc["row"]: doc for doc in source.task.training_docs()}
    pairs = task_pairs(source.task, source.template, 64, 0, None)
    assert len({pair.row for pair in pairs}) == 64
    for pair in pairs:
        doc = docs[pair.row]
        assert (pair.positive, pair.negative) == tuple(
            f"{doc['stem']} {doc[side]}" for side in ("positive", "negative")
        )


# Scoring


def by_hand(model: Any, tokenizer: Any, context: str, ending: str) -> float:
    """Log-probability of an ending behind a context, in nats, a token at a time."""
    start, tokens = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context, context + ending))
    with torch.no_grad():
        found = model(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
    return sum(float(found[place - 1, tokens[place]]) for place in range(len(start), len(tokens)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("plain", [True, False], ids=["hf", "steered-hf"])
def test_log_odds_are_those_of_a_loop(manager: TaskManager, name: str, plain: bool) -> None:
    model, tokenizer = models.make_model("llama"), models.make_tokenizer()
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4) if plain else tiny(alpha=0)
    out = evaluate(lm, manager, name)
    docs = [sample["doc"] for sample in sorted(out["samples"][name], key=lambda sample: sample["doc_id"])]
    expected = [
        by_hand(model, tokenizer, doc["stem"], f" {doc['positive']}")
        - by_hand(model, tokenizer, doc["stem"], f" {doc['negative']}")
        for doc in docs
    ]
    np.testing.assert_allclose(log_odds(out, name), expected, atol=1e-4)
    assert out["results"][name]["log_odds,none"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert out["results"][name]["acc,none"] == np.mean(np.array(expected) > 0)
    assert {doc["gold"] for doc in docs} == {0, 1}
    metrics = [key for key in out["results"][name] if "," in key and "_stderr" not in key]
    assert metrics == ["acc,none", "log_odds,none"]


def test_the_place_of_the_positive_ending_changes_nothing() -> None:
    doc = {"stem": "It was", "positive": "good", "negative": "bad"}
    for first, scores in (("positive", [(-2.0, False), (-5.5, True)]), ("negative", [(-5.5, True), (-2.0, False)])):
        found = task.ordered(doc | {"first": first})
        assert task.process_results(found, scores) == {"acc": 1.0, "log_odds": 3.5}
        assert task.process_results(found, scores[::-1]) == {"acc": 0.0, "log_odds": -3.5}
    assert task.process_results(found, [(-1.0, True), (-1.0, True)]) == {"acc": 0.0, "log_odds": 0.0}


def test_log_odds_of_a_vote_are_those_of_the_strength_that_represents_it(manager: TaskManager, tmp_path: Path) -> None:
    make_vector().save(tmp_path / "v.safetensors")
    alphas, steering = [0.5, 8, 16], {"vectors": str(tmp_path / "v.safetensors"), "record": None}
    singles = np.array([log_odds(evaluate(tiny(alpha=alpha, **steering), manager)) for alpha in alphas])
    voted = log_odds(evaluate(tiny(alpha=alphas, **steering), manager))
    positive = singles > 0
    winner = positive.sum(axis=0) * 2 > len(alphas)
    first = np.argmax(positive == winner, axis=0)  # the smallest strength that chose what most of them chose
    np.testing.assert_allclose(voted, singles[first, np.arange(len(voted))], atol=1e-3)
    assert len(set(first)) > 1


# The real model


@pytest.fixture(scope="module")
def real(smollm2: Path) -> dict[str, Any]:
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype="float32")
    return {"pretrained": model, "tokenizer": AutoTokenizer.from_pretrained(smollm2), "batch_size": 8}


def test_its_own_direction_moves_a_real_model_both_ways(manager: TaskManager, real: dict[str, Any]) -> None:
    steering = {"vectors": "smollm2_sentiment", "dose": 0.01}
    kinds: tuple[dict[str, Any], ...] = (
        {"alpha": 0},
        steering,
        steering | {"control": "negated"},
        steering | {"control": "random:1"},
    )
    before, own, negated, random = (
        np.array(log_odds(evaluate(SteeredHF(**real, **kind), manager, limit=6))) for kind in kinds
    )
    assert np.mean(own - before) > 3
    assert np.mean(negated - before) < -3
    assert abs(np.mean(random - before)) < 0.5
    assert math.isclose(np.mean(before), 0, abs_tol=2)


def test_a_chat_template_asks_with_the_stem_and_answers_with_the_ending(
    manager: TaskManager, real: dict[str, Any]
) -> None:
    out = evaluate(SteeredHF(**real, alpha=0), manager, limit=2, apply_chat_template=True)
    for sample in out["samples"]["sentiment_steer"]:
        for place, part in enumerate(sample["arguments"]):
            context, ending = part[:2]
            assert context.endswith(f"<|im_start|>user\n{sample['doc']['stem']}<|im_end|>\n<|im_start|>assistant\n")
            assert ending == sample["doc"]["choices"][place]
        assert math.isfinite(sample["log_odds"])
