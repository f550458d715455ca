"""What the measurements come to: of each cell its effect at the price, its curve, and how it compares with `add`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from plan import CELLS, COST, OWN, WAYS, Cell

from lm_eval_steer.compare.stats import mean_change
from lm_eval_steer.compare.text_costs import TextCost

FILE = Path(__file__).parent / "summary.json"
NEAR = 1.25
"""How much more than the price a random direction may cost that is held against the vector."""

Lines = Mapping[float, Mapping[str, Any]]


def read_measured(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file, without one that a killed run left half written; later ones say more than earlier ones."""
    for line in file.read_text(encoding="utf-8").split("\n") if file.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def summarise(measured: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Cell -> what it comes to, of the cells whose vector was asked at the price."""
    lines: dict[tuple[str, str], dict[float, Mapping[str, Any]]] = {}
    for line in measured:
        lines.setdefault((line["cell"], line["whose"]), {})[line["strength"]] = line
    found = {}
    for cell in CELLS:
        plain = lines.get((Cell(cell.child, cell.concept, "", "").name, ""), {}).get(0.0)
        own = asked(lines.get((cell.name, OWN), {}))
        if plain is None or "log_odds" not in plain or not own:
            continue
        others = {whose: asked(of) for (name, whose), of in lines.items() if name == cell.name and whose != OWN}
        add = asked(lines.get((Cell(cell.child, cell.concept).name, OWN), {}))
        told = at_price(own, plain)
        entry: dict[str, Any] = {"own": told, "curve": [point(plain, own[strength]) for strength in sorted(own)]}
        entry["random"] = {whose: at_price(of, plain) for whose, of in sorted(others.items()) if of}
        entry["random"] = {whose: one for whose, one in entry["random"].items() if one["cost"]["value"] <= NEAR * COST}
        if add and cell.name != Cell(cell.child, cell.concept).name:
            entry["minus_add"] = change(nearest(add, plain), nearest(own, plain))
        entry["n"], entry["pairs"] = len(plain["log_odds"]), len(set(plain["words"]))
        entry["unsteered"] = round(fmean(plain["log_odds"]), 4)
        asked_for = [line for (name, _), of in lines.items() if name == cell.name for line in of.values()]
        entry["seconds"] = round(sum(line["seconds"] for line in asked_for), 1)
        found[cell.name] = entry
    return found


def whole(found: Mapping[str, Any], measured: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The cells of which nothing is left to measure, neither random directions nor `add` beside them."""
    done = {(line["cell"], line["whose"]) for line in measured if "log_odds" in line}

    def is_whole(cell: Cell) -> bool:
        needed = {
            (Cell(cell.child, cell.concept).name, OWN),
            *((cell.name, whose) for whose in WAYS[cell.way].controls),
        }
        return needed <= done

    return {cell.name: found[cell.name] for cell in CELLS if cell.name in found and is_whole(cell)}


def asked(lines: Lines) -> Lines:
    """Those at which test rows were asked."""
    return {strength: line for strength, line in lines.items() if "log_odds" in line}


def nearest(lines: Lines, plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one whose cost is nearest to the price."""
    return min(lines.values(), key=lambda line: abs(fmean(line["cost"]) - fmean(plain["cost"]) - COST))


def at_price(lines: Lines, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Effect and cost at the strength whose cost is nearest to the price."""
    return point(plain, nearest(lines, plain))


def point(plain: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    """Effect and cost of one strength, each with a 95 % interval: over pairs of endings, and over texts."""
    cost = TextCost.of(plain["cost"], line["cost"], 0)
    told = {"value": cost.value, "low": cost.low, "high": cost.high}
    return {"strength": line["strength"], "cost": rounded(told), "change": change(plain, line)}


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Mean change of the log-odds from one measurement to another, rows of one pair of endings taken together."""
    found = mean_change(before["log_odds"], after["log_odds"], after["words"])
    return rounded({"value": found.change, "low": found.low, "high": found.high, "p": found.p})


def rounded(numbers: Mapping[str, float | None]) -> dict[str, Any]:
    """To four digits behind the point; p to two that count."""
    return {
        key: None if value is None else float(f"{value:.2g}") if key == "p" else round(value, 4)
        for key, value in numbers.items()
    }


def read() -> dict[str, Any]:
    """The summary that is committed."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def write(found: Mapping[str, Any]) -> None:
    """Have it committed, cells in the order of the plan."""
    found = {cell.name: found[cell.name] for cell in CELLS if cell.name in found}
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
