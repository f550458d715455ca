"""Steering of the blocks of a vLLM model in this process: every token's output under an intervention of its own.

A block of vLLM takes and gives the tokens of all requests one behind the other, [tokens, hidden], mostly as the pair
(hidden, residual) whose sum is the block's output: adding to the first adds to the sum. Where the first is the output
by itself, adding to it is the same, but a length must be read from it alone (`BlockSteering.stale`). Eager models are
steered by forward hooks, compiled ones by an operator in their graph (vllm_compiled.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lm_eval_steer.engines.doses import Doses
from lm_eval_steer.engines.vllm.anchors import parts
from lm_eval_steer.engines.vllm.sites import Sites, Turn
from lm_eval_steer.engines.vllm.versions import STAND_IN
from lm_eval_steer.interventions.intervention import Intervention

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
    return list(lists[found[0]])


def is_missing(layer: nn.Module) -> bool:
    """Whether a block is on another pipeline rank."""
    return type(layer).__name__ == STAND_IN


@dataclass
class Probe:
    """What the self-check sees of one block.

    Attributes:
        norm: mean ‖h‖ over the tokens, before steering.
        shift: largest |Δ| of the tokens that are steered.
        error: largest deviation from what the operator says, in rounding steps of the dtype.
        untouched: whether the tokens that are not steered left as they came, bit for bit.
        passed_on: whether the next block received what was given; None where it is not on this rank.
    """

    norm: float
    shift: float
    error: float
    untouched: bool
    passed_on: bool | None = None


class BlockSteering:
    """The steering of the blocks that this process holds.

    Args:
        layers: of the model.
        interventions: by number.
        device: of the model.
        traced: the blocks call `steer_in_place` themselves, so they get no hooks.

    Attributes:
        doses: what was measured.
        probes: block -> what was seen there last, while `probing`.
        stale: blocks that give their output as the first of two tensors, the second being none of it.
    """

    def __init__(
        self,
        layers: list[nn.Module],
        interventions: Sequence[Intervention],
        *,
        device: torch.device,
        traced: bool = False,
    ) -> None:
        self.sites = Sites(interventions, device, [not is_missing(layer) for layer in layers])
        self._column = {block: column for column, block in enumerate(self.sites.blocks)}
        here = [block for block in self.sites.blocks if not is_missing(layers[block])]
        self._here = set(here)
        self._applied = torch.zeros(len(self._column), dtype=torch.int64, device=device)
        self._now: _Pass | None = None
        self.probing = False
        self.probes: dict[int, Probe] = {}
        self.stale: set[int] = set()
        self._given: dict[int, Tensor] = {}
        self.doses = Doses(len(interventions), here)
        self._unmeasured = set(range(len(interventions)))
        self._passes = 0
        self._handles = [] if traced else [layers[block].register_forward_hook(self._hook(block)) for block in here]
        for block in here:
            if block + 1 < len(layers) and not is_missing(layers[block + 1]):
                watch = layers[block + 1].register_forward_pre_hook(self._watch(block), with_kwargs=True)
                self._handles.append(watch)

    @property
    def applied(self) -> dict[int, int]:
        """Block -> tokens that were steered there."""
        counts = self._applied.tolist()
        return {block: counts[self._column[block]] for block in sorted(self._here)}

    def remove(self) -> None:
        """Take the hooks off."""
        while self._handles:
            self._handles.pop().remove()

    def begin(self, index: Tensor, numbers: frozenset[int]) -> None:
        """Announce a pass.

        Args:
            index: 1 + number of the intervention of each token, 0 where nothing is steered [tokens].
            numbers: those that occur in it.
        """
        global announced
        acts = self.sites.acts[:, index]
        self._passes += 1
        announced = self
        measured = None
        if self._passes % MEASURED == 1 or not numbers.isdisjoint(self._unmeasured):
            self._unmeasured -= numbers
            steered = (index > 0).nonzero()[:, 0]
            measured = steered[:: max(1, -(-len(steered) // SAMPLED))]
        runs = [0] * len(acts)
        strengths = self.sites.strengths[:, index]
        self._now = _Pass(
            strengths[..., None].unbind(0), acts[..., None].unbind(0), index, numbers, acts.sum(1), runs, measured
        )

    def end(self) -> None:
        """The pass is over: what was steered in the blocks that it went through is counted."""
        global announced
        if self._now is not None:
            self._applied += self._now.counts * torch.tensor(self._now.runs, dtype=torch.int64).to(self._applied.device)
        announced = self._now = None
        self._given.clear()

    def _hook(self, block: int) -> Callable[[nn.Module, Any, Any], Any]:
        def steer(module: nn.Module, args: Any, output: Any) -> Any:
            if self._now is None:
                return None
            hidden, residual = self._summands(block, *parts(output))
            after, rest = self._shift(block, self._now, hidden, residual)
            if self.probing:
                self._given[block] = after
            if not isinstance(output, tuple):
                return after
            if residual is None or rest is residual:
                return (after, *output[1:])
            return (after, rest, *output[2:])

        return steer

    def steer_in_place(self, block: int, hidden: Tensor, residual: Tensor | None) -> None:
        """Steer a block's output where it is, if the block is steered and a pass was announced."""
        if self._now is None or block not in self._here:
            return
        hidden, residual = self._summands(block, hidden, residual)
        after, rest = self._shift(block, self._now, hidden, residual)
        hidden.copy_(after)
        if residual is not None and rest is not None and rest is not residual:
            residual.copy_(rest)
        if self.probing:
            self._given[block] = hidden

    def _summands(self, block: int, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The tensors whose sum is the block's output."""
        return hidden, None if block in self.stale else residual

    def _shift(self, block: int, now: _Pass, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The two summands of the block's output as they leave it, in their shapes; notes that it was steered."""
        if hidden.shape[:-1].numel() != len(now.index):
            raise RuntimeError(f"block {block} gives {list(hidden.shape)} for {len(now.index)} tokens")
        flat = None if residual is None else _flat(residual)
        after, rest = self._steer(block, now, _flat(hidden), flat)
        now.runs[self._column[block]] += 1
        if residual is not None and rest is flat:
            return after.view(hidden.shape), residual
        return after.view(hidden.shape), None if rest is None else rest.view(hidden.shape)

    def _steer(self, block: int, now: _Pass, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The same of [tokens, hidden], measured where it is time for that."""
        column = self._column[block]
        turn = self.sites.turn(column, now.numbers)
        direction = turn.direction(now.index)
        strength, steered = now.strengths[column], now.steered[column]
        whole = hidden
        if residual is not None and turn.reads_sum:  # else nothing reads it, and it takes time
            whole = hidden.float() + residual.float()
        length = turn.lengths(whole, strength, direction, now.index)
        after, rest = turn.apply(hidden, residual, whole, length, steered, direction, now.index)
        if self.probing:
            self.probes[block] = self._probe(turn, now, hidden, residual, after, rest, length, steered, direction)
        elif now.measured is not None:
            # As rows of one position.
            at = now.measured
            before, changed = (_whole_at(at, *both)[:, None] for both in ((hidden, residual), (after, rest)))
            own = direction if direction.dim() == 1 else direction[at, None]
            shifts = turn.shifts if isinstance(turn.shifts, bool) else turn.shifts[now.index[at], None, None]
            self.doses.add(block, now.index[at] - 1, length[at, None], before, changed, own, steered[at, None], shifts)
        return after, rest

    def _probe(
        self,
        turn: Turn,
        now: _Pass,
        hidden: Tensor,
        residual: Tensor | None,
        after: Tensor,
        rest: Tensor | None,
        length: Tensor,
        steered: Tensor,
        direction: Tensor,
    ) -> Probe:
        """Compare what is done with the operators in float64."""
        before = hidden.double() + (0 if residual is None else residual.double())
        got = after.double() + (0 if rest is None else rest.double())
        wanted = turn.in_doubles(before, length, steered, direction, now.index)
        size = torch.stack([value.double().abs() for value in (hidden, after, wanted - before)]).amax(0)
        if turn.shifts is not True:  # an inner product takes in the rounding of all components
            size = torch.maximum(size, before.square().mean(dim=-1, keepdim=True).sqrt())
        step = torch.finfo(hidden.dtype).eps * size + torch.finfo(torch.float32).tiny
        rows = ~steered[:, 0]
        same = torch.equal(after[rows], hidden[rows])
        if rest is not None and residual is not None:
            same = same and torch.equal(rest[rows], residual[rows])
        moved = (got - before)[~rows]
        return Probe(
            norm=float(before.norm(dim=-1).mean()),
            shift=float(moved.abs().max()) if len(moved) else 0.0,
            error=float(((got - wanted).abs() / step).max()),
            untouched=same,
        )

    def _watch(self, block: int) -> Callable[[nn.Module, Any, Any], None]:
        def receive(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            if block in self._given:
                given = self._given.pop(block)
                self.probes[block].passed_on = any(value is given for value in (*args, *kwargs.values()))

        return receive


@dataclass
class _Pass:
    """The forward pass under way."""

    strengths: tuple[Tensor, ...]  # of each block [tokens, 1]
    steered: tuple[Tensor, ...]  # of each block, which tokens are, bool [tokens, 1]
    index: Tensor  # [tokens]
    numbers: frozenset[int]  # interventions that occur
    counts: Tensor  # tokens that are steered [blocks]
    runs: list[int]  # how often each block was steered: once, where nothing went wrong
    measured: Tensor | None  # the tokens whose doses are measured; None where it is not time for that


def _whole_at(places: Tensor, hidden: Tensor, residual: Tensor | None) -> Tensor:
    """The blocks' output of some tokens [places, hidden], in its dtype."""
    if residual is None:
        return hidden[places]
    return (hidden[places].float() + residual[places].float()).to(hidden.dtype)


def _flat(hidden: Tensor) -> Tensor:
    """[tokens, hidden], also of what vLLM's transformers backend gives, [1, tokens, hidden]."""
    return hidden.reshape(-1, hidden.shape[-1])
