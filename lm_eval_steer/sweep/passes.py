"""One pass: all contenders over the requests of a task, into the record, with what the model measured on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from lm_eval_steer.axis.record import Line
from lm_eval_steer.interventions.plan import SteeringPlan, Variant
from lm_eval_steer.plugin.known_tasks import remember
from lm_eval_steer.sweep.board import Board
from lm_eval_steer.sweep.score import AnyScorer, Given
from lm_eval_steer.sweep.score_groups import make_scorer
from lm_eval_steer.sweep.tasks import Requests

Asked = tuple[str, SteeringPlan]
"""Name of a contender, and what it is asked in a pass."""


@dataclass(frozen=True)
class Pass:
    """What a pass left.

    Attributes:
        scorer: the responses and their scores.
        settings: contender and variant -> the digests that its lines may bear.
        title: its name.
        log: JSON-ready: strengths, seconds, new responses, doses and application; all of it volatile.
    """

    scorer: AnyScorer
    settings: Mapping[tuple[str, Variant], Sequence[str]]
    title: str
    log: dict[str, Any]

    def answers(self, contender: str, plan: SteeringPlan) -> Iterator[Given]:
        """The responses of the variants of a plan, in their order; none of one that an early stop left out."""
        for variant in plan.variants:
            yield from (
                self.scorer.variants[one] for one in self.settings[contender, variant] if one in self.scorer.variants
            )

    def digests(self, contender: str, plan: SteeringPlan) -> list[str]:
        """Digests of the settings of the variants of a plan, in the order of a result file."""
        found = [self.settings[contender, variant] for variant in plan.variants]
        return [digest for of_kind in zip(*found, strict=True) for digest in of_kind]


def run_pass(
    lm: Any, asked: Sequence[Asked], requests: Requests, title: str, console: Console, metric: str | None = None
) -> Pass:
    """Ask for every response that the record lacks; what votes return is of no interest here.

    Where there is nothing to vote on, each variant is an arm of its own.
    """
    for part in requests.parts:
        remember(part.name, part.task)
    if not requests.votes:
        asked = [(name, one) for name, plan in asked for one in plan.alone()]
    plans = [plan for _, plan in asked]
    # Where nothing is steered, the engine counts tokens and shares beginnings; only `identity` takes another way.
    lm.runs_plainly = any(plan.regroups for plan in plans)
    lm.steer(*plans)
    whose: dict[str, str] = {}

    def find(line: Line) -> str:
        """The first contender that has a line."""
        if line.settings not in whose:
            holders = zip(asked, lm.ballots, strict=True)
            whose[line.settings] = next(name for (name, _), ballot in holders if ballot.holds(line))
        return whose[line.settings]

    scorer = make_scorer(requests, metric, lm.count_prompt)
    total = requests.answers * len({number for ballot in lm.ballots for number in ballot.numbers})
    board = Board(scorer, title, total, [name for name, _ in asked], find, console)
    lm.watch = board.hear
    try:
        with board:
            for method, instances in requests.by_method.items():
                getattr(lm, method)(instances, disable_tqdm=True)
    finally:
        lm.watch, lm.runs_plainly = None, True
    settings: dict[tuple[str, Variant], list[str]] = {}
    shares: dict[str, dict[str, Any]] = {}
    for number, (name, plan) in enumerate(asked):
        info = lm.arm_info(number)
        share = shares.setdefault(name, {"alphas": [], "doses": {}})
        share["alphas"] += [alpha for alpha in plan.alphas if alpha not in share["alphas"]]
        # Variants whose responses were all there have the doses of another pass, and profiles share a name.
        share["doses"] |= {} if plan.profiles else board.measured(name, info["doses"])
        for variant, *digests in zip(plan.variants, *_parts(info["settings"], len(plan.variants)), strict=True):
            settings[name, variant] = digests
    for name, share in shares.items():
        share |= {"seconds": round(board.seconds_of[name], 3), "new": board.new_of[name]}
    log = {
        "task": requests.name,
        "seconds": round(board.seconds, 3),
        "new": board.new,
        "contenders": shares,
        "application": info["application"],
    }
    return Pass(scorer, settings, title, log)


def _parts(items: Sequence[str], size: int) -> list[Sequence[str]]:
    """The items, `size` at a time."""
    return [items[place : place + size] for place in range(0, len(items), size)]


def add_logs(before: Mapping[str, Any] | None, log: Mapping[str, Any]) -> dict[str, Any]:
    """The log of a pass that took several starts."""
    if not before:
        return dict(log)
    shares = dict(before["contenders"])
    for name, share in log["contenders"].items():
        shares[name] = _add_shares(shares[name], share) if name in shares else share
    return {
        "task": log["task"],
        "seconds": round(before["seconds"] + log["seconds"], 3),
        "new": before["new"] + log["new"],
        "contenders": shares,
        "application": _add_application(before["application"], log["application"]),
    }


def _add_shares(before: Mapping[str, Any], share: Mapping[str, Any]) -> dict[str, Any]:
    """One contender's of both, where it was asked the same; else the later one's."""
    if before["alphas"] != share["alphas"]:
        return dict(share)
    names = dict.fromkeys([*before["doses"], *share["doses"]])
    return {
        "alphas": share["alphas"],
        "doses": {name: _add_doses(before["doses"].get(name, {}), share["doses"].get(name, {})) for name in names},
        "seconds": round(before["seconds"] + share["seconds"], 3),
        "new": before["new"] + share["new"],
    }


def _add_doses(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Means over the positions of both."""
    blocks = dict(one)
    for block, more in other.items():
        if block not in blocks:
            blocks[block] = more
            continue
        known = blocks[block]
        both = known["positions"] + more["positions"]
        blocks[block] = {"positions": both} | {
            key: None
            if known[key] is None or more[key] is None
            else (known[key] * known["positions"] + more[key] * more["positions"]) / both
            for key in ("dose", "survival")
        }
    return blocks


def _add_application(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not one or not other:
        return dict(one or other or {}) or None
    added: dict[str, Any] = {}
    for key in ("steered", "implied"):
        first, second = one[key], other[key]
        if first is None or second is None:
            added[key] = None
            continue
        added[key] = {str(block): count for block, count in first.items()}
        for block, count in second.items():
            added[key][str(block)] = added[key].get(str(block), 0) + count
    reasons = [part["not_compared"] for part in (one, other) if part.get("not_compared")]
    return added | ({"not_compared": reasons[0]} if reasons else {})
