"""What the comparison consists of: a cell per child, concept, operator and site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SMOL, GEMMA, QWEN = "smollm2", "gemma3-270m", "qwen2.5-coder-0.5b"
MODELS = {SMOL: "SmolLM2-135M-Instruct", GEMMA: "Gemma-3-270m", QWEN: "Qwen2.5-Coder-0.5B-Instruct"}

PARAMETERS = {SMOL: 0.135, GEMMA: 0.27, QWEN: 0.49}
"""In billions."""

CONCEPTS = {"sentiment": "sentiment_steer", "politeness": "politeness_steer"}
"""Name of a concept -> the task that makes its pairs, and tests them."""

COST = 0.1
"""Nats per token of unrelated text that a strength may cost: the price at which operators are compared."""

SHARES = (0.25, 0.5, 2.0)
"""Further strengths of a curve, as shares of the one at that price."""

ROWS = {"sentiment": 66, "politeness": 48}
"""The first test rows of a task, each of its templates equally often."""

OWN, CONTROLS = "own", ("random:1", "random:2")


@dataclass(frozen=True)
class Way:
    """An operator, in the unit of its strength.

    Attributes:
        strength: name of the argument that takes it.
        least: at which the search for the price begins; each next strength is twice as large.
        most: the largest that has a meaning; None without bound.
        arguments: of the plan, beside vector and strength.
        controls: what takes the vector's place.
        sets: whether it sets a value, so that its smallest strength is not near to no steering.
        pushes: whether it moves a state towards the vector.
    """

    strength: str
    least: float
    most: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    controls: tuple[str, ...] = CONTROLS
    sets: bool = False
    pushes: bool = True


WAYS = {
    "add": Way("dose", 0.0005),
    "add, one length": Way("alpha", 0.05),
    "add_keep_norm": Way("dose", 0.0005, arguments={"operator": "add_keep_norm"}),
    "icv": Way("dose", 0.0005, arguments={"operator": "icv"}),
    "turn": Way("alpha", 0.03, arguments={"operator": "turn"}),
    "slerp": Way("alpha", 0.0003, arguments={"operator": "slerp"}),
    "set": Way("alpha", 0.25, 8.0, {"operator": "set", "unit": "sigma"}, (), sets=True),
    "set_at_least": Way("alpha", 0.25, 8.0, {"operator": "set_at_least", "unit": "sigma"}, (), sets=True),
    "ablate": Way("alpha", 0.015625, 1.0, {"operator": "ablate"}, pushes=False),
}
"""Name in tables -> what it is. `set` and `set_at_least` count in what was measured along the vector, and have no
random directions; other operators take a second direction, or a fitted matrix, which a concept of one vector lacks."""

PROPORTIONAL = ("add_keep_norm", "icv", "turn", "slerp")
"""Those that move each state in proportion to its length, as `add` in doses does."""

GENTLE = {GEMMA: 0.1}
"""By how much smaller the first strength is in a child: three components hold most of the norm of Gemma's states."""

SPACES = ("heads", "final_norm")
"""Sites that take no direction of the outputs of blocks."""


@dataclass(frozen=True)
class Cell:
    """One operator at one site.

    Attributes:
        child: whose own vector steers it.
        concept: a key of `CONCEPTS`.
        way: a key of `WAYS`.
        site: where it is steered.
    """

    child: str
    concept: str
    way: str = "add"
    site: str = "block"

    @property
    def name(self) -> str:
        """As `--only` has it, and lines of what was measured."""
        return f"{self.child}/{self.concept}/{self.site}/{self.way}"

    @property
    def read(self) -> str:
        """Where the vector was read: outputs of blocks, or the site itself where a direction is of its own space."""
        return self.site if self.site in SPACES else "block"


CELLS = (
    *(Cell(SMOL, "sentiment", way) for way in ("add", "add, one length", "add_keep_norm", "turn", "set", "ablate")),
    *(Cell(SMOL, "politeness", way) for way in ("add", "turn", "add, one length", "set")),
    *(Cell(SMOL, "sentiment", "add", site) for site in ("attention", "mlp", "block_input")),
    Cell(SMOL, "sentiment", "ablate", "block_input+attention+mlp"),
    *(Cell(GEMMA, "sentiment", way) for way in ("add", "turn", "add, one length")),
    *(Cell(QWEN, "sentiment", way) for way in ("add", "turn", "add, one length")),
    *(Cell(SMOL, concept, way) for concept in CONCEPTS for way in ("slerp", "set_at_least")),
    *(Cell(SMOL, "politeness", way) for way in ("add_keep_norm", "ablate")),
    *(Cell(child, "politeness", way) for child in (GEMMA, QWEN) for way in ("add", "turn", "add, one length")),
    *(Cell(child, "sentiment", way) for child in (GEMMA, QWEN) for way in ("set", "ablate", "set_at_least")),
    *(Cell(child, "sentiment", "add", site) for child in (GEMMA, QWEN) for site in ("attention", "mlp", "block_input")),
    *(Cell(SMOL, "politeness", "add", site) for site in ("attention", "mlp", "block_input")),
    *(Cell(child, "sentiment", way) for child in (GEMMA, QWEN) for way in ("add_keep_norm", "slerp")),
    *(Cell(child, "sentiment", "add", site) for child in (SMOL, GEMMA, QWEN) for site in SPACES),
    *(Cell(child, "sentiment", "icv") for child in (SMOL, GEMMA, QWEN)),
    *(Cell(SMOL, "politeness", "add", site) for site in SPACES),
    Cell(SMOL, "politeness", "icv"),
    *(
        Cell(child, "politeness", way)
        for child in (GEMMA, QWEN)
        for way in ("set", "ablate", "set_at_least", "add_keep_norm", "slerp", "icv")
    ),
    *(
        Cell(child, "politeness", "add", site)
        for child in (GEMMA, QWEN)
        for site in ("attention", "mlp", "block_input", *SPACES)
    ),
)
"""In the order in which they are run: what tells most first."""
