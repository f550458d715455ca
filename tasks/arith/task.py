"""What arith_steer.yaml calls: rows, target and scoring."""

from pathlib import Path

from datasets import DatasetDict

from lm_eval_steer.answers import NO_ANSWER, arith_answer
from lm_eval_steer.tasks.direct import score
from lm_eval_steer.tasks.splits import SPLITS, Manifest, load, read_jsonl

HERE = Path(__file__).parent
FIELDS = ("question", "answer")


def splits(**_) -> DatasetDict:
    """The shipped rows. The harness passes task metadata and model arguments, which change nothing here."""
    rows = [row for name in SPLITS for row in read_jsonl(HERE / f"{name}.jsonl", FIELDS)]
    return load(Manifest.read(HERE / "manifest.json"), rows)


def target(doc: dict[str, str]) -> str:
    """The generated answer, read as a response would be."""
    return arith_answer(doc["answer"]) or NO_ANSWER


def answers(responses: list[list[str]], docs: list[dict]) -> list[list[str]]:
    """The filter: every response as its answer."""
    return [[arith_answer(response) or NO_ANSWER for response in doc_responses] for doc_responses in responses]


def process_direct(doc: dict[str, str], results: list[str]) -> dict[str, float]:
    """Scores where the bare answer is asked for: of an answer, or of whether there is a working before it."""
    return score(target(doc), results[0])
