"""`.pt`: the project's format, as torch.save of one dict, read without ever running code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sites import Place
from lm_eval_steer.vectors.formats.format import Content, Format
from lm_eval_steer.vectors.formats.header import KEY, brief, make_header, name_tensors, read_header, read_place


def write(path: Path, passport: Mapping[str, Any], directions: Mapping[Place, np.ndarray]) -> None:
    """Write a file that does not hold its own name, as torch.save does where it is given a path."""
    import torch

    content = {KEY: make_header(passport)} | {n: torch.from_numpy(d) for n, d in name_tensors(directions).items()}
    with path.open("wb") as file:
        torch.save(content, file)


def read(path: Path) -> Content:
    """Passport and directions by place.

    Raises:
        SteeringError: for a zip file that torch.save would not write, and for other objects than tensors and text.
    """
    import torch

    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # zipfile looks at a file's end, torch at its beginning
            raise SteeringError("it begins with something else than the zip file of torch.save")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise SteeringError("it holds compressed entries, which torch.save never writes")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise SteeringError("its entries overlap, which torch.save never writes")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise SteeringError(
            "it is damaged or holds other Python objects than tensors and text, which are never loaded"
        ) from None
    if not isinstance(content, dict):
        raise SteeringError(f"it holds a {type(content).__name__}, expected a dict with a {KEY!r} entry")
    passport = read_header(content.pop(KEY, None))
    by_place = {}
    for name, tensor in content.items():
        if type(tensor) is not torch.Tensor or tensor.layout is not torch.strided or tensor.is_meta:
            raise SteeringError(f"{brief(name)} is not a plain tensor")
        place = read_place(name, str(tensor.dtype).removeprefix("torch."), tensor.shape)
        if not tensor.is_contiguous():  # a single number can pose as a tensor of any size
            raise SteeringError(f"{name} is not contiguous")
        by_place[place] = tensor.detach().resolve_neg().numpy()
    return passport, by_place


PT = Format(".pt", read, write)
