"""The concept that a task declares: what tells the sides of its pairs apart, and how its vector is meant to act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from reprlib import repr as short
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.contrasts import SHOTS
from lm_eval_steer.interventions.meant import ACTING, meant

_TEXTS = ("contrast", "positive", "negative", "worked")


@dataclass(frozen=True)
class Concept:
    """What stands under `metadata.concept` of a task; every task may have it, and a command that names a contrast does
    without.

    Attributes:
        contrast: as `--contrast`.
        num_fewshot: as `--num_fewshot`.
        positive: as `--positive`.
        negative: as `--negative`.
        worked: Jinja of an example's worked answer, for a task whose examples are bare.
        steering: how its vector is meant to act, as arguments of a steered model such as `tokens` and `dose`.
    """

    contrast: str | None = None
    num_fewshot: int | None = None
    positive: str | None = None
    negative: str | None = None
    worked: str | None = None
    steering: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Any) -> Concept:
        """That of a task of the harness; an empty one where it declares none.

        Raises:
            SteeringError: names what is wrong in it.
        """
        metadata = task.config.metadata
        declared = metadata.get("concept") if isinstance(metadata, Mapping) else None
        if declared is None:
            return cls()
        where = f"metadata.concept of {task.config.task}"
        known = [one.name for one in fields(cls)]
        if not isinstance(declared, Mapping) or not set(declared) <= set(known):
            raise SteeringError(f"{where} is {short(declared)}: it may have {', '.join(known)}")
        for name in _TEXTS:
            if declared.get(name) is not None and not isinstance(declared[name], str):
                raise SteeringError(f"{where} has {name}={short(declared[name])}, which is no text: correct the task")
        count, steering = declared.get("num_fewshot"), declared.get("steering", {})
        if count is not None and (not isinstance(count, int) or isinstance(count, bool)):
            raise SteeringError(f"{where} has num_fewshot={short(count)}, which is no number: correct the task")
        if steering != {} and not meant(steering):
            raise SteeringError(
                f"{where} has steering={short(steering)}, which does not say how a vector acts: name one or more of "
                f"{', '.join(ACTING)}, each with a number, a list of numbers or a word"
            )
        if declared.get("worked") is not None and declared.get("contrast") != SHOTS:
            raise SteeringError(f"{where} has `worked`, which is of contrast: {SHOTS}: correct the task")
        return cls(**declared)

    def fill(self, args: ExtractionArgs) -> ExtractionArgs:
        """The arguments of the command, with what the task declares where they name no contrast.

        Raises:
            SteeringError: for a contrast that does not exist or lacks what it needs.
        """
        if self.contrast is None or args.contrast is not None:
            return args
        count = self.num_fewshot if args.num_fewshot is None else args.num_fewshot
        return replace(args, contrast=self.contrast, num_fewshot=count, positive=self.positive, negative=self.negative)
