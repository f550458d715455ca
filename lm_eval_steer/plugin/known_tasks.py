"""Which task a request belongs to: requests of the harness name their task, and do not hold it.

plugin.py lets every task of the harness tell its name here when it builds its requests. Nothing is kept alive.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

_tasks: WeakValueDictionary[str, Any] = WeakValueDictionary()


def remember(name: str, task: Any) -> None:
    """Note that `task` built the requests that carry `name`; of several tasks of one name, the latest counts."""
    _tasks[name] = task


def find(name: str | None) -> Any | None:
    """The task that built the requests that carry `name`; None for one that is gone, or for requests made by hand."""
    return None if name is None else _tasks.get(name)
