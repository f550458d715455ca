"""Reads which module of the package imports which; run as a script, it draws the rooms and the imports between them.

python scripts/imports.py    # writes docs/figures/imports.svg
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"lm_eval_steer": ROOT / "lm_eval_steer", "lm_eval_steer.tasks": ROOT / "tasks"}
PICTURE = ROOT / "docs" / "figures" / "imports.svg"
ROOMS = (
    *(
        "",
        "answers",
        "plugin",
        "tasks",
        "sites",
        "vectors",
        "interventions",
        "engines",
        "axis",
        "models",
        "serving",
        "extraction",
        "transfer",
        "folding",
    ),
    *("compare", "sweep", "report", "grid", "cli"),
)
"""The rooms in an order in which each imports only those before it. The first has the modules that lie in no folder."""

Edges = dict[str, set[str]]
"""Room -> the rooms that it imports."""

Point = tuple[float, float]
Item = tuple[str, ...]
"""What stands in a row of the picture: a room, or the place where the arrow between two rooms passes."""

_WIDTH, _HEIGHT, _GAP, _ROW = 128, 34, 28, 86
_STYLE = """
  text { font: 14px system-ui, sans-serif; text-anchor: middle; dominant-baseline: central; fill: #1f2328 }
  .note { font-size: 12px; fill: #59636e }
  rect { fill: #eef4fb; stroke: #35618f; rx: 6 }
  .ground { fill: #fff; stroke: none }
  path { fill: none; stroke: #59636e; stroke-width: 1.3; marker-end: url(#head) }
  marker path { fill: #59636e; stroke: none; marker-end: none }
"""


def read_imports(folders: dict[str, Path] = FOLDERS) -> dict[str, set[str]]:
    """Every module below some packages with the names that it imports, inside functions and for annotations alike.

    `from package import name` gives `package.name` where that is a module or where the package is not of ours, and the
    package itself otherwise.
    """
    files = {
        ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"): path
        for package, folder in folders.items()
        for path in sorted(folder.rglob("*.py"))
    }
    return {
        module: {target for name in _imported(path) for target in [_module(name, files)] if target != module}
        for module, path in files.items()
    }


def _imported(path: Path) -> Iterator[str]:
    """The dotted names in a file's import statements, each with what is taken from the module behind it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full, from lm_eval_steer on"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(name: str, files: dict[str, Path]) -> str:
    """The module of ours that a dotted name is or is in; a name from elsewhere as it is."""
    if name.split(".")[0] != "lm_eval_steer":
        return name
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name


def room(module: str) -> str:
    """The folder of the package that a module is in; nothing for the modules that lie in no folder."""
    names = module.removeprefix("lm_eval_steer").removeprefix(".").split(".")
    return names[0] if len(names) > 1 or module in FOLDERS or (FOLDERS["lm_eval_steer"] / names[0]).is_dir() else ""


def between_rooms(imports: dict[str, set[str]]) -> Edges:
    """Which room imports which, itself left out."""
    edges: Edges = {name: set() for name in ROOMS}
    for module, targets in imports.items():
        edges[room(module)] |= {room(target) for target in targets if target.split(".")[0] == "lm_eval_steer"}
    return {name: targets - {name} for name, targets in edges.items()}


def without_implied(edges: Edges) -> Edges:
    """The imports that no chain of two or more others implies."""

    def reach(name: str) -> set[str]:
        return edges[name].union(*(reach(target) for target in edges[name]))

    return {name: {t for t in targets if all(t not in reach(o) for o in targets)} for name, targets in edges.items()}


def draw(edges: Edges) -> str:
    """The picture as SVG: a room stands above all rooms that it imports, and arrows go around the boxes.

    Raises:
        ValueError: for a room that imports one behind it in `ROOMS`.
    """
    shown, level = without_implied(edges), _levels(edges)
    rows = _rows(shown, level)
    width, height = max(map(len, rows)) * (_WIDTH + _GAP) + _GAP, len(rows) * _ROW + 20
    place = _places(rows, shown, level, width, height)
    drawn = [
        _arrow([place[item, number] for item, number in _way(name, target, level)])
        for name in ROOMS
        for target in sorted(shown[name])
    ]
    loose = sorted(path.stem for path in FOLDERS["lm_eval_steer"].glob("*.py") if path.stem != "__init__")
    drawn += [_box(name or ", ".join(loose), *place[(name,), level[name]]) for name in ROOMS]
    note = "An arrow: imports. Left out where others imply it."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Which room of lm_eval_steer imports which">\n<style>{_STYLE}</style>\n'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>\n<rect class="ground" width="100%" height="100%"/>\n'
        + "\n".join(drawn)
        + f'\n<text class="note" x="{width / 2:g}" y="{height - 14}">{note}</text>\n</svg>\n'
    )


def _levels(edges: Edges) -> dict[str, int]:
    """How high each room stands: above all that it imports."""
    level: dict[str, int] = {}
    for name in ROOMS:
        if behind := sorted(edges[name] - set(level)):
            raise ValueError(f"{name} imports {', '.join(behind)}, which does not stand before it in ROOMS")
        level[name] = 1 + max((level[target] for target in edges[name]), default=-1)
    return level


def _way(name: str, target: str, level: dict[str, int]) -> list[tuple[Item, int]]:
    """What the arrow from a room to another passes, each with its row, from above."""
    between = [((name, target), number) for number in range(level[name] - 1, level[target], -1)]
    return [((name,), level[name]), *between, ((target,), level[target])]


def _rows(shown: Edges, level: dict[str, int]) -> list[list[Item]]:
    """What stands in each row, from below."""
    rows: list[list[Item]] = [[] for _ in range(max(level.values()) + 1)]
    for name in ROOMS:
        rows[level[name]].append((name,))
        for target in sorted(shown[name]):
            for item, number in _way(name, target, level)[1:-1]:
                rows[number].append(item)
    return rows


def _places(
    rows: list[list[Item]], shown: Edges, level: dict[str, int], width: int, height: int
) -> dict[tuple[Item, int], Point]:
    """The middle of each item: rows are set from below, their items in the order of what they lead to."""
    place: dict[tuple[Item, int], Point] = {}
    for number, row in enumerate(rows):
        wanted = {}
        for item in row:
            ways = [_way(item[0], target, level) for target in item[1:] or sorted(shown[item[0]])]
            below = [place[step][0] for way in ways for step in way if step[1] == number - 1]
            wanted[item] = sum(below) / len(below) if below else width / 2
        for column, item in enumerate(sorted(row, key=lambda item: (wanted[item], item))):
            place[item, number] = ((column + 0.5) * width / len(row), height - 40 - number * _ROW - _HEIGHT / 2)
    return place


def _box(label: str, x: float, y: float) -> str:
    width = max(_WIDTH, 8 * len(label) + 20)
    return (
        f'<rect x="{x - width / 2:g}" y="{y - _HEIGHT / 2:g}" width="{width}" height="{_HEIGHT}"/>'
        f'<text x="{x:g}" y="{y:g}">{label}</text>'
    )


def _arrow(points: list[Point]) -> str:
    """From below the first point to the top of the last, straight down through the height of a box at those between."""
    half, path = _HEIGHT / 2, ""
    for (x, y), (to_x, to_y) in pairwise(points):
        y, to_y = y + half, to_y - half
        bend = (to_y - y) / 2
        path += f"{'L' if path else 'M'}{x:g} {y:g}C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"
    return f'<path d="{path}"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw(between_rooms(read_imports())), encoding="utf-8")
