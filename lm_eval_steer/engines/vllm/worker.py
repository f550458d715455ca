"""What runs inside vLLM's workers: `SteeringWorker` is given to vLLM as `worker_extension_cls`.

vLLM mixes it into its worker class, whose `model_runner` it reads through `versions.Runner`. The sampling parameters of
each request carry the number of its intervention (`ARGUMENT` in `extra_args`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from lm_eval_steer.engines.doses import Sums
from lm_eval_steer.engines.vllm.anchors import is_missing
from lm_eval_steer.engines.vllm.blocks import BlockSteering, find_decoder
from lm_eval_steer.engines.vllm.compiled import is_traced
from lm_eval_steer.engines.vllm.matches import Matches
from lm_eval_steer.engines.vllm.spans import NOTHING, Spans
from lm_eval_steer.engines.vllm.trial import Trial
from lm_eval_steer.engines.vllm.versions import Runner
from lm_eval_steer.interventions.intervention import Edit, Intervention
from lm_eval_steer.interventions.tokens import TokenRule
from lm_eval_steer.interventions.tokens.automaton import Automaton
from lm_eval_steer.sites import Place

T = TypeVar("T")

COMPARED = 2
"""The states of so many blocks, the first, are compared with those in transformers (engines/vllm/states.py)."""
ARGUMENT = "lm_eval_steer"
"""Key in `SamplingParams.extra_args` of a request's `spans.FIELDS`."""


class SteeringWorker:
    """Calls for `collective_rpc`. vLLM refuses an extension whose names its worker has, hence the prefix."""

    model_runner: Any
    __steered: _SteeredRunner | None = None

    def steer_load(self, settings: dict[str, Any]) -> str:
        """Steer from now on as `settings` say (`pack`).

        Returns:
            what is wrong, as a sentence; empty where nothing is.
        """
        self.steer_unload()
        try:
            self.__steered = _SteeredRunner(Runner(self.model_runner), settings)
        except ValueError as error:
            return str(error)
        return ""

    def steer_unload(self) -> None:
        """Steer nothing any more."""
        if self.__steered is not None:
            self.__steered.close()
        self.__steered = None

    def steer_begin(self, requests: int) -> None:
        """A call with so many requests begins, whose numbers run from 0."""
        assert self.__steered is not None
        self.__steered.begin(requests)

    def steer_end(self, needed: list[int]) -> dict[str, Any]:
        """The call is over, and of each request so many positions were needed.

        Returns:
            applied: place -> tokens that were steered since `steer_load`.
            again, beyond: how many of this call's, per intervention, were run again or without need.
        """
        assert self.__steered is not None
        return self.__steered.end(needed)

    def steer_doses(self) -> Sums:
        """What was measured."""
        assert self.__steered is not None
        return self.__steered.blocks.doses.sums()

    def steer_uncompiled(self, on: bool) -> None:
        """Begin or end to run a compiled model as it was before."""
        assert self.__steered is not None
        self.__steered.uncompiled = on

    def steer_trial(self, move: str, blocks: list[int]) -> None:
        """Steer nothing in the passes from now on, but look at what blocks give, and move it (`trial.Trial`)."""
        assert self.__steered is not None
        self.__steered.begin_trial(move, blocks)

    def steer_tried(self, tokens: int) -> dict[str, Any]:
        """Go on steering; gives what was seen of the first `tokens` tokens (`trial.Trial.report`)."""
        assert self.__steered is not None
        return self.__steered.end_trial(tokens)

    def steer_stale(self, blocks: list[int]) -> None:
        """Take the first of two tensors alone for the output of these blocks."""
        assert self.__steered is not None
        self.__steered.blocks.stale = set(blocks)

    def steer_probe(self, on: bool) -> dict[Place, dict[str, Any]]:
        """Begin or end to look closely at every pass.

        Returns:
            place -> what was seen there last (`probes.Probe`).
        """
        assert self.__steered is not None
        return self.__steered.probe(on)


class _SteeredRunner:
    """A model runner whose forward passes are announced to its blocks.

    Attributes:
        uncompiled: a compiled model is run as it was before.
    """

    def __init__(self, runner: Runner, settings: dict[str, Any]) -> None:
        self._runner = runner
        interventions = unpack(settings)
        decoder = find_decoder(runner.model, settings["depth"], settings["path"])
        if runner.compiled and not is_traced(decoder.blocks):
            raise ValueError(
                "these blocks are not those that were found when the compiled model was loaded: give blocks= as then"
            )
        device = next(runner.model.parameters()).device
        self.blocks = BlockSteering(decoder, interventions, device=device, traced=runner.compiled)
        self.uncompiled = False
        self._trial: Trial | None = None
        self._layers = {block: layer for block, layer in enumerate(decoder.blocks) if not is_missing(layer)}
        self._count = len(interventions)
        self._known: dict[str, tuple[int, ...]] = {}
        self._spans = Spans(0, self._count)
        self._automata = unpack_automata(settings)
        self._matches = Matches(self._automata, self._count)
        runner.replace_forward(self._steered_forward)

    def close(self) -> None:
        if self._trial is not None:
            self._trial.close()
        self.blocks.remove()
        self._runner.restore_forward()

    def begin(self, requests: int) -> None:
        self._known.clear()
        self._spans = Spans(requests, self._count)
        self._matches = Matches(self._automata, self._count)

    def end(self, needed: Sequence[int]) -> dict[str, Any]:
        beyond = self._spans.beyond(needed)
        again = self._spans.again + self._matches.needless(needed)
        return {"applied": self.blocks.applied, "again": again.tolist(), "beyond": beyond.tolist()}

    def probe(self, on: bool) -> dict[Place, dict[str, Any]]:
        self.blocks.probing = on
        found, self.blocks.probes = self.blocks.probes, {}
        return {place: asdict(seen) for place, seen in found.items()}

    def begin_trial(self, move: str, blocks: list[int]) -> None:
        self._trial = Trial(self._layers, move, blocks, range(COMPARED), self.blocks.stale)

    def end_trial(self, tokens: int) -> dict[str, Any]:
        assert self._trial is not None
        trial, self._trial = self._trial, None
        trial.close()
        return trial.report(tokens)

    def _steered_forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.uncompiled or self._trial is not None:  # what is compiled hears no hooks that came later
            self._runner.skip_compiled()
        positions = self._runner.positions(args, kwargs)
        found = self._index(positions)
        if found is None:
            return self._runner.forward(*args, **kwargs)
        if self._trial is not None:
            self._trial.begin(len(positions))
            output = self._runner.forward(*args, **kwargs)
            self._trial.end(output)
            return output
        self.blocks.begin(*found)
        try:
            return self._runner.forward(*args, **kwargs)
        finally:
            self.blocks.end()

    def _index(self, positions: torch.Tensor) -> tuple[torch.Tensor, frozenset[int], None, np.ndarray] | None:
        """1 + number of the intervention of each token of this batch, 0 where none is, and those that occur.

        Args:
            positions: of the tokens in their texts [tokens], with padding at the end.

        Returns:
            arguments of `BlockSteering.begin`, or None where no request is steered.
        """
        batch = self._runner.batch()
        asked = np.array([self._asked(name) for name in batch.names], dtype=np.int64).reshape(len(batch.names), 4)
        steered = asked[:, 0] >= 0
        if not steered.any():
            return None
        start, width = batch.start, batch.width
        matching = self._matches.among(asked) if self._automata else np.zeros_like(steered)
        spanned = steered & ~matching
        self._spans.add(asked[spanned], start[spanned], width[spanned])
        occurs = steered & (asked[:, 2] < start + width) & (asked[:, 3] > start)
        tokens = np.zeros((3, len(positions)), dtype=np.int64)
        tokens[:, : int(width.sum())] = np.repeat(asked[:, 1:], width, axis=0).T
        number, first, end = torch.from_numpy(tokens).to(positions.device, non_blocking=True)
        index = torch.where((positions >= first) & (positions < end), number + 1, 0)
        if matching.any():
            hits = np.ones(len(positions), dtype=bool)
            ends, tokens_run = width.cumsum(), self._runner.tokens(int(width.sum()))
            for request in matching.nonzero()[0]:
                place = slice(int(ends[request] - width[request]), int(ends[request]))
                name = batch.names[request]
                hits[place] = self._matches.see(
                    asked[request], int(start[request]), tokens_run[place], partial(self._runner.prompt, name)
                )
            index = torch.where(torch.from_numpy(hits).to(positions.device), index, 0)
        whose = np.where(tokens[2] > 0, tokens[0] + 1, 0)
        return index, frozenset(asked[occurs, 1].tolist()), None, whose

    def _asked(self, name: str) -> tuple[int, ...]:
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = tuple(self._runner.extra(name).get(ARGUMENT, NOTHING))
        return found


def pack(
    interventions: Sequence[Intervention], depth: int, path: str | None, rules: Sequence[TokenRule]
) -> dict[str, Any]:
    """Interventions as plain values and bytes, which vLLM's transport takes: the argument of `steer_load`.

    Args:
        interventions: in the order of their numbers.
        depth, path: as for `find_layers`.
        rules: token rule of each intervention.
    """
    directions: dict[str, tuple[bytes, list[int]]] = {}
    for one in interventions:
        for edit in one.edits:
            if _key(edit) not in directions:
                array = np.ascontiguousarray(edit.direction, dtype=np.float32)
                directions[_key(edit)] = array.tobytes(), list(array.shape)
    packed = [
        {
            "edits": [[edit.block, edit.operator, _key(edit), edit.strength, edit.site] for edit in one.edits],
            "unit": one.unit,
            "tokens": one.tokens,
        }
        for one in interventions
    ]
    matches: list[list[Any]] = []  # an entry for each automaton, which many interventions may have
    for number, rule in enumerate(rules):
        if rule.match is not None and interventions[number].acts:
            same = next((one for one in matches if one[0] == rule.match.spelt), None)
            if same is None:
                finds = rule.match.automaton
                same = [rule.match.spelt, finds.follows.tobytes(), finds.hit.tobytes(), list(finds.hit.shape), []]
                matches.append(same)
            same[-1].append(number)
    said = {"interventions": packed, "directions": directions, "matches": matches}
    return said | {"depth": depth, "path": path}


def unpack_automata(settings: Mapping[str, Any]) -> dict[int, Automaton]:
    """Number of an intervention whose rule matches tokens -> what finds them, of `pack`."""
    found: dict[int, Automaton] = {}
    for _, follows, hit, shape, numbers in settings["matches"]:
        read = [np.frombuffer(raw, dtype=kind).reshape(shape) for raw, kind in ((follows, np.uint8), (hit, np.bool_))]
        found |= dict.fromkeys(numbers, Automaton(*read))
    return found


def _key(edit: Edit) -> str:
    """Of a direction: the same numbers may be one of a block, or one for each head."""
    return f"{edit.sha} {edit.direction.shape}"


def unpack(settings: Mapping[str, Any]) -> list[Intervention]:
    """The interventions of `pack`, as far as a worker needs them."""
    arrays = {
        key: np.frombuffer(raw, dtype=np.float32).reshape(shape).copy()
        for key, (raw, shape) in settings["directions"].items()
    }
    return [
        Intervention(
            tuple(Edit(block, operator, arrays[key], *more) for block, operator, key, *more in packed["edits"]),
            packed["unit"],
            packed["tokens"],
        )
        for packed in settings["interventions"]
    ]


def by_place(found: Mapping[int | str, T]) -> dict[Place, T]:
    """What a worker tells of each place, whose numbers vLLM's transport may have made text of."""
    return {int(place) if str(place).isdecimal() else place: value for place, value in found.items()}
