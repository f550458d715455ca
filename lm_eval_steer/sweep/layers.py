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
    plan: SteeringPlan,
    transfer: dict[str, Any],
    higher_is_better: bool,
    run: Callable[[SteeringPlan, str], Pass],
) -> dict[str, Any]:
    """Search multipliers of one strength per block.

    Args:
        args: of the sweep.
        plan: of the strength, and of the control if there is one.
        transfer: how the vector came into the child, as the model reports it.
        higher_is_better: which way the validation task's metric points.
        run: runs a plan over the validation rows; the text tells its pass from others.

    Returns:
        the entry of sweep.json: the profile that was found, its score, and every step.
    """
    assert args.per_layer is not None
    steps = 0

    def evaluate(profiles: list[Profile]) -> list[float]:
        nonlocal steps
        steps += 1
        done = run(plan.with_changes(profiles=tuple(profiles)), f" per-layer {steps}")
        scores = [done.scorer.value(done.scorer.variants[sha]).value for sha in done.settings]
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
