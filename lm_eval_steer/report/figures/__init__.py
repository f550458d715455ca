"""The figures, one file each: what it takes, and a pure function from a few numbers to a matplotlib Figure.

    alpha_accuracy   strength against accuracy, of validation rows and of test documents (the paper's Figure 3)
    vote_change      change by vote, relative to the baseline (Figure 1)
    change_by_pair   what the vectors of every parent change in every child
    share_of_own     how much of the effect of the child's own vector each arm has
    effect_by_cost   what each strength brings, over what it costs on unrelated text
    effect_by_block  what a vector brings at one block at a time, at each strength
    agreement        whether votes that agree are right
    dose_by_block    what the strengths mean in each block, and what the dtype left of them
    correlation      cosines of two vectors' directions beside chance (Figure 2); of no results, so not in the table
    alignment        how alike the blocks of parent and child are, and the path of a layer map; likewise

Shares and accuracies go in from 0 to 1 and are drawn in per cent. Matplotlib is imported when one is drawn.
"""

from lm_eval_steer.report.figures.accuracy import Curve, alpha_accuracy
from lm_eval_steer.report.figures.agreement import agreement
from lm_eval_steer.report.figures.alignment import alignment, alignment_of
from lm_eval_steer.report.figures.correlation import correlation
from lm_eval_steer.report.figures.dose_by_block import dose_by_block
from lm_eval_steer.report.figures.effect_by_block import Block, Profile, effect_by_block
from lm_eval_steer.report.figures.effect_by_cost import Tradeoff, effect_by_cost
from lm_eval_steer.report.figures.files import check_figure, check_folder, figure_bytes, save_figure
from lm_eval_steer.report.figures.pictures import FIGURES, draw, find_pictures, write_figures
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results
from lm_eval_steer.report.figures.share_of_own import OwnShare, share_of_own
from lm_eval_steer.report.figures.style import missing_matplotlib
from lm_eval_steer.report.figures.vote_change import VoteChange, vote_change

__all__ = [
    "FIGURES",
    "Block",
    "Curve",
    "FigureKind",
    "OwnShare",
    "Picture",
    "Profile",
    "Results",
    "Tradeoff",
    "VoteChange",
    "agreement",
    "alignment",
    "alignment_of",
    "alpha_accuracy",
    "check_figure",
    "check_folder",
    "correlation",
    "dose_by_block",
    "draw",
    "effect_by_block",
    "effect_by_cost",
    "figure_bytes",
    "find_pictures",
    "missing_matplotlib",
    "save_figure",
    "share_of_own",
    "vote_change",
    "write_figures",
]
