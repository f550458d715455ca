"""Intervention: what is done to a model while it answers; the one thing that engines, records and results all mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.interventions.tokens import canonical, token_rule
from lm_eval_steer.interventions.units import UNITS
from lm_eval_steer.sites import DEFAULT, SITES, Place, in_order, place_of


@dataclass(frozen=True, eq=False)
class Edit:
    """What happens at one place: a site of one block.

    Attributes:
        block: number of the block; 0 at a site of which the model has one.
        operator: name in `OPERATORS`.
        direction: v [hidden], or those of an operator of several [directions, hidden]; float32. At a site with heads
            there is an axis of heads before these, and v is what each head has of its own [heads, head_dim].
        strength: α, rounded to float32 as engines have it; what it counts in is the intervention's unit.
        site: name in `SITES`.
    """

    block: int
    operator: str
    direction: np.ndarray
    strength: float
    site: str = DEFAULT

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):  # to infinity, which a plan refuses with the model's dtype
            object.__setattr__(self, "strength", float(np.float32(self.strength)) + 0.0)  # -0.0 is 0.0

    @cached_property
    def sha(self) -> str:
        """SHA-256 of the direction, in which -0.0 is 0.0."""
        return hashlib.sha256((self.direction + np.float32(0)).astype("<f4").tobytes()).hexdigest()

    @property
    def place(self) -> Place:
        """Site and block, as tables and result files name them."""
        return place_of(self.site, self.block)

    @property
    def acts(self) -> bool:
        """Whether it does anything: a strength of 0 under `add` does not."""
        return OPERATORS[self.operator].acts(self.strength)


@dataclass(frozen=True, eq=False)
class Intervention:
    """What changes the response to a request, and nothing else. Make it with `intervene`, which makes it canonical.

    Two that do the same are equal and have the same fingerprint: that of the record, the prefix cache, vLLM's salt and
    the result file.

    Attributes:
        edits: those that act, by place; none where nothing is steered.
        unit: of their strengths: `length`, or `dose`, a share of each position's ‖h‖.
        tokens: which positions are steered, a name in `TOKENS` or a window.
        sample: number of the sample, for text that a control draws; None for what the task's arguments ask for.
        temperature: at which it is drawn; None where `sample` is.
        regrouped: whether requests are put into other batches than usual (the control `identity`).
    """

    edits: tuple[Edit, ...] = ()
    unit: str = "length"
    tokens: str = "all"
    sample: int | None = None
    temperature: float | None = None
    regrouped: bool = False

    @property
    def acts(self) -> bool:
        """Whether anything is steered."""
        return bool(self.edits)

    @property
    def is_plain(self) -> bool:
        """Whether a request is answered as the model answers it by itself."""
        return not self.edits and self.sample is None

    @property
    def places(self) -> tuple[Place, ...]:
        """What is steered, in the order of `in_order`."""
        return tuple(edit.place for edit in self.edits)

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that are steered, each once."""
        return tuple(dict.fromkeys(edit.site for edit in self.edits))

    @property
    def steers_beginnings(self) -> bool:
        """Whether it changes keys and values of a beginning that prompts share."""
        return self.acts and token_rule(self.tokens).steers_beginnings

    def content(self) -> dict[str, Any]:
        """All of it as JSON, directions by their SHA-256."""
        edits = [
            {"block": edit.block, "operator": edit.operator, "strength": edit.strength, "direction": edit.sha}
            | ({} if edit.site == DEFAULT else {"site": edit.site})
            for edit in self.edits
        ]
        return {
            "edits": edits,
            "unit": self.unit,
            "tokens": self.tokens,
            "sample": self.sample,
            "temperature": self.temperature,
            "regrouped": self.regrouped,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of `content`."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True, allow_nan=False).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervention) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


NOTHING = Intervention()
"""No steering."""


def intervene(
    edits: Iterable[Edit] = (),
    *,
    unit: str = "length",
    tokens: str = "all",
    sample: int | None = None,
    temperature: float | None = None,
    regrouped: bool = False,
) -> Intervention:
    """An intervention in its canonical form: edits that act, by place; what has no meaning without them left out.

    Raises:
        ValueError: for a unit that there is not, and for two edits of one place.
        SteeringError: for a token rule, an operator or a site that there is not.
    """
    by_place: dict[Place, Edit] = {}
    for edit in edits:
        _ = SITES[edit.site]
        if edit.acts and by_place.setdefault(edit.place, edit) is not edit:
            raise ValueError(f"two edits of one place: {edit.place}")
    acting = tuple(by_place[place] for place in in_order(by_place))
    if unit not in UNITS:
        raise ValueError(f"there is no unit {unit!r}: use one of {', '.join(UNITS)}")
    tokens = canonical(tokens) or tokens
    _ = token_rule(tokens)
    if not acting:
        unit, tokens = "length", "all"
    return Intervention(acting, unit, tokens, sample, temperature if sample is not None else None, regrouped)
