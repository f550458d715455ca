"""What all figures share: a look for print and for the colour-blind, and files that are the same every time."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import refuse_unwritable, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")

# Okabe and Ito, https://jfly.uni-koeln.de/color/
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#666666"

# One look per arm in every figure. Marker and line tell them apart without colour, too.
ARMS: dict[str, dict[str, Any]] = {
    "vector": {"color": BLUE, "marker": "o", "linestyle": "-", "hatch": ""},
    "random": {"color": VERMILLION, "marker": "s", "linestyle": "--", "hatch": "////"},
    "shuffled": {"color": GREEN, "marker": "^", "linestyle": "-.", "hatch": "...."},
    "negated": {"color": PURPLE, "marker": "D", "linestyle": ":", "hatch": "xxxx"},
    "self-consistency": {"color": ORANGE, "marker": "P", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "hatch": "\\\\\\\\"},
    "identity": {"color": SKY, "marker": "v", "linestyle": (0, (1, 1)), "hatch": "++++"},
}
SERIES = tuple(ARMS.values())
"""Looks for things that are no arms, in order."""

_LABELS = {
    "": "the vector",
    "shuffled": "the vector, blocks shuffled",
    "negated": "the vector, negated",
    "self-consistency": "unsteered, sampled",
    "identity": "unsteered, other batches",
}

_LOOK = {
    "font.size": 9,
    "text.parse_math": False,  # names of models are no formulas
    "axes.titlesize": 10,
    "figure.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
    "svg.hashsalt": "lm_eval_steer",
}


def arm_look(control: str) -> dict[str, Any]:
    """Look of an arm by the name of its control; the vector itself has none. All seeds of `random` look alike."""
    kind = control.partition(":")[0] if control else "vector"
    if kind not in ARMS or control == "vector":
        raise SteeringError(f"there is no control {control!r} to draw: use one of {', '.join(list(ARMS)[1:])}, or ''")
    return ARMS[kind]


def arm_label(control: str, seeds: int = 1) -> str:
    """What a legend calls an arm; the seeds of `random` share a name where there are several."""
    kind = control.partition(":")[0]
    if kind == "random":
        return f"{seeds} random directions" if seeds > 1 else "a random direction"
    return _LABELS[kind]


def need_matplotlib() -> None:
    """Matplotlib, which only figures need.

    Raises:
        SteeringError: where it is missing, with the command that brings it.
    """
    if without := missing_matplotlib():
        raise SteeringError(without)


def missing_matplotlib() -> str:
    """Why no figure can be drawn, with the command that helps; empty where they can."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        return f'figures need {error.name}, which is not installed: run pip install "lm_eval_steer[figures]"'
    except ImportError as error:
        return f'figures need matplotlib, which cannot be loaded ({error}): run pip install "lm_eval_steer[figures]"'
    return ""


def styled() -> AbstractContextManager[None]:
    """The figures' own settings on top of matplotlib's defaults, whatever the user's matplotlibrc says."""
    need_matplotlib()
    from matplotlib import style

    return style.context(["default", _LOOK])


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches, known to no window and no global state. Call it within `styled`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as .svg or .png, whole or not at all. The same figure is the same bytes: no date, no random ids.

    Raises:
        SteeringError: for another suffix.
    """
    content = figure_bytes(figure, figure_kind(Path(path)))
    return write_whole(path, lambda part: part.write_bytes(content))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as `svg` or `png`, as `save_figure` writes it."""
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def figure_kind(path: Path) -> str:
    """`svg` or `png`.

    Raises:
        SteeringError: for another suffix.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise SteeringError(f"{path}: a figure is written as .svg or .png, not {path.suffix!r}")
    return kind


def check_figure(path: str | Path) -> None:
    """Check, before the work that is drawn, that a figure can be written to `path`.

    Raises:
        SteeringError: for another suffix, a place that cannot be written to, and where matplotlib is missing.
    """
    if not str(path):
        raise SteeringError("--out names no file: name an .svg or a .png")
    figure_kind(Path(path))
    need_matplotlib()
    refuse_unwritable(path)


def groups(items: Sequence[T], key: Callable[[T], Any]) -> dict[Any, list[T]]:
    """Items by key, in the order of their first."""
    found: dict[Any, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def need_some(items: Collection[Any], what: str) -> None:
    """Refuse an empty figure.

    Raises:
        SteeringError: for no items.
    """
    if not items:
        raise SteeringError(f"there is nothing to draw: the figure was given no {what}")


def percent(shares: Iterable[float]) -> list[float]:
    """Shares as they are drawn."""
    return [100 * share for share in shares]


def signed(value: float) -> str:
    """`+4.0 %`, with a real minus as on matplotlib's axes."""
    return f"{value:+.1f} %".replace("-", "\N{MINUS SIGN}")


def legend_below(figure: Figure, panels: Iterable[Axes], note: str) -> None:
    """One legend for all panels, each label once, in as many columns as fit, with a note above it."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    widest = 0.55 + 0.067 * max(map(len, handles))  # inches of a column at the figures' font size
    columns = max(1, min(len(handles), int(figure.get_figwidth() / widest)))
    legend = figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, title=note)
    legend.get_title().set_color(GREY)
