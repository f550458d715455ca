"""The arguments of a sweep, checked before any model is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import read_alphas
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.interventions.controls import read_controls
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.checkpoint import checkpoint_digest
from lm_eval_steer.models.leaks import rows_of_shares
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.models.parts import SHARE
from lm_eval_steer.sweep.affordable import read_most_cost
from lm_eval_steer.sweep.check import check
from lm_eval_steer.sweep.contenders import Contender, find_contenders, read_arms
from lm_eval_steer.sweep.harness import HarnessArgs, Seeds, read_seeds
from lm_eval_steer.sweep.others import Other, as_settings, part_arms
from lm_eval_steer.sweep.sites import read_sites
from lm_eval_steer.sweep.tasks import Twin
from lm_eval_steer.sweep.validation import Choice


@dataclass(frozen=True)
class SweepArgs:
    """What a sweep is told; fields bear the names of the options.

    Attributes:
        model: name of a model class of the harness that has `steer(plan)`.
        model_args: its arguments, without those for which the sweep has an option.
        tasks: names of the test tasks.
        output_path: folder of the sweep.
        alpha: the set of strengths, as `read_alphas` takes it, without 0.
        dose: in place of alpha, the set as shares of each position's ‖h‖.
        limit: documents of a test task: a number, or a share below 1.
        val_limit: the same of a validation task.
        apply_chat_template: as for lm_eval, like the next five (sweep/harness.py): True, or the name of a template.
        fewshot_as_multiturn: shots as turns of a conversation.
        system_instruction: put before every prompt.
        num_fewshot: in place of a task's own number of shots.
        gen_kwargs: go over a task's generation_kwargs.
        seed: one for all, or those of python, numpy, torch and few-shot samplers; the first is that of sampled tokens
            and of the search by block, too.
        include_path: folder of tasks of one's own.
        metadata: for tasks that ask for some, beside model_args.
        trust_remote_code: as for lm_eval.
        confirm_run_unsafe_code: as for lm_eval.
        batch_size: rows of a batch, `auto`, or `auto:N`.
        device: as for lm_eval.
        controls: as `read_controls` takes them.
        arms: in place of `vectors` in model_args, several: name -> file, or text as `read_arms` takes it; baselines of
            another kind, too, as `part_arms` takes them.
        val_task: the validation twins, one per task, where their names do not say so.
        val_split: in place of twins, a split of each task's data, or `share` for a part of its test documents.
        val_share: how large a part; 0.3 where it is not said.
        metric: that strengths are chosen by and verdicts are about, with a filter or without; each task's first where
            it is not said.
        per_task: a strength for every member of a group, in place of one for the group.
        votes: the contenders whose vote over the set is tested beside their best strength, or `none` alone; None for
            all, and with `sites` for none.
        sites: `each` for the vector at one block at a time, beside all of them (sites.py); None for all of them alone.
        search: how strengths are: `full`, all of them on all validation documents, or `race` (race.py).
        per_layer: how strengths by block are searched (profile_search.py); None for not at all.
        budget: the most profiles that this search tries.
        cost: the texts on which it is measured what every strength costs: a task with extraction rows, or a file as
            `find_cost_texts` takes it; None for not at all.
        choose: `effect@cost=C` for the best of the strengths that cost C nats per token or less; None for the best of
            all.

    Raises:
        SteeringError: one sentence per way to be wrong.
    """

    model: str
    model_args: Mapping[str, Any]
    tasks: list[str]
    output_path: str
    alpha: Any = None
    dose: Any = None
    limit: float | None = None
    val_limit: float | None = None
    apply_chat_template: bool | str = False
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None
    num_fewshot: int | None = None
    gen_kwargs: Mapping[str, Any] | None = None
    seed: Seeds = None
    include_path: str | None = None
    metadata: Mapping[str, Any] | None = None
    trust_remote_code: bool = False
    confirm_run_unsafe_code: bool = False
    batch_size: int | str = "auto"
    device: str | None = None
    controls: Any = None
    arms: Any = None
    val_task: list[str] = field(default_factory=list)
    val_split: str | None = None
    val_share: float | None = None
    metric: str | None = None
    per_task: bool = False
    votes: list[str] | None = None
    sites: str | None = None
    search: str = "full"
    per_layer: str | None = None
    budget: int = 20
    cost: str | None = None
    choose: str | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def voters(self) -> list[str] | None:
        """Names of the contenders whose vote is tested; None for all."""
        return [] if self.votes == ["none"] or (self.votes is None and self.blocks) else self.votes

    def has_vote(self, contender: Contender) -> bool:
        """Whether the vote over a contender's set is tested."""
        return contender in self.searched and (self.voters is None or contender.name in self.voters)

    def choice(self, plans: Mapping[str, SteeringPlan]) -> Choice:
        """Which validation documents a task has that has no twin; `plans` has that of each contender."""
        share = SHARE if self.val_share is None else self.val_share
        read = [rows_of_shares(*plan.sources) for plan in plans.values() if plan.steers and not plan.allow_leak]
        return Choice(self.val_split, share, self.sampling_seed, frozenset().union(*read))

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return Path(os.path.expanduser(self.output_path))

    @property
    def unit(self) -> str:
        """What the strengths are: `alpha` or `dose`."""
        if self.alpha is not None and self.dose is not None:
            raise SteeringError(f"--alpha {self.alpha} and --dose {self.dose} are two sets of strengths: give one")
        if self.alpha is None and self.dose is None and not self._needs_no_strengths:
            raise SteeringError("a sweep needs a set of strengths: give --alpha paper, or another set")
        return "alpha" if self.dose is None else "dose"

    @property
    def strengths_given(self) -> Any:
        """The set as it was given."""
        return getattr(self, self.unit)

    @cached_property
    def alphas(self) -> tuple[float, ...]:
        """The set, in its order; empty in a sweep of baselines alone."""
        if self._needs_no_strengths and self.strengths_given is None:
            return ()
        return read_alphas(self.strengths_given, self.unit)

    @cached_property
    def vectors(self) -> dict[str, str]:
        """The vectors of `arms`, name -> file; empty without any."""
        arms = read_arms(part_arms(self.arms)[0])
        if arms and "vectors" in self.model_args:
            raise SteeringError(
                f"vectors={self.model_args['vectors']!r} is in --model_args, and --arms names vectors, too: leave one "
                "of them out"
            )
        return arms

    @cached_property
    def others(self) -> tuple[Other, ...]:
        """The baselines of another kind."""
        return part_arms(self.arms)[1]

    @property
    def models(self) -> tuple[Other, ...]:
        """Those of them that are other models."""
        return tuple(one for one in self.others if one.model is not None)

    @property
    def _needs_no_strengths(self) -> bool:
        return bool(self.others) and not self.vectors and not self.model_args.get("vectors")

    @cached_property
    def contenders(self) -> tuple[Contender, ...]:
        """The vectors with their controls, whose files are read here.

        Raises:
            SteeringError: as `find_contenders`.
        """
        vectors = self.model_args.get("vectors")
        return find_contenders(self.vectors, vectors, read_controls(self.controls), self.blocks)

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """The blocks at each of which the vector steers alone; none without `sites`.

        Raises:
            SteeringError: as `read_sites`.
        """
        return read_sites(self.sites, self.model_args)

    @property
    def searched(self) -> tuple[Contender, ...]:
        """Those that have strengths to choose from."""
        return tuple(one for one in self.contenders if one.is_searched and self.alphas)

    @cached_property
    def harness(self) -> HarnessArgs:
        """How tasks are asked."""
        return HarnessArgs(
            apply_chat_template=self.apply_chat_template,
            fewshot_as_multiturn=self.fewshot_as_multiturn,
            system_instruction=self.system_instruction or None,
            num_fewshot=self.num_fewshot,
            gen_kwargs=self.gen_kwargs or {},
            seeds=read_seeds(self.seed),
            confirm_run_unsafe_code=self.confirm_run_unsafe_code,
        )

    @property
    def most_cost(self) -> float | None:
        """What a strength that is chosen may cost, nats per token; None for any."""
        return read_most_cost(self.choose)

    @property
    def sampling_seed(self) -> int:
        """The seed of sampled tokens and of the search by block."""
        return self.harness.seeds[0] or 0

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the model in every arm."""
        trusted = {"trust_remote_code": True} if self.trust_remote_code else {}
        return dict(self.model_args) | trusted

    def plans(self) -> dict[str, SteeringPlan]:
        """The plan of the whole set, of each contender, with the vectors loaded.

        Raises:
            SteeringError: for steering arguments that are wrong.
        """
        arguments = {key: value for key, value in self.model_args.items() if key in ARGUMENT_NAMES} | self.strengths()
        found: dict[str, SteeringPlan] = {}
        for one in self.contenders:
            if one.is_read:
                given: dict[str, Any] = {} if one.loaded is None else {"vectors": one.loaded}
                given |= {} if one.layer is None else {"layers": one.layer}
                plan = found[one.name] = SteeringPlan.build(**(arguments | given)).with_changes(zero_is_plain=True)
                if plan.dose != (self.unit == "dose"):
                    raise SteeringError(
                        f"preset={self.model_args.get('preset')} counts its strength as a share of ‖h‖: give --dose in "
                        "place of --alpha"
                    )
            else:
                found[one.name] = found[one.vector or self.contenders[0].name].with_changes(control=one.control)
        return found

    def strengths(self) -> dict[str, Any]:
        """What the sweep adds to the model's arguments for the whole set."""
        return {self.unit: list(self.alphas) or 0, "seed": self.sampling_seed, "record": str(self.folder / "record")}

    def plan_of_model(self) -> SteeringPlan:
        """The plan of another model, which is not steered."""
        known = {key: value for key, value in self.model_args.items() if key == "system_role"}
        return SteeringPlan.build(**(known | self.strengths() | {self.unit: 0}))

    def weights(self) -> str | None:
        """Digest of the child's checkpoint; None for one that is not on this machine yet."""
        return checkpoint_digest(self.arguments)

    def baselines(self) -> dict[str, Any]:
        """What settings say of the baselines of another kind."""
        weights = {one.name: checkpoint_digest(one.arguments(self.arguments, self.model)) for one in self.models}
        return as_settings(self.others, weights)

    def settings(
        self,
        plans: Mapping[str, SteeringPlan],
        twins: Mapping[str, Twin],
        asked: Mapping[str, str],
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        cost: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """All that the outcome depends on, JSON-ready; sizes and places are free to change between two starts.

        Args:
            plans: of the whole set, of each contender.
            twins: test task -> what it is searched on.
            asked: task -> digest of what it asks.
            groups: of which every task has a strength of its own, with members and rule.
            cost: the texts on which costs are measured; None where they are not.
        """
        vectors = {
            one.name: vector.fingerprint if (vector := plans[one.name].vector) else None
            for one in self.contenders
            if one.is_read
        }
        return {
            "model": self.model,
            "model_args": {key: value for key, value in self.arguments.items() if key not in NEUTRAL | {"vectors"}},
            "vectors": vectors,
            "weights": self.weights(),
            self.unit: list(self.alphas),
            "limit": self.limit,
            "val_limit": self.val_limit,
            "metric": self.metric,
            **self.harness.settings(),
            "include_path": str(Path(self.include_path).resolve()) if self.include_path else None,
            "metadata": dict(self.metadata or {}),
            "tasks": {name: twin.name for name, twin in twins.items()},
            "validation": {name: twin.facts for name, twin in twins.items()},
            "asked": dict(asked),
            "groups": dict(groups or {}),
            "baselines": self.baselines(),
            "controls": [one.name for one in self.contenders if not one.is_read],
            "votes": self.voters,
            "sites": self.sites,
            "search": None if self.search == "full" else self.search,
            "per_layer": None if self.per_layer is None else {"method": self.per_layer, "budget": self.budget},
            "cost": cost,
            "choose": self.choose,
        }
