"""Rows for the tests of tasks: published GSM8K and ARC where they are at hand, else stand-ins; MATH is ours always.

A stand-in has the schema of the published rows, and the rows that golden prompts show, read back from these.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from lm_eval_steer.tasks.arc_challenge import make_manifest
from lm_eval_steer.tasks.arc_challenge import task as arc
from lm_eval_steer.tasks.gsm8k import task as gsm8k
from lm_eval_steer.tasks.math import task as math
from lm_eval_steer.tasks.splits import DATA_VARIABLE
from test_tasks import stand_in as gsm8k_stand_in

GOLDEN = Path(__file__).parent / "golden"
FIXTURES = Path(__file__).parent / "fixtures"
MATH_VALIDATION = 10


def arc_rows() -> dict[str, list[dict[str, Any]]]:
    """ARC-like rows per published split: those in the golden prompts, and some of our own with rarer labels."""

    def row(name: str, question: str, answer: str) -> dict[str, Any]:
        stem, *options = question.split("\n")
        pairs = [re.fullmatch(r"\((\w)\) (.*)", option) for option in options]
        choices = {"text": [pair[2] for pair in pairs if pair], "label": [pair[1] for pair in pairs if pair]}
        return {"id": name, "question": stem, "choices": choices, "answerKey": answer}

    def asked(name: str) -> list[str]:
        text = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
        return [part.partition("\nA:")[0] for part in text.split("Q: ")[1:]]

    *shots, first = asked("arc_challenge_steer")
    train = [
        row(name, question, answer)
        for name, question, answer in zip(arc.rationales(), shots, ("C", "A", "B", "D", "B"), strict=True)
    ]
    extra = [
        row(
            f"own_{i}",
            f"Which number is {word}?\n" + "\n".join(f"({label}) {n}" for n, label in enumerate(labels)),
            answer,
        )
        for i, (word, labels, answer) in enumerate(
            [
                ("one", "1234", "2"),
                ("two", "ABC", "C"),
                ("three", "ABCDE", "D"),
                ("zero", "123", "1"),
                ("0", "ABCD", "A"),
            ]
        )
    ]
    twice = [extra[1] | {"id": "own_1_again"}]
    test = [row("own_test", first, "C"), *(own | {"question": own["question"] + "?"} for own in extra)]
    validation = [row("own_validation", asked("arc_challenge_steer_val")[-1], "D"), extra[0] | {"question": "One?"}]
    validation = [own | {"id": own["id"] + "_v"} for own in validation]
    test = [own | {"id": own["id"] + "_t"} for own in test]
    return {"train": train + extra + twice, "validation": validation, "test": test}


def write(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Write rows as <split>.jsonl."""
    folder.mkdir(parents=True)
    for name, part in rows.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


@contextmanager
def provided(folder: Path) -> Iterator[set[str]]:
    """All datasets in `folder`, which the tasks read; yields the names of those that are published rows."""
    given = Path(os.environ.get(DATA_VARIABLE, folder))
    published = {name for name in ("gsm8k", "arc_challenge") if (given / name).is_dir()}
    for name in published:
        (folder / name).symlink_to(given / name)
    for name in ("math", "math500"):
        (folder / name).symlink_to(FIXTURES / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(folder))
        patch.setattr(math, "VALIDATION_ROWS", MATH_VALIDATION)
        if "gsm8k" not in published:
            gsm8k_stand_in(folder)
            patch.setattr(gsm8k, "HERE", folder)
        if "arc_challenge" not in published:
            write(folder / "arc_challenge", arc_rows())
            parts = [arc.read(name) for name in ("train", "validation", "test")]
            make_manifest.make(*parts).write(folder / "arc_manifest.json")
            patch.setattr(arc, "MANIFEST", folder / "arc_manifest.json")
        yield published


@functools.cache
def manager() -> TaskManager:
    """Our tasks only; scanning the harness's own takes seconds."""
    return TaskManager(include_path=str(importlib.resources.files("lm_eval_steer.tasks")), include_defaults=False)


def script(lm: Any, replies: list[Any], patch: pytest.MonkeyPatch, really: bool = True) -> None:
    """Let a model answer for real, then say `replies` instead, which a test can know to be right or wrong.

    With `really=False` it only says them.
    """

    def scripted(real: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def answer(requests: list[Any], **_: Any) -> list[Any]:
            assert len(requests) == len(replies)
            assert not really or len(real(requests)) == len(replies)
            return replies

        return answer

    for kind in ("generate_until", "loglikelihood"):
        patch.setattr(lm, kind, scripted(getattr(lm, kind)))
