"""What a sweep looks at before it loads a model: its class, the tasks, and whether they suit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models import load
from lm_eval_steer.models.generation import check_generation, check_thinking
from lm_eval_steer.models.leaks import extraction_rows, refuse_leaks
from lm_eval_steer.models.windows import refuse_rule
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.requests import ROLLING, TEXT, Requests, why_no_vote
from lm_eval_steer.sweep.tasks import sample_size


def model_class(name: str) -> Any:
    """The class of a model of the harness that steers.

    Raises:
        SteeringError: where there is none of that name, and where it does not steer.
    """
    model = load.model_class(name, "use steered-hf or steered-vllm")
    if not hasattr(model, "steer"):
        raise SteeringError(
            f"--model {name} does not steer, so there is nothing to sweep: use steered-hf or steered-vllm"
        )
    return model


def examine(args: SweepArgs, plans: Mapping[str, SteeringPlan], requests: Requests, limit: float | None) -> str:
    """Refuse a task on which the sweep would end after responses were asked for.

    Args:
        args: of the sweep.
        plans: of the whole set, of each contender.
        requests: of the first document of the task.
        limit: documents of it that are asked.

    Returns:
        a digest of what is asked and how it is scored, by which a later start notices a changed task.

    Raises:
        SteeringError: for limits that are no numbers, a named way to read answers that cannot be taken, and rows that
            the vector knows.
    """
    for text in requests.by_method.get(TEXT, [])[:1]:
        check_generation(text.args[1])
        check_thinking(args.model_args, text.args[1])
    plan = next(iter(plans.values()))
    why_no_vote(requests, plan)
    if plan.steers and ROLLING in requests.by_method:
        refuse_rule(plan.tokens)
    size = sample_size(requests.task, limit)
    documents = [doc for _, doc in requests.task.doc_iterator(rank=0, limit=size, world_size=1)]
    steering = [plan for plan in plans.values() if plan.steers and not plan.allow_leak]
    vectors = {id(one): one for plan in steering for one in plan.sources}
    for known in map(extraction_rows, vectors.values()):
        if known:
            refuse_leaks(known, [SimpleNamespace(doc=doc, task_name=requests.name) for doc in documents])
    prompts = [one.args for one in requests.instances] if args.harness.seeds[3] is not None else []
    config = [getattr(requests.task.config, key) for key in ("doc_to_target", "filter_list", "metric_list")]
    asked = json.dumps([prompts, config, documents], skipkeys=True, default=lambda one: type(one).__name__)
    return hashlib.sha256(asked.encode(errors="replace")).hexdigest()
