"""Statistics of all rows: families of tests per child x task, vectors against their controls, shares of own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from tqdm import tqdm

from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.compare.beside import measure
from lm_eval_steer.compare.families import ALPHA, Family, family_of, name_tests
from lm_eval_steer.compare.own import OfOwn, average, shares_of_own
from lm_eval_steer.compare.pairs import pair_runs
from lm_eval_steer.compare.rivals import judge_rivals
from lm_eval_steer.compare.rows import Change, Row, steers
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.stats import (
    Pair,
    RandomComparison,
    ShuffledComparison,
    Verdict,
    compare_with_random,
    verdict,
    verdicts,
)


def judge(rows: list[Row], test_members: bool = False, family: str = "task") -> list[Family]:
    """Fill in all that compares the runs of rows: `changes`, `random`, ..., `rivals`; returns the families.

    Args:
        rows: of the leaderboard.
        test_members: whether members of groups are tested, all of a group in a family of their own, beside the group's
            score; else they have intervals and no verdict.
        family: how far one goes, of `FAMILIES`.
    """
    pairs: dict[tuple[str, str], dict[tuple[int, Arm], Pair]] = defaultdict(dict)
    for number, row in enumerate(rows):
        for arm, run in row.runs.items() if row.baseline else ():
            assert row.baseline
            change, pair = compare_runs(row.baseline, run)
            change = replace(change, in_family=change.in_family or (pair is not None and arm.other is not None))
            change = replace(change, judged=test_members or row.of_group is None)
            if pair and change.in_family and change.judged:
                pairs[family_of(row, family)][number, arm] = pair
            elif pair:
                change = replace(change, verdict=verdict(pair.before, pair.after, pair.clusters, ALPHA))
            row.changes[arm] = change
    families = []
    shown = tqdm(sorted(pairs.items()), desc="tests", unit="family", delay=2, leave=False, disable=None)
    for (child, task), members in shown:
        names = name_tests(rows, members)
        found = verdicts({names[key]: pair for key, pair in members.items()}, ALPHA)
        for (number, arm), name in names.items():
            rows[number].changes[arm] = replace(rows[number].changes[arm], verdict=found[name])
        families.append(Family(child, task, list(found)))
    for row in rows:
        if test_members or row.of_group is None:
            row.random = {arm: random for arm in row.of_vector if (random := _against_random(row, arm))}
        row.beside = {arm: measure(run, row.baseline) for arm, run in row.all_runs.items()}
        row.shares = shares_of_own(row.baseline, row.runs, row.own)
        row.mean_shares = _of_means(row)
    tested = [row for row in rows if test_members or row.of_group is None]
    return families + _against_shuffled(tested, family) + judge_rivals(tested, family)


def compare_runs(baseline: Run, run: Run) -> tuple[Change, Pair | None]:
    """A run against its baseline, without a verdict, and what a test takes; None where the two cannot be paired."""
    change, paired = run.score - baseline.score, pair_runs(baseline, run)
    if paired is None:
        return Change(change), None
    gained, lost = paired.gained_and_lost
    told = Change(change, gained, lost, paired.texts_changed, None, steers(run), paired.repeats)
    return told, paired.pair(run.higher_is_better)


def _against_random(row: Row, arm: Arm) -> RandomComparison | None:
    run = row.runs.get(arm)
    if run is None or not run.samples:
        return None
    found = [paired for other in row.randoms(arm).values() if (paired := pair_runs(run, other))]
    if len(found) < 2:
        return None
    pairs = [one.pair(run.higher_is_better) for one in found]
    return compare_with_random(pairs[0].before, [one.after for one in pairs], pairs[0].clusters, ALPHA)


def _of_means(row: Row) -> dict[tuple[Arm, str], dict[str, OfOwn]]:
    """Arm of the vector and kind of its controls -> the shares of the mean of their seeds."""
    found = {}
    for (arm, kind), runs in row.seeds.items() if row.own else ():
        if mean := average(list(runs.values())):
            found[arm, kind] = shares_of_own(row.baseline, {arm: mean}, row.own).get(arm, {})
    return found


def _against_shuffled(rows: list[Row], family: str) -> list[Family]:
    """Fill in `shuffled` of all rows; returns a family per child x task, or one, of all these comparisons."""
    pairs: dict[tuple[str, str], dict[tuple[int, Arm, Arm], Pair]] = defaultdict(dict)
    for number, row in enumerate(rows):
        for arm in filter(row.runs.get, row.of_vector):
            run = row.runs[arm]
            for control, other in row.shuffled_maps(arm).items():
                if paired := pair_runs(other, run):
                    pairs[family_of(row, family)][number, arm, control] = paired.pair(run.higher_is_better)
    families = []
    for (child, task), members in sorted(pairs.items()):
        found: dict[tuple[int, Arm], dict[Arm, Verdict]] = defaultdict(dict)
        for (number, arm, control), one in verdicts(members, ALPHA).items():
            found[number, arm][control] = one
        for (number, arm), against in found.items():
            rows[number].shuffled[arm] = ShuffledComparison(against)
        names = name_tests(rows, found)
        families.append(Family(child, task, [f"{names[n, arm]} - {control.name}" for n, arm, control in members]))
    return families
