"""Write manifest.json from the published rows: `python -m lm_eval_steer.tasks.gsm8k.make_manifest FILE`."""

import re
import sys
from pathlib import Path

import yaml

from lm_eval_steer.tasks.gsm8k.task import FIELDS, HERE, HUB
from lm_eval_steer.tasks.splits import Manifest, Row, by_lot, read_source, row_hash

SEED = 251219069
VALIDATION_ROWS = 500
RULE = (
    "validation: the 500 train rows with the smallest sha256('<seed>:<row hash>'); extraction: all other train rows; "
    "test: all test rows; no few-shot questions; each in the published order"
)


def normalised(question: str) -> str:
    """Letters and digits only, so that spacing, case and punctuation hide no equal question."""
    return " ".join(re.findall(r"\w+", question.lower()))


def shot_questions() -> set[str]:
    """The few-shot questions of gsm8k_steer.yaml, normalised."""

    class Loader(yaml.SafeLoader):
        """Reads the harness's !function tags as plain strings."""

    Loader.add_constructor("!function", Loader.construct_yaml_str)  # type: ignore[type-var]
    config = yaml.load((HERE / "gsm8k_steer.yaml").read_text(encoding="utf-8"), Loader)
    return {normalised(shot["question"]) for shot in config["fewshot_config"]["samples"]}


def make(train: list[Row], test: list[Row]) -> Manifest:
    """The manifest of the published rows; which rows are chosen does not depend on their order."""
    shots = shot_questions()
    train_rows = [row_hash(row, FIELDS) for row in train if normalised(row["question"]) not in shots]
    test_rows = [row_hash(row, FIELDS) for row in test]
    validation = set(by_lot(train_rows, SEED)[:VALIDATION_ROWS])
    return Manifest(
        dataset="gsm8k",
        source=f"{HUB[0]} ({HUB[1]}), MIT",
        rule=RULE,
        seed=SEED,
        fields=FIELDS,
        splits={
            "extraction": tuple(row for row in train_rows if row not in validation),
            "validation": tuple(row for row in train_rows if row in validation),
            "test": tuple(test_rows),
        },
    )


if __name__ == "__main__":
    make(*(read_source("gsm8k", HUB, (name,), FIELDS) for name in ("train", "test"))).write(Path(sys.argv[1]))
