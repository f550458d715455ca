"""Groups of tests: small members on documents made here, and the harness that knows them."""

from __future__ import annotations

import functools
import importlib.resources
from pathlib import Path

from lm_eval.tasks import TaskManager

GROUPS = Path(__file__).parent / "fixtures" / "groups"


@functools.cache
def manager() -> TaskManager:
    """Our tasks and the groups; scanning the harness's own takes seconds."""
    ours = str(importlib.resources.files("lm_eval_steer.tasks"))
    return TaskManager(include_path=[ours, str(GROUPS)], include_defaults=False)
