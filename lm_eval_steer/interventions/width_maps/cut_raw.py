"""`cut-raw`: the first components of a direction, or the direction with zeros behind it; its length as it falls."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.errors import SteeringError


def cut_raw(direction: np.ndarray, width: int) -> np.ndarray:
    """The first `width` components of `direction` [parent hidden], or the direction padded with zeros: [width].

    Raises:
        SteeringError: where only zeros are left.
    """
    fitted = np.zeros(width, dtype=np.float32)
    kept = min(width, len(direction))
    fitted[:kept] = direction[:kept]
    if not fitted.any():
        raise SteeringError(
            f"the first {width} of the direction's {len(direction)} components are all zero: nothing is left to add"
        )
    return fitted
