"""What `lm-eval-steer transfer` was asked for, checked before a model or a text is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.layer_maps import LayerMapChoice, read_layer_map
from lm_eval_steer.interventions.width_maps import FittedMap, WidthMapChoice, read_width_map
from lm_eval_steer.text import LAST_SEED
from lm_eval_steer.transfer import defaults

_OF_TEXTS = ("parent_args", "task", "texts", "n", "apply_chat_template", "allow_leak")
"""What is said of texts and of who reads them, beside the child."""


@dataclass(frozen=True)
class TransferArgs:
    """Which vectors go to which child, and how; fields bear the names of the options.

    Attributes:
        vectors: files, or names of vectors as for `vectors=`; several become one.
        child: folder or name on the hub; or `child_args`.
        child_args: arguments of the harness's `hf` model.
        parent_args: the same of each parent, in the order in which the vectors first name them; none where the names in
            their passports are enough.
        width_map: as `read_width_map` takes it.
        layer_map: as `read_layer_map` takes it.
        task: tasks whose extraction rows both models read, parted by commas.
        texts: a JSONL file of {"text": ...} instead.
        n: how many texts; None for the default of defaults.py.
        tokens: which states of a text count: `last`, `mean` or `all` that end at the same character in both models.
        weights: of each vector, in their order; None for equal ones.
        shuffle_texts: the seed by which texts are paired at random, for a control; None for what belongs together.
        device: where models run; None as the harness chooses.
        batch_size: texts per forward pass, or `auto`.
        cache: folder of states that were read; None for that of the user.
        seed: chooses texts, where they are cut, which are held out, and what a map draws.
        apply_chat_template: both models read the texts as a user's turn.
        allow_leak: take texts that are validation, test or few-shot rows.

    Raises:
        SteeringError: one sentence per way to be wrong.
    """

    vectors: Sequence[str]
    child: str | None = None
    child_args: Mapping[str, Any] | None = None
    parent_args: Sequence[Mapping[str, Any]] = ()
    width_map: str = defaults.WIDTH_MAP
    layer_map: str = defaults.LAYER_MAP
    task: str | None = None
    texts: str | None = None
    n: int | None = None
    tokens: str = defaults.TOKENS
    weights: Sequence[float] | None = None
    shuffle_texts: int | None = None
    device: str | None = None
    batch_size: int | str = "auto"
    cache: str | None = None
    seed: int = 0
    apply_chat_template: bool = False
    allow_leak: bool = False

    def __post_init__(self) -> None:
        if (self.child is None) == (self.child_args is None):
            raise SteeringError("name the child once: with --child ID_OR_DIR, or with --child_args pretrained=...")
        if self.weights is not None and len(self.weights) != len(self.vectors):
            raise SteeringError(
                f"--weights has {len(self.weights)} numbers for {len(self.vectors)} vectors: give one for each"
            )
        if bad := [weight for weight in self.weights or () if not 0 < weight < float("inf")]:
            raise SteeringError(f"--weights holds {bad[0]:g}, which is no weight: use numbers above 0")
        if self.tokens not in defaults.TOKEN_RULES:
            raise SteeringError(
                f"--tokens {self.tokens} is not understood: use one of {', '.join(defaults.TOKEN_RULES)}"
            )
        if self.seed < 0:
            raise SteeringError(f"--seed {self.seed} is negative: use a whole number from 0 on")
        if self.n is not None and self.n < 1:
            raise SteeringError(f"--n {self.n} is no number of texts: use 1 or more")
        if self.shuffle_texts is not None and not 1 <= self.shuffle_texts <= LAST_SEED:
            raise SteeringError(
                f"--shuffle_texts {self.shuffle_texts} is no seed: use a whole number from 1 to {LAST_SEED}"
            )
        if not (self.batch_size == "auto" or (isinstance(self.batch_size, int) and self.batch_size > 0)):
            raise SteeringError(f"--batch_size {self.batch_size} is not understood: give a number from 1 on, or auto")
        if self.width.name == "cut-raw" and len(self.vectors) > 1:
            raise SteeringError(
                f"cut-raw keeps the length that falls to a direction, and {len(self.vectors)} vectors are averaged as "
                "unit directions: use cut"
            )
        self._refuse_without_use()

    def _refuse_without_use(self) -> None:
        """Refuse a shuffle of texts that no map is fitted on, texts that nobody reads, and none that somebody must."""
        if not self.is_fitted and self.shuffle_texts is not None:
            raise SteeringError(
                f"--shuffle_texts is the control of a fitted map, and {self.width.name} is not fitted: leave it out, "
                "or use another --width_map"
            )
        if not self.reads:
            told = next((name for name in _OF_TEXTS if getattr(self, name)), None)
            if told is not None:
                raise SteeringError(
                    f"--{told} has no meaning for --width_map {self.width.text} with --layer_map {self.layers.text}, "
                    "which read no states: leave it out"
                )
        elif (self.task is None) == (self.texts is None):
            raise SteeringError(
                f"--width_map {self.width.text} with --layer_map {self.layers.text} reads texts: name a --task whose "
                "extraction rows they are, or a file of --texts"
            )

    @cached_property
    def width(self) -> WidthMapChoice:
        """The width map, checked."""
        return read_width_map(self.width_map)

    @cached_property
    def layers(self) -> LayerMapChoice:
        """The layer map, checked."""
        return read_layer_map(self.layer_map)

    @property
    def is_fitted(self) -> bool:
        """Whether the width map is fitted on texts."""
        return isinstance(self.width.entry, FittedMap)

    @property
    def reads(self) -> bool:
        """Whether states of both models are read: for a map that is fitted, or blocks that are compared."""
        return self.is_fitted or self.layers.entry.path is not None

    @property
    def shares(self) -> tuple[float, ...]:
        """The weight of each vector."""
        return tuple(self.weights) if self.weights is not None else (1.0,) * len(self.vectors)
