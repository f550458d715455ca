"""What a sweep looks at before it loads a model: its class, the tasks, and whether they suit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lm_eval.evaluator_utils import get_sample_size

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models import load
from lm_eval_steer.models.generation import check_generation
from lm_eval_steer.models.leaks import extraction_rows, refuse_leaks
from lm_eval_steer.models.plan import SteeringPlan
from lm_eval_steer.models.vote_key import VoteKey
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.score import check_scoring
from lm_eval_steer.sweep.tasks import Requests


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


def examine(args: SweepArgs, plan: SteeringPlan, requests: Requests) -> None:
    """Refuse a task on which the sweep would end after responses were asked for.

    Raises:
        SteeringError: for limits that are no numbers, answers that no vote can read, scores that are no numbers, and
            rows that the vector knows.
    """
    if not requests.choices:
        check_generation(requests.instances[0].args[1])
    if not requests.choices and len(args.alphas) > 1:
        VoteKey.of(requests.name, plan.vote_filter, plan.vote_answer)
    check_scoring(requests)
    known = frozenset() if plan.allow_leak else extraction_rows(plan.vector)
    if known:
        task, limit = requests.task, args.limit if requests.name in args.tasks else args.val_limit
        documents = task.doc_iterator(rank=0, limit=get_sample_size(task, limit), world_size=1)
        refuse_leaks(known, [SimpleNamespace(doc=doc, task_name=requests.name) for _, doc in documents])
