"""What the output of a block is in vLLM: found by running the model, and held against two others.

One is its input and what attention and MLP add to it, read where they are added; the other is what transformers has
behind the first blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.vllm.rows import RowRunner, VllmRow
from lm_eval_steer.errors import SteeringError

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

SAME, NEAR = 1e-3, 0.25
"""What the model makes of a text is the same where it differs by less than the first share of its length, and is so but
for the rounding of its blocks' outputs where it differs by less than the second; another text would give about 1.4."""
FAR = 0.1
"""A state is another one where it differs by more than this share of its length; rounding to bfloat16 changes 1 %."""
APART = 0.1
"""A state is not what came together in it where it differs by more than this share of what was added."""
LARGEST = 2**30
"""So many numbers of a model at most are loaded for the comparison: 4 GiB."""


@dataclass(frozen=True, eq=False)
class Settled:
    """What was found of a model's blocks.

    Attributes:
        states: block -> its state [tokens, hidden], of the first blocks.
        sums: block -> how far its state is from the sum of its input and what its attention and its MLP add, as a share
            of that; of blocks where both are known.
        pairs: blocks that give two tensors.
    """

    states: dict[int, np.ndarray]
    sums: dict[int, float]
    pairs: Collection[int]

    @property
    def apart(self) -> list[int]:
        """Blocks whose state is no such sum."""
        return [block for block, off in self.sums.items() if not off <= APART]


def settle_states(runner: RowRunner, blocks: Sequence[int], number: int, tokens: list[int]) -> Settled:
    """Tell which blocks give two tensors of which the first alone is their output, and have them taken so.

    Moving the second changes nothing that the model makes of a text then. Where their sum is meant, moving what one of
    them gains to the other changes nothing.

    Args:
        runner: that has interventions loaded.
        blocks: that are steered.
        number: of an intervention that has edits.
        tokens: of a text that is run.

    Raises:
        SteeringError: for a block that is steered and whose output is neither.
    """

    def run(move: str, where: Sequence[int]) -> list[dict[str, Any]]:
        runner.begin_trial(move, where)
        for _ in runner.score([VllmRow(tokens, len(tokens) // 2, number)]):
            pass
        return runner.end_trial(len(tokens))

    def same(move: str, where: Sequence[int], but_for: float) -> bool:
        return bool(_distance(_final(run(move, where)), plain, axis=None) <= but_for)

    runner.mark_stale([])
    seen = run("nothing", [])
    for worker in seen:
        for block, what in worker["odd"].items():
            if int(block) in blocks:
                raise SteeringError(
                    f"block {block} gives {what} in vLLM for a text of {len(tokens)} tokens, which is no row of hidden "
                    "states: steered-vllm cannot steer this model; use --model steered-hf"
                )
    plain = _final(seen)
    if not np.isfinite(plain).all():
        raise SteeringError("without steering, what the model makes of a short text in vLLM is not finite (NaN)")
    pairs = sorted({int(block) for worker in seen for block in worker["pairs"]})
    if not pairs:
        return _settled(seen, len(tokens), pairs)
    stale = pairs
    if not same("second", pairs, SAME):
        stale = []
        if not same("across", pairs, NEAR):  # they are not all alike
            stale = [block for block in pairs if same("second", [block], SAME)]
            for block in sorted(set(pairs) & set(blocks) - set(stale)):
                if not same("across", [block], NEAR):
                    raise SteeringError(
                        f"block {block} gives two tensors in vLLM, and the model goes on with neither their sum nor "
                        "the first alone: steered-vllm cannot steer this model; use --model steered-hf"
                    )
    runner.mark_stale(stale)
    return _settled(run("nothing", []), len(tokens), pairs)


def confirm_states(found: Settled, compared: Collection[int]) -> None:
    """Refuse blocks whose state is not what came together in it.

    In some families more comes together than is known here, such as embeddings of each block; a state that is no sum in
    any block is taken for what it is where transformers has the same, or where a block gives nothing else.

    Args:
        found: of the model.
        compared: blocks whose states are those in transformers.

    Raises:
        SteeringError: names the first of them.
    """
    apart = found.apart
    alike = len(apart) == len(found.sums)
    for block in apart:
        if block in compared or (alike and (compared or block not in found.pairs)):
            continue
        raise SteeringError(
            f"the self-check of steered-vllm failed in block {block}: what is taken for its output differs from the "
            f"sum of its input and what attention and MLP add by {100 * found.sums[block]:.0f} % of that; use --model "
            "steered-hf"
        )
    if apart:
        logger.info(
            "what attention and MLP add in vLLM does not come to what block %s gives more than it takes, so that its "
            "output was not compared with their sum",
            apart[0],
        )


def compare_states(
    states: dict[int, np.ndarray], tokens: list[int], config: Any, pretrained: str, unlike: str | None, **load: Any
) -> Collection[int]:
    """Hold the states of the first blocks against those in transformers; says so where that cannot be done.

    Args:
        states: block -> [tokens, hidden], as vLLM has them.
        tokens: that were run.
        config: of the model, as vLLM reads it.
        pretrained: name or folder of the model.
        unlike: why the model in transformers would be another one; None where it is the same.
        **load: further arguments of `from_pretrained`.

    Returns:
        the blocks that were compared.

    Raises:
        SteeringError: where they differ.
    """
    reason = unlike if states else "vLLM's are no rows of hidden states"
    if reason is None:
        try:
            with _quiet():
                wanted = _in_transformers(max(states) + 1, tokens, config, pretrained, **load)
        except Exception as error:  # of whatever kind: models that only vLLM knows fail in many ways
            reason = (str(error).strip() or type(error).__name__).split("\n")[0]
    if reason is not None:
        logger.info("the states of the blocks were not compared with those in transformers: %s", reason)
        return ()
    for block, state in states.items():
        off = float(np.median(_distance(state, wanted[block], axis=-1)))
        if not off <= FAR:
            ours, theirs = (float(np.linalg.norm(one, axis=-1).mean()) for one in (state, wanted[block]))
            raise SteeringError(
                f"the self-check of steered-vllm failed in block {block}: its output differs from that in transformers "
                f"by {100 * off:.0f} % (mean length {ours:.4g} and {theirs:.4g}); use --model steered-hf"
            )
    return states.keys()


def _in_transformers(count: int, tokens: list[int], config: Any, pretrained: str, **load: Any) -> list[np.ndarray]:
    """The outputs of the first blocks in transformers [tokens, hidden], in float32."""
    config = deepcopy(config)
    text = config.get_text_config()
    depth = text.num_hidden_layers
    text.num_hidden_layers = count
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == depth:  # one for each block
            setattr(text, name, value[:count])
    with torch.device("meta"):
        trust = load.get("trust_remote_code", False)
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    size = sum(one.numel() for one in empty.parameters())
    if size > LARGEST:
        raise ValueError(f"{count} blocks of it have {size:,} numbers, and {LARGEST:,} at most are loaded for that")
    model = AutoModelForCausalLM.from_pretrained(pretrained, config=config, dtype=torch.float32, **load).eval()
    found: list[np.ndarray] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        found.append(hidden[0].numpy())

    for block in find_blocks(model):
        block.register_forward_hook(keep)
    with torch.no_grad():
        model(torch.tensor([tokens]), use_cache=False)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers says much about the weights that a model of fewer blocks leaves out."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _settled(seen: Sequence[dict[str, Any]], tokens: int, pairs: Collection[int]) -> Settled:
    states, sums = (
        {int(block): value for worker in seen for block, value in worker[name].items()} for name in ("states", "sums")
    )
    shaped = {block: np.frombuffer(states[block], dtype=np.float32).reshape(tokens, -1) for block in sorted(states)}
    return Settled(shaped, dict(sorted(sums.items())), pairs)


def _final(seen: Sequence[dict[str, Any]]) -> np.ndarray:
    """What the last pipeline stage gave."""
    return np.frombuffer(next(worker["final"] for worker in seen if worker["final"]), dtype=np.float32)


def _distance(one: np.ndarray, other: np.ndarray, axis: int | None) -> np.ndarray:
    """How far apart two states are, as a share of the second one's length."""
    return np.linalg.norm(one - other, axis=axis) / np.maximum(np.linalg.norm(other, axis=axis), 1e-30)
