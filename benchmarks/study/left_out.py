"""The cells that were not run, and what each would take on the machine of those that were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cells import CELLS, MODELS, PARAMETERS, REGIMES, Cell
from lines import Summary

CONTENDERS = 10
"""Own, two parents, one more map, the cut, two maps of texts paired at random, three random directions."""


def left_out(found: Mapping[str, Summary]) -> Iterator[str]:
    """A line per cell: its responses, and hours at the seconds per response of cells that were run."""
    planned = {cell.name: cell for cell in CELLS}
    yield "| child | task | responses | hours, about |"
    yield "|---|---|---|---|"
    for child in MODELS:
        for task, regime in REGIMES.items():
            name = f"{child}/{task}"
            if name not in found:
                test, validation = planned.get(name, Cell(child, task, (), (200, 50))).documents
                doses = len(regime.doses[None])
                responses = CONTENDERS * (doses * validation + test) + doses * test
                hours = responses * _seconds_per_response(child, task, found) / 3600
                yield f"| {MODELS[child]} | `{task}` | {responses:,} | {hours:.1f} |"


def _seconds_per_response(child: str, task: str, found: Mapping[str, Summary]) -> float:
    """Of the same task, or else of the dearest one, on the largest child that was run, by the number of parameters."""
    guesses = {}
    for name, summary in found.items():
        other, _, its_task = name.partition("/")
        took = summary["took"]
        scale = PARAMETERS[child] / PARAMETERS[other]
        guesses[its_task == task, PARAMETERS[other], took["seconds"] / took["responses"]] = scale
    _, _, seconds = max(guesses)
    return seconds * guesses[max(guesses)]
