"""Pickles, read without running anything: what they would call is told by its name, and never called.

A pickle is a program for a small stack machine whose operations build lists and tables, look up names of Python and
call them. Here the same program builds the same lists and tables, but a name stays a `Name`, and a call a `Made` that
says what would have been called with what. Whoever knows a name, as torch_file.py knows tensors, builds what it stands
for.
"""

from __future__ import annotations

import pickletools
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from lm_eval_steer.errors import SteeringError

MOST = 200_000
"""Operations of a pickle. A tensor takes about 20."""


@dataclass(frozen=True)
class Name:
    """A function or class, by its name alone."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Made:
    """An object that a pickle would have made.

    Attributes:
        maker: function or class.
        arguments: it would have been called with.
        state: it would have been given then.
        entries: it would have been filled with, of a mapping.
        items: likewise, of a list.
    """

    maker: Any
    arguments: Any
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.maker) if isinstance(self.maker, Name) else "an object that another one makes"


@dataclass(eq=False)
class Outside:
    """Something that lies beside the pickle, by what it is called there."""

    identity: Any


_PUSHED = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(file: BinaryIO) -> Any:
    """The value of the pickle that begins at the file's place, of protocol 2 or later; the file is behind it then.

    Raises:
        SteeringError: where it is damaged, too long, or does what no writer of tensors does.
    """
    machine = _Machine()
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(file)):
            if number > MOST:
                raise SteeringError(f"it holds a pickle of more than {MOST} operations, far more than vectors take")
            if operation.name == "STOP":
                return machine.stack.pop()
            machine.do(operation.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, SteeringError):
            raise
        raise SteeringError("it holds a damaged pickle") from None
    raise SteeringError("it holds a damaged pickle")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PUSHED:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("PROTO", "FRAME"):
            return
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(stack))
        else:
            self.build(name, argument)

    def since_mark(self) -> list[Any]:
        place = self.marks.pop()
        found = self.stack[place:]
        del self.stack[place:]
        return found

    def build(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]())
        elif name in _TUPLES:
            items = tuple(stack[-_TUPLES[name] :])
            del stack[-_TUPLES[name] :]
            stack.append(items)
        elif name == "TUPLE":
            stack.append(tuple(self.since_mark()))
        elif name in ("APPEND", "APPENDS"):
            added = [stack.pop()] if name == "APPEND" else self.since_mark()
            (stack[-1].items if isinstance(stack[-1], Made) else stack[-1]).extend(added)
        elif name in ("SETITEM", "SETITEMS"):
            pairs = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.since_mark()
            into = stack[-1].entries if isinstance(stack[-1], Made) else stack[-1]
            into.update({_key(key): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)})
        else:
            self.call(name, argument)

    def call(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name == "GLOBAL":
            stack.append(Name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            module, attribute = stack.pop(-2), stack.pop()
            stack.append(Name(str(module), str(attribute)))
        elif name in ("REDUCE", "NEWOBJ"):
            maker, arguments = stack.pop(-2), stack.pop()
            stack.append(Made(maker, arguments))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state = state
        elif name == "BINPERSID":
            stack.append(Outside(stack.pop()))
        else:
            raise SteeringError(f"it holds a pickle with the operation {name}, which no writer of tensors uses")


def _key(key: Any) -> Hashable:
    """A key of a table: a number, a text or a tuple of them, whose hash takes no time."""
    if isinstance(key, int | float | str | bytes) or key is None:
        return key
    if isinstance(key, tuple) and len(key) <= 8 and all(isinstance(one, int | float | str) for one in key):
        return key
    raise SteeringError("it holds a table with a key that is neither number nor text")
