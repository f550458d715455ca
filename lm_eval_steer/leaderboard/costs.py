"""What a run took, and its responses, from the record that it names, where that is still there."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.record import read_lines
from lm_eval_steer.results import Run


def recorded_tokens(run: Run) -> int | None:
    """Generated tokens of all of a run's responses; None without a record, or where it lacks a response or a count."""
    folder = record_folder(run)
    if folder is None or not run.samples:
        return None
    prompts = {sample.request for sample in run.samples}
    lines = [
        line for line in read_lines(folder, task=run.task) if line.prompt in prompts and line.settings in run.settings
    ]
    early_stop = (run.steering.get("vote") or {}).get("early_stop")
    if any(line.tokens is None for line in lines) or (
        len(lines) < len(run.samples) * len(run.alphas) and not early_stop
    ):
        return None
    return sum(line.tokens or 0 for line in lines) if lines else None


def record_folder(run: Run) -> Path | None:
    """The record's folder: named from where the command ran, which may be any folder above the results."""
    if not run.record:
        return None
    for base in (Path(), *run.path.resolve().parents):
        folder = base / run.record
        if folder.is_dir() and any(folder.glob("*.rank*.jsonl")):
            return folder
    return None
