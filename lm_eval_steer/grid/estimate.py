"""How much a study asks of its models: forward passes over texts, tokens read and written, beside cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import transformers

from lm_eval_steer.axis.record import digest
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import DEFAULT_PAIRS
from lm_eval_steer.extraction.tasks import find_manager
from lm_eval_steer.grid.stage import Stage
from lm_eval_steer.grid.study import OWN
from lm_eval_steer.grid.work import sweep_args
from lm_eval_steer.interventions.alphas import read_alphas
from lm_eval_steer.interventions.controls import read_controls
from lm_eval_steer.sweep.forecast import Side, foresee
from lm_eval_steer.transfer.defaults import TEXTS


@dataclass(frozen=True)
class Cost:
    """What models are asked.

    Attributes:
        passes: texts that are run through a model: a prompt with what is written behind it, a context with its options.
        read: tokens of prompts.
        written: new tokens, at most.
    """

    passes: float = 0
    read: float = 0
    written: float = 0

    def times(self, number: int) -> Cost:
        """The same so many times."""
        return Cost(number * self.passes, number * self.read, number * self.written)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.passes + other.passes, self.read + other.read, self.written + other.written)


def count_arms(arms: Mapping[str, bool], given: Mapping[str, Any]) -> tuple[int, int]:
    """How often a document is answered on validation and on test rows.

    Args:
        arms: name -> whether its vector was carried by a fitted map, and so has maps of shuffled texts as controls.
        given: options of the sweep.
    """
    strengths = len(read_alphas(given.get("dose") or given["alpha"], "dose" if given.get("dose") else "alpha"))
    controls = read_controls(given.get("controls"))
    searched = [control.name for control in controls if control.steers and not control.is_of_each]
    for arm, is_fitted in arms.items():
        of_it = [control for control in controls if control.is_of_each and (is_fitted or not control.files)]
        searched += [arm, *(f"{arm} {control.name}" for control in of_it)]
    votes = given.get("votes")
    voting = searched if votes is None else [name for name in searched if name in votes]
    others = {word: value if isinstance(value, list) else [value] for word, value in given.get("others", {}).items()}
    test = 1 + strengths * len(voting) + len(searched) - len(voting) + bool(others.get("prompt"))
    test += len(others.get("shots", [])) + len(others.get("model", []))
    test += sum(strengths if control.temperature else 1 for control in controls if not control.steers)
    return 1 + strengths * len(searched) + len(others.get("prompt", [])), test


def estimate(stages: Sequence[Stage]) -> dict[str, tuple[Cost | None, Cost | None]]:
    """Kind of stage -> what all of its stages ask, and what they would ask if every cell was run by itself.

    Nothing where a task or a tokenizer is not here. Extraction and states count texts alone.
    """
    found: dict[str, tuple[Cost | None, Cost | None]] = {}
    pairs = [stage for stage in stages if stage.kind == "extract"]
    found["extract"] = (_sum(Cost(2.0 * (one.arguments["args"].get("n") or DEFAULT_PAIRS)) for one in pairs), None)
    texts = [stage for stage in stages if stage.kind == "states"]
    found["states"] = (_sum(Cost(float(one.arguments["texts"].get("n") or TEXTS)) for one in texts), None)
    try:
        sweeps = list(sweep_costs(stages))
    except (SteeringError, OSError, ValueError):  # find_problems has said so
        return found | {"sweep": (None, None)}
    return found | {"sweep": (_sum(here for _, here, _ in sweeps), _sum(apart for _, _, apart in sweeps))}


def sweep_costs(stages: Sequence[Stage]) -> Iterator[tuple[Stage, Cost, Cost]]:
    """Each sweep, what it asks, and what its cells would ask if each was run by itself.

    Args:
        stages: of a study, all of them.

    Raises:
        SteeringError: for a task that is not here.
        OSError: for a tokenizer that is not here; ValueError, too.
    """
    fitted = {stage.folder for stage in stages if stage.kind == "transfer" and stage.arguments["shuffled"]}
    sides = _Sides()
    for stage in stages:
        if stage.kind != "sweep":
            continue
        of_sides = sides.of(stage)
        arms = {name: folder in fitted for name, folder in stage.arguments["arms"].items()}
        own = {name: is_fitted for name, is_fitted in arms.items() if name == OWN}
        cells = [own | {name: arms[name]} for name in ([name for name in arms if name != OWN] or [OWN])]
        apart = _sum(_cost(of_sides, count_arms(cell, stage.arguments)) for cell in cells)
        yield stage, _cost(of_sides, count_arms(arms, stage.arguments)), apart


def _cost(sides: Sequence[tuple[Cost, Cost]], times: tuple[int, int]) -> Cost:
    return _sum(one.times(number) for both in sides for one, number in zip(both, times, strict=True))


def _sum(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())


class _Sides:
    """What one strength asks of the tasks of sweeps: children that are asked the same share what was looked at."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[Side, Side]]] = {}

    def of(self, stage: Stage) -> list[tuple[Cost, Cost]]:
        """Validation and test of each task, in the tokens of the child.

        Raises:
            SteeringError: for a task that is not here.
            OSError: for a tokenizer that is not.
        """
        given = {**stage.arguments, "others": {}, "votes": None}
        key = digest({**given, "model_args": None, "arms": None})
        if key not in self._known:
            manager = find_manager(given["task"], given.get("include_path"))
            self._known[key] = list(foresee(sweep_args(given, {"own": "own.safetensors"}, "grid"), manager))
        model_args = given["model_args"]
        where = str(model_args.get("tokenizer") or model_args["pretrained"])
        length = _length_of(where, str(model_args.get("revision") or "main"), bool(model_args.get("trust_remote_code")))
        return [(_in_tokens(one, length), _in_tokens(other, length)) for one, other in self._known[key]]


def _in_tokens(side: Side, length: Callable[[str], int]) -> Cost:
    mean = sum(map(length, side.prompts)) / max(len(side.prompts), 1)
    return Cost(side.responses, side.responses * mean, side.responses * side.new_tokens)


@cache
def _length_of(tokenizer: str, revision: str, trust: bool) -> Callable[[str], int]:
    """Counts the tokens of a text."""
    loaded = transformers.AutoTokenizer.from_pretrained(tokenizer, revision=revision, trust_remote_code=trust)
    return lambda text: len(loaded(text).input_ids)
