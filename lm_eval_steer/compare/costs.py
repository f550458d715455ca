"""What runs took, and their responses, from the records that they name, where those are still there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lm_eval_steer.axis.record import Line, read_lines
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.runs import Run
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
        folders = [part.folder / "record"] if part else list(_folders(run))
        found = [self._lines(folder, run) for folder in folders if is_folder(folder)]
        return max(found, key=len, default=[])

    def _lines(self, folder: Path, run: Run) -> list[Line]:
        key = (folder.resolve(), run.task)
        if key not in self._found:
            groups: dict[str, list[Line]] = {}
            try:
                for line in read_lines(folder, task=run.task):
                    groups.setdefault(line.settings, []).append(line)
            except SteeringError as error:
                groups = {}
                if str(error) not in self.left_out:
                    self.left_out.append(str(error))
            self._found[key] = groups
        return [line for settings in run.settings for line in self._found[key].get(settings, ())]


def count_tokens(row: Row, records: Records) -> None:
    """Fill in `tokens` and `prompt_tokens`: what a sweep counted of its arms, or what the record of a run says."""
    for arm, run in row.all_runs.items():
        row.prompt_tokens[arm] = row.parts[arm].prompt_tokens if arm in row.parts else None
        row.tokens[arm] = row.parts[arm].tokens if arm in row.parts else _recorded_tokens(run, records)


def _recorded_tokens(run: Run, records: Records) -> int | None:
    """Generated tokens of all of a run's responses; None without a record, or where it lacks a response or a count."""
    if not run.logged:
        return None
    prompts = {one.request for one in run.logged}
    lines = [line for line in records.of(run) if line.prompt in prompts]
    early_stop = (run.steering.get("vote") or {}).get("early_stop")
    if any(line.tokens is None for line in lines) or (
        len(lines) < len(run.logged) * len(run.alphas) and not early_stop
    ):
        return None
    return sum(line.tokens or 0 for line in lines) if lines else None


def _folders(run: Run) -> Iterator[Path]:
    """Where the record of a run may be."""
    if run.record:
        named = Path(run.record)
        with suppress(RuntimeError):  # ~somebody who is not known here
            named = named.expanduser()
        yield from dict.fromkeys(base / named for base in (Path(), *run.path.resolve().parents))
