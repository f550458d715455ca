"""The self-check of `steered-vllm`: before the first request, steering is shown to act, and to act as defined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from vllm import SamplingParams

from lm_eval_steer.engines.vllm.replicas import take_turns
from lm_eval_steer.engines.vllm.rows import RowRunner, VllmRow
from lm_eval_steer.engines.vllm.states import settle_states
from lm_eval_steer.errors import SteeringError

TOKENS, CONTEXT, WRITTEN = 12, 8, 3
"""Of the text that is run, of its context, and of what is written: less than a block of the prefix cache, so nothing of
it is kept."""
STEPS = {False: 1.0, True: 16.0}
"""How many rounding steps of the dtype a block may be off; a norm over the hidden size adds some."""
SAME = 1e-3
"""Log-probabilities that differ by less are the same."""
NEAR = 0.25
"""Compiled and not, a log-probability differs by less than this share of what the shift changes; bfloat16 rounds."""


def check_steering(
    rows: RowRunner,
    directions: Mapping[int, np.ndarray],
    strengths: np.ndarray,
    tokens: Sequence[int],
    *,
    share: bool,
    normalize: bool,
) -> tuple[list[int], dict[int, np.ndarray]]:
    """Run a few tokens without steering, with strength 0, and with one as large as the hidden state; go on writing.

    First it is found out what the blocks' outputs are (`vllm_state.settle_states`). Every steered block must add what
    the operator says, within one rounding step of the dtype, on the tokens that are steered, leave the others as they
    are bit for bit, and hand the sum to the next block; strength 0 must leave the log-probabilities as they are, the
    large one must change them. While text is written, each position must be steered once. A compiled model is run
    uncompiled, too: hand-over is looked at there, and the log-probabilities must agree.

    Args:
        rows: loaded with the steering; its table of strengths is put back.
        directions: block -> [hidden].
        strengths: float32 [rows, blocks].
        tokens: of any text.
        share: strengths are shares of ‖h‖.
        normalize: the length of each block output is kept.

    Returns:
        the tokens that were run, and block -> its state [tokens, hidden] without steering, of the first blocks.

    Raises:
        SteeringError: one sentence, for the first thing that is not so.
    """
    text = (list(tokens) * TOKENS)[:TOKENS]
    salts = list(rows.salts)
    used = strengths.any(axis=0)
    lengths = np.array([np.linalg.norm(direction) for direction in directions.values()])
    found: list[tuple[float, bool]] = []

    def run(row: int) -> None:
        take_turns([rows.score([VllmRow(text, CONTEXT, row)], lambda number, score: found.append(score))])

    rows.load_strengths(np.zeros((2, len(directions)), dtype=np.float32), [None, "self-check: 0"])
    states = settle_states(rows, list(directions), 1, text)
    run(0)
    rows.probe(True)
    run(1)
    still = _by_block(rows.probe(True))
    norms = np.array([still[block]["norm"] if block in still else 0.0 for block in directions])
    large = np.ones_like(norms) if share else norms / np.maximum(lengths, 1e-30)
    table = np.where(used & (lengths > 0), large, 0).astype(np.float32)[None]
    rows.load_strengths(table, ["self-check: large"])
    run(0)
    handed = moved = _by_block(rows.probe(rows.compiled))
    if rows.compiled:
        rows.run_uncompiled(True)
        run(0)
        rows.run_uncompiled(False)
        handed = _by_block(rows.probe(False))
    counts = _write(rows, text)
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
        elif block not in handed or handed[block]["passed_on"] is False:
            wrong = "the next block did not receive what was added"
        elif counts["steered"][block] != counts["implied"][block]:
            wrong = (
                f"{counts['steered'][block]} positions were steered, and {counts['implied'][block]} should have been"
            )
        if wrong:
            raise SteeringError(f"the self-check of steered-vllm failed in block {block}: {wrong}")
    plain, zero, large_score, again = (found[min(number, len(found) - 1)][0] for number in range(4))
    if abs(plain - zero) > SAME:
        raise SteeringError(
            f"the self-check of steered-vllm failed: strength 0 moves a log-probability from {plain:.4f} to {zero:.4f}"
        )
    if table.any() and abs(plain - large_score) <= SAME:
        raise SteeringError(
            f"the self-check of steered-vllm failed: a shift as large as the hidden state leaves a log-probability at "
            f"{plain:.4f}"
        )
    if abs(large_score - again) > max(SAME, NEAR * abs(large_score - plain)):
        raise SteeringError(
            f"the self-check of steered-vllm failed: under a shift the compiled model gives a log-probability of "
            f"{large_score:.4f} and the same model uncompiled {again:.4f}; leave out enforce_eager=False"
        )
    return text, states


def _write(rows: RowRunner, text: list[int]) -> dict[str, dict[int, int]]:
    """Write a few tokens; gives how many positions were steered, and how many should have been."""
    params = SamplingParams(temperature=0, max_tokens=WRITTEN, ignore_eos=True, detokenize=False)
    take_turns([rows.generate([VllmRow(text[:CONTEXT], CONTEXT, 0, params)], lambda number, output: None)])
    return rows.application()


def _by_block(workers: list[dict[int, dict[str, float]]]) -> dict[int, dict[str, float]]:
    """What the workers saw, the worst of each block."""
    found: dict[int, dict[str, float]] = {}
    for worker in workers:
        for name, seen in worker.items():
            block = int(name)
            if block not in found or seen["error"] > found[block]["error"]:
                found[block] = seen
    return found
