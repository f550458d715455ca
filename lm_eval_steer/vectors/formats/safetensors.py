"""`.safetensors`: the project's format, in the safetensors container."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.sites import Place
from lm_eval_steer.vectors.formats.format import Content, Format
from lm_eval_steer.vectors.formats.header import KEY, make_header, name_tensors, read_header, read_place


def write(path: Path, passport: Mapping[str, Any], directions: Mapping[Place, np.ndarray]) -> None:
    """Write a file with one metadata key only: the library orders several at random."""
    from safetensors.numpy import save_file

    save_file(name_tensors(directions), path, metadata={KEY: make_header(passport)})


def read(path: Path) -> Content:
    """Passport and directions by place, each tensor judged by its description before it is read."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        passport = read_header((file.metadata() or {}).get(KEY))
        by_place = {}
        for name in file.keys():  # noqa: SIM118  # not a dict
            described = file.get_slice(name)
            place = read_place(name, described.get_dtype(), described.get_shape())
            by_place[place] = file.get_tensor(name)
    return passport, by_place


SAFETENSORS = Format(".safetensors", read, write)
