"""Steerer: forward hooks that change what is at the sites of a model as interventions say, and leave no trace.

Each row of a batch is under an intervention of its own; which of its positions are steered is a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lm_eval_steer.engines.doses import Doses
from lm_eval_steer.engines.hf.anchors import find_anchors
from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, text_config
from lm_eval_steer.engines.hf.sites import LineUp, Sites
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.tokens import generation_mask
from lm_eval_steer.sites import Place, told

MEASURED = 16
"""Doses are measured on every pass of several positions and on every so many passes of one."""


@dataclass
class _Pass:
    """The forward pass under way."""

    rows: LineUp
    strengths: tuple[Tensor, ...]  # of each steered place, 0 where nothing is steered [rows, positions, 1]
    steered: tuple[Tensor, ...]  # of each steered place, where it is bool [rows, positions, 1]
    shape: torch.Size  # [rows, positions]
    measured: bool
    counts: Tensor  # how many rows and positions are steered, per steered place [places]
    ran: set[Place] = field(default_factory=set)  # places that have run


class Steerer:
    """The steering of one model.

    Args:
        model: a transformers model, also under PEFT.
        interventions: by number; rows of a batch name theirs.
        blocks: where the blocks are, if `find_blocks` cannot tell.
        tokenizer: gives the model's, for token rules that match texts; None where there is none.

    Attributes:
        sites: what the interventions do, as tensors.
        doses: what was measured since the Steerer was made.
        applied: place -> rows and positions that its hook has steered.

    Raises:
        SteeringError: for an intervention that does not fit the model.
    """

    def __init__(
        self,
        model: nn.Module,
        interventions: Sequence[Intervention],
        blocks: str | None = None,
        tokenizer: Callable[[], Any] | None = None,
    ) -> None:
        found = find_blocks(model, blocks) if any(one.acts for one in interventions) else []
        self._model = base_model(model)
        self.sites = Sites(interventions, len(found), tokenizer)
        self._anchors = find_anchors(self._model, found, self.sites.places)
        for column, (place, anchor) in enumerate(self._anchors.items()):
            shape = self.sites.shape(column)
            if anchor.heads is not None and anchor.heads != shape[0]:
                raise SteeringError(
                    f"the directions of {told(place)} are of {shape[0]} heads, and the model has {anchor.heads} there: "
                    "extract them from this model, with --site heads"
                )
        self._column = {place: column for column, place in enumerate(self.sites.places)}
        self._rows: LineUp | None = None
        self._pass: _Pass | None = None
        self._single_passes = 0
        self._seen = set[Place]()
        self._announced = False  # whether a pass was, since the hooks are on the model
        self._applied = torch.zeros(len(self._anchors), dtype=torch.int64)
        self._credit = torch.zeros(len(self._anchors), dtype=torch.int64)
        self.doses = Doses(len(self.sites.interventions), self.sites.places)

    @property
    def acts(self) -> bool:
        """Whether any intervention steers."""
        return bool(self._anchors)

    @property
    def applied(self) -> dict[Place, int]:
        return dict(zip(self._anchors, (self._applied.cpu() + self._credit).tolist(), strict=True))

    def credit(self, numbers: Sequence[int], positions: int) -> None:
        """Count positions of rows that were steered in another row's place, as those of a beginning that they share.

        Args:
            numbers: interventions of the rows.
            positions: of each row.
        """
        self._credit += self.sites.acts[list(numbers)].sum(dim=0) * positions

    def forget(self, applied: Mapping[Place, int]) -> None:
        """Count what was steered, by place, no more."""
        self._credit -= torch.tensor([applied[place] for place in self._anchors], dtype=torch.int64)

    def next_pass(self, numbers: Sequence[int], mask: Tensor) -> None:
        """Say what the forward passes to come inside `attached` do.

        Args:
            numbers: intervention of each row.
            mask: positions that their token rules choose, bool [rows, positions].
        """
        self._end_pass()
        if not self.acts:
            return
        self._announced = True
        if self._rows is None or self._rows.numbers != tuple(numbers):
            self._rows = LineUp(self.sites, numbers, mask.device)
        single = mask.shape[1] == 1
        self._single_passes += single
        steered = self._rows.acts & mask
        self._pass = _Pass(
            self._rows,
            (self._rows.strengths * mask)[..., None].unbind(0),
            steered[..., None].unbind(0),
            mask.shape,
            not single or self._single_passes % MEASURED == 1,
            steered.sum(dim=(1, 2)),
        )

    def _end_pass(self) -> None:
        """Count what was steered in the places that ran: once for all of them, since a GPU is slow to be told."""
        now, self._pass = self._pass, None
        if now is not None:
            ran = torch.tensor([place in now.ran for place in self._anchors], device=now.counts.device)
            self._applied = self._applied.to(ran.device) + now.counts * ran

    @contextmanager
    def scoring(self, numbers: Sequence[int], mask: Tensor) -> Iterator[None]:
        """`attached`, for one pass that `next_pass` describes."""
        with self.attached():
            self.next_pass(numbers, mask)
            yield

    @contextmanager
    def generating(self, numbers: Sequence[int], prompts: Tensor) -> Iterator[None]:
        """Steer a `generate` call whose loop is transformers' own.

        Args:
            numbers: intervention of each row; rows that `generate` multiplies (beams, several samples) inherit theirs.
            prompts: attention mask of the prompts [rows, prompt positions], padded on the left; of an encoder-decoder
                that of the decoder's start tokens [rows, 1].
        """
        if not self.acts:
            yield
            return
        rules = [self.sites.rules[number] for number in numbers]
        matches = any(rule.match for rule in rules)
        written = prompts.new_zeros(0)  # ids of all rows, as `generate` last had them
        run = 0

        def before_pass(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            nonlocal run
            told = (kwargs.get(name) for name in ("decoder_input_ids", "input_ids", "inputs_embeds"))
            inputs: Tensor = next(value for value in told if value is not None)
            start = _beginning(kwargs, inputs.shape[1], run)
            run = start + inputs.shape[1]
            copies, rest = divmod(len(inputs), len(numbers))
            if rest:
                raise SteeringError(f"{len(inputs)} rows are generated for {len(numbers)} requests")
            its = [rule for rule in rules for _ in range(copies)]
            real = prompts.repeat_interleave(copies, dim=0)
            texts = None
            if matches:
                if written.dim() != 2 or written.shape[1] < run or len(written) != len(inputs):
                    raise SteeringError(
                        "the loop of transformers does not say here which tokens it has written, and tokens=match: "
                        "hangs on them: leave out num_beams, or use another tokens"
                    )
                texts = _texts(written[:, :run], real)
            mask = generation_mask(its, real, start, inputs.shape[1], texts)
            self.next_pass([number for number in numbers for _ in range(copies)], mask)

        prepared: Any = self._model.prepare_inputs_for_generation

        def prepare(input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
            nonlocal written
            written = input_ids
            return prepared(input_ids, *args, **kwargs)

        with self.attached() as stack:
            if matches:  # a pass knows its own tokens alone, and of several beams not whose they are
                self._model.__dict__["prepare_inputs_for_generation"] = prepare
                stack.callback(self._model.__dict__.pop, "prepare_inputs_for_generation")
            handle = self._model.register_forward_pre_hook(before_pass, with_kwargs=True)
            stack.callback(handle.remove)
            yield

    @contextmanager
    def attached(self) -> Iterator[ExitStack]:
        """Hold the hooks on the model; every forward pass inside is announced by `next_pass`.

        Raises:
            SteeringError: where a pass was announced and a place was never run.
        """
        self._seen.clear()
        self._announced = False
        with ExitStack() as stack:
            stack.callback(self._end_pass)
            if self.acts and getattr(text_config(self._model), "num_kv_shared_layers", None):
                stack.callback(self._model.register_forward_pre_hook(_run_all_positions, with_kwargs=True).remove)
            for place, anchor in self._anchors.items():
                stack.callback(anchor.hook(self._change(place)).remove)
            yield stack
        silent = [place for place in self._anchors if place not in self._seen]
        if silent and self._announced:
            raise SteeringError(
                f"{told(silent[0])} was never seen although the model ran: its forward is compiled or "
                "bypassed, and nothing was steered there"
            )

    def _check(self, place: Place, module: nn.Module, hidden: Tensor) -> _Pass:
        """The pass under way, if this is the one run of the place that it announces.

        Raises:
            SteeringError: else.
        """
        now, kind, shape = self._pass, type(module).__name__, self.sites.shape(self._column[place])
        does = "is given" if self._anchors[place].reads_input else "returns"
        if now is None or hidden.dim() != 2 + len(shape) or hidden.shape[:2] != now.shape:
            if hidden.dim() == 4 and len(shape) == 1:
                raise SteeringError(
                    f"{told(place)} ({kind}) {does} {list(hidden.shape)}: this model keeps several residual streams, "
                    "and a steering vector is for one"
                )
            expected = None if now is None else [*now.shape, *shape]
            raise SteeringError(
                f"{told(place)} ({kind}) {does} {list(hidden.shape)}, expected {expected}: "
                "set blocks= to the list of decoder blocks"
            )
        if hidden.shape[-1] != shape[-1]:
            raise SteeringError(f"{told(place)} ({kind}) is {hidden.shape[-1]} wide, the direction {shape[-1]}")
        if place in now.ran:
            raise SteeringError(
                f"{told(place)} ({kind}) runs several times in one pass, so that it would be steered as often: "
                "steer blocks that run once, with layers="
            )
        now.ran.add(place)
        self._seen.add(place)
        return now

    def _change(self, place: Place) -> Callable[[nn.Module, Tensor], Tensor | None]:
        column, joined = self._column[place], self._anchors[place].joined

        def steer(module: nn.Module, hidden: Tensor) -> Tensor | None:
            if joined and self._pass is not None:
                hidden = hidden.unflatten(0, self._pass.shape)
            now = self._check(place, module, hidden)
            turn = now.rows.at(column, hidden.device)
            if not turn.parts:
                return None
            steered, strengths = now.steered[column].to(hidden.device), now.strengths[column].to(hidden.device)
            if hidden.dim() == 4:  # heads
                steered, strengths = steered[..., None], strengths[..., None]
            length = turn.lengths(hidden, strengths)
            after = turn.apply(hidden, length, steered)
            if now.measured:
                self.doses.add(place, now.rows.index, length, hidden, after, turn.direction, steered, turn.shifts)
            return after.flatten(0, 1) if joined else after

        return steer


def _texts(ids: Tensor, prompts: Tensor) -> list[list[int]]:
    """Token ids of each row [rows, positions] without its padding, which is on the left of its prompt."""
    padding = (prompts == 0).sum(dim=1).tolist()
    return [row[gap:] for row, gap in zip(ids.tolist(), padding, strict=True)]


def _run_all_positions(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Have every block of a model that shares keys and values between blocks (Gemma 4) run every position.

    transformers runs the last blocks on `logits_to_keep` positions, if that is a number
    (`Gemma4TextModel._maybe_slice_kv_shared_inputs`). Positions that are named are all run, and give the same logits.
    """
    kept, ids = kwargs.get("logits_to_keep"), kwargs.get("input_ids")
    if ids is not None and isinstance(kept, int) and kept:
        kwargs = kwargs | {"logits_to_keep": torch.arange(ids.shape[1] - kept, ids.shape[1], device=ids.device)}
    return args, kwargs


def _beginning(kwargs: Mapping[str, Any], new: int, run: int) -> int:
    """Where a pass of `generate` begins: behind what its cache holds.

    Args:
        kwargs: of the pass.
        new: how many positions it runs.
        run: how many were run before it: a cache of states (Mamba, RWKV, MiniMax) does not count them.

    transformers hands over no attention mask when there is no padding. The keyword of the cache is `cache` from
    transformers 5.20 on, `past_key_values` before.
    """
    cache = kwargs.get("cache", kwargs.get("past_key_values"))
    held = 0
    if cache is not None:
        with suppress(ValueError):  # of one that has no keys
            held = int(cache.get_seq_length())
    return held or (run if new <= run else 0)  # without any cache, a pass runs all anew
