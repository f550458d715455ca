"""What runs took, and their responses, from the records that they name, where those are still there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from lm_eval_steer.axis.record import Line, read_lines
from lm_eval_steer.compare.lengths import Lengths
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.runs import read_documents
from lm_eval_steer.compare.sweeps import Part
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_folder


class Records:
    """Records, each read once; one that cannot be read is left out.

    Attributes:
        left_out: a sentence for each that cannot be read.
    """

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._found: dict[tuple[Path, str], dict[str, list[Line]]] = {}

    def of(self, run: Run, part: Part | None = None) -> list[Line]:
        """The lines of a run, of all documents that its settings were run on.

        A sweep has its own record. That of another run was named from where the command ran, which may be any folder
        above the results, so several may bear the name: its own is the one with most lines of its settings.

        Args:
            run: of a result file.
            part: its place in a sweep.
        """
        if run.by_task:
            return []
        folders = [part.folder / "record"] if part else list(_folders(run))
        found = [self._lines(folder, run) for folder in folders if is_folder(folder)]
        return max(found, key=len, default=[])

    def _lines(self, folder: Path, run: Run) -> list[Line]:
        return [line for task in run.members or (run.task,) for line in self._of_task(folder, task, run.settings)]

    def _of_task(self, folder: Path, task: str, settings: Sequence[str]) -> list[Line]:
        key = (folder.resolve(), task)
        if key not in self._found:
            groups: dict[str, list[Line]] = {}
            try:
                for line in read_lines(folder, task=task):
                    groups.setdefault(line.settings, []).append(line)
            except SteeringError as error:
                groups = {}
                if str(error) not in self.left_out:
                    self.left_out.append(str(error))
            self._found[key] = groups
        return [line for one in settings for line in self._found[key].get(one, ())]


def count_tokens(row: Row, records: Records) -> None:
    """Fill in `tokens`, `prompt_tokens` and `lengths`: what a sweep counted of its arms, or what the record of a run
    says."""
    for arm, run in row.all_runs.items():
        if part := row.parts.get(arm):
            row.prompt_tokens[arm], row.tokens[arm], row.lengths[arm] = part.prompt_tokens, part.tokens, part.lengths
        else:
            lines = _lines_of(run, records)
            counts = [line.tokens for line in lines]
            row.prompt_tokens[arm] = None
            row.tokens[arm] = None if None in counts or not counts else sum(count or 0 for count in counts)
            row.lengths[arm] = Lengths.of(lines)


def _lines_of(run: Run, records: Records) -> list[Line]:
    """All of a run's responses; none without a record, or where it lacks one."""
    lines = records.of(run) if run.logged else []
    prompts = {one.request for one in read_documents(run) if not one.choices} if lines else set()
    lines = [line for line in lines if line.prompt in prompts]
    early_stop = (run.steering.get("vote") or {}).get("early_stop")
    return lines if early_stop or len(lines) >= len(run.logged) * len(run.alphas) else []


def _folders(run: Run) -> Iterator[Path]:
    """Where the record of a run may be."""
    if run.record:
        named = Path(run.record)
        with suppress(RuntimeError):  # ~somebody who is not known here
            named = named.expanduser()
        yield from dict.fromkeys(base / named for base in (Path(), *run.path.resolve().parents))
