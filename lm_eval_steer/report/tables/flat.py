"""The flat layout: per child x parent x task x conditions, a line per arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from lm_eval_steer.compare.arms import BASELINE, ONE, Arm
from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.lengths import add_up, show_lengths
from lm_eval_steer.compare.own import OfOwn
from lm_eval_steer.compare.rows import MAP_SHUFFLED, Row
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.stats import HELPS, HURTS
from lm_eval_steer.compare.text_costs import mean_of, show_text_cost
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.entries import entry, percent, word
from lm_eval_steer.scale import show_cost, show_share

SHARE = "share of own"
"""The last column, where a sweep has a vector of that name."""

LENGTH = "length"
"""The column before it, where it is known how long responses are."""

COST = "cost"
"""The column before that, where a sweep measured what strengths cost on unrelated text."""

COLUMNS = ["child", "parent", "vector", "n", "time", "arm", "score", "change", "%", "95 % interval"]
COLUMNS += ["p", "Holm p", "detectable", "verdict", "tokens", COST, LENGTH, SHARE]
_UNTOLD = [""] * 4
"""What a comparison of arms has in the last columns."""

LEFT = {"child", "parent", "vector", "arm", "verdict"}


def flat(rows: list[Row], names: Mapping[str, str]) -> list[Block]:
    """One table per group, of the task's first metric."""
    blocks = []
    for group in dict.fromkeys(row.group for row in rows):
        of_group = [row for row in rows if row.group is group]
        cells = [line for row in of_group for line in _lines(row, entry(row, names))]
        filled = {SHARE: any(row.shares for row in of_group)}
        filled[COST] = any(row.text_costs for row in of_group)
        filled[LENGTH] = any(one for row in of_group for one in row.lengths.values())
        places = [place for place, column in enumerate(COLUMNS) if filled.get(column, True)]
        columns = [COLUMNS[place] for place in places]
        title = f"{group.name}, {group.runs[0].metric.split(',')[0]}"
        shown = [[line[place] for place in places] for line in cells]
        blocks.append(Block(title, columns, LEFT, shown, keys=5, heading=apart([group])))
    return blocks


def apart(groups: Iterable[Group]) -> list[str]:
    """What tells each group from the others of its task, where there are others."""
    return [
        f"{group.name} is not comparable with the other groups of {group.task}: "
        + ", ".join(f"{name}: {value}" for name, value in group.differs.items())
        for group in groups
        if group.differs
    ]


def strength(run: Run) -> str:
    """`α = 0.04`, `dose 0.01`."""
    if run.by_task and run.has_strength:
        return "a strength per task"
    return f"{'dose' if run.steering.get('unit') == 'dose' else 'α ='} {alpha_name(run.alphas[0])}"


def show(value: float, row: Row) -> str:
    """A score."""
    return f"{value:.1%}" if is_share(row) else f"{value:.4g}"


def points(value: float, row: Row, sign: bool = True) -> str:
    """A difference of scores: in points where scores are shares."""
    if is_share(row):
        return f"{100 * value + 0.0:+.1f}" if sign else f"{100 * value:.1f}"
    return f"{value + 0.0:+.3g}" if sign else f"{value:.3g}"


def share_cell(found: OfOwn | None) -> str:
    """A share of own's effect."""
    return show_share(found.share, (found.low, found.high)) if found else "-"


def between(row: Row, ends: Mapping[str, Any], sign: bool = True) -> str:
    """The interval of a score or a difference."""
    low, high = ends["low"], ends["high"]
    return "-" if low is None else f"{points(low, row, sign)} to {points(high, row, sign)}"


def detectable(row: Row, found: Mapping[str, Any]) -> str:
    """The smallest difference that would have been found."""
    return "not detectable" if found["mde"] is None else points(found["mde"], row, False)


def is_share(row: Row) -> bool:
    """Whether all scores of a row are shares, between 0 and 1."""
    return all(run.is_share for run in row.all_runs.values())


def _lines(row: Row, told: Mapping[str, Any]) -> list[list[str]]:
    """A line per arm, of the row and of its entry."""
    randoms = {arm: found for arm in row.of_vector if len(found := row.randoms(arm)) > 1}
    shuffled = {arm: found for arm in row.of_vector if (found := row.shuffled_maps(arm))}
    folded = {arm for found in (*randoms.values(), *shuffled.values()) for arm in found}
    lines = [_line(row, told, BASELINE)] if row.baseline else []
    for arm in dict.fromkeys((*row.runs, *randoms, *shuffled)):  # controls may be there without the vector itself
        if arm in row.runs and arm not in folded:
            lines.append(_line(row, told, arm))
        if arm in shuffled:
            lines += _shuffled_lines(row, told, arm, shuffled[arm])
        if arm in randoms:
            lines += _random_lines(row, told, arm, randoms[arm])
    spent = sum(told["seconds"].values())
    keys = [told["child"], told["parent"], told["vector"], str(told["n"]), _clock(spent) if spent else "-"]
    return [[*keys, *line] for line in lines]


def name_arm(arm: Arm, run: Run) -> str:
    """The arm's name, with what it was tested at."""
    if arm.role == "vote":
        return f"{arm.name} of {len(run.alphas)}"
    if arm.role == ONE:
        return " ".join(filter(None, (arm.contender if arm.control else "", strength(run))))
    return arm.name if arm.role == BASELINE.role else f"{arm.name}, {strength(run)}"


def _line(row: Row, told: Mapping[str, Any], arm: Arm) -> list[str]:
    """An arm with its change where that is tested, else with Wilson's interval of its score, without signs."""
    score, change = told["scores"][arm.name], told["changes"].get(arm.name, {})
    tests = ["-", "-", "-"]
    if is_tested := change.get("holm_p") is not None:
        holm = f"{change['holm_p']:.2g}"
        tests = [f"{change['mcnemar_p']:.2g}", holm if change["in_family"] else f"({holm})", detectable(row, change)]
    return [
        name_arm(arm, row.all_runs[arm]),
        show(score["score"], row),
        *_changed(row, change.get("change")),
        between(row, change) if is_tested or change.get("low") is not None else between(row, score, sign=False),
        *tests,
        "" if arm == BASELINE else word(row, arm),
        show_cost(told["prompt_tokens"].get(arm.name), told["tokens"].get(arm.name), row.any_run.n or 1),
        show_text_cost(row.text_costs.get(arm)),
        show_lengths(row.lengths.get(arm)),
        share_cell(row.shares.get(arm, {}).get(row.any_run.metric)),
    ]


def _random_lines(row: Row, told: Mapping[str, Any], arm: Arm, runs: dict[Arm, Run]) -> list[list[str]]:
    """Mean and range over the seeds, then the vector against them."""
    found = told["random"][arm.name]
    seeds = _seeds_line(row, told, "random", arm, runs)
    if "difference" not in found:
        return [seeds]
    against = [f"{arm.name} - random", "", points(found["difference"], row), "-", f"90 %: {between(row, found)}"]
    return [seeds, [*against, f"{found['p']:.2g}", "-", detectable(row, found), found["verdict"], *_UNTOLD]]


def _shuffled_lines(row: Row, told: Mapping[str, Any], arm: Arm, runs: dict[Arm, Run]) -> list[list[str]]:
    """The only seed, or mean and range over the seeds, then the vector against the one that is hardest to tell."""
    found = told["map_shuffled"][arm.name]
    several = len(runs) > 1
    first = next(iter(runs))
    head = _seeds_line(row, told, MAP_SHUFFLED, arm, runs) if several else _line(row, told, first)
    if "difference" not in found:
        return [head]
    against = [f"{arm.name} - map-shuffled", "", points(found["difference"], row), "-", between(row, found)]
    tests = [f"{found['p']:.2g}", f"{found['holm_p']:.2g}", detectable(row, found)]
    return [head, [*against, *tests, found["verdict"], *_UNTOLD]]


def _seeds_line(row: Row, told: Mapping[str, Any], kind: str, arm: Arm, runs: Mapping[Arm, Run]) -> list[str]:
    """Mean and range of several seeds of a control."""
    found = told[kind.replace("-", "_")][arm.name]
    words = [told["changes"].get(one.name, {}).get("verdict") for one in runs]
    judged = f"{words.count(HELPS)} of {len(runs)} help, {words.count(HURTS)} hurt"
    return [
        f"{kind} {arm.name}, {len(runs)} seeds",
        show(found["mean"], row),
        *_changed(row, found["mean"] - row.baseline.score if row.baseline else None),
        f"seeds {between(row, {'low': found['least'], 'high': found['most']}, sign=False)}",
        *("-", "-", "-"),
        judged if runs.keys() <= row.runs.keys() else "of the same sweep",
        show_cost(_mean(row.prompt_tokens, runs), _mean(row.tokens, runs), row.any_run.n or 1),
        show_text_cost(mean_of([row.text_costs[one] for one in runs if one in row.text_costs])),
        show_lengths(add_up(row.lengths.get(one) for one in runs)),
        share_cell(row.mean_shares.get((arm, kind), {}).get(row.any_run.metric)),
    ]


def _changed(row: Row, change: float | None) -> list[str]:
    """A change, and the same as per cent of the baseline."""
    share = percent(row, change)
    return ["-" if change is None else points(change, row), "-" if share is None else f"{share + 0.0:+.1f}"]


def _mean(counts: Mapping[Arm, int | None], arms: Iterable[Arm]) -> int | None:
    known = [count for one in arms if (count := counts.get(one)) is not None]
    return round(fmean(known)) if known else None


def _clock(value: float) -> str:
    whole = round(value)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
