"""What a run came to, over all of its processes: votes, counts, doses and application, for the result file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lm_eval_steer.axis.axis import Axis
from lm_eval_steer.axis.ballots import Ballot
from lm_eval_steer.axis.record import digest
from lm_eval_steer.axis.replay import RecordEngine
from lm_eval_steer.axis.tally import Tally
from lm_eval_steer.engines.application import report, uncompared
from lm_eval_steer.engines.doses import report_one
from lm_eval_steer.engines.measured import Measured, add_up
from lm_eval_steer.engines.protocol import Engine
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.arms import Arm
from lm_eval_steer.models.requests import Requests

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

CACHE_MARK = "lm_eval_steer.fingerprint"

Doses = dict[str, dict[str, dict[str, Any]]]
"""Strength -> block -> what was measured there (engines/doses.py)."""


@dataclass(frozen=True)
class Sums:
    """What one process of a run came to, or several.

    Attributes:
        measured: by the engine.
        tallies: of the votes, per arm.
        counts: of the responses, per arm.
        interrupted: whether positions were steered of which nobody knows to which response they belong.
    """

    measured: Measured
    tallies: list[Tally]
    counts: list[dict[str, int]]
    interrupted: bool

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            add_up((self.measured, other.measured)),
            [one + more for one, more in zip(self.tallies, other.tallies, strict=True)],
            [{key: one[key] + more[key] for key in one} for one, more in zip(self.counts, other.counts, strict=True)],
            self.interrupted or other.interrupted,
        )


class Results(Requests):
    """What `Steered` (models/base.py) tells of its runs."""

    plan: SteeringPlan
    _arms: list[Arm]
    _axis: Axis
    _model_settings: dict[str, Any]
    _replays: RecordEngine | None = None
    _interrupted: bool = False
    runs_plainly: bool = True
    """Whether the harness's own path is taken where no intervention does anything."""
    _sums: Sums | None = None
    """Of all processes, where there are several and this one is the first."""

    @cached_property
    def _known_doses(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Fingerprint of an intervention -> what was measured under it last."""
        return {}

    @property
    def _runner(self) -> Engine:
        """What answers the requests of this pass."""
        raise NotImplementedError

    def _dtype(self) -> str:
        """Of the model, as in `float32`."""
        raise NotImplementedError

    @property
    def ballots(self) -> list[Ballot]:
        """The arms of the pass, in the order in which they were given to `steer`."""
        return self._axis.ballots

    @property
    def _interventions(self) -> tuple[Intervention, ...]:
        """Those of the pass, each once."""
        return self._axis.interventions

    @property
    def _steers(self) -> bool:
        return any(one.acts for one in self._interventions)

    # What was measured

    def _own_sums(self) -> Sums:
        tallies, counts = [one.tally for one in self.ballots], [one.counts for one in self.ballots]
        return Sums(self._runner.measured(), tallies, counts, self._interrupted)

    def _add_up_ranks(self) -> None:
        """Add up what all processes of the run came to; all of them are here at the end of a kind of request."""
        if self.world_size > 1:
            every = self.gather_object(self._own_sums(), dst=0)
            if every is not None:
                first, *more = every
                self._sums = sum(more, first)

    def _come_to(self) -> Sums:
        return self._sums or self._own_sums()

    def _proof(self) -> dict[str, Any] | None:
        """That steering was applied where it should be (engines/application.py); None where nothing is steered."""
        if not self._steers:
            return None
        sums = self._come_to()
        if sums.interrupted:
            return uncompared(sums.measured.steered, "a run under this steering did not come to its end")
        return report(sums.measured)

    def get_model_info(self) -> dict[str, Any]:
        """What the harness puts into the result file's config."""
        inherited = getattr(super(), "get_model_info", dict)
        return {**inherited(), "steering": self.arm_info()}

    def arm_info(self, number: int = 0) -> dict[str, Any]:
        """What there is to say of an arm of the pass, as the result file has it of the first.

        Args:
            number: of the arm, as `steer` was given it.
        """
        arm, ballot, sums = self._arms[number], self.ballots[number], self._come_to()
        vector = arm.plan.vector
        return arm.plan.settings() | {
            "steers": arm.plan.steers,
            "fingerprint": self._fingerprint(arm),
            "settings": ballot.shas,
            "weights": self._model_settings.get("weights"),
            "date": self._model_settings.get("date"),
            "system_prompt": "merged into the first user turn" if self._merges_system else "as the template has it",
            "transfer": arm.child.report if arm.child else None,
            "passport": vector.passport if vector else None,
            "votes": sums.tallies[number].report(),
            "responses": sums.counts[number],
            "doses": self._doses(arm),
            "application": self._proof(),
        }

    def _doses(self, arm: Arm) -> Doses:
        """What was measured, now or before other interventions took the place of these."""
        measured = self._come_to().measured.doses
        for one in self._interventions:
            if found := report_one(measured.get(one.fingerprint, {}), one):
                self._known_doses[one.fingerprint] = found
        if not arm.plan.steers:
            return {}
        return {
            variant.name: self._known_doses[one.fingerprint]
            for variant, one in zip(arm.plan.variants, arm.interventions, strict=True)
            if one.fingerprint in self._known_doses
        }

    def _warn_of_lost_doses(self) -> None:
        """Say so where the dtype rounded away more than half of a shift."""
        dtype = self._dtype()
        doses = [(arm.plan.dose, name, blocks) for arm in self._arms for name, blocks in self._doses(arm).items()]
        for is_dose, name, blocks in doses:
            lost = {b: m["survival"] for b, m in blocks.items() if m["survival"] is not None and m["survival"] < 0.5}
            if lost:
                keeps = "a larger strength" if dtype == "float32" else "dtype=float32"
                logger.warning(
                    "%s=%s: in %d of %d steered blocks less than half of the shift survives the rounding of %s (least: "
                    "%.0f %% in block %s); %s would keep it",
                    *("dose" if is_dose else "alpha", name, len(lost), len(blocks), dtype),
                    *(100 * min(lost.values()), min(lost, key=lambda block: lost[block]), keeps),
                )

    @property
    def steering_fingerprint(self) -> str:
        """What may share a response cache with this model: same model, vector, strength and positions.

        The date that its template prints stands in the prompts, by which the cache names responses.
        """
        return self._fingerprint(self._arms[0])

    def _fingerprint(self, arm: Arm) -> str:
        model = {key: value for key, value in self._model_settings.items() if key != "date"}
        return digest({"model": model} | arm.content())

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Mark the harness's response cache, which cannot tell steerings apart, and refuse that of another one.

        Nor can it tell seeds apart, and some task may ask for text that is drawn.
        """
        cache = cache_hook.dbdict
        if cache is not None:
            mark, own = cache.get(CACHE_MARK), digest([self.steering_fingerprint, self.plan.seed])
            if mark is None and len(cache) == 0:
                cache[CACHE_MARK] = own
            elif mark != own:
                held = "a model without steering" if mark is None else "another steering or another model"
                raise SteeringError(
                    f"the response cache {cache.filename} holds the responses of {held}, which the harness would "
                    "return as this run's: give this run a --use_cache path of its own"
                )
        super().set_cache_hook(cache_hook)
