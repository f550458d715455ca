"""Statistics of all rows: one family of tests per child x task, and the vectors against their random controls."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tqdm import tqdm

from lm_eval_steer.compare.pairs import in_order_of, pair_runs
from lm_eval_steer.compare.rows import KINDS, Change, Row, steers
from lm_eval_steer.compare.stats import Pair, compare_with_random, verdict, verdicts

ALPHA = 0.05


@dataclass(frozen=True)
class Family:
    """The tests over which Holm's adjustment goes.

    Attributes:
        child: name or path.
        task: its name.
        tests: their names.
    """

    child: str
    task: str
    tests: list[str]


def judge(rows: list[Row]) -> list[Family]:
    """Fill in `changes` and `random` of all rows; returns the families."""
    pairs: dict[tuple[str, str], dict[tuple[int, str], Pair]] = defaultdict(dict)
    for number, row in enumerate(rows):
        for arm, run in row.runs.items():
            if row.baseline is None:
                continue
            change = run.score - row.baseline.score
            paired = pair_runs(row.baseline, run)
            if paired is None:
                row.changes[arm] = Change(change)
                continue
            pair = paired.pair(run.higher_is_better)
            alone = None
            if steers(run):
                pairs[row.child, row.group.task][number, arm] = pair
            else:
                alone = verdict(pair.before, pair.after, pair.clusters, ALPHA)
            row.changes[arm] = Change(
                change, paired.gained, paired.lost, paired.texts_changed, alone, steers(run), paired.repeats
            )
    families = []
    shown = tqdm(sorted(pairs.items()), desc="tests", unit="family", delay=2, leave=False, disable=None)
    for (child, task), members in shown:
        names = _names(rows, members)
        found = verdicts({names[key]: pair for key, pair in members.items()}, ALPHA)
        for (number, arm), name in names.items():
            old = rows[number].changes[arm]
            rows[number].changes[arm] = Change(
                old.change, old.gained, old.lost, old.texts_changed, found[name], True, old.repeats
            )
        families.append(Family(child, task, list(found)))
    for row in rows:
        _against_random(row)
    return families


def _names(rows: list[Row], members: dict[tuple[int, str], Pair]) -> dict[tuple[int, str], str]:
    """The arm's name, with as much of vector, group and number as tells it from the others."""
    names = {key: f"alpha {key[1]}" if key[1][-1].isdigit() and " " not in key[1] else key[1] for key in members}
    for more in (
        lambda row: row.vector,
        lambda row: row.parent,
        lambda row: row.group.letter,
        lambda row: str(row.any_run.path.parent),
    ):
        if len(set(names.values())) == len(names):
            break
        if len({more(rows[number]) for number, _ in members}) > 1:
            names = {key: f"{name} [{more(rows[key[0]])}]" for key, name in names.items()}
    if len(set(names.values())) < len(names):
        names = {key: f"{name}, run {place}" for place, (key, name) in enumerate(names.items(), start=1)}
    return names


def _against_random(row: Row) -> None:
    for arm in KINDS:
        run = row.runs.get(arm)
        if run is None or not run.samples:
            continue
        sign = 1 if run.higher_is_better else -1
        scores = [in_order_of(run, other) for other in row.of_control("random:", arm).values()]
        seeds = [[sign * score for score in one] for one in scores if one is not None]
        if len(seeds) < 2:
            continue
        documents = [sample.key[0] for sample in run.samples]
        clusters = documents if len(set(documents)) < len(documents) else None
        paired = pair_runs(run, run)
        assert paired is not None
        own = [sign * sample.score for sample in paired.before]
        row.random[arm] = compare_with_random(own, seeds, clusters, ALPHA)
