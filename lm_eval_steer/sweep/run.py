"""Algorithms 2 and 3 over all tasks and controls of a sweep, going on from whatever an earlier start left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import datasets
from lm_eval.tasks import TaskManager
from rich.console import Console

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.interventions.controls import Control
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.locks import held
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.arms import Arm, arm_folder, digest_of, holds, remove, result_file, write_arm
from lm_eval_steer.sweep.before import examine, model_class
from lm_eval_steer.sweep.compare import describe
from lm_eval_steer.sweep.finished import VECTOR, is_finished
from lm_eval_steer.sweep.layers import search_layers
from lm_eval_steer.sweep.passes import Pass, add_logs, run_pass
from lm_eval_steer.sweep.score import Answers, choose
from lm_eval_steer.sweep.state import finite, read_state, write_state
from lm_eval_steer.sweep.tasks import Requests, build, find_twins, first_line

_NO_TEXTS = "control=self-consistency draws texts, and multiple choice has none"


def run_sweep(args: SweepArgs, manager: TaskManager | None = None, console: Console | None = None) -> dict[str, Any]:
    """Run a sweep, or what is left of it.

    Args:
        args: what it is told.
        manager: knows the tasks; by default all of the harness and ours.
        console: where its progress is shown.

    Returns:
        the content of sweep.json.

    Raises:
        SteeringError: one sentence per way to be wrong, before any response is asked for.
    """
    console = console or Console(stderr=True)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise SteeringError(
            f"a sweep is one process, and {processes} were started: start it without a launcher (on several GPUs "
            "--model steered-vllm with data_parallel_size), or run its strengths with lm_eval"
        )
    model = model_class(args.model)
    plan = args.plan()
    if args.trust_remote_code:
        datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = True  # as the harness's command does
    manager = manager or _make_manager(args)
    asked: dict[str, str] = {}

    def look(requests: Requests) -> None:
        asked[requests.name] = examine(args, plan, requests)

    twins = find_twins(args.tasks, args.val_task, manager, args.harness, look)
    settings = args.settings(plan, twins, asked)
    state = read_state(args.folder, settings)
    if is_finished(args, state):
        return state
    what = f"the sweep {args.folder}"
    with held(args.folder / ".sweep.lock", what, "wait for its end, or name another --output_path"):
        state = read_state(args.folder, settings)  # another start may have gone on in the meantime
        if is_finished(args, state):
            return state
        if args.model == "steered-hf" and find_spec("vllm") is not None:
            console.print(
                "vLLM is installed here: --model steered-vllm runs the same sweep on it, on two cores in two fifths "
                "to three quarters of the time, on a GPU in about half (docs/BENCHMARKS.md)",
                highlight=False,
            )
        state["complete"] = False
        _clean(args)
        write_state(args.folder, state)
        place = {"batch_size": args.batch_size, "device": args.device}
        lm = model.create_from_arg_obj(args.arguments | args.strengths(), place)
        state["settings"]["weights"] = args.weights()  # a hub's model may have come only now
        _Sweep(args, manager, console, plan, lm, state).run(twins)
    return state


def _make_manager(args: SweepArgs) -> TaskManager:
    """Knows all tasks of the harness, ours, and those of the user.

    Raises:
        SteeringError: for files of the user that cannot be read as tasks.
    """
    try:
        metadata = args.arguments | dict(args.metadata or {})  # as the harness's command joins them
        return TaskManager(include_path=args.include_path or None, metadata=metadata)
    except Exception as error:  # the files may be wrong in any way
        raise SteeringError(
            f"the tasks of --include_path {args.include_path} cannot be read ({first_line(error)}): correct the file"
        ) from None


def _clean(args: SweepArgs) -> None:
    """Remove arms that a start which was killed left half written."""
    for path in (args.folder / "arms").glob("*/*.part"):
        remove(path)


class _Sweep:
    """One start of a sweep, with its model loaded."""

    def __init__(
        self,
        args: SweepArgs,
        manager: TaskManager,
        console: Console,
        plan: SteeringPlan,
        lm: Any,
        state: dict[str, Any],
    ) -> None:
        self.args, self.manager, self.console, self.lm, self.state = args, manager, console, lm, state
        # Each pass but that of the vote needs every response.
        self.plan = plan.with_changes(vote_early_stop=False)
        self.early_stop = plan.vote_early_stop

    def run(self, twins: dict[str, str]) -> None:
        """All tasks; first of all, whatever could be refused."""
        args = self.args
        if self.lm.world_size > 1:
            raise SteeringError(
                f"a sweep runs in one process, this is one of {self.lm.world_size}: start it without accelerate"
            )
        if args.apply_chat_template:
            try:
                template = self.lm.chat_template(args.apply_chat_template)
            except ValueError as error:  # no template of that name, or none that is the default
                raise SteeringError(f"--apply_chat_template {args.apply_chat_template}: {error}") from None
            if not template:
                raise SteeringError("the model's tokenizer has no chat template: leave out --apply_chat_template")
        for one in args.arms_of_controls:
            self.lm.steer(self.plan.with_changes(control=one))
        asked = {}
        for name, twin in twins.items():
            asked[name] = tuple(
                build(one, self.manager, self.lm, limit, args.apply_chat_template, args.harness)
                for one, limit in ((twin, args.val_limit), (name, args.limit))
            )
        for name, (validation, test) in asked.items():
            found = self.state["tasks"].setdefault(
                name,
                {
                    "validation": {"task": validation.name, "scores": {}, "best": {}},
                    "test": {},
                    "refused": {},
                    "passes": {},
                },
            )
            for control in (None, *args.arms_of_controls):
                self._run_control(found, control, validation, test)
        self.state["complete"] = True
        self._save()

    def _run_control(
        self, found: dict[str, Any], control: Control | None, validation: Requests, test: Requests
    ) -> None:
        if control is None or control.steers:
            best = self._search(found, control, validation)
            self._test(found, control, best, test)
            if self.args.per_layer is not None:
                self._search_layers(found, control, best, validation, test)
        elif control.is_plain:
            plan = self.plan.with_changes(control=control, alphas=(0.0,))
            done = self._pass(found, test, control, plan)
            self._arm(found, test, Arm(control.name, plan, {self.args.unit: 0.0, "control": control.name}), done)
        elif test.choices:
            found["refused"][control.name] = _NO_TEXTS
            self.console.print(f"{test.name}: {_NO_TEXTS}, so that arm is left out", highlight=False)
        else:
            plan = self._vote_plan(control)
            done = self._pass(found, test, control, plan)
            self._arm(found, test, Arm(control.name, plan, self._changes(self.args.alphas, control)), done)

    def _search(self, found: dict[str, Any], control: Control | None, validation: Requests) -> float:
        """Algorithm 2: the best strength on the validation rows; of equal ones the smallest."""
        baseline = (0.0,) if control is None else ()
        plan = self.plan.with_changes(control=control, alphas=(*baseline, *self.args.alphas))
        done = self._pass(found, validation, control, plan)
        scores = {alpha: done.scorer.value(*done.of(alpha)) for alpha in plan.alphas}
        metric = scores[self.args.alphas[0]]
        higher = done.scorer.higher_is_better(metric)
        best = choose({alpha: scores[alpha].value for alpha in self.args.alphas}, higher)
        part = found["validation"]
        part |= {"metric": metric.metric, "higher_is_better": higher, "n": metric.n}
        name = control.name if control else VECTOR
        part["scores"][name] = finite({alpha_name(alpha): score.value for alpha, score in scores.items()})
        part["best"][name] = best
        self._save()
        return best

    def _test(self, found: dict[str, Any], control: Control | None, best: float, test: Requests) -> None:
        """Algorithm 3: baseline, best strength and vote on the test rows."""
        alphas, baseline = self.args.alphas, (0.0,) if control is None else ()
        if self.early_stop:
            first = self._pass(found, test, control, self._plan(control, (*baseline, best)), " best")
            voted = self._pass(found, test, control, self._vote_plan(control), " vote")
        else:
            first = voted = self._pass(found, test, control, self._plan(control, (*baseline, *alphas)))
        if control is None:
            self._arm(found, test, Arm("baseline", self._plan(None, (0.0,)), {self.args.unit: 0.0}), first)
        prefix = f"{control.name} " if control else ""
        one = Arm(f"{prefix}best", self._plan(control, (best,)), self._changes((best,), control))
        self._arm(found, test, one, first)
        every = Arm(f"{prefix}vote", self._vote_plan(control), self._changes(alphas, control))
        self._arm(found, test, every, voted)

    def _search_layers(
        self, found: dict[str, Any], control: Control | None, best: float, validation: Requests, test: Requests
    ) -> None:
        """Strengths by block, around the best strength; controls get the same search."""
        name = control.name if control else VECTOR
        plan = self._plan(control, (best,))
        self.lm.steer(plan)
        transfer = self.lm.get_model_info()["steering"]["transfer"]

        def run(plan: SteeringPlan, part: str) -> Pass:
            return self._pass(found, validation, control, plan, part)

        entry = search_layers(self.args, plan, transfer, found["validation"]["higher_is_better"], run)
        found.setdefault("per_layer", {})[name] = finite(entry)
        plan = plan.with_changes(alpha_per_layer=entry["profile"])
        done = self._pass(found, test, control, plan, " per-layer")
        changes = self._changes((best,), control) | {"alpha_per_layer": entry["profile"]}
        self._arm(found, test, Arm(f"{control.name} per-layer" if control else "per-layer", plan, changes), done)

    def _plan(self, control: Control | None, alphas: tuple[float, ...]) -> SteeringPlan:
        return self.plan.with_changes(control=control, alphas=alphas)

    def _vote_plan(self, control: Control | None) -> SteeringPlan:
        return self.plan.with_changes(control=control, alphas=self.args.alphas, vote_early_stop=self.early_stop)

    def _changes(self, alphas: tuple[float, ...], control: Control | None) -> dict[str, Any]:
        strength = alphas[0] if len(alphas) == 1 else list(alphas)
        return {self.args.unit: strength} | ({"control": control.name} if control else {})

    def _pass(
        self, found: dict[str, Any], requests: Requests, control: Control | None, plan: SteeringPlan, part: str = ""
    ) -> Pass:
        name = f"{requests.name}, {control.name if control else VECTOR}{part}"
        done = run_pass(self.lm, plan, requests, name, self.console)
        found["passes"][name] = add_logs(found["passes"].get(name), done.log)
        self._save()
        return Pass(done.scorer, done.settings, found["passes"][name])

    def _arm(self, found: dict[str, Any], test: Requests, arm: Arm, done: Pass) -> None:
        """Write an arm where that is not done, and enter it into the state."""
        folder = arm_folder(self.args, test.name, arm.name)

        def ask() -> dict[str, Any]:
            self.lm.steer(arm.plan)
            settings = self.lm.get_model_info()["steering"]["settings"]
            return {"settings": settings, "num_fewshot": test.task.get_config("num_fewshot")}

        known = found["test"].get(arm.name, {}).get("digest")
        if not holds(folder, self.args, arm.changes, known, ask):
            write_arm(self.lm, arm, test.name, folder, self.args, self.manager, done.log)
        path = result_file(folder)
        assert path is not None  # write_arm has seen it
        answers = list(_of(done, arm))
        tokens = [one.tokens for one in answers]
        entry: dict[str, Any] = {
            "control": arm.changes.get("control"),
            "alpha": arm.changes[self.args.unit],
            "result": path.relative_to(self.args.folder).as_posix(),
            "digest": digest_of(folder),
            "responses": sum(one.lines for one in answers),
            "tokens": None if None in tokens else sum(token or 0 for token in tokens),
        }
        found["test"][arm.name] = entry
        entry |= describe(self.args.folder, found["test"], arm.name)
        if entry["votes"]:  # the record may hold more than the vote took, those of the best strength above all
            entry["responses"] = entry["votes"]["responses"] - entry["votes"]["skipped"]
        self._save()

    def _save(self) -> None:
        write_state(self.args.folder, self.state)


def _of(done: Pass, arm: Arm) -> Iterator[Answers]:
    """The responses of an arm; those of samples all have the strength 0."""
    yield from done.of(*(variant.alpha for variant in arm.plan.variants))
