"""What a stage of each kind does, from its arguments alone, in the process that it has to itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.extract import extract, load_parent
from lm_eval_steer.extraction.keep import keep
from lm_eval_steer.extraction.source import load_source
from lm_eval_steer.files import is_folder, write_whole
from lm_eval_steer.grid.folder import SWEEP_FOLDER
from lm_eval_steer.grid.settings import SWEEP
from lm_eval_steer.grid.stages import VECTOR
from lm_eval_steer.interventions.controls import Control
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.report.page import write_page
from lm_eval_steer.report.tables import read_leaderboard, render
from lm_eval_steer.sweep import SweepArgs, run_sweep
from lm_eval_steer.transfer import defaults
from lm_eval_steer.transfer.args import TransferArgs
from lm_eval_steer.transfer.carry import carry
from lm_eval_steer.transfer.model import Model
from lm_eval_steer.transfer.prepare import prepare
from lm_eval_steer.transfer.states import read_states
from lm_eval_steer.transfer.texts import Texts, find_texts

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a stage works.

    Attributes:
        stages: the folder of all stages' folders.
        folder: name of its own.
        states: folder in which states of models are kept.
        earlier: folders of earlier stages about the same, whose responses may be taken over; the latest first.
    """

    stages: Path
    folder: str
    states: Path
    earlier: tuple[Path, ...] = ()

    @property
    def here(self) -> Path:
        """Its own folder."""
        return self.stages / self.folder

    def vector(self, folder: str) -> str:
        """The vector file that another stage left."""
        return str(self.stages / folder / VECTOR)


def work(kind: str, arguments: Arguments, place: Place) -> float | None:
    """Do what a stage does; what a start that was killed left is gone on from.

    Returns:
        when its model was loaded, seconds since 1970; of extraction and states, where one was.

    Raises:
        SteeringError: as the command of that name.
    """
    return _WORK[kind](arguments, place)


def transfer_args(given: Arguments, vector: str, states: str, shuffle: int | None = None) -> TransferArgs:
    """What a transfer is told.

    Args:
        given: arguments of its stage.
        vector: the parent's file.
        states: folder of states.
        shuffle: seed by which texts are paired at random.
    """
    models = {"child_args": given["child_args"], "parent_args": [given["parent_args"]] if given["reads"] else []}
    args: dict[str, Any] = given["args"]
    return TransferArgs([vector], **models, **args, shuffle_texts=shuffle, device=given["device"], cache=states)


def texts_of(given: Arguments) -> Texts:
    """The texts of which a stage reads states."""
    told = given["texts"]
    return find_texts(
        told.get("task"), told.get("texts"), told.get("n"), told.get("seed", 0), bool(told.get("allow_leak"))
    )


def sweep_args(given: Arguments, vectors: Mapping[str, str], output: str) -> SweepArgs:
    """What a sweep is told.

    Args:
        given: arguments of its stage.
        vectors: name of an arm -> its file.
        output: its folder.
    """
    options = {key: given[key] for key in (*SWEEP, "batch_size", "device", "model", "model_args") if key in given}
    arms = {**vectors, **given["others"]}
    return SweepArgs(**(options | {"tasks": [given["task"]], "output_path": output, "arms": arms}))


def _extract(given: Arguments, place: Place) -> float:
    wanted = ExtractionArgs(**given["args"])
    source = load_source(wanted)
    parent = load_parent(given["model_args"], given["device"])
    loaded = time.time()
    keep(extract(wanted, source, parent), place.here / VECTOR)
    return loaded


class _Timed(Model):
    """A model that knows when it was loaded."""

    loaded: float | None = None

    def load(self) -> SteeredHF:
        found = super().load()
        self.loaded = time.time()
        return found


def _states(given: Arguments, place: Place) -> float | None:
    told = given["texts"]
    model = _Timed(given["model_args"], given["device"])
    read_states(
        model,
        texts_of(given),
        tokens=told.get("tokens", defaults.TOKENS),
        chat=bool(told.get("apply_chat_template")),
        cache=place.states,
        batch_size=told.get("batch_size", "auto"),
    )
    return model.loaded


def _transfer(given: Arguments, place: Place) -> None:
    for seed in (None, *given["shuffled"]):
        wanted = transfer_args(given, place.vector(given["vector"]), str(place.states), seed)
        file = str(place.here / VECTOR)
        keep(
            carry(wanted, prepare(wanted)),
            file if seed is None else Control("map-shuffled", seed).file_beside(file),
        )


def _sweep(given: Arguments, place: Place) -> None:
    folder = place.here / SWEEP_FOLDER
    _take_over(folder / "record", place.earlier)
    vectors = {name: place.vector(stage) for name, stage in given["arms"].items()}
    run_sweep(sweep_args(given, vectors, str(folder)))


def _take_over(record: Path, earlier: tuple[Path, ...]) -> None:
    """Begin a record with that of an earlier sweep of the same child and task: nobody pays for a response twice.

    Lines are found by all that determines their response, so what does not belong here is not read.
    """
    found = next((old for one in earlier if is_folder(old := one / SWEEP_FOLDER / "record")), None)
    if is_folder(record) or found is None:
        return
    part = record.with_name(f".{record.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(found, part, ignore=shutil.ignore_patterns(".*"))
    part.rename(record)


def _leaderboard(given: Arguments, place: Place) -> None:
    board = read_leaderboard([place.stages / one / SWEEP_FOLDER for one in given["sweeps"]])
    for name, form, layout in (
        ("table1.md", "markdown", "table1"),
        ("leaderboard.md", "markdown", "flat"),
        ("leaderboard.json", "json", "flat"),
    ):
        text = render(board, form, layout, Console())
        write_whole(place.here / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))  # type: ignore[misc]


def _report(given: Arguments, place: Place) -> None:
    write_page(
        read_leaderboard([place.stages / one / SWEEP_FOLDER for one in given["sweeps"]]), place.here / "report.html"
    )


_WORK: Mapping[str, Callable[[Arguments, Place], float | None]] = {
    "extract": _extract,
    "states": _states,
    "transfer": _transfer,
    "sweep": _sweep,
    "leaderboard": _leaderboard,
    "report": _report,
}
