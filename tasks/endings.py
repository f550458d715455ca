"""What tasks share whose rows are a stem with two endings: rows that a generator writes, loading, and scoring.

The same seed gives the same bytes on every Python: of `random.Random` only `.random()` is used, whose sequence Python
guarantees.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from datasets import DatasetDict

from lm_eval_steer.tasks.splits import SPLITS, Manifest, load, read_jsonl, row_hash

T = TypeVar("T")
FIELDS = ("stem", "positive", "negative", "first")
ROWS = {"extraction": 400, "validation": 200, "test": 400}

PEOPLE = (
    ("Anna", "her"), ("Ben", "him"), ("Carla", "her"), ("David", "him"), ("Elena", "her"), ("Felix", "him"),
    ("Grace", "her"), ("Hugo", "him"), ("Irene", "her"), ("Jonas", "him"), ("Kira", "her"), ("Leo", "him"),
    ("Maya", "her"), ("Noah", "him"), ("Olga", "her"), ("Peter", "him"), ("Rosa", "her"), ("Samuel", "him"),
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Stems that the endings of its pairs may follow.

    Attributes:
        stems: templates, by split; `{name}` is a person, `{her}` the pronoun, `{thing}` a thing.
        pairs: positive and negative endings, by split.
    """

    stems: dict[str, tuple[str, ...]]
    pairs: dict[str, tuple[tuple[str, str], ...]]


def draw(options: Sequence[T], rng: random.Random) -> T:
    """One of the options, by the one function of `rng` whose results Python guarantees."""
    return options[int(rng.random() * len(options))]


def generate(kinds: Sequence[Kind], things: Sequence[str], seed: int) -> dict[str, list[dict[str, str]]]:
    """The rows of each split. Templates take turns, and with each turn of a template the pairs of its kind."""
    return {
        split: list(_rows(kinds, things, split, count, random.Random(f"{seed}:{split}")))
        for split, count in ROWS.items()
    }


def _rows(
    kinds: Sequence[Kind], things: Sequence[str], split: str, count: int, rng: random.Random
) -> Iterator[dict[str, str]]:
    templates = [(kind, place, stem) for kind in kinds for place, stem in enumerate(kind.stems[split])]
    seen = set()
    for number in range(count):
        turn, index = divmod(number, len(templates))
        kind, place, template = templates[index]
        pairs = kind.pairs[split]
        positive, negative = pairs[(turn + place) % len(pairs)]
        while True:
            name, her = draw(PEOPLE, rng)
            stem = template.format(name=name, her=her, thing=draw(things, rng))
            if (stem, positive) not in seen:
                break
        seen.add((stem, positive))
        first = draw(("positive", "negative"), rng)
        yield {"stem": stem, "positive": positive, "negative": negative, "first": first}


def write(folder: Path, splits: Mapping[str, Sequence[Mapping[str, str]]], dataset: str, rule: str, seed: int) -> None:
    """Write the three files and their manifest."""
    for name, rows in splits.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_bytes(lines.encode())
    manifest = Manifest(
        dataset=dataset,
        source=f"the output of tasks/{dataset}/generate.py, MIT",
        rule=rule,
        seed=seed,
        fields=FIELDS,
        splits={name: tuple(row_hash(row, FIELDS) for row in rows) for name, rows in splits.items()},
    )
    manifest.write(folder / "manifest.json")


def read(folder: Path) -> DatasetDict:
    """The shipped rows, each with its two endings as `choices` and the place of the positive one as `gold`."""
    rows = [ordered(row) for name in SPLITS for row in read_jsonl(folder / f"{name}.jsonl", FIELDS)]
    return load(Manifest.read(folder / "manifest.json"), rows)


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
