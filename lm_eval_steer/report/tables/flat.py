"""The flat layout: per child x parent x task x conditions, a line per arm."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.pairs import interval
from lm_eval_steer.compare.rows import KINDS, Row
from lm_eval_steer.compare.runs import Run
from lm_eval_steer.compare.stats import HELPS, HURTS
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.interventions.controls import kind_of
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.entries import bounds, difference, percent, seconds, short, tokens, word

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
    runs = [*row.runs.values(), *([row.baseline] if row.baseline else [])]
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
        lines.append(
            ["baseline", show(row.baseline.score, row), "-", "-", told, "-", "-", "-", "", _tokens(row, "baseline")]
        )
    randoms = {kind: row.of_control("random:", kind) for kind in KINDS}
    folded = {name for found in randoms.values() if len(found) > 1 for name in found}
    for arm, run in row.runs.items():
        if arm in folded:
            continue
        lines.append(_line(row, arm, run))
        if len(randoms.get(arm, {})) > 1:
            lines += _random_lines(row, arm, randoms[arm])
    for kind in KINDS:  # random vectors without the vector itself
        if kind not in row.runs and len(randoms[kind]) > 1:
            lines += _random_lines(row, kind, randoms[kind])
    return lines


def _line(row: Row, arm: str, run: Run) -> list[str]:
    name = arm
    if arm.split()[-1] in ("best", "per-layer"):
        name = f"{arm}, {strength(run)}"
    elif arm.split()[-1] == "vote" or kind_of(arm).draws:
        name = f"{arm} of {len(run.alphas)}"
    elif len(run.alphas) == 1 and not kind_of(arm).is_plain:
        name = arm.removesuffix(alpha_name(run.alphas[0])) + strength(run)
    change = row.changes.get(arm)
    cells = [name, show(run.score, row)]
    if change is None:
        return [*cells, "-", "-", _alone(row, run), "-", "-", "-", word(row, arm), _tokens(row, arm)]
    share = percent(row, change.change)
    cells += [points(change.change, row), "-" if share is None else f"{share + 0.0:+.1f}"]
    found = change.verdict
    if found is None:
        return [*cells, _alone(row, run), "-", "-", "-", word(row, arm), _tokens(row, arm)]
    low, high = bounds(row, arm) or (0.0, 0.0)
    mde = NOT_DETECTABLE if found.mde is None else points(found.mde, row, False)
    holm = f"{found.holm_p:.2g}" if change.in_family else f"({found.holm_p:.2g})"
    return [
        *cells,
        f"{points(low, row)} to {points(high, row)}",
        f"{found.mcnemar_p:.2g}",
        holm,
        mde,
        found.word,
        _tokens(row, arm),
    ]


def _alone(row: Row, run: Run) -> str:
    """Wilson's interval of a score, without signs."""
    ends = interval(run)
    return f"{points(ends[0], row, False)} to {points(ends[1], row, False)}" if ends else "-"


def _random_lines(row: Row, arm: str, runs: dict[str, Run]) -> list[list[str]]:
    """Mean and range over the seeds, then the vector against them."""
    scores = [run.score for run in runs.values()]
    mean = fmean(scores)
    change = mean - row.baseline.score if row.baseline else None
    share = None if change is None else percent(row, change)
    words = [row.changes[name].verdict for name in runs if name in row.changes]
    count = [sum(found is not None and found.word == one for found in words) for one in (HELPS, HURTS)]
    known = [part.tokens for name, part in row.parts.items() if name in runs and part.tokens is not None]
    lines = [
        [
            f"random {arm}, {len(runs)} seeds",
            show(mean, row),
            "-" if change is None else points(change, row),
            "-" if share is None else f"{share + 0.0:+.1f}",
            f"seeds {points(min(scores), row, False)} to {points(max(scores), row, False)}",
            "-",
            "-",
            "-",
            f"{count[0]} of {len(runs)} help, {count[1]} hurt",
            f"{round(fmean(known)):,}" if known else "-",
        ]
    ]
    if found := row.random.get(arm):
        middle, low, high = difference(row, found)
        mde = NOT_DETECTABLE if found.mde is None else points(found.mde, row, False)
        ends = f"90 %: {points(low, row)} to {points(high, row)}"
        lines.append(
            [f"{arm} - random", "", points(middle, row), "-", ends, f"{found.p:.2g}", "-", mde, found.word, ""]
        )
    return lines


def _tokens(row: Row, arm: str) -> str:
    count = tokens(row, arm)
    return "-" if count is None else f"{count:,}"


def _clock(value: float) -> str:
    whole = round(value)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
