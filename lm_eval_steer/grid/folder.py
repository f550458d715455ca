"""The folder of a study: which stages there are, and what has become of each.

grid.json                  the stages of the study as it was run last, in the order of what needs what
jobs.json, jobs/           jobs that stages were submitted as, and what submitit keeps of them
stages/sweep-3f9a.../      a folder per stage, named by its digest
    stage.json             what is done there
    log.txt                what the process of each start said
    lock.N                 who is at it (grid/lock.py)
    done.json, failed.json how it ended; written last
    sweep/, vector.safetensors, report.html, ...
states/                    states of models, shared by stages
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from lm_eval_steer import __version__
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, is_folder, read_json, write_whole
from lm_eval_steer.grid.lock import holder_of
from lm_eval_steer.grid.stage import Stage
from lm_eval_steer.text import shortened

SWEEP_FOLDER = "sweep"
"""Of a sweep's results, in the folder of its stage."""

VERSION = 1
"""Of grid.json; goes up when a key means something else."""

Word = Literal["done", "running", "failed", "stopped", "waiting"]


@dataclass(frozen=True)
class State:
    """What has become of a stage.

    Attributes:
        word: `stopped` is one whose process ended without a word.
        since: when it began or ended, seconds since 1970; None for one that waits.
        why: the sentence of one that failed; of one that is running or stopped, who is or was at it.
        seconds: that it took; of one that is done.
        loading: of these, seconds until its model was loaded; of extraction and states alone.
    """

    word: Word
    since: float | None = None
    why: str = ""
    seconds: float | None = None
    loading: float | None = None


class Grid:
    """The folder of a study.

    Args:
        root: the folder; `prepare` makes it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def states(self) -> Path:
        """Where states of models are kept."""
        return self.root / "states"

    def place(self, folder: str) -> Path:
        """The folder of a stage."""
        return self.root / "stages" / folder

    def sweeps(self) -> list[Path]:
        """The folders of the study's sweeps that are done; those of the study as it was before are left out.

        Raises:
            SteeringError: as `stages`, and where none is done.
        """
        stages = [stage.folder for stage in self.stages() if stage.kind == "sweep"]
        done = [self.place(folder) / SWEEP_FOLDER for folder in stages if self.state(folder).word == "done"]
        if not done:
            raise SteeringError(
                f"no sweep of the study in {shortened(self.root)} is done ({len(stages)} are not): lm-eval-steer grid "
                "status tells of each"
            )
        return done

    def stages(self) -> list[Stage]:
        """The stages of the study that was run here last.

        Raises:
            SteeringError: for a folder that is none of a study.
        """
        file = self.root / "grid.json"
        if not is_file(file):
            raise SteeringError(f"{shortened(self.root)} is no folder of a study: name what `grid run` had as --out")
        found = read_json(file, "stages")
        try:
            if found["version"] != VERSION:
                raise SteeringError(
                    f"{file} is of version {found['version']!r}, but this lm_eval_steer reads version {VERSION}: use "
                    "the lm_eval_steer that wrote it"
                )
            return [_read_stage(one) for one in found["stages"]]
        except (KeyError, TypeError) as error:
            raise SteeringError(f"{file} is no whole grid.json ({error!r}): run the study again") from None

    def enter(self, stages: Sequence[Stage]) -> None:
        """Note which stages the study has, and what is done in each, so that any process can do it.

        Raises:
            SteeringError: where the folder cannot be written.
        """
        for stage in stages:
            _write(self.place(stage.folder) / "stage.json", asdict(stage))
        _write(self.root / "grid.json", {"version": VERSION, "stages": [asdict(stage) for stage in stages]})

    def enter_once(self, stages: Sequence[Stage]) -> None:
        """`enter` for one of many processes that run a stage each: the first enters the study, the others must have it.

        Raises:
            SteeringError: where another study was entered, so that an index means another stage.
        """
        if is_grid(self.root) and [one.folder for one in self.stages()] != [one.folder for one in stages]:
            raise SteeringError(
                f"the study is not as it was when {shortened(self.root)} was begun, so an index may mean another stage"
                ": run it once without --index, or name another --out"
            )
        if not is_grid(self.root):
            self.enter(stages)

    def stage(self, folder: str) -> Stage:
        """One stage that was entered.

        Raises:
            SteeringError: where it was not.
        """
        file = self.place(folder) / "stage.json"
        found = read_json(file, "a stage")
        try:
            return _read_stage(found)
        except (KeyError, TypeError) as error:
            raise SteeringError(
                f"{file} is no whole stage.json ({error!r}): remove it and run the study again"
            ) from None

    def state(self, folder: str) -> State:
        """What has become of a stage."""
        place = self.place(folder)
        if not is_folder(place):
            return State("waiting")
        done, holder = self._ended(folder, "done"), None
        if done is None:
            holder = holder_of(place)
            if holder is not None and holder.live:
                return State("running", holder.since, holder.told)
            done = self._ended(folder, "done")  # whoever was at it may have ended between the two looks
        if done is not None:
            return State("done", done.get("ended"), seconds=done.get("seconds"), loading=done.get("loading"))
        failed = self._ended(folder, "failed")
        if failed is not None:
            return State("failed", failed.get("ended"), str(failed.get("why")))
        return State("waiting") if holder is None else State("stopped", holder.since, holder.told)

    def end(self, folder: str, word: Literal["done", "failed"], **said: Any) -> None:
        """Note how a stage ended."""
        _write(self.place(folder) / f"{word}.json", said | {"ended": time.time(), "package": __version__})

    def begin(self, folder: str) -> None:
        """Forget how an earlier start of a stage failed."""
        (self.place(folder) / "failed.json").unlink(missing_ok=True)

    def jobs(self) -> dict[str, str]:
        """Folder of a stage -> the job of a cluster that it was submitted as last; of those that were."""
        file = self.root / "jobs.json"
        found = read_json(file, "jobs") if is_file(file) else {}
        return {str(folder): str(job) for folder, job in found.items()} if isinstance(found, dict) else {}

    def note_jobs(self, jobs: Mapping[str, str]) -> None:
        """Note as which jobs stages were submitted."""
        _write(self.root / "jobs.json", jobs)

    def earlier(self, stage: Stage) -> tuple[Path, ...]:
        """Folders of other stages about the same, of earlier forms of the study, the latest first."""
        found = []
        for file in self.root.glob(f"stages/{stage.kind}-*/stage.json"):
            other = read_json(file, "a stage")
            if other.get("about") == dict(stage.about) and file.parent.name != stage.folder:
                found.append((file.stat().st_mtime, file.parent))
        return tuple(place for _, place in sorted(found, reverse=True))

    def _ended(self, folder: str, word: str) -> dict[str, Any] | None:
        file = self.place(folder) / f"{word}.json"
        found = read_json(file, "a stage") if is_file(file) else None
        return found if isinstance(found, dict) else None


def is_grid(folder: Path) -> bool:
    """Whether a folder is one of a study."""
    return is_file(folder / "grid.json")


def _read_stage(given: Mapping[str, Any]) -> Stage:
    stage = Stage(**{field.name: given[field.name] for field in fields(Stage)})
    return Stage(**{**vars(stage), "needs": tuple(stage.needs)})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file whole; one that says the same already stays, so that hundreds of processes may start at once."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if not (is_file(file) and file.read_text(encoding="utf-8", errors="replace") == text):
        write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))
