"""Pair templates: the two completions of a task's rows, as Jinja in YAML. They are passed on, so none runs code."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from reprlib import repr as short
from typing import Any

import yaml
from jinja2 import BaseLoader, StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from lm_eval.utils import regex_replace

from lm_eval_steer.errors import SteeringError, is_out_of_memory
from lm_eval_steer.files import read_text

OWN = "pairs.yml"
"""The file in a task's folder that has its templates. (The harness takes every .yaml there for a task.)"""

_SIDES = ("positive", "negative")
_ENVIRONMENT = ImmutableSandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
_ENVIRONMENT.filters["regex_replace"] = regex_replace  # as the harness has it


def pair_template(task: str, path: str | Path | None = None) -> dict[str, str]:
    """The template of a task's pairs, from the task's folder or from a file of the user's in the same form.

    Raises:
        SteeringError: names the file and what is wrong in it.
    """
    where = str(path or f"tasks/*/{OWN}")
    templates = _own_templates() if path is None else _read(read_text(path, "pair templates"), where)
    if task not in templates:
        raise SteeringError(
            f"there is no pair template for task {task!r} in {where}, only for {', '.join(map(str, templates))}: use "
            "one of them or bring your own pairs with --pairs FILE"
        )
    template = templates[task]
    if (
        not isinstance(template, dict)
        or set(template) != set(_SIDES)
        or not all(isinstance(side, str) and side for side in template.values())
    ):
        raise SteeringError(
            f"{where}: the pair template for {task} must have the texts `positive` and `negative`, got "
            f"{short(template)}"
        )
    for side, source in template.items():
        _compiled(source, f"{where}: `{side}` of {task}")
    return {side: template[side] for side in _SIDES}


def has_template(task: str) -> bool:
    """Whether this package has a pair template for a task."""
    return task in _own_templates()


@lru_cache(maxsize=1)
def _own_templates() -> dict[str, Any]:
    """Those of all tasks of this package."""
    folders = importlib.resources.files("lm_eval_steer.tasks").iterdir()
    files = [folder.joinpath(OWN) for folder in folders if folder.is_dir()]
    found = [_read(file.read_text(encoding="utf-8"), str(file)) for file in files if file.is_file()]
    return {task: template for templates in found for task, template in sorted(templates.items())}


def _read(text: str, where: str) -> dict[str, Any]:
    """A file of templates, by task.

    Raises:
        SteeringError: names the file and what is wrong in it.
    """
    try:
        templates = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or error
        raise SteeringError(f"{where}{line}: not a YAML file of pair templates ({reason})") from None
    if not isinstance(templates, dict):
        raise SteeringError(
            f"{where}: expected tasks, each with the texts `positive` and `negative`, got {short(templates)}"
        )
    return templates


def complete(source: str, doc: Mapping[str, Any], what: str) -> str:
    """A completion: a template over a doc, rendered where it reaches nothing but the doc.

    Args:
        source: Jinja.
        doc: its names.
        what: the template is, for the sentence.

    Raises:
        SteeringError: where it asks for what the doc does not have, or for more than a template may.
    """
    try:
        return _compiled(source, what).render(**doc)
    except SteeringError:
        raise
    except Exception as error:  # an expression of the template may raise anything
        if is_out_of_memory(error):
            raise
        names = ", ".join(sorted(doc))
        raise SteeringError(
            f"{what} cannot be filled in ({type(error).__name__}: {error}); a row has {names}"
        ) from None


@lru_cache(maxsize=64)
def _compiled(source: str, what: str) -> Template:
    try:
        return _ENVIRONMENT.from_string(source)
    except Exception as error:  # TemplateSyntaxError, and what Python says of code that is nested too deeply
        line = getattr(error, "lineno", None)
        raise SteeringError(f"{what}, line {line or 1}: not a Jinja template ({error})") from None
