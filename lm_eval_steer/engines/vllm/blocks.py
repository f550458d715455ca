"""Steering of a vLLM model in this process: what is at its sites, every token under an intervention of its own.

A block of vLLM takes and gives the tokens of all requests one behind the other, [tokens, hidden], mostly as the pair
(hidden, residual) whose sum is the residual stream: adding to the first adds to the sum. Where the first is the stream
by itself, adding to it is the same, but a length must be read from it alone (`BlockSteering.stale`). Eager models are
steered by forward hooks, blocks of compiled ones by an operator in their graph (vllm_compiled.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lm_eval_steer.engines.doses import Doses
from lm_eval_steer.engines.vllm.anchors import Change, Decoder, Pair, find_anchors, is_missing
from lm_eval_steer.engines.vllm.probes import Probe, probe
from lm_eval_steer.engines.vllm.sites import Sites
from lm_eval_steer.engines.vllm.turns import Tokens, Turn, sum_of
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.sites import DEFAULT, Place, split, told

MEASURED = 16
"""Doses are measured on every so many passes, and on the first of each intervention."""
SAMPLED = 256
"""Of the tokens that such a pass steers so many at most are measured, evenly spread: those of a prompt are many."""

announced: BlockSteering | None = None
"""The steering of the pass under way, which the operator in a compiled model asks for."""


def find_layers(model: nn.Module, depth: int, path: str | None = None) -> list[nn.Module]:
    """The decoder blocks of a vLLM model; those of other pipeline ranks are stand-ins.

    Args:
        model: of vLLM.
        depth: `num_hidden_layers` of its configuration.
        path: of the list of blocks, where there are several of that length.

    Raises:
        ValueError: one sentence, when there is no such list or more than one.
    """
    return list(find_decoder(model, depth, path).blocks)


def find_decoder(model: nn.Module, depth: int, path: str | None = None) -> Decoder:
    """The decoder blocks as `find_layers` finds them, with the module that holds them."""
    lists = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    }
    if path is not None:
        found = [name for name in lists if name == path or name.endswith(f".{path}")]
    else:
        found = [name for name, blocks in lists.items() if len(blocks) == depth]
        found = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    if len(found) != 1:
        raise ValueError(
            f"cannot tell the {depth} decoder blocks of {type(model).__name__} in vLLM: {len(found)} lists fit; set "
            f"blocks= to one of: {', '.join(lists) or 'none'}"
        )
    return Decoder(list(lists[found[0]]), model.get_submodule(found[0].rpartition(".")[0]))


class BlockSteering:
    """The steering of the places that this process holds.

    Args:
        decoder: of the model.
        interventions: by number.
        device: of the model.
        traced: the blocks call `steer_in_place` themselves, so they get no hooks.
        measures: whether doses are measured.

    Attributes:
        doses: what was measured.
        probes: place -> what was seen there last, while `probing`.
        stale: blocks that give their output as the first of two tensors, the second being none of it.

    Raises:
        ValueError: a sentence, for a place that the model does not have.
    """

    def __init__(
        self,
        decoder: Decoder,
        interventions: Sequence[Intervention],
        *,
        device: torch.device,
        traced: bool = False,
        measures: bool = True,
    ) -> None:
        self._anchors = find_anchors(decoder, [edit for one in interventions for edit in one.edits])
        others = [place for place in self._anchors if split(place)[0] != DEFAULT]
        if traced and others:
            raise ValueError(
                f"a compiled model is steered at the outputs of its blocks, and this run steers {told(others[0])}: "
                "leave out enforce_eager=False"
            )
        self.sites = Sites(interventions, self._anchors, device)
        self._column = {place: column for column, place in enumerate(self.sites.places)}
        self._applied = torch.zeros(len(self._column), dtype=torch.int64, device=device)
        self._now: _Pass | None = None
        self.probing = False
        self.probes: dict[Place, Probe] = {}
        self.stale: set[int] = set()
        self._given: dict[Place, Tensor] = {}
        self.doses = Doses(len(interventions), list(self._anchors))
        self._measures = measures
        self._unmeasured = set(range(len(interventions)))
        self._passes = 0
        self._handles: list[Any] = []
        for place in self._anchors:
            site, block = split(place)
            if site == DEFAULT and block + 1 < len(decoder.blocks) and not is_missing(decoder.blocks[block + 1]):
                watch = decoder.blocks[block + 1].register_forward_pre_hook(self._watch(place), with_kwargs=True)
                self._handles.append(watch)
        if not traced:  # behind those, which must see what a block is given before it is steered
            self._handles += [anchor.hook(self._change(place)) for place, anchor in self._anchors.items()]

    @property
    def applied(self) -> dict[Place, int]:
        """Place -> tokens that were steered there."""
        counts = self._applied.tolist()
        return {place: counts[self._column[place]] for place in self.sites.places if place in self._anchors}

    def remove(self) -> None:
        """Take the hooks off."""
        while self._handles:
            self._handles.pop().remove()

    def begin(
        self,
        index: Tensor,
        numbers: frozenset[int],
        times: Tensor | None = None,
        whose: np.ndarray | None = None,
    ) -> None:
        """Announce a pass.

        Args:
            index: 1 + number of the intervention of each token, 0 where nothing is steered [tokens].
            numbers: those that occur in it.
            times: factors of the strengths of each token, float32 [tokens]; None for 1.
            whose: see `Tokens`.
        """
        global announced
        acts = self.sites.acts[:, index]
        self._passes += 1
        announced = self
        measured = None
        if self._measures and (self._passes % MEASURED == 1 or not numbers.isdisjoint(self._unmeasured)):
            self._unmeasured -= numbers
            steered = (index > 0).nonzero()[:, 0]
            measured = steered[:: max(1, -(-len(steered) // SAMPLED))]
        runs = [0] * len(acts)
        strengths = self.sites.strengths[:, index]
        if times is not None:
            strengths = strengths * times
        self._now = _Pass(
            strengths[..., None].unbind(0),
            acts[..., None].unbind(0),
            Tokens(index, whose),
            numbers,
            acts.sum(1),
            runs,
            measured,
        )

    def end(self) -> None:
        """The pass is over: what was steered in the places that it went through is counted."""
        global announced
        if self._now is not None:
            self._applied += self._now.counts * torch.tensor(self._now.runs, dtype=torch.int64).to(self._applied.device)
        announced = self._now = None
        self._given.clear()

    def _change(self, place: Place) -> Change:
        def steer(hidden: Tensor, residual: Tensor | None) -> Pair | None:
            return None if self._now is None else self._shift(place, self._now, hidden, residual)

        return steer

    def steer_in_place(self, block: int, hidden: Tensor, residual: Tensor | None) -> None:
        """Steer a block's output where it is, if the block is steered and a pass was announced."""
        pair = None
        if self._now is not None and block in self._anchors:
            pair = self._shift(block, self._now, hidden, residual)
        if pair is None:
            return
        after, rest = pair
        hidden.copy_(after)
        if residual is not None and rest is not None and rest is not residual:
            residual.copy_(rest)
        if self.probing:
            self._given[block] = hidden

    def _shift(self, place: Place, now: _Pass, hidden: Tensor, residual: Tensor | None) -> Pair | None:
        """The two tensors that are there as they leave it, in their shapes; notes that it was steered.

        None where no intervention of the pass acts there, which takes no time then.
        """
        turn = self.sites.turn(self._column[place], now.numbers)
        now.runs[self._column[place]] += 1
        if not turn.parts:
            return None
        count = len(now.tokens.index)
        if hidden.shape[:-1].numel() != count:
            raise RuntimeError(f"{told(place)} is {list(hidden.shape)} for {count} tokens")
        site, number = split(place)
        # The stream before a block is what the block before it gave.
        second = None if number - (site == "block_input") in self.stale else residual
        shape = (count, *self.sites.shape(self._column[place]))
        flat = None if second is None else second.reshape(shape)
        after, rest = self._steer(place, turn, now, hidden.reshape(shape), flat)
        after = after.view(hidden.shape)
        if self.probing:
            self._given[place] = after
        return after, residual if rest is None or rest is flat else rest.view(hidden.shape)

    def _steer(self, place: Place, turn: Turn, now: _Pass, hidden: Tensor, residual: Tensor | None) -> Pair:
        """The same of [tokens, hidden], or [tokens, heads, head_dim]; measured where it is time for that."""
        column, scale = self._column[place], self._anchors[place].scale
        strength, steered = now.strengths[column], now.steered[column]
        if hidden.dim() > 2:
            strength, steered = strength[..., None], steered[..., None]
        index = now.tokens.index
        length = turn.lengths(lambda: sum_of(hidden, residual, scale), strength, index)
        after, rest = turn.apply(hidden, residual, length, steered, now.tokens, scale)
        if self.probing:
            both = (hidden, residual), (after, rest)
            self.probes[place] = probe(turn, *both, length, steered, now.tokens, scale)
        elif now.measured is not None:
            # As rows of one position.
            at = now.measured
            before, changed = (
                sum_of(one[at], None if other is None else other[at], scale).to(one.dtype)[:, None]
                for one, other in ((hidden, residual), (after, rest))
            )
            its, numbers = steered[at][:, None], index[at]
            own = turn.direction(numbers) if turn.places is None else turn.direction(numbers)[:, None]
            shifts = turn.shifts if isinstance(turn.shifts, bool) else turn.shifts[numbers].view(its.shape)
            self.doses.add(place, numbers - 1, length[at][:, None], before, changed, own, its, shifts)
        return after, rest

    def _watch(self, place: Place) -> Callable[[nn.Module, Any, Any], None]:
        def receive(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            if place in self._given:
                given = self._given.pop(place)
                self.probes[place].passed_on = any(value is given for value in (*args, *kwargs.values()))

        return receive


@dataclass
class _Pass:
    """The forward pass under way."""

    strengths: tuple[Tensor, ...]  # of each place [tokens, 1]
    steered: tuple[Tensor, ...]  # of each place, which tokens are, bool [tokens, 1]
    tokens: Tokens
    numbers: frozenset[int]  # interventions that occur
    counts: Tensor  # tokens that are steered [places]
    runs: list[int]  # how often each place was steered: once, where nothing went wrong
    measured: Tensor | None  # the tokens whose doses are measured; None where it is not time for that
