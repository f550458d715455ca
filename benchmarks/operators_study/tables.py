"""The section of docs/RESULTS.md on operators and sites, from the summary of what was measured. No number is typed.

python benchmarks/operators_study/tables.py --from operators  # first read the cells that the folder has whole anew
python benchmarks/operators_study/tables.py                   # write what stands between the marks, and the figure
python benchmarks/operators_study/tables.py --check           # exit with 1 where the page says something else
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import summary
from picture import draw, label
from plan import CELLS, COST, MODELS, PARAMETERS, PROPORTIONAL, WAYS, Cell

ROOT = Path(__file__).parents[2]
PAGE, FIGURE = "docs/RESULTS.md", "docs/figures/operators.svg"
MARK = re.compile(r"(<!-- operators: (?P<what>[\w ]+) -->\n).*?(<!-- end of operators -->)", re.DOTALL)
Found = Mapping[str, Any]


def known(found: Found) -> list[Cell]:
    """The cells that were measured, in their order."""
    return [cell for cell in CELLS if cell.name in found]


def grouped(found: Found) -> dict[tuple[str, str], list[Cell]]:
    """Child and concept -> its cells."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in known(found):
        groups.setdefault((cell.child, cell.concept), []).append(cell)
    return groups


def shares(found: Found) -> Iterator[str]:
    """What is common to children and concepts: how near operators are to `add`, and what share of it others buy."""
    near: list[Cell] = []
    others: dict[str, list[Cell]] = {}
    for cell in known(found):
        if "minus_add" not in found[cell.name] or not WAYS[cell.way].pushes:
            continue
        if cell.way in PROPORTIONAL and cell.site == "block":
            near.append(cell)
        else:
            others.setdefault(label(cell.way, cell.site), []).append(cell)
    farthest = max(abs(found[cell.name]["minus_add"]["value"]) for cell in near)
    ways = listed(f"`{way}`" for way in dict.fromkeys(cell.way for cell in near))
    yield f"- As much as `add`, to within {farthest:.2f} nats: {ways}, {where(near)}."
    for name, cells in others.items():
        paid = [cell for cell in cells if affordable(found[cell.name])]
        if not paid:
            yield f"- `{name}`: never at that price, {where(cells)}."
            continue
        never = f"; never at that price in {len(cells) - len(paid)} of {len(cells)}" if len(paid) < len(cells) else ""
        bought = sorted(
            found[cell.name]["own"]["change"]["value"]
            / found[Cell(cell.child, cell.concept).name]["own"]["change"]["value"]
            for cell in paid
        )
        told = " to ".join(dict.fromkeys(f"{share:.0%}" for share in (bought[0], bought[-1])))
        yield f"- `{name}`: {told} of what `add` does, {where(cells)}{never}."


def where(cells: list[Cell]) -> str:
    """How many children and concepts cells are of, or which one."""
    names = dict.fromkeys(f"{MODELS[cell.child]} ({cell.concept})" for cell in cells)
    return f"in {len(names)} children and concepts" if len(names) > 1 else f"in {listed(names)}"


def listed(names: Iterable[str]) -> str:
    """One, two and three."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def findings(found: Found) -> Iterator[str]:
    """A sentence per child and concept and question."""
    for (child, concept), cells in grouped(found).items():
        of = f"{MODELS[child]}, {concept}"
        add = found[Cell(child, concept).name]["own"]["change"]
        parts = [
            f"`{label(cell.way, cell.site)}` {interval(found[cell.name]['minus_add'])}"
            for cell in cells
            if "minus_add" in found[cell.name] and affordable(found[cell.name])
        ]
        dear = [f"`{label(cell.way, cell.site)}`" for cell in cells if not affordable(found[cell.name])]
        yield f"- {of}: `add` {interval(add)} nats; against it, at the same price, {'; '.join(parts)}." + (
            f" Never at that price: {', '.join(dear)}." if dear else ""
        )
    yield ""
    pushing = [found[cell.name] for cell in known(found) if WAYS[cell.way].pushes and affordable(found[cell.name])]
    own = [entry for entry in pushing if entry["random"]]
    pushes = [abs(one["change"]["value"]) for entry in own for one in entry["random"].values()]
    least = min(entry["own"]["change"]["value"] / max(random_mean(entry), 0.01) for entry in own)
    yield (
        f"- A random direction, as strong as the price allows, moves the log-odds by {fmean(pushes):.2f} nats on "
        f"average, and by {max(pushes):.2f} at most ({len(pushes)} of them); the vector moves them by at least "
        f"{least:.1f} times as much as the random directions at its site do under its operator."
    )
    widths = [entry["own"]["change"]["high"] - entry["own"]["change"]["low"] for entry in pushing]
    paired = [entry["minus_add"]["high"] - entry["minus_add"]["low"] for entry in pushing if "minus_add" in entry]
    if paired:
        yield (
            f"- Intervals of an effect are {min(widths):.2f} to {max(widths):.2f} nats wide, those of a difference "
            f"from `add` on the same rows {min(paired):.2f} to {max(paired):.2f}."
        )


def affordable(entry: Found) -> bool:
    """Whether its strength costs about the price, or less."""
    return bool(entry["own"]["cost"]["value"] <= summary.NEAR * COST)


def random_mean(entry: Found) -> float:
    """Of the sizes of what its random directions do."""
    return fmean(abs(one["change"]["value"]) for one in entry["random"].values())


def table(found: Found) -> Iterator[str]:
    """All cells at the price."""
    head = ["child", "concept", "operator, site", "strength", "cost", "change of log-odds", "minus `add`", "random"]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for cell in known(found):
        entry = found[cell.name]
        own = entry["own"]
        told = [MODELS[cell.child], cell.concept, f"`{label(cell.way, cell.site)}`", f"{own['strength']:g}"]
        told += [f"{own['cost']['value']:.3f} ({own['cost']['low']:.3f} to {own['cost']['high']:.3f})"]
        told += [interval(own["change"]), interval(entry["minus_add"]) if "minus_add" in entry else ""]
        randoms = [one["change"]["value"] for one in entry["random"].values()]
        yield f"| {' | '.join([*told, ' and '.join(f'{value:+.2f}' for value in randoms)])} |"


def interval(numbers: Found) -> str:
    """A change in nats with its interval."""
    return f"{numbers['value']:+.2f} ({numbers['low']:+.2f} to {numbers['high']:+.2f})"


def left_out(found: Found) -> Iterator[str]:
    """Planned cells that were not measured, and about how long each takes, at the time per parameter of the others."""
    missing: dict[str, list[Cell]] = {}
    for cell in CELLS:
        if cell.name not in found:
            missing.setdefault(cell.child, []).append(cell)
    took = sum(entry["seconds"] for entry in found.values())
    timed = [cell for cell in known(found) if WAYS[cell.way].controls]
    each = fmean(found[cell.name]["seconds"] / PARAMETERS[cell.child] for cell in timed)
    yield f"- Measured: {len(found)} cells of {len(CELLS)} planned ones, {took / 60:.0f} minutes of one core."
    for child, cells in missing.items():
        names = ", ".join(f"`{label(cell.way, cell.site)}` ({cell.concept})" for cell in cells)
        yield f"- {MODELS[child]}: {names}; about {each * PARAMETERS[child] / 60:.1f} minutes of one core each."


BLOCKS: dict[str, Callable[[Found], Iterator[str]]] = {
    "shares": shares,
    "findings": findings,
    "table": table,
    "left out": left_out,
}


def render(text: str, found: Found) -> str:
    """The page with all that stands between its marks made anew.

    Raises:
        SystemExit: for a mark that nothing is known of.
    """

    def fill(match: re.Match[str]) -> str:
        if match["what"] not in BLOCKS:
            raise SystemExit(f"the page asks for {match['what']!r}: known are {', '.join(BLOCKS)}")
        return match[1] + "\n".join(BLOCKS[match["what"]](found)) + "\n" + match[3]

    return MARK.sub(fill, text)


def main() -> None:
    """Read measurements, write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, metavar="DIR", help="folder of the study")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the page lies (default: this checkout)")
    args = parser.parse_args()
    if args.folder:
        measured = [*summary.read_measured(args.folder / "measured.jsonl")]
        summary.write(summary.read() | summary.whole(summary.summarise(measured), measured))
    found = summary.read()
    made = {PAGE: render((args.root / PAGE).read_text(encoding="utf-8"), found).encode(), FIGURE: draw(found)}
    wrong = [name for name, content in made.items() if not holds(args.root / name, content)]
    if not args.check:
        for name in wrong:
            (args.root / name).write_bytes(made[name])
    if args.check and wrong:
        sys.exit(f"{' and '.join(wrong)}: not what the summary says; run python benchmarks/operators_study/tables.py")


def holds(path: Path, content: bytes) -> bool:
    """Whether a file has this content."""
    return path.exists() and path.read_bytes() == content


if __name__ == "__main__":
    main()
