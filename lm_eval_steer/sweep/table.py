"""The tables at the end of a sweep: one of the metric that judges, and one of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from lm_eval_steer.compare.lengths import Lengths, show_lengths, tell_cuts
from lm_eval_steer.compare.metrics import MOST_SHOWN, tell_hidden
from lm_eval_steer.compare.text_costs import TextCost, show_text_cost
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.scale import Scale, show_cost, show_share
from lm_eval_steer.sweep.board import show
from lm_eval_steer.sweep.sites import tell_sites

_SHARE, _LENGTH, _COST = "share of own", "length", "cost"
_WHICH = {"split": ", another split of its data", "share": ", a part of its own that is not tested here"}


def make_table(name: str, task: Mapping[str, Any], unit: str) -> Table:
    """One task of sweep.json: a row per arm, each against the baseline on the same documents.

    Args:
        name: of the task.
        task: its part of sweep.json.
        unit: what the strengths are, `alpha` or `dose`.
    """
    test, validation = task["test"], task["validation"]
    metric = next((arm["metric"] for arm in test.values() if arm["metric"]), "no metric").split(",")[0]
    which = _WHICH.get(validation.get("kind"), "")
    chosen = unit if any(arm["role"] != "baseline" for arm in test.values()) else "nothing but a prompt"
    if (most := validation.get("most_cost")) is not None:
        which += f", of strengths that cost {most:g} or less"
    caption = f"{metric}; {chosen} chosen on {validation['task']} ({validation['n']} documents{which}); tokens per "
    caption += "document: of its prompts + new ones"
    table = Table(title=f"{name}, {next(iter(test.values()))['n']} documents", caption=caption)
    table.add_column("arm", no_wrap=True)
    for column in (unit, "score", "95 % interval", "change", "gained / lost", "p", "tokens"):
        table.add_column(column, justify="right", no_wrap=column == unit)
    beside: dict[str, Callable[[Mapping[str, Any]], str]] = {}
    if any(arm.get("lengths") for arm in test.values()):
        beside[_LENGTH] = lambda found: show_lengths(Lengths.read(found.get("lengths")))
    if any(arm.get("share_of_own") for arm in test.values()):
        beside[_SHARE] = lambda found: _share(found, found["metric"])
    if any(arm.get("cost_nll") for arm in test.values()):
        beside[_COST] = lambda found: show_text_cost(TextCost.read(found.get("cost_nll")))
        table.caption = f"{caption}; {_COST}: rise of the negative log-likelihood of unrelated text, nats per token"
    for column in beside:
        table.add_column(column, justify="right")
    for arm, found in test.items():
        table.add_row(arm, *_cells(found), *(tell(found) for tell in beside.values()))
    for control, reason in task["refused"].items():
        table.add_row(control, "-", reason.split(": ")[0].split(",")[-1].strip(), *["-"] * (5 + len(beside)))
    return table


def make_metric_tables(name: str, task: Mapping[str, Any], unit: str, asked: bool = False) -> list[Table]:
    """A table for each metric beside the one that judges, likewise, unless they are many and nobody asked.

    None of a sweep of an older release, which had no such metrics.
    """
    metrics = _metrics(task)
    shown = metrics if asked or len(metrics) <= MOST_SHOWN else []
    return [_metric_table(name, metric, task["test"], unit) for metric in shown]


def _metrics(task: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(metric for arm in task["test"].values() for metric in arm.get("metrics") or ()))


def _metric_table(name: str, metric: str, test: Mapping[str, Any], unit: str) -> Table:
    told = {arm: found["metrics"][metric] for arm, found in test.items() if metric in (found.get("metrics") or ())}
    caption = "changes are paired by document; their intervals and p are in no family"
    table = Table(title=f"{name}, {metric.removesuffix(',none').replace(',', ' of ')}", caption=caption)
    table.add_column("arm", no_wrap=True)
    for column in (unit, "score", "95 % interval", "change", "95 % interval of it", "p"):
        table.add_column(column, justify="right", no_wrap=column == unit)
    if has_own := any(arm.get("share_of_own") for arm in test.values()):
        table.add_column(_SHARE, justify="right")
    scale = Scale(all(found["proportion"] for found in told.values()), [found["score"] for found in told.values()])
    for arm, found in told.items():
        against = found["against_baseline"] or {}
        table.add_row(
            arm,
            _strength(test[arm]["alpha"]),
            scale.score(found["score"]),
            scale.between(found["interval"]),
            scale.change(against["change"]) if against else "-",
            scale.between(against.get("interval"), "+"),
            "-" if against.get("p") is None else f"{against['p']:.2g}",
            *([_share(test[arm], metric)] if has_own else []),
        )
    return table


def make_notes(name: str, task: Mapping[str, Any], asked: bool = False) -> list[str]:
    """What a table cannot say: a sentence for every arm and every choice that has no number, and on hidden metrics."""
    notes = [
        f"{arm} of {name} is {found['given']!r}{_chosen_among(task, arm)}"
        for arm, found in task["test"].items()
        if found.get("given")
    ]
    notes += [
        f"{arm} of {name} has no score ({found['no_score']}) and is compared with nothing"
        for arm, found in task["test"].items()
        if found.get("no_score")
    ]
    lengths = {arm: Lengths.read(found.get("lengths")) for arm, found in task["test"].items()}
    notes += tell_cuts(name, lengths, lengths.get("baseline"))
    for control, scores in task["validation"]["scores"].items():
        if control not in task["validation"]["best"]:
            continue  # nothing was chosen
        missing = [alpha for alpha, score in scores.items() if score is None]
        if missing:
            chosen = alpha_name(task["validation"]["best"][control])
            notes.append(
                f"on {task['validation']['task']}, {control} has no score at {', '.join(missing)}: "
                + (f"{chosen} stands for the best" if chosen in missing else f"{chosen} is the best of the others")
            )
    notes += tell_sites(name, task)
    notes += tell_race(task["validation"])
    if not asked and len(metrics := _metrics(task)) > MOST_SHOWN:
        notes.append(tell_hidden(name, metrics))
    return notes


def tell_race(validation: Mapping[str, Any]) -> list[str]:
    """What a race saved, if there was one."""
    raced: Mapping[str, Mapping[str, int]] = validation.get("documents") or {}
    asked = sum(n for found in raced.values() for n in found.values())
    full = validation.get("n", 0) * sum(map(len, raced.values()))
    if not full:
        return []
    return [
        f"the race on {validation['task']} took {asked:,} of the {full:,} responses of a full search: "
        f"{1 - asked / full:.0%} fewer"
    ]


def _chosen_among(task: Mapping[str, Any], arm: str) -> str:
    """How a system instruction was chosen, where there were several."""
    scores = task["validation"]["scores"].get(arm) or {}
    if len(scores) < 2:
        return ""
    return f", the best of {len(scores)} on {task['validation']['task']} ({', '.join(map(show, scores.values()))})"


def _share(found: Mapping[str, Any], metric: str | None) -> str:
    """An arm's share of own's effect."""
    told = (found.get("share_of_own") or {}).get(metric) or {}
    return show_share(told.get("share"), told.get("interval"))


def _cells(found: Mapping[str, Any]) -> list[str]:
    interval, against = found["interval"], found["against_baseline"]
    cells = [
        _strength(found["alpha"]),
        show(found["score"]),
        f"{show(interval[0])} - {show(interval[1])}" if interval else "-",
    ]
    if against is None or against["change"] is None:
        cells += ["-", "-", "-"]
    else:
        is_share = 0 <= found["score"] <= 1
        cells.append(f"{100 * against['change']:+.1f} pt" if is_share else f"{against['change']:+.4g}")
        cells.append("-" if against["gained"] is None else f"+{against['gained']} / -{against['lost']}")
        cells.append("-" if against["p"] is None else f"{against['p']:.2g}")
    return [*cells, show_cost(found.get("prompt_tokens"), found["tokens"], found["n"] or 1)]


def _strength(alpha: float | list[float] | str) -> str:
    if isinstance(alpha, str):
        return alpha
    return f"{len(alpha)} values" if isinstance(alpha, list) else alpha_name(alpha)
