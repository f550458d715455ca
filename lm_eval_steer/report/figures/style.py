"""What all figures share: a look for print and for the colour-blind, and a legend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls import KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

T = TypeVar("T")

# Okabe and Ito, https://jfly.uni-koeln.de/color/
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY = "#666666"

BAND: dict[str, Any] = {"facecolor": "#E4E4E4", "edgecolor": "#BBBBBB", "hatch": "//", "linewidth": 0}
"""Of a range of values behind the lines."""

# One look per arm in every figure. Marker and line tell them apart without colour, too.
ARMS: dict[str, dict[str, Any]] = {
    "": {"color": BLUE, "marker": "o", "linestyle": "-", "hatch": ""},
    "random": {"color": VERMILLION, "marker": "s", "linestyle": "--", "hatch": "////"},
    "shuffled": {"color": GREEN, "marker": "^", "linestyle": "-.", "hatch": "...."},
    "negated": {"color": PURPLE, "marker": "D", "linestyle": ":", "hatch": "xxxx"},
    "self-consistency": {"color": ORANGE, "marker": "P", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "hatch": "\\\\\\\\"},
    "identity": {"color": SKY, "marker": "v", "linestyle": (0, (1, 1)), "hatch": "++++"},
    "map-shuffled": {"color": GREY, "marker": "X", "linestyle": (0, (6, 2)), "hatch": "oo"},
}
_OTHER = {"color": GREY, "marker": "x", "linestyle": (0, (1, 3)), "hatch": "----"}
"""Look of controls that other packages bring."""

SERIES = tuple(ARMS.values())
"""Looks for things that are no arms, in order."""

_LABELS = {
    **{"": "the vector", "random": "a random direction", "map-shuffled": "a map of shuffled texts"},
    **{"shuffled": "the vector, blocks shuffled", "negated": "the vector, negated"},
    **{"self-consistency": "unsteered, sampled", "identity": "unsteered, other batches"},
}

_SEVERAL = {"random": "random directions", "map-shuffled": "maps of shuffled texts"}
"""Of the labels, those of kinds whose seeds share one."""

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
    """Look of an arm by the kind of its control, one for all seeds of `random`; the vector itself has none."""
    if control not in ARMS and control not in KINDS:
        raise SteeringError(f"there is no control {control!r} to draw: use one of {', '.join(list(ARMS)[1:])}, or ''")
    return ARMS.get(control, _OTHER)


def line_look(control: str) -> dict[str, Any]:
    """Look of an arm that is drawn as a line."""
    return {key: value for key, value in arm_look(control).items() if key != "hatch"}


def arm_label(control: str, seeds: int = 1) -> str:
    """What a legend calls an arm; several seeds of a kind share a name."""
    return f"{seeds} {_SEVERAL[control]}" if control in _SEVERAL and seeds > 1 else _LABELS.get(control, control)


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


@contextmanager
def new_figure(width: float, height: float, title: str) -> Iterator[Figure]:
    """An empty figure in inches, known to no window and no global state, to be drawn within the figures' look."""
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height))
        figure.suptitle(title)
        yield figure


def number_log_scale(axis: Axis, show: Callable[[float], str]) -> None:
    """Write numbers beside a logarithmic axis: at 1, 2 and 5 times powers of ten, or, about 0, where ticks are."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
    axis.set_minor_formatter(NullFormatter())


def groups(items: Iterable[T], key: Callable[[T], Any]) -> dict[Any, list[T]]:
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
