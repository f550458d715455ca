"""What competes with a vector, on the same documents: prompts, shots, models, sampling, its own vote, other vectors.

A change against the baseline says that an arm does something. Whether it is worth its price, that of finding a vector
and of asking for a vote, only the arm beside what else could have been done tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from lm_eval_steer.compare.arms import CUT, OWN, Arm
from lm_eval_steer.compare.families import ALPHA, Family, family_of, name_tests
from lm_eval_steer.compare.pairs import pair_runs
from lm_eval_steer.compare.rows import BEST, SAMPLED, VOTE, Rival, Row
from lm_eval_steer.compare.stats import Pair, verdicts


def judge_rivals(rows: list[Row], family: str) -> list[Family]:
    """Fill in `rivals` of all rows; returns a family per child x task, or one, of all these comparisons.

    What cannot be paired by document is left out.
    """
    pairs: dict[tuple[str, str], dict[tuple[int, Arm, str], Pair]] = defaultdict(dict)
    found: dict[tuple[int, Arm, str], tuple[Row, Arm, int | None, int | None]] = {}
    for number, row in enumerate(rows):
        for arm, name, place, rival in _rivals_of(row, rows):
            run = row.runs[arm]
            if paired := pair_runs(place.runs[rival], run):
                pairs[family_of(row, family)][number, arm, name] = paired.pair(run.higher_is_better)
                found[number, arm, name] = (place, rival, *paired.gained_and_lost)
    families = []
    for (child, task), members in sorted(pairs.items()):
        for key, one in verdicts(members, ALPHA).items():
            number, arm, name = key
            rows[number].rivals.setdefault(arm, {})[name] = Rival(*found[key], one)
        names = name_tests(rows, dict.fromkeys((number, arm) for number, arm, _ in members))
        families.append(Family(child, task, [f"{names[n, arm]} - {name}" for n, arm, name in members]))
    return families


def _rivals_of(row: Row, rows: list[Row]) -> Iterator[tuple[Arm, str, Row, Arm]]:
    """Arm of a row, name of a rival, the row in which that stands, its arm there.

    Arms that stand for all vectors of a sweep stand in the row of one of them. Of own and cut, one is held against the
    other once, in the row of cut.
    """
    beside = row.of_sweep(rows)
    shared: dict[Arm, Row] = {}
    for one in beside:
        for arm in one.runs:
            if arm.other is not None or arm == SAMPLED:
                shared.setdefault(arm, one)
    named = {one.named: one for one in beside if BEST in one.runs}
    if BEST in row.runs:
        yield from ((BEST, arm.name, one, arm) for arm, one in shared.items())
        for name in (OWN, CUT) if row.named != OWN else ():
            if name in named and name != row.named:
                yield BEST, replace(BEST, vector=name).name, named[name], BEST
    if VOTE in row.runs:
        if BEST in row.runs:
            yield VOTE, BEST.name, row, BEST
        if SAMPLED in shared:
            yield VOTE, SAMPLED.name, shared[SAMPLED], SAMPLED
