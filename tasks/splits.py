"""Which row is in which split: manifests of row hashes, and the loader that every dataset folder shares.

A manifest fixes extraction, validation and test by the hashes of their rows, so that the three are disjoint and the
same wherever the rows come from. Every loaded row keeps its hash in the column `row`, by which results name it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import datasets

from lm_eval_steer.errors import SteeringError

SPLITS = ("extraction", "validation", "test")
DATA_VARIABLE = "LM_EVAL_STEER_DATA"
"""Environment variable: a folder with a subfolder of JSONL files per dataset, read instead of the Hugging Face hub."""

Row = Mapping[str, Any]


def row_hash(row: Row, fields: Sequence[str]) -> str:
    """The first 16 hex digits of the sha256 of the row's fields, whitespace runs as one space, joined by line feeds."""
    text = "\n".join(" ".join(row[field].split()) for field in fields)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def by_lot(hashes: Iterable[str], seed: int) -> list[str]:
    """The hashes in an order that `seed` draws and the rows' own order does not touch."""
    return sorted(hashes, key=lambda row: hashlib.sha256(f"{seed}:{row}".encode()).hexdigest())


def digest(hashes: Iterable[str]) -> str:
    """One hash for an ordered list of row hashes; task metadata and result files carry it."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Manifest:
    """The splits of one dataset: where its rows come from, how they were chosen, and the row hashes in order."""

    dataset: str
    source: str
    rule: str
    seed: int
    fields: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if tuple(self.splits) != SPLITS:
            raise SteeringError(f"The {self.dataset} manifest has the splits {list(self.splits)}, not {list(SPLITS)}.")
        for name, rows in self.splits.items():
            if len(set(rows)) < len(rows):
                raise SteeringError(
                    f"Split {name} of the {self.dataset} manifest lists {len(rows)} rows, "
                    f"only {len(set(rows))} of them distinct."
                )
        for one, other in combinations(SPLITS, 2):
            if shared := set(self.splits[one]) & set(self.splits[other]):
                raise SteeringError(
                    f"Splits {one} ({len(self.splits[one])} rows) and {other} ({len(self.splits[other])} rows) of the "
                    f"{self.dataset} manifest share {len(shared)} rows, for example {min(shared)}; they must share 0."
                )

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """The manifest in a JSON file, each list of hashes checked against its digest."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            splits, digests = content.pop("splits"), content.pop("digests")
            manifest = cls(
                **content
                | {"fields": tuple(content["fields"]), "splits": {name: tuple(splits[name]) for name in splits}}
            )
            expected = {name: digests[name] for name in SPLITS}
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise SteeringError(f"{path} is not a manifest of splits ({type(error).__name__}: {error}).") from None
        for name, rows in manifest.splits.items():
            if digest(rows) != expected[name]:
                raise SteeringError(
                    f"Split {name} in {path} has the digest {digest(rows)}, but the file says {expected[name]}: "
                    "its rows were edited; write the manifest again."
                )
        return manifest

    def write(self, path: Path) -> None:
        """Write JSON with one row hash a line."""
        content = asdict(self) | {"digests": {name: digest(rows) for name, rows in self.splits.items()}}
        path.write_text(json.dumps(content | {"splits": content.pop("splits")}, indent=1) + "\n", encoding="utf-8")


def read_jsonl(path: Path, fields: Sequence[str], types: Mapping[str, type] = {}) -> list[dict[str, Any]]:
    """The named fields of every line, text but for those in `types`.

    Lines end at line feeds only: rows may hold other separators (U+2028).
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SteeringError(
            f"{path} cannot be read ({type(error).__name__}); {DATA_VARIABLE} must name a folder that holds it."
        ) from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                content = json.loads(line)
                rows.append({field: content[field] for field in fields})
                if wrong := [key for key, value in rows[-1].items() if not isinstance(value, types.get(key, str))]:
                    raise TypeError(f"{wrong[0]} is not a {types.get(wrong[0], str).__name__}")
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise SteeringError(
                    f"Line {number} of {path} is not a JSON object with the fields {', '.join(fields)} ({error})."
                ) from None
    return rows


def read_source(
    dataset: str,
    hub: tuple[str, str],
    names: Sequence[str],
    fields: Sequence[str],
    types: Mapping[str, type] = {},
) -> list[dict[str, Any]]:
    """All rows of the published splits `names`, from the folder in LM_EVAL_STEER_DATA if it is set, else from the hub.

    `hub` is the repository and the configuration there; `types` as for `read_jsonl`.
    """
    if folder := os.environ.get(DATA_VARIABLE):
        return [row for name in names for row in read_jsonl(Path(folder) / dataset / f"{name}.jsonl", fields, types)]
    try:
        parts = [datasets.load_dataset(*hub, split=name) for name in names]
    except Exception as error:  # OSError, ValueError, RuntimeError, httpx.HTTPError: hub errors share no narrower class
        files = " and ".join(f"{dataset}/{name}.jsonl" for name in names)
        raise SteeringError(
            f"The rows of {hub[0]} ({hub[1]}) cannot be read from the Hugging Face hub ({type(error).__name__}): go "
            f"online, or set {DATA_VARIABLE} to a folder that holds {files}."
        ) from None
    return [{field: row[field] for field in fields} for part in parts for row in part]


def load(manifest: Manifest, rows: Iterable[Row], shots: Sequence[str] = ()) -> datasets.DatasetDict:
    """The manifest's splits, filled from `rows` in the manifest's order; each row also gets its hash as `row`.

    `shots` are the hashes of few-shot rows, which must be in no split; they become the split `fewshot`.
    """
    by_hash: dict[str, Row] = {}
    for count, row in enumerate(rows, start=1):
        key = row_hash(row, manifest.fields)
        if key in by_hash:
            raise SteeringError(
                f"The {manifest.dataset} data hold row {key} twice "
                f"(row {count} repeats one of the {len(by_hash)} before it)."
            )
        by_hash[key] = row
    parts = manifest.splits | ({"fewshot": tuple(shots)} if shots else {})
    for name in SPLITS:
        if shared := set(shots) & set(manifest.splits[name]):
            raise SteeringError(
                f"Split {name} of {manifest.dataset} holds {len(shared)} of the {len(shots)} few-shot rows, "
                f"for example {min(shared)}; it must hold 0."
            )
    for name, keys in parts.items():
        if missing := [key for key in keys if key not in by_hash]:
            raise SteeringError(
                f"Split {name} of {manifest.dataset} needs {len(keys)} rows, but the data hold "
                f"{len(keys) - len(missing)} of them (the first that is missing is {missing[0]}): "
                f"they are not {manifest.source}."
            )
    return datasets.DatasetDict(
        {
            name: datasets.Dataset.from_list([dict(by_hash[key]) | {"row": key} for key in keys])
            for name, keys in parts.items()
        }
    )
