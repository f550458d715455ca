"""Write manifest.json from the published rows: `python -m lm_eval_steer.tasks.arc_challenge.make_manifest FILE`."""

import sys
from pathlib import Path

from lm_eval_steer.tasks.arc_challenge.task import FIELDS, HUB, rationales, read
from lm_eval_steer.tasks.splits import Manifest, Row, row_hash

RULE = (
    "extraction: the train rows without the few-shot rows, of rows with the same question and options only the one "
    "with the smallest id; validation and test: ARC's own, whole; each in the published order"
)


def make(train: list[Row], validation: list[Row], test: list[Row]) -> Manifest:
    """The manifest of the published rows."""
    shots = set(rationales())
    first: dict[tuple[str, ...], str] = {}
    for row in sorted(train, key=lambda row: row["id"]):
        first.setdefault((row["question"], *row["texts"]), row["id"])
    kept = set(first.values()) - shots
    return Manifest(
        dataset="arc_challenge",
        source=f"{HUB[0]} ({HUB[1]}), CC BY-SA 4.0",
        rule=RULE,
        seed=0,
        fields=FIELDS,
        splits={
            "extraction": tuple(row_hash(row, FIELDS) for row in train if row["id"] in kept),
            "validation": tuple(row_hash(row, FIELDS) for row in validation),
            "test": tuple(row_hash(row, FIELDS) for row in test),
        },
    )


if __name__ == "__main__":
    make(*(read(name) for name in ("train", "validation", "test"))).write(Path(sys.argv[1]))
