"""What the formats in torch's files share: tensors, numbers and text, which torch loads without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def tensor(rows: np.ndarray) -> Any:
    """A tensor that shares no memory with anything, which torch.save would write along."""
    import torch

    return torch.from_numpy(np.array(rows, dtype=np.float32))


def save(content: Any, path: Path) -> None:
    """Write tensors, numbers and text, without the file's own name in it."""
    import torch

    with path.open("wb") as file:
        torch.save(content, file)
