"""What gsm8k_steer.yaml calls: rows, target and scoring."""

from pathlib import Path

from datasets import DatasetDict

from lm_eval_steer.answers import NO_ANSWER, gsm8k_answer
from lm_eval_steer.tasks.direct import score
from lm_eval_steer.tasks.splits import Manifest, load, read_source

HERE = Path(__file__).parent
HUB = ("openai/gsm8k", "main")
FIELDS = ("question", "answer")


def splits(**_) -> DatasetDict:
    """The manifest's splits. The harness passes task metadata and model arguments, which change nothing here."""
    return load(Manifest.read(HERE / "manifest.json"), read_source("gsm8k", HUB, ("train", "test"), FIELDS))


def target(doc: dict[str, str]) -> str:
    """The published answer, read as a response would be."""
    return gsm8k_answer(doc["answer"]) or NO_ANSWER


def answers(responses: list[list[str]], docs: list[dict]) -> list[list[str]]:
    """The filter: every response as its answer."""
    return [[gsm8k_answer(response) or NO_ANSWER for response in doc_responses] for doc_responses in responses]


def process_direct(doc: dict[str, str], results: list[str]) -> dict[str, float]:
    """Scores where the bare answer is asked for: of an answer, or of whether there is a working before it."""
    return score(target(doc), results[0])
