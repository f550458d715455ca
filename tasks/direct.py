"""What tasks share that are asked for bare answers: whether a response reasons all the same, and their two scores."""

from typing import Any

from lm_eval_steer.answers import reasons

REASONS, ANSWERS = "[reasons]", "[answers at once]"
"""What the filter `working` writes; no answer is one of them."""


def working(responses: list[list[str]], docs: list[dict[str, Any]]) -> list[list[str]]:
    """The filter: of every response, whether it works towards its answer before it states it."""
    return [
        [REASONS if reasons(response, doc["question"]) else ANSWERS for response in doc_responses]
        for doc_responses, doc in zip(responses, docs, strict=True)
    ]


def score(target: str, read: str) -> dict[str, float]:
    """The score of what one of the two filters read: `reasons` of a working, else `exact_match` of an answer."""
    if read in (REASONS, ANSWERS):
        return {"reasons": float(read == REASONS)}
    return {"exact_match": float(read == target)}
