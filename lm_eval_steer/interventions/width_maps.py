"""Making a direction of the parent's width fit the child's residual stream."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.errors import SteeringError


def cut_raw(direction: np.ndarray, width: int) -> np.ndarray:
    """The first `width` components of `direction` [parent hidden], or the direction padded with zeros: [width]."""
    fitted = np.zeros(width, dtype=np.float32)
    kept = min(width, len(direction))
    fitted[:kept] = direction[:kept]
    if not fitted.any():
        raise SteeringError(
            f"the first {width} of the direction's {len(direction)} components are all zero: nothing is left to add"
        )
    return fitted


def cut(direction: np.ndarray, width: int) -> np.ndarray:
    """`cut_raw`, then brought back to length 1, so that α is the length of the shift in every block."""
    fitted = cut_raw(direction, width)
    return (fitted / np.linalg.norm(fitted)).astype(np.float32)


WIDTH_MAPS = {"cut": cut, "cut-raw": cut_raw}
