"""How a sweep looks at its baselines of another kind before it loads a model, and how it asks them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lm_eval.tasks import TaskManager
from transformers import AutoConfig, AutoTokenizer

from lm_eval_steer.compare.sweep_file import finite
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_folder
from lm_eval_steer.models.chat import accepts_system_role
from lm_eval_steer.models.checkpoint import checkpoint_digest, weights_digest
from lm_eval_steer.models.load import loading
from lm_eval_steer.models.parts import BY_SHARE
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.others import Other
from lm_eval_steer.sweep.passes import Pass
from lm_eval_steer.sweep.requests import Requests
from lm_eval_steer.sweep.score import choose
from lm_eval_steer.sweep.tasks import Read, Twin, build, drawing, load, with_shots
from lm_eval_steer.sweep.validation import asked_among
from lm_eval_steer.text import quoted

_OF_HUB = ("revision", "trust_remote_code", "cache_dir", "token")


def look_at_others(
    args: SweepArgs,
    twins: Mapping[str, Twin],
    manager: TaskManager,
    known: Mapping[str, Read],
    look: Callable[[str, Requests], None],
) -> None:
    """Refuse, before a model is loaded, prompts and shots that a task cannot have.

    Args:
        args: of the sweep.
        twins: test task -> what it is searched on.
        manager: of the tasks.
        known: the tasks.
        look: is called with a name, as in `gsm8k shots:8`, and the requests of the first document of each.

    Raises:
        SteeringError: for shots that are the task's own number, that it does not take, or that its test asks, and for
            prompts and shots that change nothing in what it asks.
    """
    for name, twin in twins.items():
        parts = [name, *([twin.name] if twin.facts["kind"] == BY_SHARE else [])]
        plain = build(name, manager, None, 1, False, args.harness, {name: known[name]})
        own = [request.args for request in plain.instances]
        for one in args.others:
            if one.shots is not None:
                _look_at_shots(args, name, one, manager, known[name], [known[part].task for part in parts])
            for text in one.texts or (None,):
                if one.model is None:
                    requests = build_other(args, name, one, text, manager, None, 1, known)
                    if [request.args for request in requests.instances] == own:
                        given = f"shots={one.shots}" if text is None else f"prompt={quoted(text)}"
                        raise SteeringError(
                            f"--arms has {given}, and {name} asks the same with it as without, as texts that are "
                            "scored whole do: leave it or the task out"
                        )
                    look(f"{name} {one.name}", requests)


def _look_at_shots(
    args: SweepArgs, name: str, other: Other, manager: TaskManager, read: Read, apart: Sequence[Any]
) -> None:
    """Refuse shots that the task does not take, has already, or draws from documents of `apart`."""
    shots, own = other.shots, read.task.get_config("num_fewshot")
    if shots == own:
        raise SteeringError(
            f"--arms has shots={shots}, which {name} has in this sweep already, so it is the baseline itself: leave it "
            "out"
        )
    harness = other.harness(args.harness, None)
    if load(name, manager, harness).get_config("num_fewshot") != shots:
        raise SteeringError(
            f"--arms has shots={shots}, and {name} says num_fewshot: {own} of itself, which the harness keeps whatever "
            "it is told: leave shots= or the task out"
        )
    if not shots:
        return
    drawn = drawing(name, read.state, manager, harness, args.limit)(with_shots(read, shots).task)
    if asked := sum(asked_among(task, drawn) for task in apart):
        raise SteeringError(
            f"--arms has shots={shots}, and {asked} of the shots of {name} are documents of its test or validation, as "
            "the task draws shots from what it is tested on: leave shots= out, or name a task with shots of its own"
        )


def look_at_models(args: SweepArgs) -> None:
    """Refuse other models that cannot be loaded, as far as their files tell.

    Raises:
        SteeringError: for one that is not there, is no model, is the sweep's own, or lacks weights or chat template.
    """
    own = checkpoint_digest(args.arguments)
    for one in args.others:
        if one.model is None:
            continue
        given = one.arguments(args.arguments, args.model)
        if own is not None and checkpoint_digest(given) == own:
            raise SteeringError(f"--arms has model={one.model}, which is the sweep's own model: leave it out")
        if is_folder(one.model) and weights_digest(given) is None:
            raise SteeringError(f"--arms has model={one.model}, a folder without the weights of a model: name another")
        if one.is_adapter:
            continue  # the tokenizer and the configuration are those of the sweep's own model
        of_hub = {key: given[key] for key in _OF_HUB if key in given}
        with loading(one.model):
            AutoConfig.from_pretrained(one.model, **of_hub)
            tokenizer = AutoTokenizer.from_pretrained(given.get("tokenizer") or one.model, **of_hub)
        if args.apply_chat_template and not getattr(tokenizer, "chat_template", None):
            raise SteeringError(
                f"--arms has model={one.model}, whose tokenizer has no chat template: leave out --apply_chat_template, "
                "or the model"
            )


def refuse_lost_prompts(args: SweepArgs, lm: Any, system_role: str) -> None:
    """Refuse system instructions that a chat template would leave out.

    Args:
        args: of the sweep.
        lm: the model, with its template chosen.
        system_role: of its plan.

    Raises:
        SteeringError: where the template knows no system role, and the instruction is not merged into the user's turn.
    """
    texts = [text for one in args.others for text in one.texts]
    if texts and args.apply_chat_template and system_role == "drop" and not accepts_system_role(lm._render):
        raise SteeringError(
            f"--arms has prompt={quoted(texts[0])}, and the model's chat template knows no system role, which "
            "system_role=drop leaves out: give system_role=merge, which puts it into the user's first turn, or leave "
            "prompt= out"
        )


def build_other(
    args: SweepArgs,
    name: str,
    other: Other,
    text: str | None,
    manager: TaskManager,
    lm: Any,
    limit: float | None,
    known: Mapping[str, Read],
) -> Requests:
    """The requests of a task as an other asks them; arguments and errors as those of `build`.

    Args:
        args: of the sweep.
        name: of the task.
        other: whose they are.
        text: of its system instructions, which one.
        manager: of the tasks.
        lm: the model; None for prompts without its chat template.
        limit: documents.
        known: the tasks.
    """
    template = args.apply_chat_template if lm is not None else False
    harness = other.harness(args.harness, text)
    return build(name, manager, lm, limit, template, harness, {name: with_shots(known[name], other.shots)})


def choose_text(found: dict[str, Any], other: Other, ask: Callable[[str, str], Pass]) -> None:
    """Choose the system instruction with the best score on the validation documents, of equal ones the first.

    Args:
        found: the task's part of sweep.json, which takes scores and choice by the number of the text, from 1.
        other: with the texts.
        ask: has one text asked, in a pass of a name.
    """
    part, scores = found["validation"], {}
    for place, text in enumerate(other.texts, start=1):
        done = ask(text, f"{other.name} {place}")
        (answers,) = done.scorer.variants.values()
        scores[float(place)] = done.scorer.value(answers).value
    part["scores"][other.name] = finite({str(int(place)): score for place, score in scores.items()})
    part["best"][other.name] = choose(scores, part["higher_is_better"])


def let_go() -> None:
    """Give back the memory of models that nobody refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
