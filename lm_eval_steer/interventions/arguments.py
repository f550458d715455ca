"""The arguments of a plan, each declared here and nowhere else.

Signature and docstring of `SteeringPlan.build`, what model classes and sweeps take out of `--model_args`, what result
files record, what the leaderboard keeps apart, and the table of docs/ARGUMENTS.md follow from these declarations.

    python -m lm_eval_steer.interventions.arguments    # prints the table
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval_steer.interventions import checks
from lm_eval_steer.interventions.argument import argument, arguments_of, table
from lm_eval_steer.interventions.checks import one_of

if TYPE_CHECKING:
    from lm_eval_steer.interventions.controls import Control
    from lm_eval_steer.vectors.several import AnyVector

SYSTEM_ROLES = ("merge", "drop")
ALPHA_UNITS = ("length", "sigma", "projection")
VOTES = ("mode", "weighted", "none")
METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
"""How an option is chosen: by log-likelihood; by that per character or per byte of the option; by what the context adds
to that without it."""


def _operators() -> Iterable[str]:
    from lm_eval_steer.interventions.operators import OPERATORS  # brings torch, which a leaderboard does not need

    return OPERATORS


@dataclass(frozen=True, eq=False, kw_only=True)
class Arguments:
    """What a plan holds, checked. The help of each argument says what it means."""

    vector: AnyVector | None = argument(
        None,
        "a file, a name in `./vectors`, a shipped name, or `org/name[:file][@revision]` on the Hub; alpha=0 needs none",
        name="vectors",
        changes="response",
        read=checks.vector,
        setting="vector",
        show=lambda value: value.fingerprint if value else None,
    )
    alphas: tuple[float, ...] = argument(
        None,
        "length of the shift: h' = h + α·v with a unit vector v, in every block alike, or what `operator` takes; a "
        "number, a list `[0.04,0.5]`, a range `0.01:0.09:0.01`, or `paper` (its 18 values)",
        name="alpha",
        changes="response",
        show=lambda value: value[0] if len(value) == 1 else list(value),
        option="--alpha",
    )
    dose: bool = argument(
        None,
        "instead of `alpha`: the shift as a share of ‖h‖ at each position, so that it means the same for every child",
        changes="response",
        setting="unit",
        show=lambda value: "dose" if value else "alpha",
        plain="alpha",
        apart=True,
        option="--dose",
    )
    alpha_unit: str = argument(
        "length",
        "what `alpha` counts in: `length`; in the model that the vector was read from also `sigma`, deviations of "
        "⟨h, v⟩ over its texts, or `projection`, how far the means of positive and negative sides are apart",
        name="unit",
        changes="response",
        read=one_of(lambda: ALPHA_UNITS),
        setting="alpha_unit",
        apart=True,
    )
    alpha_per_layer: Any = argument(
        None,
        "multipliers of α by block: a list, `linear:a:b`, `peak:center:width`; alpha is 1 then where it is not given",
        changes="response",
        told="1",
        apart=True,
    )
    control: Control | None = argument(
        None,
        "what takes the vector's place: `random:SEED`, `shuffled`, `negated`, `identity`, `self-consistency`",
        changes="response",
        read=checks.control,
        show=lambda value: value.name if value else None,
        option="--controls",
    )
    layers: Any = argument(
        "all",
        "the child's blocks: `all`, `7`, `10-20`, `[1,4]`",
        changes="response",
        read=checks.layers,
        apart=True,
    )
    sites: tuple[str, ...] = argument(
        None,
        "where in a block: `block` (its output), `block_input`, `attention` or `mlp` (what they add to the residual "
        "stream), `heads` (what each head gives to attention's output projection); or behind all blocks: `final_norm` "
        "(its output); several as in `block_input+attention+mlp`",
        name="site",
        changes="response",
        read=checks.sites,
        told="where the vector was read: `block`",
        show="+".join,
        plain="block",
        apart=True,
    )
    tokens: str = argument(
        "all",
        "which positions are steered: `all`, `prompt`, `generated` (from the last prompt position on), `last`; those "
        "that predict the first tokens (`first:5`) or what follows them (`after:5`); one of the prompt from its end "
        '(`last:-2`); those whose token completes a text or is one of some (`match:"\\n\\n"`, `match:[198,271]`, also '
        "among others: `generated:match:271`); padding never",
        changes="response",
        read=checks.tokens,
        apart=True,
    )
    operator: str = argument(
        "add",
        "what happens to a block output: `add`, `add_keep_norm`, `icv`, `ablate`, `set`, `set_at_least`, "
        "`set_at_most`, `ace`, `turn`, `slerp`, `rotate`, `rotate_to`, `swap` or `low_rank`",
        changes="response",
        read=one_of(_operators),
        apart=True,
    )
    second: AnyVector | None = argument(
        None,
        "the vector of the second direction that the operators `rotate`, `rotate_to` and `swap` take: a file or a name",
        changes="response",
        read=checks.vector,
        show=lambda value: value.fingerprint[:12] if value else None,
        apart=True,
    )
    normalize: bool = argument(
        False,
        "keep the length of each block output: `operator=add_keep_norm`",
        changes="response",
        read=checks.switch,
    )
    preset: str | None = argument(
        None,
        "what a paper does, in place of the arguments that it stands for ([METHOD](METHOD.md#presets)): `caa`, "
        "`actadd`, `arditi`, `iti`, `icv`, `unlock` or `angular`; anything named beside it overrules",
        changes="response",
        recorded=False,
    )
    layer_map: str = argument(
        "greedy",
        "which block of the parent a block of the child takes its direction from: `greedy` (the same one), "
        "`proportional` (at the same relative depth), a list of CHILD:PARENT as in `[0:0,5:3]`, or `only:3` (one for "
        "all)",
        changes="response",
        read=checks.layer_map,
        apart=True,
    )
    width_map: str = argument(
        "cut",
        "`cut`: first components or zeros, back to unit length; `cut-raw`: length as it falls; fitted maps are for "
        "`lm-eval-steer transfer`",
        changes="response",
        read=checks.width_map,
        apart=True,
    )
    system_role: str = argument(
        "merge",
        "for templates that refuse a system role (Gemma-2): merge the system prompt into the first user turn, or "
        "`drop` it as `hf` does",
        changes="prompt",
        read=one_of(lambda: SYSTEM_ROLES),
        shared=True,
    )
    allow_leak: bool = argument(
        False,
        "evaluate on rows that the vector was made from (else an error with their count)",
        changes="nothing",
        read=checks.switch,
    )
    allow_other_child: bool = argument(
        False,
        "take a vector that was transferred to another model, if that has this one's architecture, width and depth",
        changes="nothing",
        read=checks.switch,
    )
    blocks: str | None = argument(
        None,
        "path of the list of decoder blocks, for a model where it cannot be found by shape",
        changes="response",
        read=checks.named("where the list of blocks is, as in blocks=model.layers"),
        apart=True,
        shared=True,
    )
    vote: str = argument(
        "mode",
        "how the responses of a set become one: `mode`, `weighted` (by mean token probability), `none` (refuse a set)",
        changes="vote",
        read=checks.vote(VOTES),
        setting="rule",
        shared=True,
    )
    vote_filter: str | None = argument(
        None,
        "the filter of the task whose output is the answer that counts",
        changes="vote",
        read=checks.vote_filter,
        told="the task's first",
        setting="filter",
        shared=True,
    )
    vote_answer: str | None = argument(
        None,
        "a function that reads the answer instead, `package.module:function`",
        changes="vote",
        read=checks.vote_answer,
        setting="answer",
        shared=True,
    )
    vote_metric: str = argument(
        "acc",
        "how an option is chosen in multiple choice: `acc`, `acc_norm`, `acc_bytes` or `acc_mutual_info`",
        changes="vote",
        read=one_of(lambda: METRICS),
        setting="metric",
        shared=True,
    )
    vote_early_stop: bool = argument(
        False,
        "leave out strengths that can no longer change a vote; the same responses for less",
        changes="vote",
        read=checks.switch,
        setting="early_stop",
    )
    record: str | None = argument(
        None,
        "folder to which every response goes and from which a run goes on",
        changes="nothing",
        read=checks.folder,
        told="`./steer_records` for a set",
        recorded=False,
        option="--output_path, below which a sweep keeps its record",
        shared=True,
    )
    seed: int = argument(
        0, "of sampled text", changes="response", read=checks.seed, told="0", shared=True, option="--seed"
    )


ARGUMENTS = arguments_of(Arguments)

ARGUMENT_NAMES = tuple(one.name for one in ARGUMENTS)
"""What else a model class is given is the harness's."""

APART = {str(one.setting): one.plain for one in ARGUMENTS if one.apart}
"""Keys of a result file's `config.steering` that make another vector of a vector, with what stands there by default."""

SHARED = tuple(one.attribute for one in ARGUMENTS if one.shared)
"""Attributes of a plan that the arms of one pass have in common."""

OPTIONS = {one.name: one.option for one in ARGUMENTS if one.option}
"""Arguments for which a sweep has an option, with it."""


if __name__ == "__main__":
    sys.stdout.write(table(ARGUMENTS))
