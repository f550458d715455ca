"""Docstrings of the site as they are when the code runs: griffe reads them as they are written, without the arguments
that `lm_eval_steer.interventions.argument.declare` puts in the place of `{arguments}`. mkdocs.yml names this file."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import griffe


class Declared(griffe.Extension):
    """Fills in what a function is declared to take."""

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Called for every function that griffe reads."""
        if func.docstring and "{arguments}" in func.docstring.value:
            value: Any = import_module(func.module.path)
            for name in func.path.removeprefix(f"{func.module.path}.").split("."):
                value = getattr(value, name)
            func.docstring.value = inspect.getdoc(value) or ""
            written = [one for one in func.parameters if one.kind is not griffe.ParameterKind.var_keyword]
            declared = [
                griffe.Parameter(one.name, kind=griffe.ParameterKind.keyword_only, default=repr(one.default))
                for one in inspect.signature(value).parameters.values()
                if one.kind is one.KEYWORD_ONLY
            ]
            func.parameters = griffe.Parameters(*written, *declared)
