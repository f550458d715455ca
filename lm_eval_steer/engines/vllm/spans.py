"""Which positions of which request were run, and how often: the book-keeping beside vLLM's batches.

vLLM may run a position twice (after a preemption) or run some that nobody needs (after a stop string was met), and
leaves out those whose keys and values it has. A count of steered positions is compared with what requests imply, so
the three are told apart here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FIELDS = ("serial", "intervention", "first", "end")
"""What a steered request carries: its number within a call, that of its intervention, and the half-open interval of
steered positions."""
NOTHING = (-1, -1, 0, 0)
"""Of a request that is not steered."""
FOREVER = 2**31 - 1
"""End of an interval that has none."""


class Spans:
    """Positions of the requests of one call.

    Args:
        requests: how many there are.
        interventions: how many are loaded.
    """

    def __init__(self, requests: int, interventions: int) -> None:
        self._high = np.zeros(requests, dtype=np.int64)
        self._asked = np.tile(np.array(NOTHING, dtype=np.int64), (requests, 1))
        self.again = np.zeros(interventions, dtype=np.int64)

    def add(self, asked: np.ndarray, start: np.ndarray, width: np.ndarray) -> None:
        """Take note of one pass.

        Args:
            asked: `FIELDS` of each steered request of the pass [requests, 4].
            start: first position that the pass runs [requests].
            width: how many it runs [requests].
        """
        serial, number, first, end = asked.T
        stop = start + width
        seen = np.minimum(np.minimum(self._high[serial], stop), end)
        np.add.at(self.again, number, np.clip(seen - np.maximum(first, start), 0, None))
        self._high[serial] = np.maximum(self._high[serial], stop)
        self._asked[serial] = asked

    def beyond(self, needed: Sequence[int]) -> np.ndarray:
        """Steered positions behind the last one that was needed, per intervention.

        Args:
            needed: of each request, how many positions from its first on.
        """
        _, number, first, end = self._asked.T
        over = np.clip(np.minimum(end, self._high) - np.maximum(first, np.asarray(needed, dtype=np.int64)), 0, None)
        found = np.zeros_like(self.again)
        known = number >= 0
        np.add.at(found, number[known], over[known])
        return found
