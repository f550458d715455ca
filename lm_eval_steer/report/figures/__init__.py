"""The figures: pure functions from a few numbers to a matplotlib Figure, which `save_figure` writes.

    alpha_accuracy   strength against accuracy (the paper's Figure 3)
    vote_change      change by vote, relative to the baseline (Figure 1)
    correlation      cosines of two vectors' directions beside chance (Figure 2)
    dose_by_block    what the strengths mean in each block, and what the dtype left of them
    agreement        whether votes that agree are right

Shares and accuracies go in from 0 to 1 and are drawn in per cent. Matplotlib is imported when one is drawn.
"""

from lm_eval_steer.report.figures._accuracy import alpha_accuracy
from lm_eval_steer.report.figures._correlation import correlation
from lm_eval_steer.report.figures._data import Agreement, BlockDose, Count, Curve, VoteChange
from lm_eval_steer.report.figures._doses import dose_by_block
from lm_eval_steer.report.figures._style import (
    check_figure,
    figure_bytes,
    missing_matplotlib,
    need_matplotlib,
    save_figure,
)
from lm_eval_steer.report.figures._votes import agreement, vote_change

__all__ = [
    "Agreement",
    "BlockDose",
    "Count",
    "Curve",
    "VoteChange",
    "agreement",
    "alpha_accuracy",
    "check_figure",
    "correlation",
    "dose_by_block",
    "figure_bytes",
    "missing_matplotlib",
    "need_matplotlib",
    "save_figure",
    "vote_change",
]
