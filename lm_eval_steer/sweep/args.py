"""The arguments of a sweep, checked before any model is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_eval_steer.alphas import read_alphas
from lm_eval_steer.controls import Control, read_controls
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import refuse_unwritable
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.models.plan import SteeringPlan
from lm_eval_steer.search import check_search

# What a sweep says itself: key of --model_args -> the option for it.
_OPTIONS = {
    "alpha": "--alpha",
    "dose": "--dose",
    "control": "--controls",
    "record": "--output_path, below which a sweep keeps its record",
    "seed": "--seed",
    "batch_size": "--batch_size",
    "device": "--device",
}


@dataclass(frozen=True)
class SweepArgs:
    """What a sweep is told; fields bear the names of the options.

    Attributes:
        model: name of a model class of the harness that has `steer(plan)`.
        model_args: its arguments, without those for which the sweep has an option.
        tasks: names of the test tasks.
        output_path: folder of the sweep.
        alpha: the set of strengths, as `read_alphas` takes it, without 0.
        dose: in place of alpha, the set as shares of each position's ‖h‖.
        limit: documents of a test task: a number, or a share below 1.
        val_limit: the same of a validation task.
        apply_chat_template: as for lm_eval: True, or the name of a template.
        batch_size: rows of a batch, or `auto`.
        device: as for lm_eval.
        controls: as `read_controls` takes them.
        seed: of sampled tokens.
        val_task: the validation twins, one per task, where their names do not say so.
        per_layer: how strengths by block are searched (search.py); None for not at all.
        budget: the most profiles that this search tries.

    Raises:
        SteeringError: one sentence per way to be wrong.
    """

    model: str
    model_args: Mapping[str, Any]
    tasks: list[str]
    output_path: str
    alpha: Any = None
    dose: Any = None
    limit: float | None = None
    val_limit: float | None = None
    apply_chat_template: bool | str = False
    batch_size: int | str = 8
    device: str | None = None
    controls: Any = None
    seed: int = 0
    val_task: list[str] = field(default_factory=list)
    per_layer: str | None = None
    budget: int = 20

    def __post_init__(self) -> None:
        for key, option in _OPTIONS.items():
            if key in self.model_args:
                raise SteeringError(
                    f"{key}={self.model_args[key]!r} is in --model_args: leave it out there, a sweep has {option}"
                )
        if not self.tasks:
            raise SteeringError("--tasks names no task: name one, as in --tasks gsm8k_steer")
        for name in self.tasks:
            if self.tasks.count(name) > 1:
                raise SteeringError(f"--tasks names {name} twice: name every task once")
        if self.val_task and len(self.val_task) != len(self.tasks):
            raise SteeringError(
                f"--val_task names {len(self.val_task)} tasks and --tasks {len(self.tasks)}: give one validation task "
                "per task, in the same order"
            )
        for option, limit in (("--limit", self.limit), ("--val_limit", self.val_limit)):
            if limit is not None and not 0 < limit < float("inf"):
                raise SteeringError(f"{option} {limit:g} leaves no document: give a number above 0, or a share below 1")
        if self.batch_size != "auto" and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise SteeringError(f"--batch_size {self.batch_size} is not understood: give a number from 1 on, or auto")
        if 0.0 in self.alphas:
            raise SteeringError(
                f"--{self.unit} {self.strengths_given} holds 0: leave it out, a sweep adds its baseline without "
                "steering itself"
            )
        if self.per_layer is not None:
            check_search(self.per_layer, self.budget, self.seed)
            if "alpha_per_layer" in self.model_args:
                raise SteeringError(
                    f"alpha_per_layer={self.model_args['alpha_per_layer']!r} is in --model_args, and --per-layer "
                    f"{self.per_layer} searches it: leave one of them out"
                )
        _ = self.arms_of_controls
        refuse_unwritable(self.folder / "sweep.json")

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return Path(self.output_path)

    @property
    def unit(self) -> str:
        """What the strengths are: `alpha` or `dose`."""
        if self.alpha is not None and self.dose is not None:
            raise SteeringError(f"--alpha {self.alpha} and --dose {self.dose} are two sets of strengths: give one")
        if self.alpha is None and self.dose is None:
            raise SteeringError("a sweep needs a set of strengths: give --alpha paper, or another set")
        return "alpha" if self.dose is None else "dose"

    @property
    def strengths_given(self) -> Any:
        """The set as it was given."""
        return getattr(self, self.unit)

    @cached_property
    def alphas(self) -> tuple[float, ...]:
        """The set, in its order."""
        return read_alphas(self.strengths_given, self.unit)

    @cached_property
    def arms_of_controls(self) -> tuple[Control, ...]:
        """The controls, one per arm."""
        return read_controls(self.controls)

    def plan(self) -> SteeringPlan:
        """The plan of the whole set, with the vector loaded.

        Raises:
            SteeringError: for steering arguments that are wrong.
        """
        known = inspect.signature(SteeringPlan.build).parameters
        arguments = {key: value for key, value in self.model_args.items() if key in known}
        return SteeringPlan.build(**arguments, **self.strengths())

    def strengths(self) -> dict[str, Any]:
        """What the sweep adds to the model's arguments for the whole set."""
        return {self.unit: list(self.alphas), "seed": self.seed, "record": str(self.folder / "record")}

    def settings(self, plan: SteeringPlan, twins: Mapping[str, str]) -> dict[str, Any]:
        """All that the outcome depends on, JSON-ready; sizes and places are free to change between two starts."""
        return {
            "model": self.model,
            "model_args": {key: value for key, value in self.model_args.items() if key not in NEUTRAL | {"vectors"}},
            "vector": plan.vector.fingerprint if plan.vector else None,
            self.unit: list(self.alphas),
            "limit": self.limit,
            "val_limit": self.val_limit,
            "apply_chat_template": self.apply_chat_template,
            "seed": self.seed,
            "tasks": dict(twins),
            "controls": [control.name for control in self.arms_of_controls],
            "per_layer": None if self.per_layer is None else {"method": self.per_layer, "budget": self.budget},
        }
