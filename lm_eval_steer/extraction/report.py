"""The closing table of an extraction."""

from __future__ import annotations

from rich.table import Table

from lm_eval_steer.sites import DEFAULT
from lm_eval_steer.vectors.vector import SteeringVector

_FORMS = {
    "explained_variance": "{:.3f}",
    "cos_mean_difference": "{:+.3f}",
    "held_out_separation": "{:.0%}",
    "mean_norm": "{:.1f}",
}


def make_table(vector: SteeringVector) -> Table:
    """Per block of one site: the share of the pairs' spread along the direction, and whether that tells sides apart."""
    passport = vector.passport
    method = passport["method"]["method"]
    pairs = passport["data"]["n_pairs"]
    at = "" if vector.site == DEFAULT else f" at {vector.site}"
    table = Table(title=f"{passport['parent']['name']}: {method} directions of {pairs} pairs{at}")
    for column in ("block", "explained variance", "cos with mean difference", "held-out pairs separated", "mean ‖h‖"):
        table.add_column(column, justify="right")
    for block in passport["blocks"]:
        table.add_row(str(block["block"]), *(_told(block[key], form) for key, form in _FORMS.items()))
    return table


def _told(value: float | list[float], form: str) -> str:
    """A number, or the range of those of the heads."""
    if isinstance(value, list):
        return f"{form.format(min(value))} to {form.format(max(value))}"
    return form.format(value)
