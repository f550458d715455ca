"""What a run took, and its responses, from the record that it names, where that is still there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval_steer.record import read_with_settings
from lm_eval_steer.results import Run

_STEERING = ("vector", "control", "layers", "tokens", "width_map", "unit", "alpha_per_layer")
"""What makes another response of the same strength."""


def recorded_tokens(run: Run) -> int | None:
    """Generated tokens of all of a run's responses; None without a record, or where it lacks a response or a count."""
    folder = record_folder(run)
    if folder is None or not run.samples:
        return None
    prompts = {sample.request for sample in run.samples}
    lines = [
        line
        for line, settings in read_with_settings(folder, task=run.task)
        if line.prompt in prompts and belongs(run, settings, line.alpha)
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


def belongs(run: Run, settings: Mapping[str, Any], alpha: float) -> bool:
    """Whether responses of these settings and this strength are those of a run, given that the prompts are."""
    model, steering = settings.get("model") or {}, settings.get("steering") or {}
    if str(model.get("pretrained")) != run.child:
        return False
    if str(model.get("dtype")).removeprefix("torch.") != run.conditions["dtype"]:
        return False
    samples, sampled = run.steering.get("control") == "self-consistency", settings.get("sample") is not None
    if samples or sampled:
        return samples and sampled
    if not alpha:
        return 0.0 in run.alphas
    return alpha in run.alphas and all(steering.get(key) == run.steering.get(key) for key in _STEERING)
