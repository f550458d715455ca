"""What the harness writes of the machine into every result file, looked up once for all arms of a sweep."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.utils.collect_env as machine
from lm_eval import evaluator
from lm_eval.loggers.utils import get_commit_from_path


@contextmanager
def looked_up_once() -> Iterator[None]:
    """Within, the harness asks the machine about itself and git about the folder once, and git is silent."""
    replaced: list[tuple[Any, str, Any]] = [
        (machine, "get_pretty_env_info", functools.cache(machine.get_pretty_env_info)),
        (evaluator, "get_git_commit_hash", functools.cache(_commit)),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    for module, name, function in replaced:
        setattr(module, name, function)
    try:
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def _commit() -> str | None:
    """The harness's `get_git_commit_hash`, without what git prints where there is no repository."""
    try:
        found = subprocess.run(["git", "describe", "--always"], capture_output=True, check=True)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return get_commit_from_path(os.getcwd())
    return found.stdout.strip().decode()
