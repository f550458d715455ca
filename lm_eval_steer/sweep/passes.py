"""One pass: a plan over the requests of a task, into the record, with what the model measured on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.plugin.known_tasks import remember
from lm_eval_steer.sweep.board import Board
from lm_eval_steer.sweep.score import Answers, Scorer
from lm_eval_steer.sweep.tasks import Requests


@dataclass(frozen=True)
class Pass:
    """What a pass left.

    Attributes:
        scorer: the responses and their scores.
        settings: digest of each variant's settings, in their order.
        log: JSON-ready: strengths, seconds, new responses, doses and application; all of it volatile.
    """

    scorer: Scorer
    settings: list[str]
    log: dict[str, Any]

    def of(self, *alphas: float) -> list[Answers]:
        """The responses at some strengths."""
        return [one for one in self.scorer.variants.values() if one.first.alpha in alphas]


def run_pass(lm: Any, plan: SteeringPlan, requests: Requests, title: str, console: Console) -> Pass:
    """Ask for every response that the record lacks; what the vote returns is of no interest here."""
    remember(requests.name, requests.task)  # the last task of this name was that of a replay, and is gone
    lm.steer(plan)
    scorer = Scorer(requests)
    board = Board(scorer, title, requests.answers * len(plan.variants), console)
    lm.watch = board.hear
    try:
        with board:
            getattr(lm, requests.method)(requests.instances, disable_tqdm=True)
    finally:
        lm.watch = None
    steering = lm.get_model_info()["steering"]
    doses = steering.get("doses") or {}
    log = {
        "alphas": list(plan.alphas),
        "seconds": round(board.seconds, 3),
        "new": board.new,
        # Variants whose responses were all there have the doses of another pass, and profiles share a name.
        "doses": {} if plan.profiles else {name: found for name, found in doses.items() if name in board.measured},
        "application": steering.get("application"),
    }
    return Pass(scorer, steering["settings"], log)


def add_logs(before: Mapping[str, Any] | None, log: Mapping[str, Any]) -> dict[str, Any]:
    """The log of a pass that took several starts."""
    if not before or before["alphas"] != log["alphas"]:
        return dict(log)
    names = list(before["doses"]) + [name for name in log["doses"] if name not in before["doses"]]
    return {
        "alphas": log["alphas"],
        "seconds": round(before["seconds"] + log["seconds"], 3),
        "new": before["new"] + log["new"],
        "doses": {name: _add_doses(before["doses"].get(name, {}), log["doses"].get(name, {})) for name in names},
        "application": _add_application(before["application"], log["application"]),
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
