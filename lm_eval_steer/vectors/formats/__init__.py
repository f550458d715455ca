"""File formats of vectors, one file each: a suffix says which of them a file can be, its content says which it is."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.table import Table
from lm_eval_steer.vectors.formats.format import Content, Format, Read, Write
from lm_eval_steer.vectors.formats.pt import PT
from lm_eval_steer.vectors.formats.safetensors import SAFETENSORS

__all__ = ["FORMATS", "Content", "Format", "reader", "suffixes", "writer"]

FORMATS: Table[Format] = Table("vector format", {"safetensors": SAFETENSORS, "pt": PT})


def suffixes() -> tuple[str, ...]:
    """Suffixes of files that can be read, in the order in which a name without one is looked for."""
    return tuple(dict.fromkeys(FORMATS[name].suffix for name in FORMATS))


def writer(suffix: str) -> Write | None:
    """What writes a file of a suffix; None where nothing does."""
    return next((one.write for one in map(FORMATS.__getitem__, FORMATS) if one.suffix == suffix and one.write), None)


def reader(path: Path) -> Read:
    """What reads a file of a known suffix: a format that recognises its content, else the first of that suffix."""
    of_suffix = [one for one in map(FORMATS.__getitem__, FORMATS) if one.suffix == path.suffix]
    return next((one for one in of_suffix if one.recognises and one.recognises(path)), of_suffix[0]).read
