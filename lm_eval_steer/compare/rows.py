"""One row per vector x child x task x conditions: its baseline, and the arms that are held against it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.beside import Beside
from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.lengths import Lengths
from lm_eval_steer.compare.own import OfOwn
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.stats import HELPS, HURTS, NO_EVIDENCE, RandomComparison, ShuffledComparison, Verdict
from lm_eval_steer.compare.sweeps import Part
from lm_eval_steer.compare.text_costs import TextCost

BEST, VOTE, PER_LAYER = Arm("best"), Arm("vote"), Arm("per-layer")

SAMPLED = Arm("vote", control="self-consistency")
"""The vote over texts that are drawn without steering, as many as the set has strengths."""

BETTER_THAN_RIVAL, WORSE_THAN_RIVAL = "better", "worse"
"""What an arm is than what it competes with."""

MAP_SHUFFLED = "map-shuffled"
"""The kind of control that a vector's map is held against."""


@dataclass(frozen=True)
class Change:
    """An arm against the baseline; `verdict` is None where the two cannot be paired.

    Attributes:
        change: score of the arm - score of the baseline.
        gained: documents, None where they are not right or wrong.
        lost: likewise.
        texts_changed: responses that differ; None where unpaired.
        verdict: what the statistics say; None where unpaired.
        in_family: whether it belongs to Holm's family; arms that steer nothing are tested alone.
        repeats: whether documents repeat, so that the test is by document.
        judged: whether the verdict is one; of a member of a group it has an interval only, unless it was asked for.
    """

    change: float
    gained: int | None = None
    lost: int | None = None
    texts_changed: int | None = None
    verdict: Verdict | None = None
    in_family: bool = False
    repeats: bool = False
    judged: bool = True


@dataclass(frozen=True)
class Rival:
    """What an arm of a row competes with on the same documents, and how the two compare.

    Attributes:
        row: in which the rival's arm stands: of several vectors of a sweep, perhaps that of another one.
        arm: the rival's, there.
        gained: documents that are right under the row's arm alone; None where they are not right or wrong.
        lost: those that are right under the rival alone; likewise.
        verdict: `helps` where the row's arm scores better, `hurts` where the rival does; adjusted by Holm over all such
            comparisons of one child and task.
    """

    row: Row
    arm: Arm
    gained: int | None
    lost: int | None
    verdict: Verdict

    @property
    def word(self) -> str:
        """`BETTER_THAN_RIVAL` or `WORSE_THAN_RIVAL`, or `NO_EVIDENCE` of either."""
        return {HELPS: BETTER_THAN_RIVAL, HURTS: WORSE_THAN_RIVAL}.get(self.verdict.word, NO_EVIDENCE)


@dataclass
class Row:
    """A row of the leaderboard: one vector, or a baseline alone.

    Attributes:
        child: name or path of the evaluated model.
        parent: of the parent; `-` where nothing was steered.
        vector: name of the vector file, and what of its use is no default; behind its name in a sweep of several.
        group: of runs that can be compared.
        baseline: the unsteered run; None where there is none.
        runs: without the baseline. No arm names its vector, which is the row's.
        folder: of the sweep; None outside of one.
        parts: places in a sweep, that of the baseline among them; empty outside of one.
        tokens: generated, by the baseline too; None where unknown.
        prompt_tokens: read, likewise; None outside of a sweep.
        lengths: of the responses, likewise; None where that is unknown, and where none were written.
        changes: against the baseline.
        random: arm of the vector -> against its random controls.
        shuffled: arm of the vector -> against its map-shuffled controls.
        rivals: arm of the vector -> name of what it competes with (`prompt`, `self-consistency`, `best`, `own best`)
            -> how they compare.
        controls: random controls of the vector: its own, or those that it shares with another vector of its sweep.
        own: role -> the arm of the vector `own` of its sweep, of whose effect the others have a share.
        beside: arm, the baseline too -> metric beside the first -> what it reached.
        shares: arm -> metric -> its share of own's effect.
        mean_shares: arm of the vector and kind of its controls -> metric -> the share of the mean of several seeds.
    """

    child: str
    parent: str
    vector: str
    group: Group
    baseline: Run | None
    runs: dict[Arm, Run]
    folder: Path | None = None
    parts: dict[Arm, Part] = field(default_factory=dict)
    tokens: dict[Arm, int | None] = field(default_factory=dict)
    prompt_tokens: dict[Arm, int | None] = field(default_factory=dict)
    lengths: dict[Arm, Lengths | None] = field(default_factory=dict)
    changes: dict[Arm, Change] = field(default_factory=dict)
    random: dict[Arm, RandomComparison] = field(default_factory=dict)
    shuffled: dict[Arm, ShuffledComparison[Arm]] = field(default_factory=dict)
    rivals: dict[Arm, dict[str, Rival]] = field(default_factory=dict, repr=False, compare=False)
    controls: dict[Arm, Run] = field(default_factory=dict)
    own: dict[str, Run] = field(default_factory=dict)
    beside: dict[Arm, dict[str, Beside]] = field(default_factory=dict)
    shares: dict[Arm, dict[str, OfOwn]] = field(default_factory=dict)
    mean_shares: dict[tuple[Arm, str], dict[str, OfOwn]] = field(default_factory=dict)

    @property
    def all_runs(self) -> dict[Arm, Run]:
        """The baseline, where there is one, and all others."""
        return ({BASELINE: self.baseline} if self.baseline else {}) | self.runs

    @property
    def any_run(self) -> Run:
        """What says which metric, unit and n the row has."""
        return next(iter(self.all_runs.values()))

    @property
    def of_group(self) -> str | None:
        """The group of which the row's task is a member, or lies in; None for others."""
        return self.any_run.group

    @property
    def is_sweep(self) -> bool:
        """Whether strengths were chosen on validation rows."""
        return bool(self.parts)

    @property
    def any_part(self) -> Part | None:
        """What says how the vector's strength was chosen, and what it took."""
        return next(iter(self.parts.values()), None)

    @property
    def text_costs(self) -> dict[Arm, TextCost]:
        """What arms cost on unrelated text, as far as a sweep measured it."""
        return {arm: part.text_cost for arm, part in self.parts.items() if part.text_cost}

    @property
    def best_alpha(self) -> float | None:
        """The strength that a sweep chose."""
        best = self.runs.get(BEST)
        return None if best is None or best.by_task else best.alphas[0]

    @property
    def unit(self) -> str:
        """`alpha` or `dose`."""
        return next((str(run.steering["unit"]) for run in self.runs.values() if run.steering.get("unit")), "alpha")

    @property
    def named(self) -> str | None:
        """What --arms of its sweep calls the vector; None for a sweep's only one, and outside of a sweep."""
        return self.any_part.arm.vector if self.any_part else None

    @property
    def main(self) -> Arm | None:
        """The arm that speaks for the row: the best, the vote, or its only one."""
        return next((arm for arm in (BEST, VOTE, *self.runs) if arm in self.runs), None)

    @property
    def of_vector(self) -> list[Arm]:
        """The arms that the vector has, or would have beside its controls."""
        return list(dict.fromkeys(_without_control(arm) for arm in self.runs if arm.steers))

    @property
    def metrics(self) -> list[str]:
        """Of the task, beside its first, as far as any run has them."""
        return list(dict.fromkeys(metric for run in self.all_runs.values() for metric in run.others))

    @property
    def seeds(self) -> dict[tuple[Arm, str], dict[Arm, Run]]:
        """Arm of the vector and kind of its controls -> these, where they are two seeds or more."""
        found: dict[tuple[Arm, str], dict[Arm, Run]] = {}
        for arm, run in (self.controls | self.runs).items():
            if arm.control and arm.seed is not None:
                found.setdefault((_without_control(arm), arm.control), {})[arm] = run
        return {of: runs for of, runs in found.items() if len(runs) > 1}

    def of_sweep(self, rows: Iterable[Row]) -> list[Row]:
        """The row, and those of the other vectors of its sweep: they have the same documents and baseline."""
        place = self.folder, self.child, self.group
        return [
            self,
            *(one for one in rows if self.folder and one is not self and place == (one.folder, one.child, one.group)),
        ]

    def randoms(self, arm: Arm) -> dict[Arm, Run]:
        """The random controls that had the search and the test of an arm of the vector."""
        return {one: run for one, run in self.controls.items() if _without_control(one) == arm}

    def shuffled_maps(self, arm: Arm) -> dict[Arm, Run]:
        """The map-shuffled controls that had the search and the test of an arm of the vector."""
        return {
            one: run for one, run in self.runs.items() if one.control == MAP_SHUFFLED and _without_control(one) == arm
        }


def steers(run: Run) -> bool:
    """Whether the run steered at all; self-consistency samples at α = 0."""
    return run.has_strength and (run.control is None or run.control.steers)


def _without_control(arm: Arm) -> Arm:
    """The arm of the vector that a control's stands beside."""
    return replace(arm, control=None, seed=None)
