"""A sweep with its model loaded: what is searched, and what is tested, unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from lm_eval.tasks import TaskManager
from rich.console import Console

from lm_eval_steer.compare.lengths import add_up
from lm_eval_steer.compare.outcome import describe
from lm_eval_steer.compare.sweep_file import finite, write_sweep
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.sweep.affordable import find_affordable, tell_unaffordable
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.arm_files import digest_of, holds, result_file
from lm_eval_steer.sweep.arms import Member, arm_folder, members
from lm_eval_steer.sweep.ask_others import build_other, choose_text, refuse_lost_prompts
from lm_eval_steer.sweep.contenders import Contender
from lm_eval_steer.sweep.cost_texts import CostTexts
from lm_eval_steer.sweep.costs import cost_of, measure_costs, with_pass
from lm_eval_steer.sweep.layers import search_layers
from lm_eval_steer.sweep.others import Other
from lm_eval_steer.sweep.passes import Asked, Pass, add_logs, run_pass
from lm_eval_steer.sweep.race import search_by_race
from lm_eval_steer.sweep.replay import write_arm
from lm_eval_steer.sweep.requests import Requests
from lm_eval_steer.sweep.score import choose
from lm_eval_steer.sweep.tasks import Read, Twin, build
from lm_eval_steer.sweep.units import Unit


@dataclass(frozen=True)
class Work:
    """What a sweep is about.

    Attributes:
        units: in their order.
        twins: task or member of a group -> what it is searched on.
        known: all of these, read.
        texts: on which costs are measured; None where they are not.
    """

    units: Sequence[Unit]
    twins: Mapping[str, Twin]
    known: dict[str, Read]
    texts: CostTexts | None = None

    def gather(self, unit: Unit, validation: bool, ask: Callable[[str], Requests]) -> Requests:
        """The requests of a unit, of its validation or its test documents; `ask` has those of a task."""
        names = [self.twins[name].name if validation else name for name in unit.members]
        return unit.gather([ask(name) for name in names], unit.pool(self.twins).name if validation else unit.name)


class SweepOfModel:
    """One start of a sweep, with its model loaded, or another model of its baselines."""

    def __init__(
        self,
        args: SweepArgs,
        manager: TaskManager,
        console: Console,
        plans: dict[str, SteeringPlan],
        lm: Any,
        state: dict[str, Any],
        metrics: dict[str, str | None],
    ) -> None:
        self.args, self.manager, self.console, self.lm, self.state = args, manager, console, lm, state
        self.plans, self.metrics = plans, metrics

    def run(self, work: Work) -> None:
        """All tasks; first of all, whatever could be refused."""
        args = self.args
        if self.lm.world_size > 1:
            raise SteeringError(
                f"a sweep runs in one process, this is one of {self.lm.world_size}: start it without accelerate"
            )
        self.state["settings"]["weights"] = args.weights()  # a hub's model may have come only now
        self._choose_template()
        refuse_lost_prompts(args, self.lm, next(iter(self.plans.values())).system_role)
        self.lm.steer(*self.plans.values())
        asked, plan = [], next(iter(self.plans.values()))
        template, harness = args.apply_chat_template, args.harness
        for unit in work.units:  # all of them before the first response

            def ask(name: str, limit: float | None) -> Requests:
                return build(name, self.manager, self.lm, limit, template, harness, work.known, plan)

            validation = work.gather(unit, True, partial(ask, limit=args.val_limit))
            asked.append((unit, validation, work.gather(unit, False, partial(ask, limit=args.limit))))
        if work.texts is not None:
            self._measure_costs(work.texts)
        for unit, validation, test in asked:
            kind = unit.pool(work.twins).facts["kind"]
            found = self.state["tasks"].setdefault(
                unit.name,
                {
                    "validation": {"task": validation.name, "kind": kind, "scores": {}, "best": {}},
                    "test": {},
                    "refused": {},
                    "passes": {},
                },
            )
            self._search(found, validation)
            self._search_texts(found, unit, work)
            self._test(found, test)
            self._test_others(
                found, [one for one in members(args, found) if one.other and not one.other.model], unit, work
            )
            if args.per_layer is not None:
                for contender in (one for one in args.searched if one.name in found["validation"]["best"]):
                    self._search_layers(found, contender, validation, test, work.texts)

    def run_model(self, other: Other, work: Work) -> None:
        """All tasks by another model, which is loaded in place of the sweep's."""
        self._choose_template()
        for unit in work.units:
            found = self.state["tasks"][unit.name]
            self._test_others(found, [one for one in members(self.args, found) if one.other == other], unit, work)
        self.state["settings"]["baselines"] = self.args.baselines()  # a hub's model may have come only now

    def _choose_template(self) -> None:
        if self.args.apply_chat_template:
            try:
                template = self.lm.chat_template(self.args.apply_chat_template)
            except ValueError as error:  # no template of that name, or none that is the default
                raise SteeringError(f"--apply_chat_template {self.args.apply_chat_template}: {error}") from None
            if not template:
                raise SteeringError("the model's tokenizer has no chat template: leave out --apply_chat_template")

    def _measure_costs(self, texts: CostTexts) -> None:
        """What every strength of each contender costs on unrelated text."""
        asked = [self._whole_set(one) for one in self.args.searched]
        found, done = measure_costs(self.lm, asked, texts, self.console)
        strengths = {name: {alpha: cost.to_json() for alpha, cost in costs.items()} for name, costs in found.items()}
        self.state["cost"] = with_pass(self.state.get("cost") or {}, done) | {"strengths": strengths}
        self._save()

    def _measure_profile(self, entry: dict[str, Any], name: str, plan: SteeringPlan, texts: CostTexts) -> None:
        """What the strengths by block cost that were found."""
        asked = plan.with_changes(alphas=(0.0, *plan.alphas), alpha_per_layer=list(entry["profile"]))
        found, done = measure_costs(self.lm, [(name, asked)], texts, self.console, f", {name} per-layer")
        (cost,) = found[name].values()
        entry["cost_nll"] = cost.to_json()
        self.state["cost"] = with_pass(self.state["cost"], done)

    def _search(self, found: dict[str, Any], validation: Requests) -> None:
        """Algorithm 2: the best strength of each contender on the validation rows; of equal ones the smallest."""
        if self.args.search == "race":
            self._race(found, validation)
            return
        asked = [self._whole_set(one) for one in self.args.searched or self.args.contenders]
        done = self._pass(found, validation, asked)
        part, alphas = found["validation"], self.args.alphas
        for name, plan in asked:
            answers = zip(plan.alphas, done.answers(name, plan), strict=True)
            scores = {alpha: done.scorer.value(one) for alpha, one in answers}
            metric = scores[plan.alphas[-1]]
            higher = done.scorer.higher_is_better(metric)
            part |= {"metric": metric.metric, "higher_is_better": higher, "n": metric.n}
            part["scores"][name] = finite({alpha_name(alpha): score.value for alpha, score in scores.items()})
            among = self._find_affordable(found, validation, name) if self.args.most_cost is not None else alphas
            if among:
                part["best"][name] = choose({alpha: scores[alpha].value for alpha in among}, higher)
        self._save()

    def _find_affordable(self, found: dict[str, Any], validation: Requests, name: str) -> Sequence[float]:
        """The strengths that cost no more than they may; a contender without any has no arm."""
        costs, most, part = self.state["cost"]["strengths"][name], self.args.most_cost, found["validation"]
        assert most is not None
        among = find_affordable(costs, self.args.alphas, most)
        part |= {"most_cost": most, "affordable": (part.get("affordable") or {}) | {name: among}}
        if not among:
            self._refuse(found, validation, name, tell_unaffordable(name, costs, most))
        return among

    def _race(self, found: dict[str, Any], validation: Requests) -> None:
        """The same with fewer responses."""

        def ask(some: Requests, running: Mapping[str, tuple[float, ...]], number: int) -> tuple[Pass, list[Asked]]:
            asked = [self._set(one, running[one.name]) for one in self.args.searched if one.name in running]
            return self._pass(found, some, asked, f", round {number}"), asked

        found["validation"] |= search_by_race(
            validation, self.args.searched, self.args.alphas, self.args.sampling_seed, ask
        )
        self._save()

    def _search_texts(self, found: dict[str, Any], unit: Unit, work: Work) -> None:
        """The best of the system instructions, likewise."""
        for other in self.args.others:

            def ask(text: str, part: str, other: Other = other) -> Pass:
                requests = self._build_other(unit, work, True, other, text)
                return self._pass(found, requests, [(other.name, self._unsteered)], f", {part}")

            if other.texts:
                choose_text(found, other, ask)
                self._save()

    def _build_other(self, unit: Unit, work: Work, validation: bool, other: Other, text: str | None) -> Requests:
        limit = self.args.val_limit if validation else self.args.limit

        def ask(name: str) -> Requests:
            return build_other(self.args, name, other, text, self.manager, self.lm, limit, work.known)

        return work.gather(unit, validation, ask)

    def _test_others(self, found: dict[str, Any], wanted: list[Member], unit: Unit, work: Work) -> None:
        """Baselines of another kind on the test rows, a pass each."""
        for member in wanted:
            assert member.other
            test = self._build_other(unit, work, False, member.other, member.text)
            done = self._pass(found, test, [(member.whose, self._unsteered)], f", {member.whose}")
            self._arm(found, test, member, done)

    def _test(self, found: dict[str, Any], test: Requests) -> None:
        """Algorithm 3: the baseline, and of each contender the best strength and the vote, on the test rows."""
        asked, alone = [], []
        if test.no_vote and self.args.alphas:
            self._refuse(found, test, "vote", test.no_vote)
        for contender in self.args.contenders:
            control = contender.control
            if control is not None and control.temperature is not None and test.no_samples:
                self._refuse(found, test, contender.name, test.no_samples)
            elif control is not None and control.regroups:
                alone.append(contender)
            elif contender.name in found["refused"] or self.plans[contender.name].vote_early_stop:
                continue
            elif self.args.has_vote(contender) and test.votes:
                asked.append(self._whole_set(contender))
        wanted = [one for one in members(self.args, found) if one.other is None]
        early = [one for one in wanted if one.profile is None and one.contender not in alone]
        named = {name for name, _ in asked}
        asked += [(one.contender.name, self._plan(one)) for one in early if one.contender.name not in named]
        done = self._pass(found, test, asked)
        for member in early:
            self._arm(found, test, member, done)
        for member in wanted:
            if member.contender in alone:
                plan = self._plan(member)
                name = member.contender.name
                self._arm(found, test, member, self._pass(found, test, [(name, plan)], f", {name}"))

    def _refuse(self, found: dict[str, Any], test: Requests, arm: str, reason: str) -> None:
        """Leave an arm out, and say why."""
        found["refused"][arm] = reason
        self.console.print(f"{test.name} has no {arm}: {reason}", highlight=False, markup=False)

    def _search_layers(
        self,
        found: dict[str, Any],
        contender: Contender,
        validation: Requests,
        test: Requests,
        texts: CostTexts | None,
    ) -> None:
        """Strengths by block, around a contender's best strength."""
        name = contender.name
        best = found["validation"]["best"][name]
        plan = self.plans[name].with_changes(alphas=(best,), vote_early_stop=False)
        self.lm.replay(plan)
        transfer = self.lm.get_model_info()["steering"]["transfer"]

        def run(plan: SteeringPlan, step: int) -> Pass:
            return self._pass(found, validation, [(name, plan)], f", {name} per-layer {step}")

        entry = search_layers(self.args, name, plan, transfer, found["validation"]["higher_is_better"], run)
        found.setdefault("per_layer", {})[name] = finite(entry)
        if texts is not None:
            self._measure_profile(found["per_layer"][name], name, plan, texts)
        for member in members(self.args, found):
            if member.contender == contender and member.profile is not None:
                done = self._pass(found, test, [(name, self._plan(member))], f", {name} per-layer")
                self._arm(found, test, member, done)

    @property
    def _unsteered(self) -> SteeringPlan:
        """How baselines are asked."""
        return self.plans[self.args.contenders[0].name].unsteered().with_changes(vote_early_stop=False)

    def _plan(self, member: Member) -> SteeringPlan:
        return member.plan(self.plans)

    def _whole_set(self, contender: Contender) -> Asked:
        """All strengths of a contender, each to be answered."""
        return self._set(contender, self.args.alphas)

    def _set(self, contender: Contender, alphas: tuple[float, ...]) -> Asked:
        """Strengths of a contender, each to be answered; of the first one 0, too, which is the baseline."""
        unsteered = (0.0,) if contender == self.args.contenders[0] else ()
        plan = self.plans[contender.name]
        return contender.name, plan.with_changes(alphas=(*unsteered, *alphas), vote_early_stop=False)

    def _pass(self, found: dict[str, Any], requests: Requests, asked: list[Asked], part: str = "") -> Pass:
        name = f"{requests.name}{part}"
        done = run_pass(self.lm, asked, requests, name, self.console, self.metrics[requests.name])
        found["passes"][name] = add_logs(found["passes"].get(name), done.log)
        self._save()
        return replace(done, log=found["passes"][name])

    def _arm(self, found: dict[str, Any], test: Requests, member: Member, done: Pass) -> None:
        """Write an arm where that is not done, and enter it into the state."""
        name, plan, folder = member.whose, self._plan(member), arm_folder(self.args, test.name, member.arm)
        shots = {one.name: one.task.get_config("num_fewshot") for one in test.parts}
        asked = {"settings": done.digests(name, plan), "num_fewshot": shots}
        known = found["test"].get(member.name, {}).get("digest")
        if not holds(folder, self.args, member, known, asked):
            write_arm(self.lm, member, plan, folder, self.args, test, self.manager, done.log)
        path = result_file(folder)
        assert path is not None  # write_arm has seen it
        answers = list(done.answers(name, plan))
        tokens, read = [one.tokens for one in answers], [one.prompt_tokens for one in answers]
        entry: dict[str, Any] = {
            **asdict(member.arm),
            "alpha": member.strength,
            "result": path.relative_to(self.args.folder).as_posix(),
            "digest": digest_of(folder),
            "responses": sum(one.lines for one in answers),
            "tokens": None if None in tokens else sum(token or 0 for token in tokens),
            "prompt_tokens": None if None in read else sum(token or 0 for token in read),
            "lengths": lengths.to_json() if (lengths := add_up(one.lengths for one in answers)) else None,
            "given": member.given,
            "cost_nll": cost_of(member, self.state.get("cost"), found),
        }
        arms = found["test"] | {member.name: entry}
        entry |= describe(self.args.folder, arms, member.name, self.args.metric)
        if entry["votes"]:  # the record may hold more than the vote took, those of the best strength above all
            entry["responses"] = entry["votes"]["responses"] - entry["votes"]["skipped"]
        names = [one.name for one in members(self.args, found)]
        found["test"] = {name: arms[name] for name in names if name in arms}
        self._save()

    def _save(self) -> None:
        write_sweep(self.args.folder / "sweep.json", self.state)
