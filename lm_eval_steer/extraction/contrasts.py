"""Pairs of any task, made from what the task itself declares: its prompts, targets, options, examples and filters."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lm_eval.api.instance import Instance

from lm_eval_steer.errors import SteeringError, is_out_of_memory
from lm_eval_steer.extraction.asking import Prompts, Render, of_gold
from lm_eval_steer.extraction.pairs import ContrastPair, in_order
from lm_eval_steer.extraction.tasks import Split, tell
from lm_eval_steer.extraction.templates import complete
from lm_eval_steer.models.documents import row_of

TARGET, WRONG, SHOTS, SYSTEM = "target", "wrong", "shots", "system"
CONTRASTS = {
    TARGET: "prompt and target against the prompt alone",
    WRONG: "prompt and right option against prompt and a wrong one",
    SHOTS: "the prompt behind worked examples against behind bare ones",
    SYSTEM: "the prompt behind one system prompt against behind another",
}
"""What tells the two sides of a pair apart, by the name that `--contrast` takes."""

_CHOICES, _ROLLING = "multiple_choice", "loglikelihood_rolling"
_UNLIKELY = -1e3
"""Log-likelihood of the options that are not being tried, in nats."""


class _Unusable(Exception):
    """A document makes no pair, for the reason that is its text."""


@dataclass
class Declared:
    """The pairs that a task declares.

    Attributes:
        task: of the harness.
        split: the documents.
        kind: a name in `CONTRASTS`.
        seed: chooses documents, their wrong options and the examples.
        shots: the examples before every prompt.
        systems: the two system prompts, for `system`.
        worked: for `shots`, Jinja of an example's worked answer, where its own is the bare one; None where its own is
            the worked one, out of which the task's filters read the bare one.
        left_out: reason -> how many documents made no pair so far.
    """

    task: Any
    split: Split
    kind: str
    seed: int = 0
    shots: Sequence[Any] = ()
    systems: tuple[str, str] | None = None
    worked: str | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        name, written = self.task.config.task, self.task.OUTPUT_TYPE
        if written == _ROLLING:
            raise SteeringError(
                f"{name} is of the type {written}, which has neither prompt nor target to make pairs of: bring them "
                "with --pairs FILE"
            )
        if self.kind == WRONG and written != _CHOICES:
            raise SteeringError(
                f"--contrast wrong needs options, and {name} is of the type {written}: use --contrast target"
            )
        if self.kind == SHOTS and written != "generate_until":
            raise SteeringError(
                f"--contrast shots needs examples that are worked, and {name} is of the type {written}, whose "
                f"answers are bare: use --contrast {default_contrast(self.task)}"
            )
        self._other = {row_of(doc): self._other_answer(doc) for doc in self.shots} if self.kind == SHOTS else {}

    def pairs(self, n: int, render: Render | None) -> Iterator[ContrastPair]:
        """The pairs of `n` documents that the seed draws, in the order of the split, then those of the others.

        Documents that make none (without a target, without a right or a wrong option) and those that are examples are
        left out and counted.

        Args:
            n: how many are wanted.
            render: the parent's chat template; None for plain text.

        Raises:
            SteeringError: for a document on which the task's own functions fail.
        """
        self.left_out.clear()
        sides = self._prompts(render)
        seen = {row_of(doc) for doc in self.shots}
        for index in in_order(len(self.split.docs), n, self.seed):
            doc = self.split.docs[index]
            row = row_of(doc)
            if row in seen:
                self.left_out["are among the examples"] += 1
                continue
            try:
                positive, negative = self._pair(doc, row, *sides, render)
            except _Unusable as reason:
                self.left_out[str(reason)] += 1
                continue
            except SteeringError:
                raise
            except Exception as error:  # a task's functions fail in ways of their own
                if is_out_of_memory(error):
                    raise
                raise SteeringError(
                    f"document {index} of the split {self.split.name} of {self.task.config.task} cannot be asked "
                    f"({tell(error)}): name another --split, or bring pairs with --pairs FILE"
                ) from None
            if positive == negative:
                self.left_out["have the same text on both sides"] += 1
                continue
            yield ContrastPair(positive, negative, row)

    def _prompts(self, render: Render | None) -> tuple[Prompts, Prompts]:
        if self.kind == SYSTEM:
            assert self.systems is not None  # ExtractionArgs
            positive, negative = self.systems
            return Prompts(self.task, render, self.shots, positive), Prompts(self.task, render, self.shots, negative)
        own = Prompts(self.task, render, self.shots)
        if self.kind != SHOTS:
            return own, own
        other = Prompts(self.task, render, self.shots, answer=lambda doc: self._other[row_of(doc)])
        return (own, other) if self.worked is None else (other, own)

    def _other_answer(self, doc: Any) -> str:
        """The answer of an example on the side where it is not the task's own."""
        if self.worked is None:
            return _bare_answer(self.task, doc)
        return complete(self.worked, doc, f"`worked` of the concept of {self.task.config.task}")

    def _pair(self, doc: Any, row: str, positive: Prompts, negative: Prompts, render: Render | None) -> tuple[str, str]:
        if self.kind in (SHOTS, SYSTEM):
            return of_gold(self.task, doc, positive(doc)), of_gold(self.task, doc, negative(doc))
        context = positive(doc)
        if self.task.OUTPUT_TYPE != _CHOICES:
            return _with_target(self.task, doc, context, render is not None), context
        texts = _with_options(self.task, doc, context, render)
        right = right_options(self.task, doc, len(texts))
        if not right:
            raise _Unusable("have no right option")
        gold = texts[min(right)]
        if self.kind == TARGET:
            return gold, of_gold(self.task, doc, context)
        wrong = [text for place, text in enumerate(texts) if place not in right and text != gold]
        if not wrong:
            raise _Unusable("have no wrong option")
        return gold, random.Random(f"{self.seed}:{row}").choice(wrong)


def default_contrast(task: Any) -> str:
    """`wrong` for a task with options, `target` for the others."""
    return WRONG if task.OUTPUT_TYPE == _CHOICES else TARGET


def draw_shots(task: Any, n: int, seed: int) -> list[Any]:
    """The examples that stand before every prompt: those of the task, drawn once by its own sampler.

    Raises:
        SteeringError: where it has fewer.
    """
    if n == 0:
        return []
    try:
        sampler = copy.copy(task.sampler)
        sampler.set_rnd(seed)
        return list(sampler.sample(n))
    except Exception as error:  # assertions of the harness, and samplers of others
        raise SteeringError(
            f"{task.config.task} does not give {n} examples ({tell(error)}): use a smaller --num_fewshot"
        ) from None


def right_options(task: Any, doc: Any, count: int) -> set[int]:
    """Numbers of the options that a task of multiple choice takes for right.

    A task that scores by a function of its own (TruthfulQA's mc2, where several are right) is asked for the score of
    each option as if it alone were likely; the right ones are those with the highest.
    """
    if callable(task.config.process_results):
        scores = [_score(task, doc, count, place) for place in range(count)]
        return {place for place, score in enumerate(scores) if score == max(scores) > min(scores)}
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    golds = gold if isinstance(gold, (list, tuple)) else [gold]
    choices = list(task.doc_to_choice(doc))
    places = [choices.index(one) if isinstance(one, str) and one in choices else one for one in golds]
    return {place for place in places if isinstance(place, int) and 0 <= place < count}


def _score(task: Any, doc: Any, count: int, likely: int) -> float:
    results = [(0.0, True) if place == likely else (_UNLIKELY, False) for place in range(count)]
    return float(next(iter(task.process_results(doc, results).values())))


def _with_options(task: Any, doc: Any, context: Any, render: Render | None) -> list[str]:
    """Prompt and option, for each option, as the harness scores them."""
    count = len(task.doc_to_choice(doc))
    requests = task.construct_requests(
        doc, context, metadata=(task.config.task, 0, 1), apply_chat_template=render is not None, chat_template=render
    )
    return ["".join(request.args[:2]) for request in requests[:count]]


def _with_target(task: Any, doc: Any, context: str, templated: bool) -> str:
    target = _text(task.doc_to_target(doc))
    if not target.strip():
        raise _Unusable("have an empty target")
    if task.OUTPUT_TYPE == "loglikelihood":  # whose target begins with what parts it from its prompt
        return context + target
    prefix = task.doc_to_prefix(doc)
    if prefix:
        apart = "" if prefix[-1].isspace() or target[0].isspace() else " "
        return context + apart + target
    return context + ("" if templated else task.config.target_delimiter) + target


def _text(target: Any) -> str:
    """A target as text: the first where there are several."""
    first = target[0] if isinstance(target, (list, tuple)) and target else target
    return "" if first is None or first == [] else str(first)


def _bare_answer(task: Any, doc: Any) -> str:
    """The answer that the task's own filters read out of an example's worked target.

    Raises:
        SteeringError: where they read nothing shorter.
    """
    own = task.fewshot_cfg.doc_to_target
    target = _text(task.doc_to_target(doc) if own is None else task.doc_to_target(doc, own))
    for each in task._filters:
        asked = Instance("generate_until", doc, ("", {}), 0, (task.config.task, 0, 1), resps=[target])
        try:
            each.apply([asked])
        except Exception:  # a filter for what only a run of the task has
            continue
        read = asked.filtered_resps.get(each.name)
        read = read[0] if isinstance(read, list) and read else read
        if isinstance(read, str) and read.strip() and read != "[invalid]" and len(read.strip()) < len(target.strip()):
            return read.strip()
    raise SteeringError(
        f"--contrast shots needs examples that are worked, and the filters of {task.config.task} read nothing shorter "
        f"out of the target {target[:60]!r}: use --contrast {default_contrast(task)}"
    )


def shots_of(shots: Sequence[Any]) -> dict[str, Any]:
    """What a passport says of the examples before every prompt; nothing where there are none."""
    return {"num_fewshot": len(shots), "shots": [row_of(doc) for doc in shots]} if shots else {}


def facts(declared: Declared) -> dict[str, Any]:
    """What a passport says of how pairs were made, beside their rows."""
    systems = declared.systems and dict(zip(("positive", "negative"), declared.systems, strict=True))
    worked = {"worked": declared.worked} if declared.worked is not None else {}
    return {"contrast": declared.kind, **shots_of(declared.shots), **worked, **({"system": systems} if systems else {})}
