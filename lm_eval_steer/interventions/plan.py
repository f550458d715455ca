"""SteeringPlan: what the steering arguments of `model_args` mean, the one meaning that every engine serves."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.answers.named import refuse_two_readers
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alpha_units import PLAIN, scales
from lm_eval_steer.interventions.alphas import alpha_name, read_strengths
from lm_eval_steer.interventions.argument import Argument, declare
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES, ARGUMENTS, Arguments
from lm_eval_steer.interventions.child import ChildVector, in_unit, into_child, refuse_other_child
from lm_eval_steer.interventions.controls import Control, read_control
from lm_eval_steer.interventions.intervention import Edit, Intervention, intervene
from lm_eval_steer.interventions.of_file import refuse_other_files, refuse_other_model, rows_of
from lm_eval_steer.interventions.of_operator import KEEPS_NORM, read_operator, refuse_meaningless, side_by_side
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS
from lm_eval_steer.interventions.presets import expanded, refuse_unnamed
from lm_eval_steer.interventions.profiles import read_profile
from lm_eval_steer.sites import DEFAULT, SITES, Place, split
from lm_eval_steer.text import quoted, span
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.identity import UNKNOWN, Identity
from lm_eval_steer.vectors.load import load_vector
from lm_eval_steer.vectors.several import AnyVector
from lm_eval_steer.vectors.transferred import map_name

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

DEFAULT_RECORD = "steer_records"
"""Folder of the record of a set where none is named."""

_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}
"""dtype -> its largest number; strengths are float32 in all others, too."""

_SQUARE = 1.8e19
"""The largest number whose square is one in float32, in which models compute their norms."""


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


@dataclass(frozen=True, eq=False, kw_only=True)
class SteeringPlan(Arguments):
    """A checked set of steering arguments. Build it with `SteeringPlan.build`.

    Its attributes are those that `Arguments` declares (interventions/arguments.py), and one more.

    Attributes:
        profiles: multipliers of the strength per block, several of them, in place of `alpha_per_layer`: each strength
            is a variant under each of them (the search over blocks).
        zero_is_plain: whether a strength of 0 leaves the model as it is under every operator, as a sweep's baseline
            that is asked beside other strengths; else it acts under those that set a value.
    """

    profiles: tuple[tuple[float, ...], ...] = ()
    zero_is_plain: bool = False

    @classmethod
    @declare(ARGUMENTS)
    def build(cls, **arguments: Any) -> SteeringPlan:
        """Check the arguments and load the vector.

        Args:
            {arguments}

        Raises:
            SteeringError: one sentence per way to be wrong, before a model is loaded.
            TypeError: for an argument that there is not.
        """
        named, arguments = arguments, expanded(arguments)
        given = {one.name: one.default for one in ARGUMENTS} | arguments
        if unknown := given.keys() - set(ARGUMENT_NAMES):
            raise TypeError(f"there is no steering argument {min(unknown)}: use {', '.join(ARGUMENT_NAMES)}")
        control = read_control(given["control"])
        if control is not None and control.is_plain:
            given |= {"alpha": 0, "dose": None, "alpha_per_layer": None}
        held = {one.attribute: one.read(one.name, given[one.name]) for one in ARGUMENTS}
        held["operator"] = read_operator(arguments, held["operator"], held["normalize"])
        held["normalize"] = held["operator"] == KEEPS_NORM
        alphas = read_strengths(given["alpha"], given["dose"], given["alpha_per_layer"])
        held |= {"alphas": alphas, "dose": given["dose"] is not None}
        refuse_meaningless(
            held["operator"],
            dose=given["dose"],
            unit=held["alpha_unit"],
            control=control,
            second=held["second"],
        )
        refuse_two_readers(held["vote_filter"], held["vote_answer"])
        if len(alphas) > 1 and held["vote"] == "none":
            raise SteeringError(
                f"vote=none with {len(alphas)} strengths leaves no single response per request: give one alpha, or "
                "vote=mode"
            )
        if held["vector"] is None and _steers(control, held["operator"], alphas):
            raise SteeringError(
                f"alpha={alpha_name(alphas[-1])} needs vectors: name a steering vector file, as in "
                "vectors=phi4_gsm8k.safetensors"
            )
        for name in ("vector", "second"):
            if isinstance(held[name], str | Path):
                held[name] = load_vector(find_vector(os.path.expanduser(held[name])))
        refuse_unnamed(named, held["vector"])
        refuse_other_files(held["operator"], held["vector"], held["second"])
        if held["vector"] is not None and held["vector"].transfer is not None:
            held |= _maps_of(held["vector"].transfer, arguments)
        held["sites"] = held["sites"] or (held["vector"].sites if held["vector"] is not None else (DEFAULT,))
        if held["record"] is None and len(alphas) > 1:
            held["record"] = DEFAULT_RECORD
        return cls(**held)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The ways to answer a request, in the order of a vote."""
        if self.profiles:
            return tuple(Variant(alpha, profile=profile) for profile in self.profiles for alpha in self.alphas)
        if self.samples:
            return tuple(Variant(0.0, sample=number) for number in range(len(self.alphas)))
        return tuple(Variant(alpha) for alpha in self.alphas)

    def alone(self) -> list[SteeringPlan]:
        """A plan for each variant, of which none votes."""
        parts = [((one.alpha,), (one.profile,) if one.profile else ()) for one in self.variants]
        return [self.with_changes(alphas=alphas, profiles=profiles) for alphas, profiles in parts]

    @property
    def sources(self) -> tuple[AnyVector, ...]:
        """The vectors whose directions steer."""
        return tuple(one for one in (self.vector, self.second) if one is not None)

    @property
    def samples(self) -> bool:
        """Whether the variants are samples without steering (self-consistency), as many as the set has strengths."""
        return self.temperature is not None

    @property
    def steers(self) -> bool:
        """Whether any variant changes a block output."""
        strengths = (one for one in self.alphas if one or not self.zero_is_plain)
        return _steers(self.control, self.operator, strengths)

    @property
    def is_plain(self) -> bool:
        """alpha=0 alone, which takes the harness's own path."""
        return not self.steers and not self.samples

    @property
    def regroups(self) -> bool:
        """Whether requests are put into other batches than usual (the control `identity`)."""
        return self.control is not None and self.control.regroups

    @property
    def temperature(self) -> float | None:
        """At which the samples of self-consistency are drawn; None for a plan that draws none of its own."""
        return self.control.temperature if self.control else None

    def fit(self, blocks: int, width: int, model: Identity = UNKNOWN) -> ChildVector | None:
        """The vector, or its control, in the space of a child.

        Args:
            blocks: how many blocks the child has.
            width: its hidden size.
            model: which model it is, without which no vector is taken that was transferred to one.

        Raises:
            SteeringError: for a vector that does not fit the child, or that was transferred to another one.
        """
        if self.alpha_per_layer is not None:
            read_profile(self.alpha_per_layer, blocks)
            if not any(SITES[site].in_blocks for site in self.sites):
                raise SteeringError(
                    f"alpha_per_layer={quoted(self.alpha_per_layer)} has a number for each block, and "
                    f"site={self.sites[0]} is behind all of them: give alpha alone"
                )
        if self.vector is None:
            return None
        if self.vector.transfer is not None:
            refuse_other_child(self.vector.transfer, blocks, width, model, self.allow_other_child)
        maps: dict[str, Any] = {"layer_map": self.layer_map, "width_map": self.width_map, "sites": self.sites}
        child = into_child(self.vector, blocks, width, layers=self.layers, **maps)
        if OPERATORS[self.operator].directions == OF_THE_FILE:
            refuse_other_model(self.vector, blocks, width, model, self.allow_other_child)
            places = {place: split(source)[1] for place, source in child.sources.items()}
            child = replace(child, directions={place: rows_of(self.vector, block) for place, block in places.items()})
        if self.control is not None:
            child = replace(child, directions=self.control.apply(child.directions))
        if self.second is not None:
            if self.second.transfer is not None:
                refuse_other_child(self.second.transfer, blocks, width, model, self.allow_other_child)
            other = into_child(self.second, blocks, width, layers="all", **maps)
            child = replace(child, directions=side_by_side(self.operator, child.directions, other.directions))
        if self.alpha_unit != "length":
            ace = self.operator == "set" and self.alpha_unit == "projection"
            said = "operator=ace" if ace else f"unit={self.alpha_unit}"
            measured = scales(self.vector, self.alpha_unit, blocks, width, model, said)
            child = in_unit(child, {place: measured[source] for place, source in child.sources.items()}, self.operator)
        report = child.report
        logger.info(
            "Steering %s%s %s of %d (hidden %d) with %s (%d blocks, hidden %d)%s: %s=%s, tokens=%s, layer map %s, "
            "width map %s",
            "block" if self.sites == (DEFAULT,) else f"{'+'.join(self.sites)} of block",
            "s"[: len(report["steered_blocks"]) > 1],
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
            self.layer_map,
            self.width_map,
        )
        return child

    def interventions(self, blocks: int, child: ChildVector | None) -> tuple[Intervention, ...]:
        """What each variant does to a child, in their order.

        Args:
            blocks: how many blocks the child has.
            child: the vector, or its control, in the child's space (`fit`); None where there is none.

        Raises:
            SteeringError: where nothing would be done, though a strength is given.
        """
        directions = child.directions if child and self.steers else {}
        sets = OPERATORS[self.operator].acts(0.0)

        common = (1.0,) * blocks if self.alpha_per_layer is None else read_profile(self.alpha_per_layer, blocks)

        def edit(place: Place, direction: np.ndarray, alpha: float, profile: Sequence[float]) -> Edit:
            site, block = split(place)
            strength = alpha * profile[block] if SITES[site].in_blocks else alpha
            scale = child.scales.get(place, PLAIN) if child else PLAIN
            return Edit(block, self.operator, direction, scale.length(strength, sets), site)

        found = tuple(
            intervene(
                (
                    edit(place, direction, variant.alpha, variant.profile or common)
                    for place, direction in directions.items()
                    if variant.alpha or not self.zero_is_plain
                ),
                unit="dose" if self.dose else "length",
                tokens=self.tokens,
                sample=variant.sample,
                temperature=self.temperature,
                regrouped=self.regroups,
            )
            for variant in self.variants
        )
        if self.steers and not any(one.acts for one in found):
            if self.alpha_per_layer is None:
                raise SteeringError(f"{self._strongest} is 0 in float32: use a larger strength, such as 0.04")
            raise SteeringError(
                f"alpha_per_layer={quoted(self.alpha_per_layer)} is 0 in every steered block "
                f"({span(child.report['steered_blocks'] if child else [])}): raise it there, or change layers"
            )
        return found

    def refuse_overflow(self, interventions: Iterable[Intervention], dtype: str) -> None:
        """Refuse strengths whose shifts are no numbers in the model's dtype, and warn of those whose squares are none.

        Args:
            interventions: of this plan.
            dtype: of the model, as in `float32`.

        Raises:
            SteeringError: with the largest strength and the largest number.
        """
        edits = [edit for one in interventions for edit in one.edits]
        counts = self.dose or OPERATORS[self.operator].strength != "length"  # not in lengths of the direction
        shifts = [abs(one.strength) * (1.0 if counts else float(np.abs(one.direction).max())) for one in edits]
        most = max(shifts, default=0.0)
        name = self._strongest
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

    @property
    def _strongest(self) -> str:
        """The largest strength, as it is given."""
        return f"{'dose' if self.dose else 'alpha'}={alpha_name(max(self.alphas, key=abs))}"

    def unsteered(self) -> SteeringPlan:
        """The same without steering, as a sweep's baseline is asked."""
        changes: dict[str, Any] = {"operator": "add", "second": None} if OPERATORS[self.operator].acts(0.0) else {}
        return self.with_changes(alphas=(0.0,), **changes)

    def with_changes(self, **changes: Any) -> SteeringPlan:
        """The plan with some attributes replaced by checked values."""
        return replace(self, **changes)

    def settings(self) -> dict[str, Any]:
        """Every argument that a result file records, JSON-ready; those of the vote where there is one."""
        vote = self._settings(one for one in ARGUMENTS if one.changes == "vote")
        others = self._settings(one for one in ARGUMENTS if one.changes != "vote")
        return others | {"vote": vote if len(self.variants) > 1 else None}

    def _settings(self, arguments: Iterable[Argument]) -> dict[str, Any]:
        return {one.setting: one.show(getattr(self, one.attribute)) for one in arguments if one.setting is not None}


def _steers(control: Control | None, operator: str, alphas: Iterable[float]) -> bool:
    """Whether any of some strengths does anything; 0 does under operators that act there."""
    return (control is None or control.steers) and any(map(OPERATORS[operator].acts, alphas))


def _maps_of(transfer: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """The maps that a vector was transferred with, in place of those that a run would apply.

    Args:
        transfer: of the vector's passport.
        given: the arguments that were given.

    Raises:
        SteeringError: where a map is among them, which would be applied to directions that were mapped already.
    """
    maps = {name: map_name(transfer[name]) for name in ("layer_map", "width_map")}
    for name, held in maps.items():
        if name in given:
            raise SteeringError(
                f"{name}={quoted(given[name])} has no meaning for a vector that was transferred to "
                f"{transfer['child']['name']} with {name} {held} already: leave it out"
            )
    return maps
