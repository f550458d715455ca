"""What the YAML files of this folder call: rows, the rule that splits them, and scoring.

No manifest is shipped; `choose` makes it from the rows when they are loaded, the same for the same rows.
"""

import logging
from collections import Counter
from dataclasses import replace
from typing import Any

from datasets import DatasetDict

from lm_eval_steer.answers import NO_ANSWER, math_answer, math_equal
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.tasks.splits import SPLITS, Manifest, by_lot, digest, load, read_source, row_hash

HUB = "EleutherAI/hendrycks_math"
HUB_500 = ("HuggingFaceH4/MATH-500", "default")
SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
FIELDS = ("problem", "solution", "subject", "copy")
SEED = 251219069
SHOTS = 5
VALIDATION_ROWS = 500
RULE = (
    "of the train rows with the same problem one, and none whose problem is a test row's; ordered by "
    "sha256('<seed>:<row hash>') the first 5 are few-shot rows, the next 500 validation, the rest extraction; test: all"
)

_log = logging.getLogger(__name__)


def _problem(row: dict[str, Any]) -> str:
    """The problem as two rows are compared: white space aside, every sign counts."""
    return " ".join(row["problem"].split())


def _numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `copy`, which tells rows that are alike in all else apart (the first is "1")."""
    seen: Counter[tuple[str, ...]] = Counter()
    numbered = []
    for row in rows:
        key = (_problem(row), row["solution"], row["subject"])
        seen[key] += 1
        numbered.append(row | {"copy": str(seen[key])})
    return numbered


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a published split, subject by subject, with the answer in their solution's box.

    A train row without one is left out; a test row without one is an error, for it could only be scored wrong.
    """
    rows = []
    for subject in SUBJECTS:
        for row in read_source(f"math/{subject}", (HUB, subject), (name,), ("problem", "level", "solution")):
            answer = math_answer(row["solution"])
            if answer is None and name == "test":
                raise SteeringError(
                    f"A test row of MATH ({subject}) has a solution without an answer: {_problem(row):.80}"
                )
            if answer is None:
                continue
            rows.append(row | {"subject": subject, "level": row["level"].removeprefix("Level "), "answer": answer})
    return _numbered(rows)


def read_500() -> list[dict[str, Any]]:
    """The rows of MATH-500 as `read` gives those of MATH; the answer is the published one."""
    fields = ("problem", "solution", "answer", "subject", "level", "unique_id")
    rows = read_source("math500", HUB_500, ("test",), fields, {"level": int})
    names = [row["subject"].lower().replace(" & ", " and ").replace(" ", "_") for row in rows]
    return _numbered(
        [row | {"subject": name, "level": str(row["level"])} for row, name in zip(rows, names, strict=True)]
    )


def choose(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> tuple[Manifest, tuple[str, ...]]:
    """The splits and the few-shot rows, which depend on the rows and not on their order.

    A train row whose problem is also a test row's is dropped, not refused: test stays as published, so that scores can
    be compared, and nothing of it is learned from.
    """
    taken = {_problem(row) for row in test}
    hashes: dict[str, str] = {}
    for row in train:
        key, problem = row_hash(row, FIELDS), _problem(row)
        if problem not in taken:
            hashes[problem] = min(key, hashes.get(problem, key))
    if len(hashes) <= SHOTS + VALIDATION_ROWS:
        raise SteeringError(
            f"{len(hashes)} of {len(train)} train rows of MATH have a problem of their own; {SHOTS} few-shot rows, "
            f"{VALIDATION_ROWS} for validation and some for extraction are needed."
        )
    lot = by_lot(hashes.values(), SEED)
    shots, validation, extraction = lot[:SHOTS], lot[SHOTS:][:VALIDATION_ROWS], lot[SHOTS + VALIDATION_ROWS :]
    parts = (tuple(extraction), tuple(validation), tuple(row_hash(row, FIELDS) for row in test))
    manifest = Manifest("math", f"{HUB}, MIT", RULE, SEED, FIELDS, dict(zip(SPLITS, parts, strict=True)))
    return manifest, tuple(shots)


def _load(test: list[dict[str, Any]] | None, chosen: dict[str, Any]) -> DatasetDict:
    """The rows that `choose` chose, with `test` as the test split if it is given; `chosen` is told which they are."""
    train, published = read("train"), read("test")
    manifest, shots = choose(train, published)
    if test is None:
        test = published
    else:
        hashes = tuple(row_hash(row, FIELDS) for row in test)
        manifest = replace(manifest, dataset="math500", splits=manifest.splits | {"test": hashes})
    kept = {*shots, *manifest.splits["extraction"], *manifest.splits["validation"]}
    train = [row for row in train if row_hash(row, FIELDS) in kept]
    if shared := {_problem(row) for row in train} & {_problem(row) for row in test}:
        raise SteeringError(f"Train and test of {manifest.dataset} share {len(shared)} problems: {min(shared):.80}")
    loaded = load(manifest, [*train, *test], shots)
    chosen["shots"] = list(shots)
    chosen["rows"] = {name: len(rows) for name, rows in manifest.splits.items()}
    chosen["digests"] = {name: digest(rows) for name, rows in manifest.splits.items()}
    _log.info("%s: %s", manifest.dataset, chosen)
    return loaded


def math(chosen: dict[str, Any] | None = None, **_) -> DatasetDict:
    """Shots, extraction, validation and test of MATH.

    The harness passes the task's metadata and model arguments. Of them only the dictionary `chosen` matters: what is
    written into it stands in the result file, under configs.<task>.metadata.
    """
    return _load(None, {} if chosen is None else chosen)


def math500(chosen: dict[str, Any] | None = None, **_) -> DatasetDict:
    """As `math`, but with MATH-500 for the test split."""
    return _load(read_500(), {} if chosen is None else chosen)


def answers(responses: list[list[str]], docs: list[dict]) -> list[list[str]]:
    """The filter: every response as its answer."""
    return [[math_answer(response) or NO_ANSWER for response in doc_responses] for doc_responses in responses]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Right or wrong: for all documents, for those of the subject and for those of the level (two rows have none)."""
    right = float(results[0] != NO_ANSWER and math_equal(doc["answer"], results[0]))
    names = ["exact_match", f"exact_match_{doc['subject']}"]
    if doc["level"].isdigit():
        names.append(f"exact_match_level_{doc['level']}")
    return dict.fromkeys(names, right)
