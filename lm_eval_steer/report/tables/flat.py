"""The flat layout: per child x parent x task x conditions, a line per arm."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from lm_eval_steer.compare.arms import BASELINE, ONE, Arm
from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.pairs import interval
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.runs import Run
from lm_eval_steer.compare.stats import HELPS, HURTS
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.entries import bounds, difference, percent, seconds, short, word

COLUMNS = ["child", "parent", "vector", "n", "time", "arm", "score", "change", "%", "95 % interval"]
COLUMNS += ["p", "Holm p", "detectable", "verdict", "tokens"]
LEFT = {"child", "parent", "vector", "arm", "verdict"}
NOT_DETECTABLE = "not detectable"


def flat(rows: list[Row], names: Mapping[str, str]) -> list[Block]:
    """One table per group."""
    groups: dict[int, tuple[Group, list[Row]]] = {}
    for row in rows:
        groups.setdefault(id(row.group), (row.group, []))[1].append(row)
    blocks = []
    for group, members in groups.values():
        cells = [[*_keys(row, names), *line] for row in members for line in _lines(row)]
        metric = group.runs[0].metric.split(",")[0]
        blocks.append(Block(f"{group.name}, {metric}", COLUMNS, LEFT, cells, keys=5, heading=heading(group)))
    return blocks


def heading(group: Group) -> list[str]:
    """What tells the group from the task's others."""
    if not group.differs:
        return []
    told = ", ".join(f"{name}: {value}" for name, value in group.differs.items())
    return [f"Not comparable with the other tables of {group.task}; here {told}."]


def strength(run: Run) -> str:
    """`α = 0.04`, `dose 0.01`."""
    return f"{'dose' if run.steering.get('unit') == 'dose' else 'α ='} {alpha_name(run.alphas[0])}"


def show(value: float, row: Row) -> str:
    """A score."""
    return f"{value:.1%}" if is_share(row) else f"{value:.4g}"


def points(value: float, row: Row, sign: bool = True) -> str:
    """A difference of scores: in points where scores are shares."""
    if is_share(row):
        return f"{100 * value + 0.0:+.1f}" if sign else f"{100 * value:.1f}"
    return f"{value + 0.0:+.3g}" if sign else f"{value:.3g}"


def is_share(row: Row) -> bool:
    """Whether all scores of a row lie between 0 and 1."""
    runs = row.all_runs.values()
    return all(0 <= value <= 1 for run in runs for value in ([s.score for s in run.samples] or [run.score]))


def _keys(row: Row, names: Mapping[str, str]) -> list[str]:
    spent = sum(seconds(row).values())
    return [
        short(row.child, names),
        short(row.parent, names),
        row.vector,
        str(row.any_run.n),
        _clock(spent) if spent else "-",
    ]


def _lines(row: Row) -> list[list[str]]:
    lines = []
    if row.baseline:
        told = _alone(row, row.baseline)
        score = show(row.baseline.score, row)
        lines.append([BASELINE.name, score, "-", "-", told, "-", "-", "-", "", _tokens(row, BASELINE)])
    randoms = {arm: found for arm in row.of_vector if len(found := row.randoms(arm)) > 1}
    folded = {arm for found in randoms.values() for arm in found}
    for arm in dict.fromkeys((*row.runs, *randoms)):  # random vectors may be there without the vector itself
        if arm in row.runs and arm not in folded:
            lines.append(_line(row, arm, row.runs[arm]))
        if arm in randoms:
            lines += _random_lines(row, arm, randoms[arm])
    return lines


def _title(arm: Arm, run: Run) -> str:
    """The arm's name, with what it was tested at."""
    if arm.role == "vote":
        return f"{arm.name} of {len(run.alphas)}"
    if arm.role == ONE:
        return " ".join(filter(None, (arm.contender if arm.control else "", strength(run))))
    return arm.name if arm.role == BASELINE.role else f"{arm.name}, {strength(run)}"


def _line(row: Row, arm: Arm, run: Run) -> list[str]:
    cells = [_title(arm, run), show(run.score, row)]
    change = row.changes.get(arm)
    share = percent(row, change.change) if change else None
    cells += [points(change.change, row) if change else "-", "-" if share is None else f"{share + 0.0:+.1f}"]
    found = change.verdict if change else None
    if change is None or found is None:
        return [*cells, _alone(row, run), "-", "-", "-", word(row, arm), _tokens(row, arm)]
    low, high = bounds(row, arm) or (0.0, 0.0)
    holm = f"{found.holm_p:.2g}" if change.in_family else f"({found.holm_p:.2g})"
    cells += [f"{points(low, row)} to {points(high, row)}", f"{found.mcnemar_p:.2g}", holm]
    return [*cells, _detectable(found.mde, row), found.word, _tokens(row, arm)]


def _detectable(mde: float | None, row: Row) -> str:
    return NOT_DETECTABLE if mde is None else points(mde, row, False)


def _alone(row: Row, run: Run) -> str:
    """Wilson's interval of a score, without signs."""
    ends = interval(run)
    return f"{points(ends[0], row, False)} to {points(ends[1], row, False)}" if ends else "-"


def _random_lines(row: Row, arm: Arm, runs: dict[Arm, Run]) -> list[list[str]]:
    """Mean and range over the seeds, then the vector against them."""
    scores = [run.score for run in runs.values()]
    mean = fmean(scores)
    change = mean - row.baseline.score if row.baseline else None
    share = None if change is None else percent(row, change)
    words = [judged.word for one in runs if one in row.changes and (judged := row.changes[one].verdict)]
    told = f"{words.count(HELPS)} of {len(runs)} help, {words.count(HURTS)} hurt"
    known = [count for one in runs if (count := row.tokens.get(one)) is not None]
    lines = [
        [
            f"random {arm.name}, {len(runs)} seeds",
            show(mean, row),
            "-" if change is None else points(change, row),
            "-" if share is None else f"{share + 0.0:+.1f}",
            f"seeds {points(min(scores), row, False)} to {points(max(scores), row, False)}",
            *("-", "-", "-"),
            told if runs.keys() <= row.runs.keys() else "of the same sweep",
            f"{round(fmean(known)):,}" if known else "-",
        ]
    ]
    if found := row.random.get(arm):
        middle, low, high = difference(row, found)
        ends = f"90 %: {points(low, row)} to {points(high, row)}"
        cells = [f"{arm.name} - random", "", points(middle, row), "-", ends, f"{found.p:.2g}", "-"]
        lines.append([*cells, _detectable(found.mde, row), found.word, ""])
    return lines


def _tokens(row: Row, arm: Arm) -> str:
    count = row.tokens.get(arm)
    return "-" if count is None else f"{count:,}"


def _clock(value: float) -> str:
    whole = round(value)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
