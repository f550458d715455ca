r"""Whether two mathematical expressions are the same answer.

math-verify decides. It keeps its time limit with `signal.alarm`, which works in main threads only, takes the alarm away
from whoever set one, counts other processes' time, and cannot interrupt a long multiplication of integers. So it runs
in a child process without that limit, and the child is stopped from outside.
"""

import functools
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from lm_eval_steer.answers._latex import tidy, words
from lm_eval_steer.errors import SteeringError

CPU_SECONDS = 5
"""Processor time for one comparison."""

WALL_SECONDS = 120
"""The same by the clock, for what waits instead of computing and for systems without the other limit."""

_log = logging.getLogger(__name__)


class _Verifier:
    """A child process that is started when needed and again after it was stopped."""

    def __init__(self) -> None:
        self.unfinished = 0
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def equal(self, gold: str, answer: str) -> bool:
        with self._lock:
            if self._child is None:
                self._child = self._start()
            reply = self._ask(self._child, json.dumps([gold, answer, CPU_SECONDS]))
            if not reply:
                self._child.communicate()
                self._child = None
                self.unfinished += 1
                _log.warning("No verdict in time, so unequal: %.80r and %.80r", gold, answer)
            return reply == "1\n"

    @staticmethod
    def _start() -> "subprocess.Popen[str]":
        script = Path(__file__).with_name("_verifier.py")
        child = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            child.communicate()
            raise SteeringError(
                f"math-verify cannot be imported (exit status {child.returncode}): "
                "pip install 'math-verify[antlr4_11_0]'"
            )
        return child

    @staticmethod
    def _ask(child: "subprocess.Popen[str]", question: str) -> str:
        """The child's reply; empty where it died first."""
        assert child.stdin is not None
        assert child.stdout is not None
        alarm = threading.Timer(WALL_SECONDS, child.kill)
        alarm.start()
        try:
            child.stdin.write(question + "\n")
            child.stdin.flush()
            return child.stdout.readline()
        except BrokenPipeError:
            return ""
        finally:
            alarm.cancel()


@functools.cache
def _verifier(process: int) -> _Verifier:
    """One per process: a fork must not talk to its parent's child."""
    return _Verifier()


@functools.lru_cache(maxsize=2**16)
def math_equal(gold: str, answer: str) -> bool:
    r"""Whether `answer` is the same as `gold`, for math-verify (github.com/huggingface/Math-Verify).

    Not transitive, so the reference comes first: 5 equals `x=5` and `y=5`, which differ. Identical
    strings are equal, and so are an interval and an inequality that hold for the same numbers. Words in `\text{…}` are
    compared as words, since math-verify reads bare ones as products of letters ("east" would equal "seat"). Beyond
    math-verify, `tidy` writes both in a way that it reads as a whole, and exact numbers are compared exactly, where
    it rounds to six decimals.

    A comparison that takes longer than `CPU_SECONDS` of processor time is unequal, logged and counted
    (`math_unfinished`). Works in any thread and process. Verdicts are kept, so the same pair costs time once.

    Raises:
        SteeringError: where math-verify cannot be imported.
    """
    if gold == answer:
        return True
    one, other = words(gold), words(answer)
    if (one.marked or other.marked) and one.text:
        if one.text == other.text:
            return True
        if one.only and other.only:
            return False
    return _verifier(os.getpid()).equal(tidy(gold), tidy(answer))


def math_unfinished() -> int:
    """How many comparisons of this process had no verdict in time."""
    return _verifier(os.getpid()).unfinished
