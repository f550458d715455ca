"""The oracle: one intervention and one request at a time, without padding, batch or cache. Slow and obvious.

Every engine must give the same tokens, except where the two best logits differ by less than `NEAR_TIE`, and the same
log-likelihoods. It shares no code with the engines but the search for the blocks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lm_eval_steer.engines.hf.blocks import find_blocks, text_config
from lm_eval_steer.engines.reference_sites import attach, by_head
from lm_eval_steer.interventions.intervention import Edit, Intervention
from lm_eval_steer.sites import SITES

NEAR_TIE = 1e-3
"""Two logits that differ by less may change places by rounding."""


def _interpolated(h: Tensor, part: Tensor | float, v: Tensor) -> Tensor:
    """‖h‖ (sin((1-t)θ) ĥ + sin(tθ) v̂) / sin θ at the part t of the angle θ between h [positions, hidden] and v."""
    norm, unit = h.norm(dim=1, keepdim=True), v / v.norm()
    angle = torch.acos(h @ unit / norm[:, 0])[:, None]
    return norm * (torch.sin((1 - part) * angle) * h / norm + torch.sin(part * angle) * unit) / torch.sin(angle)


def _degrees(h: Tensor, v: Tensor) -> Tensor:
    """The angle between h [positions, hidden] and v [hidden]: [positions, 1]."""
    return torch.rad2deg(torch.acos(h @ v / (h.norm(dim=1) * v.norm())))[:, None]


def _rotated(h: Tensor, degrees: Tensor, plane: Tensor, to: bool) -> Tensor:
    """h [positions, hidden] with its part in a plane [2, hidden] turned by degrees [positions, 1], or to them."""
    axes, signs = torch.linalg.qr(plane.T)  # [hidden, 2]
    part = torch.view_as_complex((h @ axes * signs.diagonal().sign()).contiguous())
    angle = torch.deg2rad(degrees[:, 0])
    turned = torch.polar(part.abs(), angle if to else part.angle() + angle)
    return h + torch.view_as_real(turned - part) * signs.diagonal().sign() @ axes.T


def _icv(h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """n·unit(h + s(1 + relu(-cos θ))v) of h [positions, hidden]."""
    after = h + s * (1 + torch.relu(-torch.cosine_similarity(h, v[None], dim=1)))[:, None] * v
    return torch.nn.functional.normalize(after, dim=1) * h.norm(dim=1, keepdim=True)


def _low_rank(h: Tensor, s: Tensor, rows: Tensor) -> Tensor:
    """h + s(h·sum of outer products + constant): the matrix itself, of h [positions, hidden]."""
    matrix = sum(torch.outer(read, write) for read, write in zip(rows[1::2], rows[2::2], strict=True))
    return h + s * (h @ matrix + rows[0])


OPERATORS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "add": lambda h, s, v: h + s * v,
    "add_keep_norm": lambda h, s, v: (h + s * v) * h.norm(dim=1, keepdim=True) / (h + s * v).norm(dim=1, keepdim=True),
    "icv": _icv,
    "ablate": lambda h, s, v: h - s * torch.outer(h @ v, v) / (v @ v),
    "set": lambda h, s, v: h - torch.outer(h @ v, v) / (v @ v) + s * v,
    "set_at_least": lambda h, s, v: h + torch.relu(s - (h @ v / (v @ v))[:, None]) * v,
    "set_at_most": lambda h, s, v: h - torch.relu((h @ v / (v @ v))[:, None] - s) * v,
    "turn": lambda h, s, v: _interpolated(h, s / _degrees(h, v), v),
    "slerp": lambda h, s, v: _interpolated(h, s, v),
    "rotate": lambda h, s, v: _rotated(h, s, v, to=False),
    "rotate_to": lambda h, s, v: _rotated(h, s, v, to=True),
    "swap": lambda h, s, v: h + s * torch.outer(h @ v[0], v[1] - v[0]) / (v[0] @ v[0]),
    "low_rank": _low_rank,
}
"""Name -> (h [positions, hidden], strength [positions, 1], v [hidden] or [directions, hidden]) to h', all float64."""


@dataclass(frozen=True)
class Continuation:
    """Greedy text.

    Attributes:
        tokens: the new tokens, the end token included where it came.
        gaps: by how much the best logit exceeded the second best at each step.
    """

    tokens: list[int]
    gaps: list[float]

    def agrees(self, tokens: Sequence[int]) -> bool:
        """Whether `tokens` are the same, up to a first difference at a near-tie."""
        for ours, theirs, gap in zip(self.tokens, tokens, self.gaps, strict=False):
            if ours != theirs:
                return gap < NEAR_TIE
        return len(self.tokens) == len(tokens)


def _positions(tokens: str, prompt: int) -> slice:
    """Where a text is steered of which so many tokens are the prompt."""
    kind, _, number = tokens.partition(":")
    if kind == "last" and number:
        place = prompt + int(number)
        return slice(max(place, 0), max(place + 1, 0))
    return {
        "all": slice(0, None),
        "prompt": slice(0, prompt),
        "generated": slice(prompt - 1, None),
        "last": slice(prompt - 1, prompt),
        "first": slice(prompt - 1, prompt - 1 + int(number or 0)),
        "after": slice(prompt - 1 + int(number or 0), None),
    }[kind]


class Reference:
    """A model under one intervention, whose arithmetic is written here anew, in float64.

    Args:
        model: a transformers model.
        intervention: of operators in `OPERATORS`.
        blocks: where the blocks are, if they cannot be found by shape.
        tokenizer: of the model, for token rules that match texts.
    """

    def __init__(
        self, model: nn.Module, intervention: Intervention, blocks: str | None = None, tokenizer: Any = None
    ) -> None:
        self._read = cache(lambda tokens: tokenizer.decode(list(tokens)))
        self._model, self._tokens, self._unit = model, intervention.tokens, intervention.unit
        config: Any = model.config
        self._start: int | None = config.decoder_start_token_id if config.is_encoder_decoder else None
        self._blocks, self._edits = find_blocks(model, blocks), intervention.edits

    @torch.no_grad()
    def logits(self, tokens: Sequence[int], prompt: int) -> Tensor:
        """Logits [positions, vocabulary] of a text of which the first `prompt` tokens are the prompt.

        Of an encoder-decoder, whose encoder has the prompt, of its start token and what follows: the start token is
        what the decoder has of a prompt.
        """
        device = next(self._model.parameters()).device
        told = {"input_ids": torch.tensor([list(tokens)], device=device)}
        if self._start is not None:
            told["input_ids"], rest = told["input_ids"].split([prompt, len(tokens) - prompt], dim=1)
            told["decoder_input_ids"] = torch.cat([rest.new_tensor([[self._start]]), rest], dim=1)
            prompt = 1
        positions = torch.zeros(told["input_ids" if self._start is None else "decoder_input_ids"].shape[1])
        rule, colon, said = f":{self._tokens}".partition(":match:")
        positions[_positions(rule.removeprefix(":") or "all", prompt)] = 1
        if colon:
            text = tokens if self._start is None else [self._start, *rest[0].tolist()]
            positions *= torch.tensor([self._matches(said, text[: place + 1]) for place in range(len(positions))])
        with ExitStack() as stack:
            for edit in self._edits:
                change = self._change(positions.bool(), edit)
                for handle in attach(self._model, self._blocks, text_config(self._model), edit, change):
                    stack.callback(handle.remove)
            logits: Tensor = self._model(**told, use_cache=False).logits[0].float()
        return logits

    def _matches(self, said: str, text: Sequence[int]) -> bool:
        """Whether the last token of a text is one of those that are named, or completes what is looked for."""
        wanted = json.loads(said)
        if not isinstance(wanted, str):
            return text[-1] in wanted
        whole, before = (self._read(tuple(part)) for part in (text, text[:-1]))
        return whole.find(wanted, max(0, len(before) - len(wanted) + 1)) >= 0

    def _change(self, positions: Tensor, edit: Edit) -> Callable[[Tensor], Tensor]:
        """What an edit makes of a text's positions [positions, hidden], or [positions, heads, head_dim]; float64."""
        heads = SITES[edit.site].by_head
        operate = by_head(OPERATORS[edit.operator]) if heads else OPERATORS[edit.operator]
        direction = torch.from_numpy(edit.direction).double()
        size = direction.norm(dim=-1, keepdim=True) if self._unit == "dose" else torch.ones(1, dtype=torch.float64)

        def steer(rows: Tensor) -> Tensor:
            before, after = rows[positions], rows.clone()
            norm = before.norm(dim=-1, keepdim=True) if self._unit == "dose" else torch.ones_like(before[..., :1])
            after[positions] = operate(before, edit.strength * norm / size, direction)
            return after

        return steer

    def generate(self, prompt: Sequence[int], new_tokens: int, ends: Collection[int] = ()) -> Continuation:
        """Greedy text after `prompt`, up to `new_tokens` tokens or one of `ends`."""
        text = Continuation([], [])
        while len(text.tokens) < new_tokens:
            best = self.logits([*prompt, *text.tokens], len(prompt))[-1].topk(2)
            text.tokens.append(int(best.indices[0]))
            text.gaps.append(float(best.values[0] - best.values[1]))
            if text.tokens[-1] in ends:
                break
        return text

    def score(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
        """Log-likelihood of a continuation, and whether greedy decoding would write it."""
        rows = self.logits([*context, *continuation[:-1]], len(context))[-len(continuation) :]
        tokens = torch.tensor(list(continuation), device=rows.device)
        total = float(rows.log_softmax(-1).gather(1, tokens[:, None]).sum())
        return total, bool((rows.argmax(-1) == tokens).all())
