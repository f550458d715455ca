"""What the formats in JSON share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def numbers(row: np.ndarray) -> list[float]:
    """Float32 as numbers of JSON, which give the same float32 again."""
    return [float(value) for value in row]


def write_json(content: Any, path: Path) -> None:
    """Write a value."""
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False), encoding="utf-8")
