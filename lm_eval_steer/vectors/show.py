"""What `lm-eval-steer vectors` prints: a vector's passport and blocks, and how alike two vectors are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from lm_eval_steer.shapes import is_number
from lm_eval_steer.sites import DEFAULT, SITES
from lm_eval_steer.text import printable, span
from lm_eval_steer.vectors.several import AnyVector
from lm_eval_steer.vectors.similarity import LEVEL, Cosines, Null, least_p, p_value, share_beyond
from lm_eval_steer.vectors.transferred import as_list
from lm_eval_steer.vectors.vector import SteeringVector

_SHOWN = 3
"""Items of a long list that are shown."""

_COLUMNS = {
    "explained_variance": ("explained variance", "{:.3f}"),
    "cos_mean_difference": ("cos with mean difference", "{:+.3f}"),
    "held_out_separation": ("held-out pairs separated", "{:.0%}"),
    "mean_norm": ("mean ‖h‖", "{:.1f}"),
    "length": ("length", "{:.3g}"),
}
_OF_TRANSFER = {
    "source": ("parent's block", "{}"),
    "r2": ("held-out R²", "{:.3f}"),
    "length": ("length", "{:.3f}"),
    "cos_cut": ("cos with cut", "{:+.3f}"),
}


def passport_table(vector: AnyVector, path: Path) -> Table:
    """Everything that the file says about itself but its blocks; nothing in it is taken as markup or control code."""
    table = Table(title=Text(f"Passport of {printable(str(path))}"), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in map(vector.at, vector.sites):
        table.add_row("directions", Text(printable(told_directions(one))))
    table.add_row("fingerprint", vector.fingerprint)
    for key, value in flat_items(without_blocks(vector.passport)):
        table.add_row(Text(printable(key)), Text(printable(value)))
    return table


def told_directions(vector: SteeringVector) -> str:
    """How many directions there are of one site, of which width, and where: `30 of width 576, blocks 0-29`."""
    blocks, *width = vector.directions.shape
    site = "" if vector.site == DEFAULT else f" of {vector.site}"
    shape = f"width {width[0]}" if len(width) == 1 else f"{width[0]} heads of width {width[1]}"
    where = f", blocks {span(vector.layers)}" if SITES[vector.site].in_blocks else ""
    space = f", in the space of {vector.space['name']}" if vector.transfer else ""
    return f"{blocks}{site} of {shape}{where}{space}"


def blocks_table(vector: SteeringVector) -> Table:
    """`block_lines` as a table for the terminal."""
    columns, lines = block_lines(vector)
    at = "" if vector.site == DEFAULT else f" at {vector.site}"
    table = Table(title=f"Directions{at} by block" if SITES[vector.site].in_blocks else f"Direction{at}")
    for column in columns:
        table.add_column(column, justify="right")
    for line in lines:
        table.add_row(*line)
    return table


def block_lines(vector: SteeringVector) -> tuple[list[str], list[list[str]]]:
    """Columns, and a line per block: what the passport says of it, and two measures of the direction itself.

    Of a vector that was transferred the passport says which block of the parent it comes from (of several parents: one
    each), R² of the map on texts that it was not fitted on, the length that the map gave the direction before it was
    brought to 1, and its cosine with what `cut` makes of the parent's direction.

    With heads it is the least and the largest number of those that are steered, and no cosine.

    `cos with block before` tells how much the directions change from block to block. `largest component` is the part
    of the squared length that one component holds: near 1, the direction is one outlier of the residual stream.
    """
    columns = _COLUMNS if vector.transfer is None else _OF_TRANSFER
    said = _by_number(said_of_blocks(vector.passport))
    known = [key for key in columns if any(_numbers(block.get(key)) for block in said.values())]
    if vector.directions.ndim > 2:
        return _heads_lines(vector, {key: columns[key] for key in known}, said)
    lines: list[list[str]] = []
    rows = vector.directions.astype(np.float64)
    squares = np.square(rows) / np.square(rows).sum(1, keepdims=True)
    for i, layer in enumerate(vector.layers):
        block = said.get(layer, {})
        cells = [", ".join(map(columns[key][1].format, _numbers(block.get(key)))) or "-" for key in known]
        has_before = i and vector.layers[i - 1] == layer - 1
        before = f"{_cosine(rows[i], rows[i - 1]):+.3f}" if has_before else "-"
        lines.append([str(layer), *cells, before, f"{squares[i].max():.1%} ({squares[i].argmax()})"])
    return ["block", *(columns[key][0] for key in known), "cos with block before", "largest component"], lines


def _heads_lines(
    vector: SteeringVector, columns: dict[str, tuple[str, str]], said: dict[int, dict[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    """Per block: which heads are steered, and the range over them of what the passport says."""
    lines: list[list[str]] = []
    for layer, direction in zip(vector.layers, vector.directions, strict=True):
        steered = np.flatnonzero(direction.any(axis=1))
        cells = []
        for key, (_, form) in columns.items():
            numbers = _numbers(said.get(layer, {}).get(key))
            chosen = [numbers[head] for head in steered] if len(numbers) == len(direction) else []
            ends = dict.fromkeys(form.format(one) for one in (min(chosen), max(chosen))) if chosen else ["-"]
            cells.append(" to ".join(ends))
        lines.append([str(layer), span([int(head) for head in steered]), *cells])
    return ["block", "heads", *(name for name, _ in columns.values())], lines


def comparison_table(cosines: Cosines, null: Null) -> Table:
    """What was observed beside what chance gives."""
    values, pairs = np.abs(cosines.values), cosines.values.size
    limit, median = null.quantile(LEVEL), null.quantile(0.5)
    title = f"{printable(cosines.names[0])} against {printable(cosines.names[1])}: |cos| of {pairs} pairs of blocks"
    table = Table(title=Text(title))
    table.add_column("")
    columns = ("observed", "random directions", f"{LEVEL:.0%} of {len(null.turned_most)} random turns")
    for column in columns:
        table.add_column(column, justify="right")
    row, column_number = np.unravel_index(int(values.argmax()), values.shape)
    where = f" (block {cosines.layers[0][row]} with {cosines.layers[1][column_number]})"
    table.add_row("median |cos|", f"{np.median(values):.3f}", f"{median:.3f}", "-")
    same = np.abs(cosines.same_blocks())
    if len(same):
        table.add_row(
            f"median |cos| of block l with block l ({len(same)})", f"{np.median(same):.3f}", f"{median:.3f}", "-"
        )
    if cosines.same_space and len(same):
        table.add_row("mean cos of block l with block l", f"{cosines.same_blocks().mean():+.3f}", f"{0:+.3f}", "-")
    table.add_row(
        "largest |cos|" + where, f"{values.max():.3f}", f"{null.most(pairs):.3f}", _middle(null.turned_most, "{:.3f}")
    )
    beyond = f"share beyond {limit:.3f}, the {LEVEL:.0%} quantile of random directions"
    table.add_row(
        beyond, f"{share_beyond(cosines, null):.1%}", f"{1 - LEVEL:.1%}", _middle(null.turned_beyond, "{:.1%}")
    )
    return table


def comparison_notes(cosines: Cosines, null: Null, vectors: tuple[SteeringVector, SteeringVector]) -> list[str]:
    """Sentences that say how to read the table."""
    notes = []
    if vectors[0].fingerprint == vectors[1].fingerprint:
        notes.append("The two files hold the same directions.")
    if cosines.widths[0] != cosines.widths[1]:
        wider = int(cosines.widths[1] > cosines.widths[0])
        notes.append(
            f"{printable(cosines.names[wider])} is {cosines.widths[wider]} wide, the other {cosines.width}: compared "
            f"are the first {cosines.width} components, renormalised as the width map `cut` does; they hold "
            f"{cosines.kept[wider]:.0%} of its squared length (median)."
        )
    if not cosines.same_space:
        models = " and ".join(printable(vector.space["name"]) for vector in vectors)
        notes.append(
            f"The vectors are of different models ({models}): component i of one has no common meaning with component "
            "i of the other, so chance is what to expect."
        )
    notes.append(
        "A random turn is the second vector as a whole in a random orientation. Its blocks stay as alike among each "
        "other as they are, so one lucky block brings others along, and the share varies more than that of single ones."
    )
    p = p_value(cosines, null)
    told = f"p {'at most' if p <= least_p(null) else '='} {p:.2g}, from share and largest |cos| of the random turns"
    if p <= 1 - LEVEL:
        notes.append(f"More alike than chance ({told}).")
    else:
        notes.append(f"No evidence that they are more alike than chance ({told}).")
    return notes


def flat_items(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values as text."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from flat_items(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _shown(item)


def without_blocks(passport: dict[str, Any]) -> dict[str, Any]:
    """A passport without what it says of each block, which is a table of its own or a figure; the parent first, and
    parents that went into a transferred vector by their numbers."""
    kept = {key: value for key, value in passport.items() if key not in ("parent", "blocks", "sites", "transfer")}
    if passport.get("transfer"):
        transfer = {key: value for key, value in passport["transfer"].items() if key not in ("blocks", "cka")}
        parents = {
            str(number): parent | ({"passport": without_blocks(parent["passport"])} if parent.get("passport") else {})
            for number, parent in enumerate(transfer["parents"], 1)
        }
        kept = {"transfer": transfer | {"parents": parents}} | kept
    return ({"parent": passport["parent"]} if "parent" in passport else {}) | kept


def _numbers(said: Any) -> list[float]:
    """What a field says that holds a number, or one of each parent; nothing where another writer put something else."""
    return [one for one in as_list(said) if is_number(one)]


def _shown(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and len(item) > _SHOWN:
        begun = ", ".join(_shown(one) for one in item[:_SHOWN])
        return f"{begun}, ... ({len(item)} in all)"
    return json.dumps(item, ensure_ascii=False)


def said_of_blocks(passport: dict[str, Any]) -> Any:
    """What a passport says of each direction: how it was mapped, where that was so, else how it was read."""
    return (passport.get("transfer") or passport).get("blocks")


def _by_number(said: Any) -> dict[int, dict[str, Any]]:
    """The passport's blocks by number; nothing where another writer put something else there."""
    entries = said if isinstance(said, list) else []
    return {one["block"]: one for one in entries if isinstance(one, dict) and type(one.get("block")) is int}


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def _middle(values: tuple[float, ...], form: str) -> str:
    """The middle LEVEL of the values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return f"{form.format(low)} to {form.format(high)}"
