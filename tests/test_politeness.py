"""The second concept: rows whose splits share nothing but the smallest words, and a direction that acts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from drawn import task_pairs
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.extract import extract
from lm_eval_steer.extraction.source import load_source
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.tasks.politeness import generate, task
from lm_eval_steer.tasks.splits import SPLITS, Manifest, digest
from test_sentiment import evaluate, log_odds

NAMES = {"politeness_steer": "test", "politeness_steer_val": "validation"}


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    return TaskManager(include_path=str(task.HERE), include_defaults=False)


def test_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    generate.main(tmp_path)
    for name in ("extraction.jsonl", "validation.jsonl", "test.jsonl", "manifest.json"):
        assert (tmp_path / name).read_bytes() == (task.HERE / name).read_bytes()


def test_splits_share_no_template_and_no_word_but_the_smallest() -> None:
    """Read from the rows alone: a template is what is left of a stem without people and things."""
    rows = generate.generate()
    drawn = {name for name, _ in generate.endings.PEOPLE} | set(generate.THINGS)
    templates, words = {}, {}
    for split in SPLITS:
        stems = [row["stem"] for row in rows[split]]
        templates[split] = {re.sub(r"\w+", lambda word: "_" if word[0] in drawn else word[0], stem) for stem in stems}
        told = " ".join(row[side] for row in rows[split] for side in ("positive", "negative"))
        words[split] = set(re.findall(r"\w+", told.lower())) - generate.SMALL
    assert {split: len(found) for split, found in templates.items()} == {"extraction": 6, "validation": 4, "test": 6}
    assert len(set().union(*templates.values())) == 16
    assert sum(map(len, words.values())) == len(set().union(*words.values()))
    stems = " ".join(row["stem"] for split in SPLITS for row in rows[split]).lower()
    assert not set().union(*words.values()) & set(re.findall(r"\w+", stems))


def test_endings_are_alike_and_nothing_depends_on_their_place() -> None:
    for rows in generate.generate().values():
        lengths = [len(row["positive"]) - len(row["negative"]) for row in rows]
        assert max(map(abs, lengths)) <= 5
        assert abs(np.mean(lengths)) < 2
        assert 0.4 < np.mean([row["first"] == "positive" for row in rows]) < 0.6


def test_tasks_are_those_rows_and_pairs_are_a_stem_with_either_ending(manager: TaskManager) -> None:
    manifest = Manifest.read(task.HERE / "manifest.json")
    for name, found in manager.load(list(NAMES))["tasks"].items():
        assert found.eval_docs["row"] == list(manifest.splits[NAMES[name]])
        assert found.config.metadata["split_digest"] == digest(manifest.splits[NAMES[name]])
        doc = found.eval_docs[0]
        assert found.doc_to_choice(doc)[found.doc_to_target(doc)] == doc["positive"]
        assert found.fewshot_context(doc, num_fewshot=0) == doc["stem"]
    source = load_source(ExtractionArgs(task="politeness_steer", method="mean", n=4))
    docs = {doc["row"]: doc for doc in source.task.training_docs()}
    for pair in task_pairs(source.task, source.template, 4, 0, None):
        stem, *endings = (docs[pair.row][key] for key in ("stem", "positive", "negative"))
        assert [pair.positive, pair.negative] == [f"{stem} {ending}" for ending in endings]


@pytest.mark.slow
def test_its_own_direction_moves_a_real_model_both_ways(manager: TaskManager, smollm2: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype="float32")
    real = {"pretrained": model, "tokenizer": AutoTokenizer.from_pretrained(smollm2), "batch_size": 8}
    asked, own = ExtractionArgs(task="politeness_steer", method="mean", n=32), tmp_path / "own.safetensors"
    parent = SteeredHF(pretrained=str(smollm2), dtype="float32", batch_size=8, alpha=0)
    extract(asked, load_source(asked), parent).save(own)
    steering = {"vectors": str(own), "dose": 0.002}
    kinds = {"alpha": 0}, steering, steering | {"control": "negated"}, steering | {"control": "random:1"}
    name = "politeness_steer"
    before, moved, negated, random = (
        np.mean(log_odds(evaluate(SteeredHF(**real, **kind), manager, name, limit=12), name)) for kind in kinds
    )
    assert moved - before > 1
    assert negated - before < -1
    assert abs(random - before) < 0.5
