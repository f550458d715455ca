"""What sentiment_steer.yaml calls: rows and scoring."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from lm_eval_steer.tasks.splits import SPLITS, Manifest, load, read_jsonl

HERE = Path(__file__).parent
FIELDS = ("stem", "positive", "negative", "first")


def splits(**_) -> DatasetDict:
    """The shipped rows, each with its two endings as `choices` and the place of the positive one as `gold`.

    The harness passes task metadata and model arguments, which change nothing here.
    """
    rows = [ordered(row) for name in SPLITS for row in read_jsonl(HERE / f"{name}.jsonl", FIELDS)]
    return load(Manifest.read(HERE / "manifest.json"), rows)


def ordered(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its endings in the order that it drew."""
    order = ("positive", "negative") if row["first"] == "positive" else ("negative", "positive")
    return row | {"choices": [row[side] for side in order], "gold": order.index("positive")}


def process_results(doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """The harness's results of one document, (log-likelihood, whether greedy) of each choice, as its metrics.

    Returns:
        log_odds: log p(positive ending) - log p(negative ending) behind the stem, in nats.
        acc: 1.0 where the positive ending is the likelier one, else 0.0.
    """
    scores = [score for score, _ in results]
    log_odds = scores[doc["gold"]] - scores[1 - doc["gold"]]
    return {"acc": float(log_odds > 0), "log_odds": log_odds}
