"""What every strength of a sweep costs on unrelated text: a pass over its halves, scored in nats per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lm_eval.api.instance import Instance
from rich.console import Console

from lm_eval_steer.compare.text_costs import TextCost
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.sweep.arms import Member
from lm_eval_steer.sweep.cost_texts import CostTexts
from lm_eval_steer.sweep.passes import Asked, Pass, add_logs, run_pass
from lm_eval_steer.sweep.requests import CHOICES, Requests
from lm_eval_steer.sweep.score import Answers

_METRIC, _FILTER = "nll", "none"


class _Scoring:
    """Stands in the place of a task of the harness: the negative log-likelihood of a text's second half per token."""

    def __init__(self) -> None:
        self._instances: list[Instance] = []

    def apply_filters(self) -> None:
        """Take every response as it is."""
        for one in self._instances:
            one.filtered_resps[_FILTER] = one.resps[0]

    def process_results(self, doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
        """Of one text, in nats."""
        return {_METRIC: -results[0][0] / doc["tokens"]}

    def aggregation(self) -> dict[str, Any]:
        """The mean over texts."""
        return {_METRIC: fmean}

    def higher_is_better(self) -> dict[str, bool]:
        """The likelier, the better."""
        return {_METRIC: False}


def measure_costs(
    lm: Any, asked: Sequence[Asked], texts: CostTexts, console: Console, part: str = ""
) -> tuple[dict[str, dict[str, TextCost]], Pass]:
    """Score the texts under every strength of some contenders, from the record where it has that.

    The first half of a text is the context of a log-likelihood request, the second its continuation: plain text,
    without chat template, shots or instruction, steered by the token rule of the sweep.

    Args:
        lm: the model.
        asked: contenders and their strengths; of the first one 0, too, which the others are held against.
        texts: to be scored.
        console: where progress is shown.
        part: of the pass's name.

    Returns:
        contender -> strength -> cost; and the pass.
    """
    requests = _requests(lm, texts)
    thinks = lm.enable_thinking
    lm.enable_thinking = None  # which is of a chat template, and these texts have none
    try:
        plans = [(name, plan.with_changes(vote_metric="acc")) for name, plan in asked]
        done = run_pass(lm, plans, requests, f"{requests.name}{part}", console, f"{_METRIC},{_FILTER}")
    finally:
        lm.enable_thinking = thinks
    tokens = sum(one.doc["tokens"] for one in requests.instances)
    first, unsteered = plans[0]
    (plain,) = _values(done, first, unsteered.with_changes(alphas=(0.0,)))
    found: dict[str, dict[str, TextCost]] = {}
    for name, plan in plans:
        costs = (TextCost.of(plain, values, tokens) for values in _values(done, name, plan))
        told = zip(plan.alphas, costs, strict=True)
        found[name] = {alpha_name(alpha): cost for alpha, cost in told if alpha}
    return found, done


def with_pass(costs: Mapping[str, Any], done: Pass) -> dict[str, Any]:
    """What sweep.json says of costs, with a pass, which may have begun in an earlier start."""
    passes = costs.get("passes") or {}
    return dict(costs) | {"passes": passes | {done.title: add_logs(passes.get(done.title), done.log)}}


def cost_of(member: Member, costs: Mapping[str, Any] | None, task: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an arm costs, as its entry says it; None for a vote, which no single model answers, and without steering.

    Args:
        member: the arm.
        costs: of all strengths, as sweep.json has them; None where they are not measured.
        task: the task's part of sweep.json.
    """
    if member.profile is not None:
        told = task["per_layer"][member.contender.name].get("cost_nll")
    else:
        told = ((costs or {}).get("strengths") or {}).get(member.contender.name, {}).get(alpha_name(member.alphas[0]))
    return dict(told) if told and len(member.alphas) == 1 else None


def _requests(lm: Any, texts: CostTexts) -> Requests:
    name = f"cost:{texts.source}"
    instances = []
    for number, pair in enumerate(texts.pairs):
        doc = {"text": "".join(pair), "tokens": lm.count_continuation(*pair)}
        instances.append(Instance(CHOICES, doc, pair, 0, (name, number, 1)))
    return Requests(_Scoring(), name, instances, "a vote counts answers, and texts that are scored have none")


def _values(done: Pass, name: str, plan: SteeringPlan) -> list[list[float]]:
    """[strengths][texts], nats per token."""
    found = []
    for one in done.answers(name, plan):
        assert isinstance(one, Answers)  # of a task, and not of a group
        found.append([one.metrics[number][f"{_METRIC},{_FILTER}"] for number in sorted(one.metrics)])
    return found
