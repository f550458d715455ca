"""Steering inside a server's worker: each request has one of a few vectors, and a strength of its own.

What requests carry (`worker.ARGUMENT`) is what `FIELDS` says. The interventions that are loaded have strength 1, and
each token's is a factor of it, so that a strength that nobody has asked for before costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.engines.vllm.blocks import BlockSteering, find_decoder
from lm_eval_steer.engines.vllm.check import STEPS
from lm_eval_steer.engines.vllm.compiled import is_traced
from lm_eval_steer.engines.vllm.probes import Probe
from lm_eval_steer.engines.vllm.versions import Runner
from lm_eval_steer.engines.vllm.worker import ARGUMENT
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.sites import Place

FIELDS = ("intervention", "strength", "first", "end")
"""What a steered request carries: number of its intervention, its strength, the half-open interval of positions."""
_NOTHING = (-1, 0.0, 0, 0)
_TOKENS = 16
"""Of the passes of the self-check; every other one is steered."""


class ServedRunner:
    """A model runner whose forward passes are announced to its blocks.

    Args:
        runner: of a worker that has loaded its model.
        interventions: shifts of strength 1, by number.
        depth: how many blocks the model has.

    Raises:
        ValueError: where its blocks cannot be told, in a sentence.
    """

    def __init__(self, runner: Runner, interventions: Sequence[Intervention], depth: int) -> None:
        self._runner, self._interventions = runner, interventions
        decoder = find_decoder(runner.model, depth)
        if runner.compiled and not is_traced(decoder.blocks):
            raise ValueError("the compiled model lacks what steers it: give --enforce-eager")
        self._device = next(runner.model.parameters()).device
        self._blocks = BlockSteering(
            decoder, interventions, device=self._device, traced=runner.compiled, measures=False
        )
        runner.replace_forward(self._steered_forward)

    def check(self) -> None:
        """Show that every block here does what it should, before the first request.

        Raises:
            SteeringError: one sentence, for the first thing that is not so.
        """
        shown: set[Place] = set()
        for number, one in enumerate(self._interventions):
            if shown.issuperset(one.places):
                continue
            still = self._probe(number, 0.0)
            moved = self._probe(number, max((probe.norm for probe in still.values()), default=0.0))
            for edit in one.edits:
                if edit.place not in self._blocks.applied:  # of another pipeline stage
                    continue
                wrong = _wrong(still.get(edit.place), moved.get(edit.place), bool(np.any(edit.direction)))
                if wrong:
                    raise SteeringError(f"the self-check of steering failed in block {edit.block}: {wrong}")
            shown.update(one.places)

    def _probe(self, number: int, strength: float) -> dict[Place, Probe]:
        """What is seen of the blocks while every other token is steered."""
        index = torch.arange(_TOKENS, device=self._device) % 2 * (number + 1)
        self._blocks.probing = True
        self._blocks.begin(index, frozenset([number]), torch.full_like(index, strength, dtype=torch.float32))
        try:
            self._runner.run_nothing(_TOKENS)
        finally:
            self._blocks.end()
            self._blocks.probing = False
        seen, self._blocks.probes = self._blocks.probes, {}
        return seen

    def _steered_forward(self, *args: Any, **kwargs: Any) -> Any:
        found = self._asked(self._runner.positions(args, kwargs))
        if found is None:
            return self._runner.forward(*args, **kwargs)
        self._blocks.begin(*found)
        try:
            return self._runner.forward(*args, **kwargs)
        finally:
            self._blocks.end()

    def _asked(self, positions: Tensor) -> tuple[Tensor, frozenset[int], Tensor] | None:
        """1 + number of the intervention of each token of this batch, 0 where none is, those that occur, and strengths.

        Args:
            positions: of the tokens in their texts [tokens], with padding at the end.

        Returns:
            all three, or None where no request is steered.
        """
        batch = self._runner.batch()
        asked = [self._runner.extra(name).get(ARGUMENT, _NOTHING) for name in batch.names]
        numbers = np.array([one[0] for one in asked], dtype=np.int64)
        if not (numbers >= 0).any():
            return None
        spans = np.array([(one[0] + 1, one[2], one[3]) for one in asked], dtype=np.int64)
        tokens = np.zeros((3, len(positions)), dtype=np.int64)
        strengths = np.zeros(len(positions), dtype=np.float32)
        run = int(batch.width.sum())
        tokens[:, :run] = np.repeat(spans, batch.width, axis=0).T
        strengths[:run] = np.repeat(np.array([one[1] for one in asked], dtype=np.float32), batch.width)
        index, first, end = torch.from_numpy(tokens).to(positions.device, non_blocking=True)
        index = torch.where((positions >= first) & (positions < end), index, 0)
        times = torch.from_numpy(strengths).to(positions.device, non_blocking=True)
        return index, frozenset(numbers[numbers >= 0].tolist()), times


def _wrong(still: Probe | None, moved: Probe | None, acts: bool) -> str:
    """What a block did wrong at strength 0 and at one as large as the hidden state; empty where nothing is."""
    if still is None or moved is None:
        return "its output was never seen although the model ran"
    if not still.untouched or still.shift:
        return "strength 0 changes its output"
    if not moved.untouched:
        return "tokens that are not to be steered were changed"
    if acts and not moved.shift:
        return "nothing was added"
    if moved.error > STEPS[True]:
        return f"what was added is off by {moved.error:.1f} rounding steps"
    if moved.passed_on is False:
        return "the next block did not receive what was added"
    return ""
