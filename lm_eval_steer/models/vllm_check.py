"""The self-check of `steered-vllm`: before the first request, steering is shown to act, and to act as defined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lm_eval_steer.engine.vllm_rows import RowRunner, VllmRow
from lm_eval_steer.errors import SteeringError

TOKENS, CONTEXT = 12, 8
"""Of the text that is run, and of its context: less than a block of the prefix cache, so nothing of it is kept."""
STEPS = {False: 1.0, True: 16.0}
"""How many rounding steps of the dtype a block may be off; a norm over the hidden size adds some."""
SAME = 1e-3
"""Log-probabilities that differ by less are the same."""


def check_steering(
    rows: RowRunner,
    directions: Mapping[int, np.ndarray],
    strengths: np.ndarray,
    tokens: Sequence[int],
    *,
    share: bool,
    normalize: bool,
) -> None:
    """Run a few tokens three times: without steering, with strength 0, and with one as large as the hidden state.

    Every steered block must add what the operator says, within one rounding step of the dtype, on the tokens that are
    steered, leave the others as they are bit for bit, and hand the sum to the next block; strength 0 must leave the
    log-probabilities as they are, the large one must change them.

    Args:
        rows: loaded with the steering; its table of strengths is put back.
        directions: block -> [hidden].
        strengths: float32 [rows, blocks].
        tokens: of any text.
        share: strengths are shares of ‖h‖.
        normalize: the length of each block output is kept.

    Raises:
        SteeringError: one sentence, for the first thing that is not so.
    """
    text = (list(tokens) * TOKENS)[:TOKENS]
    salts = list(rows.salts)
    used = strengths.any(axis=0)
    lengths = np.array([np.linalg.norm(direction) for direction in directions.values()])
    found: list[tuple[float, bool]] = []

    def run(row: int) -> None:
        rows.score([VllmRow(text, CONTEXT, row)], lambda number, score: found.append(score))

    rows.load_strengths(np.zeros((2, len(directions)), dtype=np.float32), [None, "self-check: 0"])
    run(0)
    rows.probe(True)
    run(1)
    still = _by_block(rows.probe(True))
    norms = np.array([still[block]["norm"] if block in still else 0.0 for block in directions])
    large = np.ones_like(norms) if share else norms / np.maximum(lengths, 1e-30)
    table = np.where(used & (lengths > 0), large, 0).astype(np.float32)[None]
    rows.load_strengths(table, ["self-check: large"])
    run(0)
    moved = _by_block(rows.probe(False))
    rows.load_strengths(strengths, salts)
    for block, acts in zip(directions, table[0] != 0, strict=True):
        wrong = ""
        if block not in still or block not in moved:
            wrong = "its output was never seen although the model ran"
        elif not still[block]["untouched"] or still[block]["shift"]:
            wrong = "strength 0 changes its output"
        elif not moved[block]["untouched"]:
            wrong = "tokens that are not to be steered were changed"
        elif acts and not moved[block]["shift"]:
            wrong = "nothing was added"
        elif moved[block]["error"] > STEPS[normalize]:
            wrong = f"what was added is off by {moved[block]['error']:.1f} rounding steps"
        elif moved[block]["passed_on"] is False:
            wrong = "the next block did not receive what was added"
        if wrong:
            raise SteeringError(f"the self-check of steered-vllm failed in block {block}: {wrong}")
    (plain, _), (zero, _), (large_score, _) = found
    if abs(plain - zero) > SAME:
        raise SteeringError(
            f"the self-check of steered-vllm failed: strength 0 moves a log-probability from {plain:.4f} to {zero:.4f}"
        )
    if table.any() and abs(plain - large_score) <= SAME:
        raise SteeringError(
            f"the self-check of steered-vllm failed: a shift as large as the hidden state leaves a log-probability at "
            f"{plain:.4f}"
        )


def _by_block(workers: list[dict[int, dict[str, float]]]) -> dict[int, dict[str, float]]:
    """What the workers saw, the worst of each block."""
    found: dict[int, dict[str, float]] = {}
    for worker in workers:
        for name, seen in worker.items():
            block = int(name)
            if block not in found or seen["error"] > found[block]["error"]:
                found[block] = seen
    return found
