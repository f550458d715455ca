"""Which arms a sweep has: one list, from which they are run, checked and shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.interventions.presets import expanded
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.contenders import Contender
from lm_eval_steer.sweep.harness import HarnessArgs
from lm_eval_steer.sweep.others import Other
from lm_eval_steer.sweep.race import in_the_end
from lm_eval_steer.sweep.score import choose

UNSTEERED = (0.0,)
"""The strengths of what is not steered; no strength of a sweep is 0."""


@dataclass(frozen=True)
class Member:
    """An arm of a sweep, with what it is run with.

    Attributes:
        arm: what it is.
        contender: whose it is; the baseline is the first one's without strength.
        alphas: its strengths.
        profile: multipliers by block, of the role `per-layer`; None for the others.
        other: the baseline of another kind that it is; its contender is the first then. None for the others.
        text: of the other `prompt`, the system instruction that was chosen.
    """

    arm: Arm
    contender: Contender
    alphas: tuple[float, ...]
    profile: tuple[float, ...] | None = None
    other: Other | None = None
    text: str | None = None

    @property
    def name(self) -> str:
        """As sweep.json has it."""
        return self.arm.name

    @property
    def whose(self) -> str:
        """What passes call what it is of."""
        return self.contender.name if self.other is None else self.other.name

    @property
    def given(self) -> str | None:
        """The system instruction, or the model, of a baseline of another kind; None for all others."""
        return None if self.other is None else self.text or self.other.model

    def harness(self, args: SweepArgs) -> HarnessArgs:
        """How its tasks are asked."""
        return args.harness if self.other is None else self.other.harness(args.harness, self.text)

    def model_args(self, args: SweepArgs) -> dict[str, Any]:
        """The model_args with which `lm_eval` would run it alone."""
        seed = {"seed": args.sampling_seed} if args.sampling_seed else {}
        if self.other is not None and self.other.model is not None:
            return self.other.arguments(args.arguments, args.model) | {args.unit: self.strength} | seed
        given, said = args.arguments, expanded(args.arguments | {args.unit: 0})
        if self.alphas == UNSTEERED and OPERATORS[said.get("operator", "add")].acts(0.0):
            given = {name: value for name, value in said.items() if name != "second"} | {"operator": "add"}
        return given | self.changes(args.unit) | seed

    @property
    def strength(self) -> float | list[float]:
        """A number, or a list for a set, as model_args have it."""
        return self.alphas[0] if len(self.alphas) == 1 else list(self.alphas)

    @property
    def is_one_strength(self) -> bool:
        """Whether one steered model answers: not a vote over several strengths, and nothing without steering."""
        return self.contender.is_searched and self.other is None and len(self.alphas) == 1 and any(self.alphas)

    def changes(self, unit: str) -> dict[str, Any]:
        """What it has in model_args beside what all of the sweep have; `unit` is `alpha` or `dose`."""
        profile = {} if self.profile is None else {"alpha_per_layer": list(self.profile)}
        return {unit: self.strength} | self.contender.arguments | profile

    def plan(self, plans: Mapping[str, SteeringPlan]) -> SteeringPlan:
        """How it is run; `plans` has that of each contender."""
        plan = plans[self.contender.name]
        plan = plan.unsteered() if self.alphas == UNSTEERED else plan.with_changes(alphas=self.alphas)
        if self.arm.role != "vote":
            plan = plan.with_changes(vote_early_stop=False)
        return plan if self.profile is None else plan.with_changes(alpha_per_layer=list(self.profile))


def members(args: SweepArgs, task: Mapping[str, Any]) -> Iterator[Member]:
    """The arms of a test task, as far as it is decided what they are, in the order of tables.

    Args:
        args: of the sweep.
        task: the task's part of sweep.json.
    """
    first, every = args.contenders[0], args.alphas
    yield Member(Arm("baseline"), first, UNSTEERED)
    for contender in args.contenders:
        if contender in args.searched:
            best = chosen(args, task["validation"], contender)
            if best is None:
                continue
            yield Member(contender.arm("best"), contender, (best,))
            if args.has_vote(contender) and "vote" not in task["refused"]:
                yield Member(contender.arm("vote"), contender, every)
            found = (task.get("per_layer") or {}).get(contender.name)
            if args.per_layer is not None and found is not None:
                yield Member(contender.arm("per-layer"), contender, (best,), tuple(found["profile"]))
        elif contender.control is not None and contender.name not in task["refused"]:
            plain = contender.control.is_plain
            yield Member(contender.arm("baseline" if plain else "vote"), contender, UNSTEERED if plain else every)
    for other in args.others:
        if not other.texts:
            yield Member(other.arm, first, UNSTEERED, other=other)
        elif place := chosen_text(task["validation"], other):
            yield Member(other.arm, first, UNSTEERED, other=other, text=other.texts[place - 1])


def is_decided(args: SweepArgs, task: Mapping[str, Any]) -> bool:
    """Whether everything is chosen that `members` asks for."""
    profiles = task.get("per_layer") or {}
    return all(
        may_be_chosen(args, task["validation"], one) == ()
        or (chosen(args, task["validation"], one) is not None and (args.per_layer is None or one.name in profiles))
        for one in args.searched
    ) and all(chosen_text(task["validation"], one) is not None for one in args.others if one.texts)


def chosen(args: SweepArgs, validation: Mapping[str, Any], contender: Contender) -> float | None:
    """The strength that was chosen for a contender; None where there is none yet, or the scores say another."""
    scores = validation["scores"].get(contender.name, {})
    known = {alpha: scores[alpha_name(alpha)] for alpha in args.alphas if alpha_name(alpha) in scores}
    among = may_be_chosen(args, validation, contender)
    if len(known) < len(args.alphas) or validation.get("higher_is_better") is None or not among:
        return None
    documents = (validation.get("documents") or {}).get(contender.name)
    best = choose(in_the_end({alpha: known[alpha] for alpha in among}, documents), validation["higher_is_better"])
    return best if validation["best"].get(contender.name) == best else None


def may_be_chosen(args: SweepArgs, validation: Mapping[str, Any], contender: Contender) -> tuple[float, ...] | None:
    """The strengths of a contender that are chosen from, by what they cost; None where that is not known yet."""
    if args.most_cost is None:
        return args.alphas
    affordable = (validation.get("affordable") or {}).get(contender.name)
    return None if affordable is None else tuple(alpha for alpha in args.alphas if alpha in affordable)


def chosen_text(validation: Mapping[str, Any], other: Other) -> int | None:
    """The number, from 1, of the system instruction that was chosen; None where none is yet, or scores say another."""
    scores = validation["scores"].get(other.name, {})
    known = {float(place): scores[str(place)] for place in range(1, len(other.texts) + 1) if str(place) in scores}
    if len(known) < len(other.texts) or len(scores) > len(known) or validation.get("higher_is_better") is None:
        return None
    best = choose(known, validation["higher_is_better"])
    return int(best) if validation["best"].get(other.name) == best else None


def arm_folder(args: SweepArgs, task: str, arm: Arm) -> Path:
    """Where an arm lies."""
    return args.folder / "arms" / task / arm.folder
