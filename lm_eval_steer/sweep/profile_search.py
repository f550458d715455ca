"""The search for a strength per block, where the paper has one alpha for all blocks: its stated limitation.

A profile has one multiplier of alpha per block of the child, block 0 first, as `alpha_per_layer` takes it. The search
starts at 1 everywhere ("as alpha says"), and a block that is not steered stays there. Blocks may share a multiplier: a
group is a run of neighbours among the steered blocks, and the groups' sizes differ by one at most.

    coordinate  for each group in turn, 0, half and double its multiplier (1 where it is 0), in one batch; the best
                profile so far goes on. Another round while budget is left and the last one raised the score. As many
                groups as let one round fit the budget: min(steered blocks, (budget - 1) / 3), but at least one.
    optuna      Optuna's TPE over multipliers from 0 to 2 in steps of 1/8, in batches of `BATCH`, the start among the
                first. At most `MOST_GROUPS` groups: a few dozen evaluations say little about more dimensions.

The profile that is 0 in every steered block is never asked for: it is no steering, which a sweep runs anyway.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lm_eval_steer.errors import SteeringError

Profile = tuple[float, ...]

METHODS = ("coordinate", "optuna")

BATCH = 8
"""The most profiles that `optuna` asks for at once; `coordinate` asks for 4 at first, then for 3 or fewer."""

MOST_GROUPS = 8
"""The most multipliers that `optuna` searches over."""

MOST_REPEATS = 100
"""`optuna` ends after so many proposals in a row that are not new: a small space has fewer profiles than the budget."""

LAST_SEED = 2**32 - 1

_CANDIDATES = 3
_STEP = 1 / 8  # exact in binary, so a profile reads as it was searched and equal profiles are equal floats


@dataclass(frozen=True)
class Search:
    """What was found, and every step on the way.

    Attributes:
        best: [blocks] multipliers of alpha, without a unit; never worse than 1 everywhere. Of equal scores, the one
            that changes the fewest blocks, then the one with the smallest sum of |multiplier - 1|, then the first.
        score: its score; NaN only where every score was.
        start_score: the score of 1 everywhere.
        history: every (profile, score) in the order of evaluation, each profile once, 1 everywhere first. A search
            with the same arguments asks for the same profiles, so it can be repeated from here after it was killed.
    """

    best: Profile
    score: float
    start_score: float
    history: tuple[tuple[Profile, float], ...]


def check_search(method: str, budget: int, seed: int) -> None:
    """Refuse what no search could use, before a model is loaded.

    Raises:
        SteeringError: for an unknown method, a budget below 1, a seed out of 0 to `LAST_SEED`, and `optuna` where
            Optuna is not installed.
    """
    if method not in METHODS:
        raise SteeringError(f"there is no search {method!r}: use one of {', '.join(METHODS)}")
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise SteeringError(f"the search has the budget {budget!r}: use a whole number of profiles from 1, such as 20")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LAST_SEED:
        raise SteeringError(f"the search has the seed {seed!r}: use a whole number from 0 to {LAST_SEED}")
    if method == "optuna":
        _import_optuna()


def search_profile(
    evaluate: Callable[[list[Profile]], list[float]],
    blocks: int,
    steered: Sequence[int],
    method: str,
    budget: int,
    seed: int,
    higher_is_better: bool = True,
) -> Search:
    """Search the best multiplier of alpha per block. `evaluate` decides on which data: validation rows, never test.

    Deterministic: the same arguments and scores give the same steps.

    Args:
        evaluate: scores of a batch of profiles, one each and in its order. No profile is asked for twice. A score of
            NaN loses against every other.
        blocks: number of blocks of the child, all of them.
        steered: the blocks that have a direction, in any order.
        method: one of `METHODS` (module docstring).
        budget: the most profiles to evaluate, 1 everywhere included; 1 or more.
        seed: of Optuna's sampler, 0 to `LAST_SEED`; `coordinate` draws nothing.
        higher_is_better: False where the smallest score is the best.

    Raises:
        SteeringError: for what `check_search` refuses, no steered block, and a steered block that the child lacks.
        ValueError: where `evaluate` returns another number of scores than it was given profiles.
    """
    check_search(method, budget, seed)
    order = sorted(set(steered))
    if not order:
        raise SteeringError("the search has no steered block: use a vector with a direction for one block or more")
    for block in order:
        if not 0 <= block < blocks:
            raise SteeringError(
                f"the search steers block {block}, but the model has {blocks} block{'s'[: blocks != 1]}: "
                f"use blocks from 0 to {blocks - 1}"
            )
    ledger = _Ledger(evaluate, (1.0,) * blocks, order, budget, higher_is_better)
    if method == "coordinate":
        _coordinate(ledger, _groups(order, (budget - 1) // _CANDIDATES))
    else:
        optuna = _import_optuna()
        with _quiet(optuna):
            _tpe(optuna, ledger, _groups(order, MOST_GROUPS), seed)
    best = ledger.best
    return Search(best, ledger.scores[best], ledger.scores[ledger.start], tuple(ledger.scores.items()))


class _Ledger:
    """The scores so far, in the order of evaluation, and what is left of the budget."""

    def __init__(
        self,
        evaluate: Callable[[list[Profile]], list[float]],
        start: Profile,
        steered: list[int],
        budget: int,
        higher_is_better: bool,
    ) -> None:
        self.scores: dict[Profile, float] = {}
        self.start = start
        self._evaluate = evaluate
        self._steered = steered
        self._budget = budget
        self._sign = 1 if higher_is_better else -1

    @property
    def left(self) -> int:
        """How many profiles may still be evaluated."""
        return self._budget - len(self.scores)

    @property
    def best(self) -> Profile:
        """The best profile so far, as `Search.best` says; max keeps the first of equals."""
        return max(
            self.scores,
            key=lambda profile: (not math.isnan(self.scores[profile]), self.gain(profile), self._nearness(profile)),
        )

    def gain(self, profile: Profile) -> float:
        """The score, as a number that is the higher the better; -inf for NaN."""
        score = self.scores[profile]
        return -math.inf if math.isnan(score) else self._sign * score

    def is_new(self, profile: Profile) -> bool:
        """Whether a profile steers anything and has no score yet."""
        return profile not in self.scores and any(profile[block] for block in self._steered)

    def ask(self, profiles: Sequence[Profile]) -> None:
        """Evaluate those profiles that are new, in one batch, the first ones where the budget does not suffice."""
        batch = [profile for profile in dict.fromkeys(profiles) if self.is_new(profile)][: self.left]
        if not batch:
            return
        scores = [float(score) for score in self._evaluate(list(batch))]
        if len(scores) != len(batch):
            raise ValueError(
                f"evaluate returned {len(scores)} score{'s'[: len(scores) != 1]} for {len(batch)} "
                f"profile{'s'[: len(batch) != 1]}: return one per profile, in their order"
            )
        self.scores.update(zip(batch, scores, strict=True))

    def _nearness(self, profile: Profile) -> tuple[int, float]:
        """How near to the start: the higher, the nearer."""
        distances = [abs(multiplier - 1) for multiplier in profile]
        return -sum(map(bool, distances)), -math.fsum(distances)


def _groups(steered: list[int], most: int) -> list[list[int]]:
    """Runs of neighbours among the steered blocks, at most `most` and at least one."""
    n = max(1, min(len(steered), most))
    bounds = [len(steered) * i // n for i in range(n + 1)]
    return [steered[first:last] for first, last in pairwise(bounds)]


def _replace(profile: Profile, group: list[int], multiplier: float) -> Profile:
    """The profile with one group's multiplier replaced."""
    return tuple(multiplier if block in group else other for block, other in enumerate(profile))


def _neighbours(profile: Profile, group: list[int]) -> list[Profile]:
    """The candidates of one step of `coordinate`: at most `_CANDIDATES`."""
    now = profile[group[0]]
    return [_replace(profile, group, multiplier) for multiplier in ((0.0, now / 2, now * 2) if now else (1.0,))]


def _coordinate(ledger: _Ledger, groups: list[list[int]]) -> None:
    """Coordinate search. The start shares a batch with the first group's candidates."""
    ledger.ask([ledger.start, *_neighbours(ledger.start, groups[0])])
    reached, todo = ledger.gain(ledger.start), groups[1:]
    while True:
        for group in todo:
            ledger.ask(_neighbours(ledger.best, group))
        gain = ledger.gain(ledger.best)
        if not ledger.left or gain <= reached:
            return
        reached, todo = gain, groups


def _tpe(optuna: Any, ledger: _Ledger, groups: list[list[int]], seed: int) -> None:
    """TPE by ask and tell. Proposals that are known already are told as failed, which the sampler does not learn from.

    With constant_liar, a batch's proposals keep away from one another.
    """
    space = {str(i): optuna.distributions.FloatDistribution(0, 2, step=_STEP) for i in range(len(groups))}
    with warnings.catch_warnings():
        # Options of the sampler that 4.x calls experimental and 5 has made its defaults.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial(dict.fromkeys(space, 1.0))
    repeats = 0
    while ledger.left and repeats < MOST_REPEATS:
        trials: dict[Profile, Any] = {}
        while len(trials) < min(BATCH, ledger.left) and repeats < MOST_REPEATS:
            trial = study.ask(space)
            profile = ledger.start
            for name, group in zip(space, groups, strict=True):
                profile = _replace(profile, group, trial.params[name])
            if profile in trials or not ledger.is_new(profile):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                repeats += 1
            else:
                trials[profile] = trial
                repeats = 0
        ledger.ask(list(trials))
        for profile, trial in trials.items():
            study.tell(trial, ledger.gain(profile))


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """No lines of Optuna below warnings."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _import_optuna() -> Any:
    """Optuna, which only the users of this search need."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise SteeringError(
            f"the search optuna needs {error.name}, which is not installed: "
            'run pip install "lm_eval_steer[optuna]", or use the search coordinate'
        ) from error
    return optuna
