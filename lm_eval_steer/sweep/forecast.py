"""How much a sweep asks of its tasks, told from documents and prompts alone: no model is loaded, no vector read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from lm_eval_steer.models.parts import SHARE
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.requests import TEXT
from lm_eval_steer.sweep.tasks import Read, build, find_twins, sample_size
from lm_eval_steer.sweep.units import find_units
from lm_eval_steer.sweep.validation import Choice

_SAMPLE = 8
"""Documents whose prompts are built; they stand for all."""
_NEW = 256
"""New tokens where a task says no limit: the harness's own default."""


@dataclass(frozen=True)
class Side:
    """What one strength is asked on the validation or the test documents of a task.

    Attributes:
        documents: how many.
        responses: how many over all documents, the choices of one document being one.
        prompts: of the first documents, what is read for each response: a prompt, or a context and all options.
        new_tokens: the most that may be written for one response.
    """

    documents: int
    responses: float
    prompts: tuple[str, ...]
    new_tokens: int


def foresee(args: SweepArgs, manager: TaskManager) -> Iterator[tuple[Side, Side]]:
    """Validation and test of each task that a sweep asks, members of groups among them, without a chat template.

    Args:
        args: of the sweep; of its vectors nothing is read.
        manager: that knows its tasks.

    Raises:
        SteeringError: for tasks that cannot be asked.
    """
    known: dict[str, Read] = {}
    units = find_units(args.tasks, manager, args.harness, known, args.limit, args.metric, args.per_task)
    members = [member for unit in units for member in unit.members]
    choice = Choice(args.val_split, SHARE if args.val_share is None else args.val_share, args.sampling_seed)
    twins = find_twins(members, args.val_task, manager, args.harness, None, known, choice, args.limit)
    for member in members:
        yield (
            _side(args, manager, twins[member].name, args.val_limit, known),
            _side(args, manager, member, args.limit, known),
        )


def _side(args: SweepArgs, manager: TaskManager, name: str, limit: float | None, known: dict[str, Read]) -> Side:
    task = known[name].task
    documents = sum(1 for _ in task.doc_iterator(rank=0, limit=sample_size(task, limit), world_size=1))
    sample = min(_SAMPLE, documents)
    some = build(name, manager, None, sample, False, args.harness, known)
    questions = list(some.questions())
    texts = some.by_method.get(TEXT, [])
    return Side(
        documents,
        documents * len(questions) / sample,
        tuple(map(_read, questions)),
        max((int(one.args[1].get("max_gen_toks") or _NEW) for one in texts), default=0),
    )


def _read(question: list[Instance]) -> str:
    """What a model reads for a response."""
    first = question[0]
    if first.request_type != "loglikelihood":
        return str(first.args[0])
    return "".join([first.args[0], *(one.args[1] for one in question)])
