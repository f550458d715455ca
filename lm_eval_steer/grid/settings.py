"""What a study may say of models and tasks, and how what is more particular goes over what is more general."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.grid.stage import KINDS
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.others import WORDS
from lm_eval_steer.text import nearest, quoted

Settings = dict[str, Any]
"""Of one model on one task: keys of `KEYS`."""

SWEEP = tuple(
    field.name
    for field in fields(SweepArgs)
    if field.name not in ("model", "model_args", "tasks", "output_path", "batch_size", "device", "val_task")
)
"""Options of `lm-eval-steer sweep` that a study has, with their meaning."""

EXTRACT = tuple(field.name for field in fields(ExtractionArgs))
"""Options of `extract`."""

TRANSFER = ("task", "texts", "n", "tokens", "seed", "apply_chat_template", "allow_leak", "batch_size")
"""Options of `transfer` that are not said by the study itself."""

RESOURCES = ("gpus", "hours", "partition")
"""Of the stages of one kind: how many GPUs, how many hours at most, and where a cluster runs them."""

_NESTED = {"extract": EXTRACT, "transfer": TRANSFER, "resources": KINDS, "arms": WORDS}
_OPEN = ("model_args", "steering")
"""Mappings whose keys others know: the model class, and the plan of a steered run."""

KEYS = tuple(dict.fromkeys(("model", "batch_size", "device", *_OPEN, *_NESTED, *SWEEP)))
"""All that may be said of the study, of a model, of a task, and in an override."""


def check_settings(given: Any, where: str) -> Settings:
    """A mapping of settings, checked by its keys.

    Args:
        given: as the file has it; nothing counts as an empty one.
        where: it stands, as sentences begin: `children: smollm2`.

    Raises:
        SteeringError: for what is no mapping, and for an unknown key, with the nearest known one.
    """
    found = dict(check_keys(given, KEYS, where))
    for key in (*_OPEN, *_NESTED):
        if key in found:
            found[key] = dict(check_keys(found[key], _NESTED.get(key), f"{where}: {key}"))
    for kind, told in found.get("resources", {}).items():
        check_keys(told, RESOURCES, f"{where}: resources: {kind}")
    if found.get("alpha") is not None and found.get("dose") is not None:
        raise SteeringError(
            f"{where} has alpha {quoted(found['alpha'])} and dose {quoted(found['dose'])}: a sweep has one set of "
            "strengths, so leave one of them out"
        )
    return found


def check_keys(given: Any, known: Iterable[str] | None, where: str) -> Mapping[str, Any]:
    """A mapping whose keys are names; `known` are those that there are, where there are others.

    Raises:
        SteeringError: for anything else.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise SteeringError(f"{where} is {quoted(given)}: give `key: value` pairs")
    for key in given:
        if not isinstance(key, str):
            raise SteeringError(f"{where} has the key {quoted(key)}, which is no text: put it into quotation marks")
        if known is not None and key not in known:
            near = nearest(key, known)
            raise SteeringError(
                f"{where} has the key {quoted(key)}, which there is not{near}: use one of {', '.join(known)}"
            )
    return given


def joined(layers: Iterable[Settings]) -> Settings:
    """Settings over settings, the later ones over the earlier: mappings key by key, one set of strengths over the
    other."""
    found: Settings = {}
    for layer in layers:
        if layer.get("alpha") is not None or layer.get("dose") is not None:
            found.pop("alpha", None), found.pop("dose", None)
        for key, value in layer.items():
            if key == "resources":
                old = found.get(key, {})
                found[key] = old | {kind: old.get(kind, {}) | dict(told or {}) for kind, told in value.items()}
            else:
                found[key] = found.get(key, {}) | value if key in (*_OPEN, *_NESTED) else value
    return found
