"""Sites: where a model is steered, the table of the `site` argument, one file each.

| site          | shape             | one in     |                                                                     |
|---------------|-------------------|------------|---------------------------------------------------------------------|
| `block`       | [hidden]          | each block | its output                                                          |
| `block_input` | [hidden]          | each block | its input                                                           |
| `attention`   | [hidden]          | each block | what attention adds to the residual stream                          |
| `mlp`         | [hidden]          | each block | what the MLP adds to it                                             |
| `heads`       | [heads, head_dim] | each block | what each head gives to the output projection of attention          |
| `final_norm`  | [hidden]          | the model  | the output of the norm behind the last block, which the head reads  |
"""

from __future__ import annotations

from lm_eval_steer.sites.attention import ATTENTION
from lm_eval_steer.sites.block import BLOCK
from lm_eval_steer.sites.block_input import BLOCK_INPUT
from lm_eval_steer.sites.final_norm import FINAL_NORM
from lm_eval_steer.sites.heads import HEADS
from lm_eval_steer.sites.mlp import MLP
from lm_eval_steer.sites.places import DEFAULT, Place, in_order, place_of, split
from lm_eval_steer.sites.site import Site
from lm_eval_steer.table import Table

__all__ = ["DEFAULT", "SITES", "Place", "Site", "in_order", "place_of", "split", "told"]

SITES: Table[Site] = Table(
    "site",
    {
        "block": BLOCK,
        "block_input": BLOCK_INPUT,
        "attention": ATTENTION,
        "mlp": MLP,
        "heads": HEADS,
        "final_norm": FINAL_NORM,
    },
)


def told(place: Place) -> str:
    """A place in a sentence."""
    site, number = split(place)
    if site == DEFAULT:
        return f"block {number}"
    return f"{site} of block {number}" if SITES[site].in_blocks else site
