"""`cut`, the paper's: `cut-raw`, then back to unit length, so that α is the length of the shift in every block."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.interventions.width_maps.cut_raw import cut_raw

_ROUNDING = 1e-6
"""How far from 1 the length of a direction may be that was brought to length 1 in float32."""


def cut(direction: np.ndarray, width: int) -> np.ndarray:
    """`cut_raw`, then brought to length 1 where it has another.

    Args:
        direction: of the parent [parent hidden].
        width: hidden size of the child.

    Returns:
        float32 [width]; what had length 1 within rounding is left as it is, bit for bit.

    Raises:
        SteeringError: as `cut_raw`.
    """
    fitted = cut_raw(direction, width)
    length = np.linalg.norm(fitted.astype(np.float64))
    return fitted if abs(length - 1) <= _ROUNDING else (fitted / length).astype(np.float32)
