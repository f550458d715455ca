"""What stands in the way of a study, found before anything of it is run: no model is loaded for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lm_eval_steer.axis.record import digest
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.source import load_source
from lm_eval_steer.extraction.tasks import find_manager
from lm_eval_steer.files import is_folder
from lm_eval_steer.grid.stage import Stage
from lm_eval_steer.grid.stages import read_arguments
from lm_eval_steer.grid.study import Study
from lm_eval_steer.grid.work import sweep_args, texts_of, transfer_args
from lm_eval_steer.sweep.others import part_arms
from lm_eval_steer.transfer.model import Model


def find_problems(study: Study, stages: Sequence[Stage]) -> list[str]:
    """One sentence for each thing that a stage would end with: models that are not there, tasks, files and options.

    Args:
        study: that is looked at.
        stages: of it.
    """
    problems, seen = list(_of_models(study)), set[str]()
    for stage in stages:
        if stage.kind in _LOOKS:
            look, shared = _LOOKS[stage.kind]
            key = digest([stage.kind, shared(stage.arguments)])
            problems += [] if key in seen else _told(stage.name, look, stage.arguments)
            seen.add(key)
    return problems


def refuse_problems(study: Study, stages: Sequence[Stage]) -> None:
    """Refuse to begin what would end with any of them.

    Raises:
        SteeringError: names all of them.
    """
    if problems := find_problems(study, stages):
        count = "1 thing is" if len(problems) == 1 else f"{len(problems)} things are"
        raise SteeringError(f"{count} missing before the study can run: {'; '.join(problems)}")


def _of_models(study: Study) -> Iterator[str]:
    for section, models in (("parents", study.parents), ("children", study.children)):
        for name in models:
            yield from _told(f"{section}: {name}", _look_at, read_arguments(study.settings(name)))


def _look_at(arguments: Mapping[str, Any]) -> None:
    """Refuse a model that cannot be loaded, as far as its configuration and files say it.

    Raises:
        SteeringError: then.
    """
    model = Model(arguments, option="model_args")
    if model.description["digest"] is None and (
        is_folder(str(arguments["pretrained"])) or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    ):
        raise SteeringError(f"the model {arguments['pretrained']!r} has a configuration here and no weights")


def _told(what: str, look: Callable[[Any], object], arguments: Mapping[str, Any]) -> Iterator[str]:
    try:
        look(arguments)
    except SteeringError as error:
        yield f"{what}: {error}"


def _extract(arguments: Mapping[str, Any]) -> None:
    load_source(ExtractionArgs(**arguments["args"]))


def _texts(arguments: Mapping[str, Any]) -> None:
    texts_of(arguments)


def _transfer(arguments: Mapping[str, Any]) -> None:
    transfer_args(arguments, "vector.safetensors", "states")


def _sweep(arguments: Mapping[str, Any]) -> None:
    part_arms(arguments["others"])  # apart: what is said of votes and baselines beside vectors needs the vectors' files
    given = {**arguments, "others": {}, "votes": None}
    sweep_args(given, {name: f"{name}.safetensors" for name in arguments["arms"]}, "grid")
    if not set("*?[") & set(arguments["task"]):
        find_manager(arguments["task"], arguments.get("include_path"))


_LOOKS: Mapping[str, tuple[Callable[[Mapping[str, Any]], None], Callable[[Mapping[str, Any]], Any]]] = {
    "extract": (_extract, lambda given: given["args"]),
    "states": (_texts, lambda given: given["texts"]),
    "transfer": (_transfer, lambda given: given["args"]),
    "sweep": (_sweep, lambda given: {**given, "model_args": None, "arms": list(given["arms"])}),
}
"""Kind -> what looks at its arguments, and which of them it looks at."""
