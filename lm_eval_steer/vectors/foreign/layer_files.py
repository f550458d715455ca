"""What EasyEdit and CAA share: one file per block, whose name alone says which."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign.rows import number_of, numbers
from lm_eval_steer.vectors.foreign.source import Source


def files_of(source: Source, name: re.Pattern[str]) -> list[Path]:
    """The file itself, or those of a folder, whose names match."""
    if source.container == "folder":
        return sorted(path for path in source.path.iterdir() if name.fullmatch(path.name) and path.is_file())
    return [source.path] if name.fullmatch(source.path.name) else []


def read_files(source: Source, name: re.Pattern[str], example: str) -> dict[int, np.ndarray]:
    """Block -> float [width], of one file or of all of a folder.

    Args:
        source: the file, or the folder.
        name: of a file, whose first group is the block.
        example: of such a name, for the sentence.

    Raises:
        SteeringError: for a file that holds something else than one vector, and for two of one block.
    """
    found: dict[int, np.ndarray] = {}
    for path in files_of(source, name):
        opened = source if source.container != "folder" else source.open(path.name)
        match = name.fullmatch(path.name)
        block = number_of(match[1] if match else None, f"the block in the name {path.name}")
        if isinstance(opened.content, dict):
            raise SteeringError(
                f"{path.name} holds a table of {', '.join(map(str, list(opened.content)[:5]))} and not one vector: "
                "of a "
                "trained module, an adapter or several concepts"
            )
        value = numbers(opened.content, path.name)
        if value.ndim != 1 or not value.size:
            raise SteeringError(
                f"{path.name} has shape {list(value.shape)}, expected one vector [width]: a stack of concepts is "
                "several "
                "vectors, which must be saved apart"
            )
        if block in found:
            raise SteeringError(f"{source.path.name} holds two vectors of block {block}: name the file of one of them")
        found[block] = value
    if not found:
        told = "it holds no file" if source.container == "folder" else "the file has no name"
        raise SteeringError(f"{told} that says its block, as {example} does")
    return found
