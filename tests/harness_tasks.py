"""The harness's own tasks on made-up documents: their YAML and code as they are, with `datasets.load_dataset` replaced.

A handful of documents per split in each dataset's schema, so that tasks of every kind run without a hub. What is asked
of `evaluate.load` is answered by stand-ins that keep the interface of the published metric.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import pytest
from lm_eval.tasks import TaskManager

HARNESS = Path(lm_eval.tasks.__file__).parent
Row = dict[str, Any]
NAMES = ("Ann", "Bob", "Cara", "Dan", "Eve", "Finn", "Gil", "Hal")


def hellaswag(i: int) -> Row:
    return {
        **{"ind": i, "activity_label": "Baking", "ctx_a": f"Ann takes {i} eggs.", "ctx_b": "then she"},
        **{"endings": [f"cracks {i} of them.", "flies away.", "sings [title] loudly.", "sleeps."], "label": "0"},
    }


def arc(i: int) -> Row:
    return {
        "id": f"r{i}",
        "question": f"What is {i} + 1?",
        "choices": {"text": [str(i), str(i + 1), str(i + 2)], "label": ["A", "B", "C"]},
        "answerKey": "B",
    }


def mmlu(i: int, subject: str = "anatomy") -> Row:
    return {
        "question": f"Bone {i}?",
        "subject": subject,
        "choices": ["rib", "ulna", "tibia", "skull"],
        "answer": i % 4,
    }


def truthful(i: int) -> Row:
    choices = [f"Yes, {i}.", "Nobody knows.", "No.", "Never."]
    return {
        "question": f"Is {i} a number?",
        "mc1_targets": {"choices": choices, "labels": [1, 0, 0, 0]},
        "mc2_targets": {"choices": choices, "labels": [1, 1, 0, 0]},
    }


def winogrande(i: int) -> Row:
    return {
        **{"sentence": f"The {i} cups fit the box because the _ is {i} cm wide.", "option1": "cup", "option2": "box"},
        **{"answer": "2"},
    }


def boolq(i: int) -> Row:
    return {"question": f"is {i} odd", "passage": f"The number {i} is known.", "idx": i, "label": i % 2}


def cola(i: int) -> Row:
    sentence = f"{NAMES[i % 8]} has {i} pens." if i % 3 else f"{i} pens has {NAMES[i % 8]} the."
    return {"sentence": sentence, "label": int(i % 3 > 0), "idx": i}


def squad(i: int) -> Row:
    return {
        "doc_id": str(i),
        "title": "",
        "context": "",
        "question": "",
        "text": f" In {i} it was ",
        "value": f"{i} BC",
    }


def squadv2(i: int) -> Row:
    """Every third question has no answer."""
    answers = {"text": [f"{i} BC"], "answer_start": [3]} if i % 3 else {"text": [], "answer_start": []}
    return {
        **{"id": str(i), "title": f"Year {i}", "context": f"In {i} BC it was.", "question": "When was it?"},
        **{"answers": answers},
    }


def drop(i: int) -> Row:
    answer = {"number": str(i), "date": {"day": "", "month": "", "year": ""}, "spans": []}
    checked = {"number": [str(i)], "date": [{"day": "", "month": "", "year": ""}], "spans": [[]]}
    return {
        **{"section_id": "s", "query_id": f"q{i}", "passage": f"They scored {i} goals.", "question": "How many?"},
        **{"answer": {**answer, "worker_id": "", "hit_id": ""}},
        **{"validated_answers": {**checked, "worker_id": [""], "hit_id": [""]}},
    }


def bbh(i: int) -> Row:
    return {"input": f"not {'not ' * i}True is", "target": str(bool(i % 2))}


def ifeval(i: int) -> Row:
    """One or two instructions, as many of the harness's own as need no corpus of nltk."""
    every = [("punctuation:no_comma", {}), ("keywords:forbidden_words", {"forbidden_words": ["e", "a"]})]
    every += [("detectable_content:number_placeholders", {"num_placeholders": 1})]
    chosen = [every[i % 3]] + ([every[(i + 1) % 3]] if i % 2 else [])
    every_key = {"forbidden_words": None, "num_placeholders": None}
    return {
        "key": i,
        "prompt": f"Write {i} words without a comma.",
        "instruction_id_list": [name for name, _ in chosen],
        "kwargs": [every_key | given for _, given in chosen],
    }


def wikitext(i: int) -> Row:
    return {
        "page": f" = Town {i} = \n\n {NAMES[i % 8]} lives there , with {i} @,@ 000 others . {'It rains . ' * (i % 4)}"
    }


def lambada(i: int) -> Row:
    return {"text": f"She called {i} times for her dog{i}", "domain": None}


def gsm8k(i: int) -> Row:
    return {"question": f"Bo has {i} pens and buys 2. How many?", "answer": f"He has {i}+2={i + 2} now.\n#### {i + 2}"}


def nq_open(i: int) -> Row:
    return {"question": f"who has {i} pens", "answer": [NAMES[i % 8], f"{NAMES[i % 8]} B."]}


def humaneval(i: int) -> Row:
    return {
        **{"task_id": f"HumanEval/{i}", "prompt": f"def add{i}(x):\n    return x", "entry_point": f"add{i}"},
        **{"canonical_solution": f" + {i}\n", "test": f"def check(f):\n    assert f(0) == {i}\n"},
    }


Splits = dict[str, Iterable[int]]
DATASETS: dict[str, tuple[Callable[[int], Row], Splits]] = {
    # path of the dataset: its rows, and the numbers of those in each split that is published with them
    "Rowan/hellaswag": (hellaswag, {"train": range(110, 122), "validation": range(10, 30)}),
    "allenai/ai2_arc": (arc, {"train": range(110, 122), "validation": range(210, 218), "test": range(10, 18)}),
    "cais/mmlu": (mmlu, {"dev": range(110, 115), "validation": range(210, 214), "test": range(10, 24)}),
    "truthfulqa/truthful_qa": (truthful, {"validation": range(10, 26)}),
    "allenai/winogrande": (winogrande, {"train": range(110, 122), "validation": range(10, 26)}),
    "aps/super_glue": (boolq, {"train": range(110, 122), "validation": range(10, 26), "three": range(3)}),
    "nyu-mll/glue": (cola, {"train": range(110, 122), "validation": range(10, 30)}),
    "hazyresearch/based-squad": (squad, {"validation": range(10, 26)}),
    "lighteval/squad_v2": (squadv2, {"train": range(110, 122), "validation": range(10, 22)}),
    "EleutherAI/drop": (drop, {"train": range(110, 122), "validation": range(10, 26)}),
    "SaylorTwift/bbh": (bbh, {"test": range(10, 24)}),
    "google/IFEval": (ifeval, {"train": range(10, 26)}),
    "EleutherAI/wikitext_document_level": (
        wikitext,
        {"train": range(110, 116), "validation": range(210, 216), "test": range(10, 16)},
    ),
    "EleutherAI/lambada_openai": (lambada, {"test": range(10, 26)}),
    "openai/gsm8k": (gsm8k, {"train": range(110, 150), "test": range(10, 18)}),
    "google-research-datasets/nq_open": (nq_open, {"train": range(110, 122), "validation": range(10, 26)}),
    "openai/openai_humaneval": (humaneval, {"test": range(10, 26)}),
}

FOLDERS = (
    *(
        "hellaswag",
        "arc",
        "mmlu/default",
        "truthfulqa",
        "winogrande",
        "super_glue/boolq",
        "glue/cola",
        "squad_completion",
    ),
    *("squadv2", "drop", "bbh/cot_fewshot", "ifeval", "wikitext", "lambada", "gsm8k", "nq_open", "humaneval"),
)
"""Of the harness's tasks, those that are read; scanning all of them takes seconds."""


@functools.cache
def manager(*more: str) -> TaskManager:
    """The harness's own tasks of `FOLDERS`, and those of other folders."""
    return TaskManager(include_path=[*(str(HARNESS / one) for one in FOLDERS), *more], include_defaults=False)


class _CodeEval:
    """`code_eval` of evaluate: a program of an even number of characters passes, and none is run."""

    def compute(
        self, references: list[str], predictions: list[list[str]], k: list[int]
    ) -> tuple[dict[str, float], Any]:
        passed = [any(len(program) % 2 == 0 for program in programs) for programs in predictions]
        return {f"pass@{one}": sum(passed) / len(passed) for one in k}, None


class _SquadV2:
    """`squad_v2` : the share of exact answers, and in place of F1 that of the same first letter."""

    def compute(self, predictions: Iterable[Row], references: Iterable[Row]) -> dict[str, float]:
        pairs = [
            (one["prediction_text"].strip(), other["answers"]["text"] or [""])
            for one, other in zip(predictions, references, strict=True)
        ]
        exact = 100 * sum(text in answers for text, answers in pairs) / len(pairs)
        begun = 100 * sum(text[:1] == answers[0][:1] for text, answers in pairs) / len(pairs)
        return {"exact": exact, "f1": begun} | {
            f"{part}_{name}": value
            for part in ("HasAns", "NoAns", "best")
            for name, value in (("exact", exact), ("f1", begun))
        }


METRICS = {"code_eval": _CodeEval, "squad_v2": _SquadV2}


@contextmanager
def local_data() -> Iterator[None]:
    """Datasets and metrics of the hub replaced by those of this file; anything else is refused as without a network."""

    def load(path: str, name: str | None = None, **_: Any) -> Any:
        if path not in DATASETS:
            raise ConnectionError(f"Couldn't reach '{path}' on the Hub (LocalEntryNotFoundError)")
        return _dataset(path, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.load_dataset", load)
        patch.setattr("evaluate.load", lambda name, **_: METRICS[name]())
        patch.setattr("nltk.download", lambda *_, **__: False)
        yield


@functools.cache
def _dataset(path: str, name: str | None) -> datasets.DatasetDict:
    make, splits = DATASETS[path]
    make = functools.partial(mmlu, subject=str(name)) if path == "cais/mmlu" else make
    return datasets.DatasetDict(
        {split: datasets.Dataset.from_list([make(i) for i in numbers]) for split, numbers in splits.items()}
    )
