"""Tokens that a run outside a sweep took, from the record that it names, where that is still there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lm_eval_steer.record import Line, read_lines, settings_of
from lm_eval_steer.results import Run


def recorded_tokens(run: Run) -> int | None:
    """Generated tokens of all of a run's responses; None without a record, or where it lacks a response or a count."""
    folder = _folder(run)
    if folder is None or not run.samples:
        return None
    prompts = {sample.request for sample in run.samples}
    lines = list(_lines_of(run, folder, prompts))
    early_stop = (run.steering.get("vote") or {}).get("early_stop")
    if any(line.tokens is None for line in lines) or (
        len(lines) < len(run.samples) * len(run.alphas) and not early_stop
    ):
        return None
    return sum(line.tokens or 0 for line in lines) if lines else None


def _folder(run: Run) -> Path | None:
    """The record's folder: named from where the command ran, which may be any folder above the results."""
    if not run.record:
        return None
    for base in (Path(), *run.path.resolve().parents):
        folder = base / run.record
        if folder.is_dir() and any(folder.glob("*.rank*.jsonl")):
            return folder
    return None


def _lines_of(run: Run, folder: Path, prompts: set[str]) -> Iterator[Line]:
    settings = settings_of(folder)
    samples = run.steering.get("control") == "self-consistency"
    wanted = {key: run.steering.get(key) for key in ("vector", "control", "layers", "tokens", "width_map", "unit")}
    for line in read_lines(folder, task=run.task):
        content = settings[line.settings]
        model, steering = content.get("model") or {}, content.get("steering") or {}
        if line.prompt not in prompts or str(model.get("pretrained")) != run.child:
            continue
        if str(model.get("dtype")).removeprefix("torch.") != run.conditions["dtype"]:
            continue
        sampled = content.get("sample") is not None
        if samples or sampled:
            if samples and sampled:
                yield line
        elif not line.alpha:
            if 0.0 in run.alphas:
                yield line
        elif line.alpha in run.alphas and all(steering.get(key) == value for key, value in wanted.items()):
            yield line
