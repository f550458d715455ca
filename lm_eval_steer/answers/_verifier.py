"""The child process of `_equality.py`: compares expressions line by line and may be killed at any of them.

Reads `[gold, answer, seconds of processor time]` as JSON and writes 1 or 0. It is run as a script, so that it imports
math-verify and nothing of this package.
"""

import json
import logging
import re
import sys
import time
from typing import Any

from math_verify import parse, verify
from sympy import And, Basic, Float, Or, Set, Symbol, Union
from sympy.core.relational import Relational

try:
    import resource
except ImportError:  # Windows: the parent's clock is the only limit there
    resource = None  # type: ignore[assignment]

_REAL = Symbol("x", real=True)
DIGITS = 50
"""Digits to which exact numbers are compared."""


def equal(gold: str, answer: str) -> bool:
    """math-verify's verdict, where it read both as a whole; intervals and inequalities are compared both ways."""
    parsed = [_parsed(text) for text in (gold, answer)]
    if not all(parsed):
        return gold.replace(" ", "") == answer.replace(" ", "")
    if not verify(*parsed, timeout_seconds=None):
        return re.search(r"[<>]|\\[lg][et]", gold + answer) is not None and _same_numbers(gold, answer)
    return not _differ(parsed[0][0], parsed[1][0])


def _parsed(text: str) -> list[Any]:
    """What math-verify reads in a text; nothing where it stopped within an expression ("1 - 1/")."""
    found = parse(f"${text}$", parsing_timeout=None)
    read = found[-1] if found and isinstance(found[-1], str) else ""
    return [] if read.rstrip()[-1:] in set("+-*/^=<>") and read.rstrip() != text.rstrip() else found


def _same_numbers(gold: str, answer: str) -> bool:
    """Whether an interval and an inequality, or two inequalities in one letter, hold for the same real numbers."""
    (one, letter), (other, its) = _numbers_in(gold), _numbers_in(answer)
    return one is not None and other is not None and len({letter, its} - {""}) == 1 and bool(one == other)


def _numbers_in(text: str) -> tuple[Set | None, str]:
    r"""The real numbers that a text stands for, and the letter that it names them by; several may be joined by "or".

    Read are intervals, their unions, inequalities of one letter and \{x \mid x < 3\}; None for anything else.
    """
    builder = re.fullmatch(r"\\?\{\s*[a-zA-Z]\s*(?:\||:|\\mid\b)(.*?)\\?\}", text)
    sets, letters = [], set()
    for part in re.split(r"\\(?:text|mathrm)\s*\{\s*or\s*\}|\bor\b|\\lor\b|\\vee\b", builder[1] if builder else text):
        found = (_parsed(part.strip()) or [None])[0]
        if isinstance(found, Set):
            sets.append(found)
        elif isinstance(found, Relational | And | Or) and len(found.free_symbols) == 1:
            (symbol,) = found.free_symbols
            letters.add(str(symbol))
            if any(one.rel_op in ("==", "!=") for one in found.atoms(Relational)):
                return None, ""
            try:
                sets.append(found.subs(symbol, _REAL).as_set())
            except (NotImplementedError, TypeError, ValueError, AttributeError):
                return None, ""
        else:
            return None, ""
    return (Union(*sets), "".join(letters)) if len(letters) <= 1 else (None, "")


def _differ(one: Any, other: Any) -> bool:
    """Whether expressions that round to the same are exact numbers that differ, or tiny ones, in any part."""
    if not isinstance(one, Basic) or not isinstance(other, Basic):
        return False
    if one.is_number and other.is_number and not one.is_Boolean and not other.is_Boolean:
        try:
            distance, size = abs((one - other).evalf(DIGITS)), max(abs(one.evalf(DIGITS)), abs(other.evalf(DIGITS)))
            if not distance.is_number or distance > 1e-5:  # equal by a rule of math-verify's, as 15 and 15 %
                return False
            rounded = one.atoms(Float) or other.atoms(Float)
            return bool(distance > size * (1e-5 if rounded and size < 1e-3 else 1e-3 if rounded else 1e-30))
        except (TypeError, ValueError, AttributeError):
            return False
    if one.func == other.func and len(one.args) == len(other.args):
        return any(_differ(*pair) for pair in zip(one.args, other.args, strict=True))
    return False


def main() -> None:
    logging.disable()  # math-verify warns that it runs without its own alarm, which only works in main threads
    answers, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        gold, answer, seconds = json.loads(line)
        if resource is not None:
            # The kernel ends the process, even inside one long multiplication, and a busy machine does not count.
            soft = int(time.process_time()) + 1 + seconds
            resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        print(int(equal(gold, answer)), file=answers, flush=True)


if __name__ == "__main__":
    main()
