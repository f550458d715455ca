"""Scores of token windows, in which the harness cuts a text (loglikelihood_rolling), by an engine."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval_steer.engines.protocol import Engine, Job
from lm_eval_steer.errors import SteeringError


def score_pairs(engine: Engine, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
    """Score contexts and continuations under the first intervention that is loaded.

    Args:
        engine: does it.
        pairs: token ids of each context and continuation.

    Raises:
        SteeringError: where the engine leaves one out.
    """
    jobs = [Job(place, 0, pairs=(pair,)) for place, pair in enumerate(pairs)]
    found = {done.job.key: (done.scores or [])[0] for done in engine.run(jobs)}
    if len(found) < len(jobs):
        raise SteeringError(
            f"of {len(jobs)} jobs that the engine was given it brought {len(found)} back: the results of this run are "
            "void; start it again"
        )
    return [found[place] for place in range(len(jobs))]
