"""Arms of a pass: plans with what they do to the model that is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.interventions.child import ChildVector
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan


@dataclass(frozen=True)
class Arm:
    """One arm of a pass.

    Attributes:
        plan: its steering.
        child: the vector in the model's space; None where there is none.
        interventions: what is done to the model, in the order of the vote.
    """

    plan: SteeringPlan
    child: ChildVector | None
    interventions: tuple[Intervention, ...]

    def content(self) -> dict[str, Any]:
        """What of it changes a response that the harness is given, JSON-ready."""
        plan, vote, seed = self.plan, None, None
        if len(self.interventions) > 1:
            vote = [plan.vote, plan.vote_filter, plan.vote_answer, plan.vote_metric]
        if any(one.sample is not None for one in self.interventions):
            seed = plan.seed
        return {"interventions": [one.fingerprint for one in self.interventions], "vote": vote, "seed": seed}


def take_plan(arguments: dict[str, Any]) -> SteeringPlan:
    """The plan of a model class's arguments, which are taken out of them.

    Raises:
        SteeringError: as `SteeringPlan.build`.
    """
    return SteeringPlan.build(**{name: arguments.pop(name) for name in ARGUMENT_NAMES if name in arguments})
