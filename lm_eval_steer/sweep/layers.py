"""The search for strengths by block: profiles as variants of one pass, scored on validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.passes import Pass
from lm_eval_steer.sweep.profile_search import Profile, search_profile


def search_layers(
    args: SweepArgs,
    name: str,
    plan: SteeringPlan,
    transfer: dict[str, Any],
    higher_is_better: bool,
    run: Callable[[SteeringPlan, int], Pass],
) -> dict[str, Any]:
    """Search multipliers of one strength per block.

    Args:
        args: of the sweep.
        name: of the contender.
        plan: of its strength.
        transfer: how the vector came into the child, as the model reports it.
        higher_is_better: which way the validation task's metric points.
        run: runs a plan over the validation rows; the number is that of the step.

    Returns:
        the entry of sweep.json: the profile that was found, its score, and every step.
    """
    assert args.per_layer is not None
    steps = 0

    def evaluate(profiles: list[Profile]) -> list[float]:
        nonlocal steps
        steps += 1
        asked = plan.with_changes(profiles=tuple(profiles))
        done = run(asked, steps)
        scores = [done.scorer.value(one).value for one in done.answers(name, asked)]
        # An infinite score chooses nothing, as among the strengths of the set.
        return [score if math.isfinite(score) else math.nan for score in scores]

    blocks = transfer["child_blocks"]
    found = search_profile(
        evaluate, blocks, transfer["steered_blocks"], args.per_layer, args.budget, args.sampling_seed, higher_is_better
    )
    return {
        "alpha": plan.alphas[0],
        "profile": list(found.best),
        "score": found.score,
        "start_score": found.start_score,
        "history": [[list(profile), score] for profile, score in found.history],
    }
