"""Metrics beside the one that judges: a table for each, behind that of the one, and a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean

from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.metrics import MOST_SHOWN, tell_hidden
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.flat import SHARE, flat, name_arm, share_cell
from lm_eval_steer.report.tables.rivals import rivals
from lm_eval_steer.scale import Scale

_COLUMNS = ["child", "parent", "vector", "n", "arm", "score", "change", "95 % interval", "unadjusted p", SHARE]
_LEFT = {"child", "parent", "vector", "arm"}


def every_metric(rows: list[Row], names: Mapping[str, str], metrics_asked: bool = False) -> list[Block]:
    """Per group a table of the metric that judges with its verdicts, one of what competes with the vectors, then one of
    each other metric, unless they are many.

    Args:
        rows: of the board.
        names: model -> what tables call it.
        metrics_asked: show them however many they are.
    """
    blocks = []
    for group, block in zip(dict.fromkeys(row.group for row in rows), flat(rows, names), strict=True):
        of_group = [row for row in rows if row.group is group]
        metrics = _beside(of_group)
        shown = metrics if metrics_asked or len(metrics) <= MOST_SHOWN else []
        beside = (_block(group, of_group, names, metric) for metric in shown)
        blocks += [block, *rivals(group, of_group, names), *beside]
    return blocks


def hidden_metrics(rows: list[Row]) -> list[str]:
    """A sentence for every group whose other metrics are too many to be shown unasked."""
    of_groups: dict[str, list[Row]] = {}
    for row in rows:
        of_groups.setdefault(row.group.name, []).append(row)
    told = {name: _beside(of_group) for name, of_group in of_groups.items()}
    return [tell_hidden(name, metrics) for name, metrics in told.items() if len(metrics) > MOST_SHOWN]


def _beside(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(metric for row in rows for metric in row.metrics))


def label(metric: str, metrics: Iterable[str]) -> str:
    """A metric as people call it: its name, with its filter where another metric has the name, too."""
    name, _, filter_name = metric.partition(",")
    alone = [one.partition(",")[0] for one in metrics].count(name) < 2
    return name if alone else f"{name} ({filter_name})"


def tell_beside(row: Row, arm: Arm) -> list[str]:
    """Sentences on what an arm did to the other metrics, `Beside it: log_odds +4.90 (4.61 to 5.20).`, and on shares."""
    every = (row.any_run.metric, *row.metrics)
    changes = []
    for metric, found in row.beside.get(arm, {}).items():
        if found.change is not None:
            scale = _scale(row, metric)
            ends = scale.between((found.paired.low, found.paired.high)) if found.paired else "-"
            told = "" if ends == "-" else f" ({ends})"
            changes.append(f"{label(metric, every)} {scale.change(found.change)}{told}")
    shares = [
        f"{label(metric, every)} {share_cell(share)}"
        for metric, share in row.shares.get(arm, {}).items()
        if share.share is not None
    ]
    sentences = [f"Beside it: {', '.join(changes)}."] if changes else []
    return [*sentences, *([f"Share of own's effect: {', '.join(shares)}."] if shares else [])]


def _scale(row: Row, metric: str) -> Scale:
    found = [told[metric] for told in row.beside.values() if metric in told]
    scores = [run.by(metric).score for run in (row.all_runs | row.controls).values() if metric in run.metrics]
    return Scale(all(one.proportion for one in found), scores)


def _block(group: Group, rows: list[Row], names: Mapping[str, str], metric: str) -> Block:
    first = group.runs[0].metric
    every = (first, *dict.fromkeys(one for row in rows for one in row.metrics))
    title = f"{group.name}, {label(metric, every)} beside {first.split(',')[0]}"
    columns = _COLUMNS if any(row.shares for row in rows) else _COLUMNS[:-1]
    lines = [
        [names[row.child], names[row.parent], row.vector, str(row.any_run.n), *line][: len(columns)]
        for row in rows
        for line in _lines(row, metric)
    ]
    return Block(title, columns, _LEFT, lines, keys=4)


def _lines(row: Row, metric: str) -> list[list[str]]:
    """The baseline, then a line per arm; several seeds of a control are one, their mean and range."""
    scale = _scale(row, metric)
    folded = {arm for runs in row.seeds.values() for arm in runs}
    lines = [_line(row, arm, metric, scale) for arm in row.beside if arm not in folded and metric in row.beside[arm]]
    for (arm, kind), runs in row.seeds.items():
        scores = [run.by(metric).score for run in runs.values() if metric in run.metrics]
        if scores:
            before = row.beside.get(BASELINE, {}).get(metric)
            lines.append(
                [
                    f"{kind} {arm.name}, {len(scores)} seeds",
                    scale.score(fmean(scores)),
                    scale.change(fmean(scores) - before.score) if before else "-",
                    f"seeds {scale.between((min(scores), max(scores)))}",
                    "-",
                    share_cell(row.mean_shares.get((arm, kind), {}).get(metric)),
                ]
            )
    return lines


def _line(row: Row, arm: Arm, metric: str, scale: Scale) -> list[str]:
    """An arm with the interval of its change where that is known, else with that of its score, without signs."""
    found = row.beside[arm][metric]
    paired = found.paired
    return [
        name_arm(arm, row.all_runs[arm]),
        scale.score(found.score),
        "-" if found.change is None else scale.change(found.change),
        scale.between((paired.low, paired.high), "+") if paired else scale.between(found.interval),
        f"{paired.p:.2g}" if paired and paired.p is not None else "-",
        share_cell(row.shares.get(arm, {}).get(metric)),
    ]
