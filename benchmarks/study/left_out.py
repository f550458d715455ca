"""The cells that were not run, and what each would take on the machine of those that were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cells import CELLS, MODELS, PARAMETERS
from lines import Summary


def left_out(found: Mapping[str, Summary]) -> Iterator[str]:
    """A line per cell: its responses, and hours at the seconds per response of cells that were run."""
    yield "| child | task | responses | hours, about |"
    yield "|---|---|---|---|"
    for cell in CELLS:
        if cell.name not in found:
            hours = cell.responses * _seconds_per_response(cell.child, cell.task, found) / 3600
            yield f"| {MODELS[cell.child]} | `{cell.task}` | {cell.responses:,} | {hours:.1f} |"


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
