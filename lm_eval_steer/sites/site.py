"""What a site is: a place of a model where an activation is steered, and read by an extraction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """A place of a decoder. Where that is in a model is what an engine knows; here is what it means for a vector.

    Attributes:
        words: what is steered there, for sentences.
        in_blocks: whether each block has one; else the model has one, whose number is 0.
        by_head: whether it is [heads, head_dim], each head with a direction, a norm and a projection of its own; else
            it is as wide as the residual stream.
    """

    words: str
    in_blocks: bool = True
    by_head: bool = False

    @property
    def in_stream(self) -> bool:
        """Whether what is there is the residual stream or is added to it, so that directions of one such site have a
        meaning at every other."""
        return self.in_blocks and not self.by_head
