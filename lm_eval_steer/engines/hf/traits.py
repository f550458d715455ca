"""Traits: what a model does, found out by trying it when it is first asked for, and once per model."""

from __future__ import annotations

import logging
from functools import cached_property

from lm_eval_steer.engines.hf import memory, prefix, probes
from lm_eval_steer.engines.hf.child import Child

logger = logging.getLogger(f"lm_eval.{__name__}")


class Traits:
    """The traits of one model (probes.py).

    Args:
        child: the model; no hooks may steer it while it is tried.
    """

    def __init__(self, child: Child) -> None:
        self.child = child
        self._is_causal = False

    def require_causal(self) -> None:
        """Refuse a model whose tokens look at those to come.

        Raises:
            SteeringError: names the model.
        """
        if not self._is_causal:
            probes.require_causal(self.child.base, self.child.device)
            self._is_causal = True

    @cached_property
    def continues(self) -> bool:
        """Whether a text goes on from a cache of its beginning as if it were run whole."""
        with self.child.autocast():
            return probes.continues_from_cache(self.child.base, self.child.device)

    @cached_property
    def follows_masks(self) -> bool:
        """Whether attention follows a mask of our own."""
        with self.child.autocast():
            return probes.follows_masks(self.child.base, self.child.device)

    @cached_property
    def heeds_padding(self) -> bool:
        """Whether a row of a batch that is padded on the left is continued as it is alone."""
        with self.child.autocast():
            return probes.heeds_padding(self.child.base, self.child.device)

    @cached_property
    def mixes_tokens(self) -> bool:
        """Whether all tokens of a pass have a say in how it is quantised."""
        with self.child.autocast():
            mixes = probes.mixes_tokens(self.child.base, self.child.device)
        if mixes:
            logger.info(
                "Each row is a batch of its own, and run whole: %s quantises the tokens of a pass together",
                self.child.name,
            )
        return mixes

    @cached_property
    def takes_positions(self) -> bool:
        """Whether positions are given to the model, not counted in its cache."""
        return prefix.takes_positions(self.child.base)

    @cached_property
    def bytes_per_position(self) -> float:
        """What the keys and values of one position of a row take."""
        return memory.bytes_per_position(self.child)

    def can_share(self, width: int) -> bool:
        """Whether rows of `width` tokens may follow a shared beginning."""
        return prefix.can_share(self.child.base, width) and self.continues and not self.mixes_tokens

    def takes_trees(self, width: int) -> bool:
        """Whether choices may share rows of `width` tokens: windows of attention count places, not positions."""
        return self.can_share(width) and self.follows_masks

    def rows_that_fit(self, positions: int, read: int) -> int:
        """Rows of a batch that memory holds (memory.rows_that_fit)."""
        return memory.rows_that_fit(self.child, self.bytes_per_position, positions, read)
