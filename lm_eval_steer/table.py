"""Tables: what a name stands for, one file per entry, open to other packages.

Operators, token rules, presets, controls, maps, extraction methods and figures are entries of a `Table` each. An entry
comes from its own file in this package, from `table.add(name, entry)` in a program, or from an entry point of an
installed package; the group of a table's entry points is `lm_eval_steer.` and the table's kind with an `s`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted

T = TypeVar("T")


class Table(Generic[T]):
    """Entries by name.

    Args:
        kind: what an entry is, as a sentence names it and entry points group it: `width map`, `operator`.
        entries: those of this package, in the order in which they are listed.
    """

    def __init__(self, kind: str, entries: Mapping[str, T]) -> None:
        self.kind = kind
        self.group = f"lm_eval_steer.{kind.replace(' ', '_')}s"
        self._entries = dict(entries)
        self._discovered = False

    def add(self, name: str, entry: T) -> None:
        """Enter something under a new name.

        Raises:
            SteeringError: where the name is taken.
        """
        if name in self._entries:
            raise SteeringError(f"there is a {self.kind} {name} already: choose another name")
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Take an entry out again, as a test does with its own."""
        del self._entries[name]

    def __getitem__(self, name: str) -> T:
        """The entry of a name.

        Raises:
            SteeringError: where there is none, with the names that there are.
        """
        if name not in self:
            raise SteeringError(f"there is no {self.kind} {quoted(name)}: use one of {', '.join(self.names)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, those of this package first."""
        self._discover()
        return tuple(self._entries)

    def _discover(self) -> None:
        """Enter what other installed packages bring, once.

        Raises:
            SteeringError: where one cannot be imported, or takes a name that is there already.
        """
        if self._discovered:
            return
        found = {}
        for point in entry_points(group=self.group):
            try:
                found[point.name] = point.load()
            except Exception as error:  # code of others fails in ways of its own
                raise SteeringError(
                    f"the {self.kind} {point.name} of {point.value} cannot be imported ({error}): repair or uninstall "
                    "that package"
                ) from error
        self._discovered = True
        for name, entry in found.items():
            self.add(name, entry)
