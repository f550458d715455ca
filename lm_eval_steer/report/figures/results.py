"""What figures are drawn from, and what one is that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.responses import Responses
from lm_eval_steer.compare.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure that results allow.

    Attributes:
        title: what it shows.
        caption: how to read it.
        draw: makes it.
        of: what tells it from the other pictures of its kind; empty where there is one.
        name: of its file, without a suffix.
    """

    title: str
    caption: str
    draw: Callable[[], Figure]
    of: str = ""
    name: str = ""


@dataclass(frozen=True)
class Results:
    """Runs of one task that can be compared.

    Attributes:
        group: of runs.
        rows: its rows of the leaderboard, without those of single blocks.
        sites: these, of sweeps of one site at a time.
        responses: of those rows that have samples.
        names: model -> what tables call it.
    """

    group: Group
    rows: Sequence[Row]
    responses: Sequence[Responses]
    names: Mapping[str, str]
    sites: Sequence[Row] = ()

    def title(self, text: str) -> str:
        """A title that says which results it is of."""
        return f"{self.group.name}: {text}"

    def child(self, row: Row) -> str:
        """What a figure calls the child of a row."""
        return self.names[row.child]

    def parent(self, row: Row) -> str:
        """What a figure calls the parent of a row that was steered.

        Where several rows of a child would share a name, with the vector, and then with the place of the baseline;
        single runs of one vector, which are rows of their own, share one.
        """
        return self._parents[id(row)]

    @cached_property
    def _parents(self) -> dict[int, str]:
        steered = [row for row in self.rows if row.runs]
        found = {id(row): self.names[row.parent] for row in steered}
        for more in (
            lambda row: row.vector,
            lambda row: str(row.baseline.path.parent) if row.baseline else "no baseline",
        ):
            places: dict[tuple[str, str], set[tuple[str, int]]] = {}
            for row in steered:
                places.setdefault((row.child, found[id(row)]), set()).add((row.vector, id(row.baseline)))
            for row in steered:
                if len(places[row.child, name := found[id(row)]]) > 1:
                    found[id(row)] = f"{name} ({more(row)})"
        return found


@dataclass(frozen=True)
class FigureKind:
    """A figure that results may allow.

    Attributes:
        takes: what results must hold for it, as docs/REPORT.md has it.
        find: the pictures of it that results of one task allow, or why they allow none: "no ..., for ...".
        by_pair: whether it has a panel or more for every pair of parent and child, so that it is for a few of them.
    """

    takes: str
    find: Callable[[Results], list[Picture] | str]
    by_pair: bool = False
