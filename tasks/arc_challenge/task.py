"""What the YAML files of this folder call: rows and scoring."""

from pathlib import Path
from typing import Any

from datasets import DatasetDict

from lm_eval_steer.answers import NO_ANSWER, arc_answer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.tasks.splits import Manifest, load, read_jsonl, read_source, row_hash

HERE = Path(__file__).parent
MANIFEST = HERE / "manifest.json"
HUB = ("allenai/ai2_arc", "ARC-Challenge")
FIELDS = ("id", "question", "options", "answerKey")


def read(*names: str) -> list[dict[str, Any]]:
    """The rows of the published splits `names`: what FIELDS say, and the options apart as `labels` and `texts`."""
    source = ("id", "question", "choices", "answerKey")
    return [flat(row) for row in read_source("arc_challenge", HUB, names, source, {"choices": dict})]


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A published row with its options as the prompt shows them, each under the row's own label."""
    labels, texts = row["choices"].get("label"), row["choices"].get("text")
    if not (isinstance(labels, list) and isinstance(texts, list) and len(labels) == len(texts)):
        raise SteeringError(f"ARC row {row['id']} has the choices {row['choices']}, not as many texts as labels.")
    if row["answerKey"] not in labels:
        raise SteeringError(f"ARC row {row['id']} has the answer {row['answerKey']}, but only {', '.join(labels)}.")
    options = "\n".join(f"({label}) {text}" for label, text in zip(labels, texts, strict=True))
    kept = {field: row[field] for field in ("id", "question", "answerKey")}
    return kept | {"options": options, "labels": labels, "texts": texts}


def rationales() -> dict[str, str]:
    """The reasoning of the five shots by row id, in order."""
    return {shot["id"]: shot["rationale"] for shot in read_jsonl(HERE / "shots.jsonl", ("id", "rationale"))}


def splits(**_) -> DatasetDict:
    """The manifest's splits, and the shots as `fewshot`. Task metadata and model arguments change nothing here."""
    rows, reasons = read("train", "validation", "test"), rationales()
    by_id = {row["id"]: row | {"rationale": reasons[row["id"]]} for row in rows if row["id"] in reasons}
    if missing := [name for name in reasons if name not in by_id]:
        raise SteeringError(
            f"The ARC data lack {len(missing)} of the {len(reasons)} few-shot rows, first {missing[0]}."
        )
    rows = [by_id.get(row["id"], row) for row in rows]
    shots = [row_hash(by_id[name], FIELDS) for name in reasons]
    return load(Manifest.read(MANIFEST), rows, shots)


def answers(responses: list[list[str]], docs: list[dict]) -> list[list[str]]:
    """The filter: every response as its answer."""
    return [
        [arc_answer(response, doc["labels"], doc["texts"]) or NO_ANSWER for response in doc_responses]
        for doc_responses, doc in zip(responses, docs, strict=True)
    ]
