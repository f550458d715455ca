"""What competes with a vector, as a table behind the one of its changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.entries import entry
from lm_eval_steer.report.tables.flat import between, detectable, points
from lm_eval_steer.scale import show_cost

_COLUMNS = ["child", "parent", "vector", "n", "compared", "difference", "95 % interval"]
_COLUMNS += ["p", "Holm p", "detectable", "verdict", "tokens"]
_LEFT = {"child", "parent", "vector", "compared", "verdict"}


def rivals(group: Group, rows: list[Row], names: Mapping[str, str]) -> list[Block]:
    """A table of all vectors of a group, a line per comparison; none where nothing competes with them.

    Args:
        group: of the rows.
        rows: of the board, in this group.
        names: model -> what tables call it.
    """
    lines = [line for row in rows if row.rivals for line in _lines(row, entry(row, names))]
    title = f"{group.name}, {group.runs[0].metric.split(',')[0]}: what competes with the vector"
    return [Block(title, _COLUMNS, _LEFT, lines, keys=4)] if lines else []


def _lines(row: Row, told: Mapping[str, Any]) -> list[list[str]]:
    keys = [told["child"], told["parent"], told["vector"], str(told["n"])]
    return [
        [
            *keys,
            f"{arm} - {rival}",
            points(found["difference"], row),
            between(row, found),
            f"{found['p']:.2g}",
            f"{found['holm_p']:.2g}",
            detectable(row, found),
            found["verdict"],
            _tokens(row, found),
        ]
        for arm, against in told["rivals"].items()
        for rival, found in against.items()
    ]


def _tokens(row: Row, found: Mapping[str, Any]) -> str:
    """Of both sides, per document: `1,056 + 32 vs 140 + 18`."""
    sides = [show_cost(found[f"{of}prompt_tokens"], found[f"{of}tokens"], row.any_run.n or 1) for of in ("", "rival_")]
    return "-" if set(sides) == {"-"} else " vs ".join(sides)
