"""Where the sites of a transformers model are: the module whose input or output is what is steered, and the hook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lm_eval_steer.engines.hf.survey import Survey
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sites import Place, split

Change = Callable[[nn.Module, Tensor], Tensor | None]
"""(module, what is at the place) -> what it becomes; None where it stays."""


@dataclass(frozen=True, eq=False)
class Anchor:
    """One place of a model.

    Attributes:
        module: whose forward is hooked.
        reads_input: whether its input is what is steered, and not its output.
        factor: by which the model multiplies what the module gives before it enters the residual stream.
        heads: how many there are, at a site that has them.
        joined: whether rows and positions are one axis there.
    """

    module: nn.Module
    reads_input: bool = False
    factor: float = 1.0
    heads: int | None = None
    joined: bool = False

    def hook(self, change: Change) -> Any:
        """Hook the module; gives the handle.

        Args:
            change: is given [rows, positions, width], multiplied, or [rows, positions, heads, head_dim]; where they are
                `joined`, [rows x positions, width].
        """
        if self.heads is not None:
            change = _by_head(change, self.heads)
        if self.factor != 1:
            change = _multiplied(change, self.factor)
        if self.reads_input:
            return self.module.register_forward_pre_hook(lambda *given: _on_input(change, *given), with_kwargs=True)
        return self.module.register_forward_hook(lambda *given: _on_output(change, *given))


def _on_output(change: Change, module: nn.Module, args: Any, output: Any) -> Any:
    several = isinstance(output, (tuple, list))
    after = change(module, output[0] if several else output)
    return (after, *output[1:]) if several and after is not None else after


def _on_input(change: Change, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = None if args else "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
    after = change(module, args[0] if name is None else kwargs[name])
    if after is None:
        return None
    return ((after, *args[1:]), kwargs) if name is None else (args, kwargs | {name: after})


def _by_head(change: Change, heads: int) -> Change:
    def steer(module: nn.Module, joined: Tensor) -> Tensor | None:
        after = change(module, joined.unflatten(-1, (heads, -1)))
        return None if after is None else after.flatten(-2)

    return steer


def _multiplied(change: Change, factor: float) -> Change:
    """A change of what the model makes of a module's output; numbers that it leaves alone keep all their bits."""

    def steer(module: nn.Module, output: Tensor) -> Tensor | None:
        before = output * factor
        after = change(module, before)
        return None if after is None else torch.where(after == before, output, after / factor)

    return steer


def find_anchors(model: nn.Module, blocks: Sequence[nn.Module], places: Iterable[Place]) -> dict[Place, Anchor]:
    """Where places are in a model. For other sites than outputs and inputs of blocks a few tokens are run.

    Args:
        model: a transformers model.
        blocks: its blocks, in their order.
        places: of blocks that there are.

    Raises:
        SteeringError: for a site that the model does not have there.
    """
    wanted = [(place, *split(place)) for place in places]
    inside = sorted({number for _, site, number in wanted if site not in OF_BLOCKS})
    survey = Survey(model, {number: blocks[number] for number in inside}) if inside else None
    found = {}
    for place, site, number in wanted:
        if site in OF_BLOCKS:
            found[place] = Anchor(blocks[number], reads_input=OF_BLOCKS[site])
        elif site in SURVEYED and survey is not None:
            found[place] = SURVEYED[site](survey, number)
        else:
            raise SteeringError(f"steered-hf steers at {', '.join((*OF_BLOCKS, *SURVEYED))}, and not at {site}")
    return found


OF_BLOCKS = {"block": False, "block_input": True}
"""Sites of a block itself -> whether it is its input."""


def _attention(survey: Survey, number: int) -> Anchor:
    module, factor, joined = survey.added(number, "attention")
    return Anchor(module, factor=factor, joined=joined)


def _mlp(survey: Survey, number: int) -> Anchor:
    module, factor, joined = survey.added(number, "mlp")
    return Anchor(module, factor=factor, joined=joined)


def _heads(survey: Survey, number: int) -> Anchor:
    projection, heads = survey.projection(number)
    return Anchor(projection, reads_input=True, heads=heads)


def _final_norm(survey: Survey, number: int) -> Anchor:
    return Anchor(survey.last_norm())


SURVEYED: dict[str, Callable[[Survey, int], Anchor]] = {
    "attention": _attention,
    "mlp": _mlp,
    "heads": _heads,
    "final_norm": _final_norm,
}
"""Sites that are found by what the modules of a model hand to each other."""
