"""Which arms a sweep has: one list, from which they are run, checked and shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.contenders import Contender
from lm_eval_steer.sweep.score import choose


@dataclass(frozen=True)
class Member:
    """An arm of a sweep, with what it is run with.

    Attributes:
        arm: what it is.
        contender: whose it is; the baseline is the first one's without strength.
        alphas: its strengths.
        profile: multipliers by block, of the role `per-layer`; None for the others.
    """

    arm: Arm
    contender: Contender
    alphas: tuple[float, ...]
    profile: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        """As sweep.json has it."""
        return self.arm.name

    @property
    def strength(self) -> float | list[float]:
        """A number, or a list for a set, as model_args have it."""
        return self.alphas[0] if len(self.alphas) == 1 else list(self.alphas)

    def changes(self, unit: str) -> dict[str, Any]:
        """What it has in model_args beside what all of the sweep have; `unit` is `alpha` or `dose`."""
        profile = {} if self.profile is None else {"alpha_per_layer": list(self.profile)}
        return {unit: self.strength} | self.contender.arguments | profile

    def plan(self, plans: Mapping[str, SteeringPlan]) -> SteeringPlan:
        """How it is run; `plans` has that of each contender."""
        plan = plans[self.contender.name].with_changes(alphas=self.alphas)
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
    yield Member(Arm("baseline"), first, (0.0,))
    for contender in args.contenders:
        if contender.is_searched:
            best = chosen(args, task["validation"], contender)
            if best is None:
                continue
            yield Member(contender.arm("best"), contender, (best,))
            if "vote" not in task["refused"]:
                yield Member(contender.arm("vote"), contender, every)
            found = (task.get("per_layer") or {}).get(contender.name)
            if args.per_layer is not None and found is not None:
                yield Member(contender.arm("per-layer"), contender, (best,), tuple(found["profile"]))
        elif contender.control is not None and contender.name not in task["refused"]:
            plain = contender.control.is_plain
            yield Member(contender.arm("baseline" if plain else "vote"), contender, (0.0,) if plain else every)


def is_decided(args: SweepArgs, task: Mapping[str, Any]) -> bool:
    """Whether everything is chosen that `members` asks for."""
    profiles = task.get("per_layer") or {}
    return all(
        chosen(args, task["validation"], one) is not None and (args.per_layer is None or one.name in profiles)
        for one in args.contenders
        if one.is_searched
    )


def chosen(args: SweepArgs, validation: Mapping[str, Any], contender: Contender) -> float | None:
    """The strength that was chosen for a contender; None where there is none yet, or the scores say another."""
    scores = validation["scores"].get(contender.name, {})
    known = {alpha: scores[alpha_name(alpha)] for alpha in args.alphas if alpha_name(alpha) in scores}
    if len(known) < len(args.alphas) or validation.get("higher_is_better") is None:
        return None
    best = choose(known, validation["higher_is_better"])
    return best if validation["best"].get(contender.name) == best else None


def arm_folder(args: SweepArgs, task: str, arm: Arm) -> Path:
    """Where an arm lies."""
    return args.folder / "arms" / task / arm.folder
