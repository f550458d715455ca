"""What a format of another tool is: how its files are known, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_eval_steer.sites import DEFAULT
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.low_rank import LowRank

if TYPE_CHECKING:
    from lm_eval_steer.vectors.foreign.source import Source


@dataclass(frozen=True, eq=False)
class Said:
    """What a file of another tool says, in this project's terms.

    Attributes:
        shifts: block, counted from 0 -> float [width]: what that tool adds at the site of the block at strength 1. A
            shift of nothing but zeros is a block that is not steered.
        method: how the directions were made; None where nobody knows.
        parent: what the file says of the model, by the names of the passport's `parent`.
        says: what else it says, JSON-ready: it is kept in the passport.
        notes: whole sentences on what was left out or is not the same here.
        passport: the whole passport, of a file that one of this project was exported to.
        maps: block -> its map of low rank, where the file holds these; shifts are then their directions.
        site: where they act: a name in `SITES`.
    """

    shifts: Mapping[int, np.ndarray]
    method: str | None = None
    parent: Mapping[str, Any] = field(default_factory=dict)
    says: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    passport: Mapping[str, Any] | None = None
    maps: Mapping[int, LowRank] = field(default_factory=dict)
    site: str = DEFAULT


Read = Callable[["Source", Answers], Said]
"""(opened file or folder, answers) -> what it says. It asks `answers` for what the file leaves open, and raises a
SteeringError for what cannot be a vector of block outputs."""


@dataclass(frozen=True)
class ForeignFormat:
    """A format of another tool. Reading never runs code from a file.

    Attributes:
        words: what its files are, with an article and the tool: `a control vector of repeng (.gguf)`.
        read: what a file says.
        recognises: whether an opened file or folder is of this format, by its content; None for a format that content
            does not tell, and that has to be named.
    """

    words: str
    read: Read
    recognises: Callable[[Source], bool] | None = None
