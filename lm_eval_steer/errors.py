"""The one error that the project raises for input that it cannot accept, and how the lm_eval command shows it."""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType

from lm_eval_steer.text import printable

FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Numbers of the system's errors that say: no room."""


class SteeringError(ValueError):
    """Bad input, told in one sentence: what was wrong, both values, what to do.

    Names and damaged files may bring line breaks and control characters into it; they are shown escaped.
    """

    def __init__(self, sentence: object) -> None:
        super().__init__(printable(str(sentence)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, that of a device or the machine's; torch's own class need not be loaded."""
    told = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in told or "can't allocate memory" in told)
    )


def is_lm_eval_command() -> bool:
    """Whether this process is the command `lm_eval` or `python -m lm_eval`, and not somebody's own program."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return getattr(spec, "name", None) == "lm_eval.__main__" or os.path.basename(sys.argv[0]) in ("lm_eval", "lm-eval")


def show_sentences(command: str = "lm_eval") -> None:
    """Let an uncaught SteeringError end the process of a command with its sentence instead of a traceback."""
    previous = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, SteeringError):
            print(f"{command}: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = show
