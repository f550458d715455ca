"""Intervals, paired tests and verdicts; scipy does the arithmetic.

    intervals.py      of a share, and of a mean change
    paired.py         is the change more than chance; several tests at once
    means.py          a mean of numbers that are not right or wrong, and its change
    shares.py         one arm's effect as a share of another's
    power.py          the smallest change that a test would have found
    random_arms.py    the vector against random vectors
    shuffled_maps.py  the vector against maps of shuffled texts
    aggregates.py     scores that are of documents together, as F1 and perplexity are
    together.py       their intervals and tests
    verdict.py        all of it for one row, in words

Scores are one number per item in any unit (1 right, 0 wrong; a share; a length), and a change is after - before in
that unit, so 0.02 is two points of accuracy. An item is one question as it was asked; `clusters` names the document of
each item where documents repeat, and then documents, not items, are what is sampled. Bad input is a SteeringError.
scipy takes seconds to import, so functions import them when they are called.
"""

from lm_eval_steer.compare.stats.intervals import paired_bootstrap, wilson_interval
from lm_eval_steer.compare.stats.means import MeanChange, mean_change, mean_interval
from lm_eval_steer.compare.stats.paired import holm, mcnemar, paired_test
from lm_eval_steer.compare.stats.power import (
    detectable_by_sign_flips,
    detectable_mean,
    mcnemar_power,
    smallest_detectable,
)
from lm_eval_steer.compare.stats.random_arms import (
    BETTER,
    NOT_DISTINGUISHABLE,
    RandomComparison,
    compare_with_random,
)
from lm_eval_steer.compare.stats.shares import Share, share_of_effect
from lm_eval_steer.compare.stats.shuffled_maps import (
    BETTER_THAN_SHUFFLED,
    NOT_FROM_SHUFFLED,
    WORSE_THAN_SHUFFLED,
    ShuffledComparison,
)
from lm_eval_steer.compare.stats.together import (
    RESAMPLES,
    bootstrap_change,
    read_together,
    score_interval,
    share_together,
)
from lm_eval_steer.compare.stats.verdict import HELPS, HURTS, NO_EVIDENCE, Pair, Verdict, pair_p, verdict, verdicts

__all__ = [
    "BETTER",
    "BETTER_THAN_SHUFFLED",
    "HELPS",
    "HURTS",
    "NOT_DISTINGUISHABLE",
    "NOT_FROM_SHUFFLED",
    "NO_EVIDENCE",
    "RESAMPLES",
    "WORSE_THAN_SHUFFLED",
    "MeanChange",
    "Pair",
    "RandomComparison",
    "Share",
    "ShuffledComparison",
    "Verdict",
    "bootstrap_change",
    "compare_with_random",
    "detectable_by_sign_flips",
    "detectable_mean",
    "holm",
    "mcnemar",
    "mcnemar_power",
    "mean_change",
    "mean_interval",
    "pair_p",
    "paired_bootstrap",
    "paired_test",
    "read_together",
    "score_interval",
    "share_of_effect",
    "share_together",
    "smallest_detectable",
    "verdict",
    "verdicts",
    "wilson_interval",
]
