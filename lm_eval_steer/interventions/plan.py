"""SteeringPlan: what the steering arguments of `model_args` mean, the one meaning that every engine serves."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.answers.named import reader_of_function, refuse_two_readers
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name, read_alphas
from lm_eval_steer.interventions.child import ChildVector, transfer
from lm_eval_steer.interventions.controls import CONTROL_TEMPERATURE, Control, apply_control, read_control
from lm_eval_steer.interventions.intervention import Edit, Intervention, intervene
from lm_eval_steer.interventions.layers import read_layers
from lm_eval_steer.interventions.profiles import check_profile, read_profile
from lm_eval_steer.interventions.width_maps import WIDTH_MAPS
from lm_eval_steer.text import quoted, span
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.vector import SteeringVector

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

TOKENS = ("all", "prompt", "generated", "last")
SYSTEM_ROLES = ("merge", "drop")
LAST_SEED = 2**63 - 1
_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}
"""dtype -> its largest number; strengths are float32 in all others, too."""

_SQUARE = 1.8e19
"""The largest number whose square is one in float32, in which models compute their norms."""

VOTES = ("mode", "weighted", "none")
METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
"""How an option is chosen: by log-likelihood; by that per character or per byte of the option; by what the context adds
to that without it."""


@dataclass(frozen=True)
class Variant:
    """One way to answer a request: a member of the α set, or a sample of the self-consistency control.

    Attributes:
        alpha: strength; a length, or with `dose` a share of ‖h‖. 0 steers nothing.
        sample: number of the sample; None for greedy text (or what the task's generation_kwargs ask for).
        profile: multipliers of alpha per block of the child, in place of the plan's (the search over blocks).
    """

    alpha: float
    sample: int | None = None
    profile: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        """As a table shows it."""
        return alpha_name(self.alpha) if self.sample is None else f"sample {self.sample}"


@dataclass(frozen=True, eq=False)
class SteeringPlan:
    """A checked set of steering arguments. Build it with `SteeringPlan.build`.

    Attributes:
        vector: the parent's directions; None only where nothing is steered.
        alphas: the strengths of the set, by |α|, positive first; one for a plain run.
        dose: whether they are shares of each position's ‖h‖ instead of lengths of the shift α·v.
        alpha_per_layer: multipliers of α by block, as given; None for 1 everywhere.
        control: the control that takes the vector's place; None for the vector itself.
        layers: the child's blocks to steer, as given; `all`, `10-20` or `[1,4]`.
        tokens: which positions are steered (interventions/tokens.py).
        normalize: keep the length of each block output.
        width_map: `cut` or `cut-raw` (interventions/width_maps.py).
        system_role: what to do when a chat template refuses a system role: `merge` it into the first user turn, or
            `drop` it as the harness's `hf` does.
        blocks: path of the list of decoder blocks, where it cannot be found by shape.
        allow_leak: evaluate on rows that the vector was extracted from.
        vote: how a set becomes one response: `mode`, `weighted` or `none`, which refuses a set.
        vote_filter: filter of the task whose output is the answer.
        vote_answer: function that reads the answer instead, `package.module:function`.
        vote_metric: how a multiple-choice option is chosen (axis/options.py): `acc`, `acc_norm`, ...
        vote_early_stop: skip strengths that can no longer change a vote.
        record: folder of the record; None for none.
        seed: of sampled tokens.
    """

    vector: SteeringVector | None
    alphas: tuple[float, ...]
    dose: bool = False
    alpha_per_layer: Any = None
    control: Control | None = None
    layers: Any = "all"
    tokens: str = "all"
    normalize: bool = False
    width_map: str = "cut"
    system_role: str = "merge"
    blocks: str | None = None
    allow_leak: bool = False
    vote: str = "mode"
    vote_filter: str | None = None
    vote_answer: str | None = None
    vote_metric: str = "acc"
    vote_early_stop: bool = False
    record: str | None = None
    seed: int = 0
    profiles: tuple[tuple[float, ...], ...] = field(default=())

    @classmethod
    def build(
        cls,
        *,
        vectors: str | Path | SteeringVector | None = None,
        alpha: Any = None,
        dose: Any = None,
        alpha_per_layer: Any = None,
        control: Any = None,
        layers: Any = "all",
        tokens: str = "all",
        normalize: bool = False,
        width_map: str = "cut",
        system_role: str = "merge",
        blocks: str | None = None,
        allow_leak: bool = False,
        vote: str | None = "mode",
        vote_filter: str | None = None,
        vote_answer: str | None = None,
        vote_metric: str = "acc",
        vote_early_stop: bool = False,
        record: str | Path | None = None,
        seed: int = 0,
    ) -> SteeringPlan:
        """Check the arguments and load the vector. A set is recorded in `./steer_records`, or where `record` says.

        Raises:
            SteeringError: one sentence per way to be wrong, before a model is loaded.
        """
        chosen = read_control(control)
        if chosen is not None and chosen.kind == "identity":
            alpha, dose, alpha_per_layer = 0, None, None
        strengths = _read_strengths(alpha, dose, alpha_per_layer)
        _check_choice("tokens", tokens, TOKENS)
        _check_choice("width_map", width_map, tuple(WIDTH_MAPS))
        _check_choice("system_role", system_role, SYSTEM_ROLES)
        vote = "none" if vote is None else vote  # as which the harness reads vote=none
        _check_choice("vote", vote, VOTES)
        _check_choice("vote_metric", vote_metric, METRICS)
        for argument, value in (
            ("normalize", normalize),
            ("allow_leak", allow_leak),
            ("vote_early_stop", vote_early_stop),
        ):
            if not isinstance(value, bool):
                raise SteeringError(f"{argument}={quoted(value)} is not understood: use True or False")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LAST_SEED:
            raise SteeringError(f"seed={quoted(seed)} is not understood: use a whole number from 0 to {LAST_SEED}")
        if isinstance(vote_filter, int) and not isinstance(vote_filter, bool):
            vote_filter = quoted(vote_filter)  # the command line makes a number of vote_filter=1
        for argument, text, example in (
            ("blocks", blocks, "where the list of blocks is, as in blocks=model.layers"),
            ("vote_filter", vote_filter, "one of the task's filters, as in vote_filter=strict-match"),
            ("vote_answer", vote_answer, "a function, as in vote_answer=package.module:function"),
        ):
            if text is not None and (not isinstance(text, str) or not text):
                raise SteeringError(f"{argument}={quoted(text)} is not understood: name {example}")
        refuse_two_readers(vote_filter, vote_answer)
        if vote_answer is not None:
            reader_of_function(vote_answer)  # a function that can be called
        if record is not None and (not isinstance(record, str | Path) or not str(record)):
            raise SteeringError(f"record={quoted(record)} is not understood: name a folder, as in record=steer_records")
        read_layers(layers)
        if len(strengths) > 1 and vote == "none":
            raise SteeringError(
                f"vote=none with {len(strengths)} strengths leaves no single response per request: give one alpha, or "
                "vote=mode"
            )
        steers = any(strengths) and not (chosen and chosen.kind == "self-consistency")
        if vectors is None and steers:
            raise SteeringError(
                f"alpha={alpha_name(strengths[-1])} needs vectors: name a steering vector file, as in "
                "vectors=phi4_gsm8k.safetensors"
            )
        if vectors is not None and not isinstance(vectors, str | Path | SteeringVector):
            raise SteeringError(f"vectors={quoted(vectors)} is not understood: name one steering vector file")
        if isinstance(vectors, str | Path):
            vector: SteeringVector | None = SteeringVector.load(find_vector(os.path.expanduser(vectors)))
        else:
            vector = vectors
        if record is None and len(strengths) > 1:
            record = "steer_records"
        return cls(
            vector=vector,
            alphas=strengths,
            dose=dose is not None,
            alpha_per_layer=alpha_per_layer,
            control=chosen,
            layers=layers,
            tokens=tokens,
            normalize=normalize,
            width_map=width_map,
            system_role=system_role,
            blocks=blocks,
            allow_leak=allow_leak,
            vote=vote,
            vote_filter=vote_filter,
            vote_answer=vote_answer,
            vote_metric=vote_metric,
            vote_early_stop=vote_early_stop,
            record=None if record is None else os.path.expanduser(record),
            seed=seed,
        )

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The ways to answer a request, in the order of a vote."""
        if self.profiles:
            return tuple(Variant(alpha, profile=profile) for profile in self.profiles for alpha in self.alphas)
        if self.samples:
            return tuple(Variant(0.0, sample=number) for number in range(len(self.alphas)))
        return tuple(Variant(alpha) for alpha in self.alphas)

    @property
    def samples(self) -> bool:
        """Whether the variants are samples without steering (self-consistency), as many as the set has strengths."""
        return self.control is not None and self.control.kind == "self-consistency"

    @property
    def steers(self) -> bool:
        """Whether any variant shifts a block output."""
        return any(self.alphas) and not self.samples

    @property
    def is_plain(self) -> bool:
        """alpha=0 alone, which takes the harness's own path."""
        return not self.steers and not self.samples

    @property
    def temperature(self) -> float | None:
        """At which the samples of self-consistency are drawn; None for a plan that draws none of its own."""
        return CONTROL_TEMPERATURE if self.samples else None

    def fit(self, blocks: int, width: int) -> ChildVector | None:
        """The vector, or its control, in the space of a child of `blocks` blocks and hidden size `width`."""
        if self.alpha_per_layer is not None:
            read_profile(self.alpha_per_layer, blocks)
        if self.vector is None:
            return None
        child = transfer(self.vector, blocks, width, layers=self.layers, width_map=self.width_map)
        if self.control is not None:
            child = replace(child, directions=apply_control(self.control, child.directions))
        report = child.report
        logger.info(
            "Steering block%s %s of %d (hidden %d) with %s (%d blocks, hidden %d)%s: %s=%s, tokens=%s, layer map %s, "
            "width map %s",
            "s"[: len(child.sources) > 1],
            span(report["steered_blocks"]),
            blocks,
            width,
            report["parent"],
            report["parent_blocks"],
            report["parent_hidden_size"],
            f", control {self.control.name}" if self.control else "",
            "dose" if self.dose else "alpha",
            ", ".join(map(alpha_name, self.alphas)),
            self.tokens,
            report["layer_map"],
            self.width_map,
        )
        return child

    def strengths(self, blocks: int, steered: list[int]) -> np.ndarray:
        """Strength of each variant in each steered block: float32 [variants, steered blocks].

        Args:
            blocks: how many blocks the child has.
            steered: the blocks that are steered, ascending.
        """
        common = None if self.alpha_per_layer is None else read_profile(self.alpha_per_layer, blocks)
        rows = []
        for variant in self.variants:
            profile = variant.profile or common or (1.0,) * blocks
            rows.append([variant.alpha * profile[block] for block in steered])
        with np.errstate(over="ignore"):  # to infinity, which `refuse_overflow` tells of
            table = np.asarray(rows, dtype=np.float32).reshape(len(rows), len(steered))
        if self.steers and not table.any():
            raise SteeringError(
                f"alpha_per_layer={quoted(self.alpha_per_layer)} is 0 in every steered block ({span(steered)}): raise "
                "it there, or change layers"
            )
        return table

    def interventions(self, blocks: int, child: ChildVector | None) -> tuple[Intervention, ...]:
        """What each variant does to a child, in their order.

        Args:
            blocks: how many blocks the child has.
            child: the vector, or its control, in the child's space (`fit`); None where there is none.

        Raises:
            SteeringError: as `strengths`.
        """
        directions = child.directions if child else {}
        operator = "add_keep_norm" if self.normalize else "add"
        regrouped = self.control is not None and self.control.kind == "identity"
        return tuple(
            intervene(
                (
                    Edit(block, operator, direction, float(strength))
                    for (block, direction), strength in zip(directions.items(), row, strict=True)
                ),
                unit="dose" if self.dose else "length",
                tokens=self.tokens,
                sample=variant.sample,
                temperature=self.temperature,
                regrouped=regrouped,
            )
            for variant, row in zip(self.variants, self.strengths(blocks, list(directions)), strict=True)
        )

    def refuse_overflow(self, child: ChildVector | None, strengths: np.ndarray, dtype: str) -> None:
        """Refuse strengths whose shifts are no numbers in the model's dtype, and warn of those whose squares are none.

        Args:
            child: what is added.
            strengths: of each variant in each steered block [variants, steered blocks].
            dtype: of the model, as in `float32`.

        Raises:
            SteeringError: with the largest strength and the largest number.
        """
        if child is None or not self.steers or not strengths.size:
            return
        largest = np.array([np.abs(direction).max() for direction in child.directions.values()])
        with np.errstate(over="ignore", invalid="ignore"):
            reach = np.abs(strengths).astype(np.float64)
            most = float(np.max(reach if self.dose else reach * largest))
        name = f"{'dose' if self.dose else 'alpha'}={alpha_name(max(self.alphas, key=abs))}"
        if self.alpha_per_layer is not None:
            name += f" with alpha_per_layer={quoted(self.alpha_per_layer)}"
        limit = _LARGEST.get(dtype, _LARGEST["float32"])
        if not most <= limit:
            raise SteeringError(
                f"{name} shifts blocks by up to {most:.2g}, and the largest number in {dtype} is {limit:.2g}: use a "
                "smaller strength, such as 0.04"
            )
        if most > _SQUARE:
            logger.warning(
                "%s shifts blocks by up to %.2g, whose square no float32 holds: the model's norms will make nothing of "
                "it, or NaN; use a smaller strength",
                name,
                most,
            )

    def with_changes(self, **changes: Any) -> SteeringPlan:
        """The plan with some attributes replaced by checked values."""
        return replace(self, **changes)

    @property
    def alpha_setting(self) -> float | list[float]:
        """The strengths as a result file shows them: a number, or a list for a set."""
        return self.alphas[0] if len(self.alphas) == 1 else list(self.alphas)

    def response_settings(self) -> dict[str, Any]:
        """Every argument that changes the response of a steered variant, except its strength; JSON-ready."""
        return {
            "vector": self.vector.fingerprint if self.vector else None,
            "unit": "dose" if self.dose else "alpha",
            "alpha_per_layer": self.alpha_per_layer,
            "control": self.control.name if self.control else None,
            "layers": self.layers,
            "tokens": self.tokens,
            "normalize": self.normalize,
            "layer_map": "greedy",
            "width_map": self.width_map,
            "blocks": self.blocks,
        }

    def settings(self) -> dict[str, Any]:
        """Every argument that changes what the harness is given, JSON-ready."""
        vote = None
        if len(self.variants) > 1:
            vote = {
                "rule": self.vote,
                "filter": self.vote_filter,
                "answer": self.vote_answer,
                "metric": self.vote_metric,
                "early_stop": self.vote_early_stop,
            }
        return self.response_settings() | {
            "alpha": self.alpha_setting,
            "system_role": self.system_role,
            "allow_leak": self.allow_leak,
            "vote": vote,
            "seed": self.seed,
        }


def _read_strengths(alpha: Any, dose: Any, alpha_per_layer: Any) -> tuple[float, ...]:
    if dose is not None and alpha is not None:
        raise SteeringError(f"alpha={quoted(alpha)} and dose={quoted(dose)} are two strengths: give one of them")
    if alpha_per_layer is not None:
        check_profile(alpha_per_layer)
    if dose is not None:
        return read_alphas(dose, "dose")
    if alpha is None and alpha_per_layer is not None:
        return (1.0,)
    return read_alphas(alpha)


def _check_choice(argument: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise SteeringError(f"{argument}={quoted(value)} is not understood: use one of {', '.join(choices)}")
