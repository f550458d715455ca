"""What a vector's passport says, in the words of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval_steer.interventions.controls import control_in
from lm_eval_steer.text import printable, span
from lm_eval_steer.vectors.several import AnyVector
from lm_eval_steer.vectors.transferred import map_name

UNSAID = "-"


def facts_of(vector: AnyVector) -> dict[str, str]:
    """Column to cell: parent, concept, blocks, width, method, site, and the child that it was transferred to."""
    passport, first = vector.passport, vector.at(vector.sites[0])
    told = {
        "parent": passport["parent"]["name"],
        "concept": concept_of(passport),
        "blocks": f"{span(first.layers)} of {first.space['num_blocks']}",
        "width": str(first.space["hidden_size"]),
        "method": method_of(passport),
        "site": "+".join(vector.sites),
        "transferred to": _transferred(passport),
    }
    return {column: printable(cell) for column, cell in told.items()}


def concept_of(passport: Mapping[str, Any]) -> str:
    """What its pairs are of: a task, with what tells the sides apart where that is said, or pairs of somebody's own."""
    data = _section(passport, "data")
    if data.get("source") == "file":
        return "pairs of a file"
    contrast = f" ({data['contrast']})" if isinstance(data.get("contrast"), str) else ""
    return f"{_words(data.get('task'))}{contrast}"


def method_of(passport: Mapping[str, Any]) -> str:
    """How the directions were made; of another tool's file, its format, too."""
    method, imported = _words(_section(passport, "method").get("method")), _section(passport, "import").get("format")
    if not isinstance(imported, str):
        return method
    return f"from {imported}" if method == UNSAID else f"{method}, from {imported}"


def _transferred(passport: Mapping[str, Any]) -> str:
    transfer = passport.get("transfer")
    if transfer is None:
        return UNSAID
    control = control_in(dict(passport))
    apart = f", {control.name}" if control is not None else ""
    return f"{transfer['child']['name']} ({map_name(transfer['width_map'])}{apart})"


def _section(passport: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a passport that others may have written; nothing where it is no object."""
    found = passport.get(name)
    return found if isinstance(found, Mapping) else {}


def _words(said: Any) -> str:
    parts = said if isinstance(said, list) else [said]
    return ", ".join(one for one in parts if isinstance(one, str)) or UNSAID
