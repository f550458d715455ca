"""What the study consists of: a cell per child and task, and how each task is steered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SMOL, GEMMA, SMALL, LARGE = "smollm2", "gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"
MODELS = {
    SMOL: "SmolLM2-135M-Instruct",
    GEMMA: "Gemma-3-270m",
    SMALL: "Qwen2.5-Coder-0.5B-Instruct",
    LARGE: "Qwen2.5-Coder-1.5B-Instruct",
}
SHORT = {SMOL: "smollm2", GEMMA: "gemma", SMALL: "qwen05", LARGE: "qwen15"}
"""What an arm calls a parent."""

TEXTS = 400
SAMPLED = "random:3,self-consistency"
STEP_BY_STEP = "prompt=Let's think step by step."


@dataclass(frozen=True)
class Regime:
    """How a task is steered.

    Attributes:
        concept: task whose rows the vectors come from.
        extract: arguments of `extract` beside the task.
        tokens: which positions are steered.
        doses: the strengths, by child where they differ.
        harness: arguments of `sweep` about how the task is asked.
        texts: the tasks on whose extraction rows maps are fitted.
    """

    concept: str
    extract: tuple[str, ...]
    tokens: str
    doses: Mapping[Any, tuple[float, ...]]
    harness: tuple[str, ...] = ()
    texts: str = "gsm8k_steer,arc_challenge_steer"


WORDS = ("--gen_kwargs", '{"max_gen_toks": 320, "until": ["Q:", "</s>", "<|im_end|>"]}')
"""A question of the model's own ends a response wherever it stands; the answer functions read no further anyway."""

_MEAN = ("--method", "mean", "--n", "64")
# Three components hold most of the norm of Gemma's states (benchmarks/norms.py): a tenth is as long a step for others.
_DIRECT = {None: (0.025, 0.05, 0.1, 0.2, 0.4), GEMMA: (0.0025, 0.005, 0.01, 0.02, 0.04)}
_EVERYWHERE = {None: (0.00125, 0.0025, 0.005, 0.01, 0.02), GEMMA: (0.000125, 0.00025, 0.0005, 0.001, 0.002)}
_PAPER = {None: (0.001, 0.003, 0.01, 0.03, 0.1), GEMMA: (0.0001, 0.0003, 0.001, 0.003, 0.01)}

REGIMES = {
    "sentiment_steer": Regime("sentiment_steer", _MEAN, "all", _EVERYWHERE),
    "gsm8k_direct_steer": Regime("gsm8k_direct_steer", _MEAN, "last", _DIRECT, WORDS),
    "arith_direct_steer": Regime("gsm8k_direct_steer", _MEAN, "last", _DIRECT, WORDS),
    "arith_steer": Regime("arith_steer", ("--n", "128"), "all", _PAPER),
    "gsm8k_steer": Regime("gsm8k_steer", ("--n", "128"), "all", _PAPER, WORDS),
    "arc_challenge_steer_mc": Regime("arc_challenge_steer_mc", ("--n", "128"), "all", _PAPER),
}


@dataclass(frozen=True)
class Cell:
    """A child and a task.

    Attributes:
        parents: whose vectors are carried over by a rotation, the first one by the cut, too.
        ridge: of these, the ones that a ridge regression carries, too.
        shuffled: seeds of maps of texts paired at random, of the first parent.
        documents: of the test, and of validation.
        votes: which votes over the doses are tested.
        controls: of the sweep.
        others: what competes with steering.
        cost: whether unrelated text is read at every strength.
        dose: the only one, in place of those of the regime.
        apart: of a cell that adds arms to the main one of its child and task, what they are.
    """

    child: str
    task: str
    parents: tuple[str, ...]
    documents: tuple[int, int]
    ridge: tuple[str, ...] = ()
    shuffled: int = 2
    votes: str = "own"
    controls: str = "random:3"
    others: tuple[str, ...] = ()
    cost: bool = False
    dose: float | None = None
    apart: str = ""

    @property
    def name(self) -> str:
        """As `--only` has it."""
        end = self.apart or (f"{self.dose:g}" if self.dose else "")
        return f"{self.child}/{self.task}" + (f"@{end}" if end else "")

    @property
    def is_main(self) -> bool:
        """Whether it is the one with all arms, each at its best dose."""
        return not (self.dose or self.apart)

    @property
    def file(self) -> str:
        """Of its sweep's folder, and of its summary."""
        return self.name.replace("/", "-")

    @property
    def doses(self) -> tuple[float, ...]:
        """The strengths."""
        doses = REGIMES[self.task].doses
        return (self.dose,) if self.dose else doses.get(self.child, doses[None])


CELLS = (
    Cell(LARGE, "gsm8k_direct_steer", (SMOL, SMALL), (150, 16), votes="none", others=(STEP_BY_STEP,)),
    Cell(LARGE, "gsm8k_direct_steer", (SMOL, SMALL), (150, 16), votes="none", dose=0.1),
    Cell(LARGE, "gsm8k_direct_steer", (), (150, 16), controls="self-consistency", apart="vote"),
    Cell(SMOL, "sentiment_steer", (SMALL, LARGE, GEMMA), (400, 40), ridge=(SMALL,), controls="random:3,negated"),
    Cell(SMOL, "arith_direct_steer", (SMALL, GEMMA), (200, 50), others=(STEP_BY_STEP,), controls=SAMPLED, cost=True),
    Cell(SMOL, "arith_steer", (SMALL,), (200, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(SMALL, "gsm8k_direct_steer", (SMOL,), (150, 16), others=(STEP_BY_STEP,), controls=SAMPLED),
    Cell(GEMMA, "sentiment_steer", (SMALL,), (400, 40), controls="random:3,negated"),
    Cell(LARGE, "gsm8k_steer", (SMOL,), (150, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(SMALL, "arith_direct_steer", (SMOL,), (200, 40), others=(STEP_BY_STEP,)),
    Cell(SMOL, "gsm8k_direct_steer", (SMALL,), (200, 40), others=(STEP_BY_STEP,)),
    Cell(SMOL, "gsm8k_steer", (SMALL,), (200, 40), shuffled=1, controls="random:1"),
    Cell(SMALL, "sentiment_steer", (SMOL,), (400, 16), votes="none"),
    Cell(LARGE, "arith_direct_steer", (SMOL,), (150, 16), votes="none", others=(STEP_BY_STEP,)),
    Cell(LARGE, "arith_direct_steer", (SMOL,), (150, 16), votes="none", dose=0.2),
    Cell(GEMMA, "arith_direct_steer", (SMOL,), (200, 40), votes="none", others=(STEP_BY_STEP,)),
    Cell(SMOL, "arc_challenge_steer_mc", (SMALL,), (200, 40), shuffled=1, votes="none", controls="random:1"),
    Cell(GEMMA, "gsm8k_direct_steer", (SMOL,), (200, 40), others=(STEP_BY_STEP,)),
    Cell(SMALL, "gsm8k_steer", (SMOL,), (200, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(GEMMA, "gsm8k_steer", (SMOL,), (200, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(GEMMA, "arc_challenge_steer_mc", (SMOL,), (200, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(SMALL, "arc_challenge_steer_mc", (SMOL,), (200, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(GEMMA, "arith_steer", (SMOL,), (200, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(SMALL, "arith_steer", (SMOL,), (200, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(LARGE, "sentiment_steer", (SMOL,), (400, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(LARGE, "arc_challenge_steer_mc", (SMOL,), (150, 16), shuffled=1, votes="none", controls="random:1"),
    Cell(LARGE, "arith_steer", (SMOL,), (150, 16), shuffled=1, votes="none", controls="random:1"),
)
