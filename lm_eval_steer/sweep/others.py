"""Baselines of another kind: what else than a vector a sweep lets compete, a system instruction, other shots, a model.

Each is an arm without steering, on the documents of all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.models.checkpoint import PARTS
from lm_eval_steer.sweep.harness import HarnessArgs
from lm_eval_steer.text import quoted

WORDS = ("prompt", "shots", "model")
"""What --arms calls them, so that no vector can be called so."""

_FORM = 'as in --arms own=v.pt,shots=5 "prompt=Think step by step." model=ID'
_OF_CHECKPOINT = ("revision", "subfolder", "gguf_file", "tokenizer_revision", *PARTS)
"""Arguments of a model class that belong to one checkpoint."""


@dataclass(frozen=True)
class Other:
    """A baseline of another kind.

    Attributes:
        kind: one of `WORDS`.
        texts: of `prompt`, the system instructions, of which validation documents choose one.
        shots: of `shots`, their number.
        model: of `model`, a folder or the name of a model on the hub; also the folder of an adapter.
    """

    kind: str
    texts: tuple[str, ...] = ()
    shots: int | None = None
    model: str | None = None

    @property
    def name(self) -> str:
        """As sweep.json and tables have it: `prompt`, `shots:5`, `model:NAME`."""
        if self.model is not None:
            return f"model:{re.sub(r'[^a-zA-Z0-9_.-]', '-', Path(self.model).name or self.model)}"
        return self.kind if self.shots is None else f"{self.kind}:{self.shots}"

    @property
    def arm(self) -> Arm:
        """Its only arm."""
        return replace(BASELINE, other=self.name)

    @property
    def is_adapter(self) -> bool:
        """Whether `model` is the folder of an adapter, which is put onto the sweep's own model."""
        folder = Path(self.model or "")
        return is_file(folder / "adapter_config.json") and not is_file(folder / "config.json")

    def refuse_baseline(self, pretrained: Any, system_instruction: str | None, num_fewshot: int | None) -> None:
        """Refuse what the baseline has already, as far as the arguments of a sweep say it.

        Raises:
            SteeringError: then.
        """
        if system_instruction and system_instruction in self.texts:
            raise SteeringError(
                f"--arms has prompt={quoted(system_instruction)}, which is the sweep's own --system_instruction, so it "
                "is the baseline itself: leave one of them out"
            )
        if self.model is not None and self.model == str(pretrained):
            raise SteeringError(f"--arms has model={self.model}, which is the sweep's own model: leave it out")
        if self.shots is not None and self.shots == num_fewshot:
            raise SteeringError(
                f"--arms has shots={self.shots}, which is the sweep's own --num_fewshot, so it is the baseline itself: "
                "leave it out"
            )

    def harness(self, harness: HarnessArgs, text: str | None) -> HarnessArgs:
        """How its tasks are asked.

        Args:
            harness: how the sweep asks them.
            text: of `prompt`, which one.
        """
        if text is not None:
            return replace(harness, system_instruction=text)
        return harness if self.shots is None else replace(harness, num_fewshot=self.shots)

    def arguments(self, arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The arguments of its model class: those of the sweep, without what belongs to its model or steers it.

        Args:
            arguments: of the sweep's model.
            name: of the model class.
        """
        if self.model is None:
            return dict(arguments)
        if self.is_adapter:
            adapter = "lora_local_path" if name == "steered-vllm" else "peft"
            return self._unsteered(arguments) | {adapter: self.model}
        kept = {key: value for key, value in self._unsteered(arguments).items() if key not in _OF_CHECKPOINT}
        return kept | {"pretrained": self.model}

    def _unsteered(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        left_out = set(ARGUMENT_NAMES) - {"system_role"}
        return {key: value for key, value in arguments.items() if key not in left_out}


def part_arms(given: Any) -> tuple[Any, tuple[Other, ...]]:
    """--arms in two: what names vectors, None where nothing does, and the baselines of another kind.

    Args:
        given: text, a list of such words, or a mapping whose values under `prompt`, `shots` and `model` may be lists.
            Commas part a word, but one that begins with `prompt=` is a text as a whole.

    Raises:
        SteeringError: for a baseline that is empty, is there twice, or is none.
    """
    if isinstance(given, Mapping):
        vectors: Any = {name: file for name, file in given.items() if name not in WORDS}
        pairs = [(word, one) for word in WORDS if word in given for one in _listed(given[word])]
        return vectors if vectors or not pairs else None, _read(pairs)
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return given, ()
    pairs, parts = [], []
    for word in words:
        if word.lstrip().startswith("prompt="):
            pairs.append(("prompt", word.lstrip().removeprefix("prompt=")))
            continue
        for part in word.split(","):
            name, equals, value = part.strip().partition("=")
            if name == "prompt" and equals:
                raise SteeringError(
                    f"--arms has prompt= behind a comma in {quoted(word)}, and commas may be part of its text: give it "
                    f"as a word of its own, {_FORM}"
                )
            if name in WORDS and equals:
                pairs.append((name, value.strip()))
            else:
                parts.append(part)
    return ",".join(parts) if parts or not pairs else None, _read(pairs)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _read(pairs: Iterable[tuple[str, Any]]) -> tuple[Other, ...]:
    """Prompts as one, then other shots, then models, each in the order given."""
    texts: list[str] = []
    others: dict[str, Other] = {}
    for word, value in pairs:
        if not str(value).strip():
            raise SteeringError(f"--arms has {word}= without a value: say which, {_FORM}")
        if word == "prompt":
            if not isinstance(value, str) or value in texts:
                raise SteeringError(f"--arms has prompt={quoted(value)}, which is there twice or no text: leave it out")
            texts.append(value)
            continue
        one = Other("shots", shots=_number(value)) if word == "shots" else Other("model", model=str(value))
        if one.name in others:
            before = others[one.name].model or others[one.name].shots
            raise SteeringError(
                f"--arms has {word}={before} and {word}={value}, and both are {one.name} in tables: leave one of them "
                "out, or sweep it into another --output_path"
            )
        others[one.name] = one
    found = sorted(others.values(), key=lambda one: WORDS.index(one.kind))
    return (*([Other("prompt", tuple(texts))] if texts else []), *found)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdecimal() or not str(value).isascii():
        raise SteeringError(f"--arms has shots={value}, which is no number of shots: give 0 or more, {_FORM}")
    return int(value)


def as_settings(others: Iterable[Other], weights: Mapping[str, str | None]) -> dict[str, Any]:
    """What outcomes depend on, JSON-ready: name -> texts, number of shots, or model with the digest of its weights.

    Args:
        others: of the sweep.
        weights: name -> digest of its checkpoint, None where it is not on this machine.
    """
    found: dict[str, Any] = {}
    for one in others:
        if one.model is not None:
            found[one.name] = {"model": one.model, "weights": weights[one.name]}
        else:
            found[one.name] = list(one.texts) if one.texts else one.shots
    return found
