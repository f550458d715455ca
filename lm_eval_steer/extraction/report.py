"""The closing table of an extraction."""

from __future__ import annotations

from rich.table import Table

from lm_eval_steer.vectors.vector import SteeringVector


def make_table(vector: SteeringVector) -> Table:
    """Per block: how much of the pairs' spread the direction carries, and whether it tells the two sides apart."""
    passport = vector.passport
    method = passport["method"]["method"]
    pairs = passport["data"]["n_pairs"]
    table = Table(title=f"{passport['parent']['name']}: {method} directions of {pairs} pairs")
    for column in ("block", "explained variance", "cos with mean difference", "held-out pairs separated", "mean ‖h‖"):
        table.add_column(column, justify="right")
    for block in passport["blocks"]:
        table.add_row(
            str(block["block"]),
            f"{block['explained_variance']:.3f}",
            f"{block['cos_mean_difference']:+.3f}",
            f"{block['held_out_separation']:.0%}",
            f"{block['mean_norm']:.1f}",
        )
    return table
