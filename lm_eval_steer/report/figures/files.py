"""Figures as files that are whole, and the same bytes every time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, refuse_unwritable, write_whole
from lm_eval_steer.report.figures.style import need_matplotlib, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as .svg or .png, whole or not at all. The same figure is the same bytes: no date, no random ids.

    Raises:
        SteeringError: for another suffix.
    """
    content = figure_bytes(figure, _kind(path))
    return write_whole(path, lambda part: part.write_bytes(content))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as `svg` or `png`, as `save_figure` writes it."""
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def check_figure(path: str | Path) -> None:
    """Check, before the work that is drawn, that a figure can be written to `path`.

    Raises:
        SteeringError: for another suffix, a place that cannot be written to, and where matplotlib is missing.
    """
    if not str(path):
        raise SteeringError("--out names no file: name an .svg or a .png")
    _kind(path)
    need_matplotlib()
    refuse_unwritable(path)


def check_folder(path: str | Path) -> None:
    """Check, before the work, that figures can be written into a folder.

    Raises:
        SteeringError: for a file in its place, a place that cannot be written to, and where matplotlib is missing.
    """
    need_matplotlib()
    if not str(path):
        raise SteeringError("--out names no folder: name one, figures are several files")
    if is_file(path):
        raise SteeringError(f"--out {path} is a file: name a folder, figures are several files")
    refuse_unwritable(Path(path) / "figure.svg")


def _kind(path: str | Path) -> str:
    """`svg` or `png`, by the suffix."""
    suffix = Path(path).suffix
    if suffix.lower() not in (".svg", ".png"):
        raise SteeringError(f"{path}: a figure is written as .svg or .png, not {suffix!r}")
    return suffix.lower()[1:]
