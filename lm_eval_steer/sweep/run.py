"""Algorithms 2 and 3 over all tasks and controls of a sweep, going on from whatever an earlier start left."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import datasets
from lm_eval.tasks import TaskManager
from rich.console import Console

from lm_eval_steer.compare.outcome import compare_with_own
from lm_eval_steer.compare.sweep_file import write_sweep
from lm_eval_steer.compare.validation import tell_validation
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.locks import held
from lm_eval_steer.models.parts import BY_SHARE
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.arm_files import remove
from lm_eval_steer.sweep.ask_others import let_go, look_at_models, look_at_others
from lm_eval_steer.sweep.before import examine, model_class
from lm_eval_steer.sweep.cost_texts import find_cost_texts
from lm_eval_steer.sweep.facts import looked_up_once
from lm_eval_steer.sweep.finished import is_finished
from lm_eval_steer.sweep.race import refuse_no_mean
from lm_eval_steer.sweep.requests import Requests
from lm_eval_steer.sweep.score import find_metric
from lm_eval_steer.sweep.state import read_state
from lm_eval_steer.sweep.tasks import Read, find_twins, first_line
from lm_eval_steer.sweep.units import find_units, refuse_groups, refuse_twins
from lm_eval_steer.sweep.work import SweepOfModel, Work


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
    plans = args.plans()
    if args.trust_remote_code:
        datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = True  # as the harness's command does
    manager = manager or _make_manager(args)
    asked: dict[str, str] = {}
    known: dict[str, Read] = {}
    metrics: dict[str, str | None] = {}

    def tell(sentence: str) -> None:
        console.print(sentence, highlight=False, markup=False)

    def look(requests: Requests, name: str) -> None:
        asked[requests.name] = examine(args, plans, requests, args.limit if requests.name == name else args.val_limit)
        metrics[requests.name] = find_metric(requests, metrics.get(name, args.metric))
        if args.search == "race":
            refuse_no_mean(requests, metrics[requests.name])

    def look_at(name: str, requests: Requests) -> None:
        asked[name] = examine(args, plans, requests, args.limit)

    units = find_units(args.tasks, manager, args.harness, known, args.limit, args.metric, args.per_task, tell)
    refuse_twins(args.tasks, args.val_task, units)
    if args.search == "race":
        refuse_groups(units)
    metrics |= {member: unit.metric for unit in units if unit.group for member in unit.members}
    members = [member for unit in units for member in unit.members]
    twins = find_twins(members, args.val_task, manager, args.harness, look, known, args.choice(plans), args.limit)
    if args.val_share is not None and all(twin.facts["kind"] != BY_SHARE for twin in twins.values()):
        raise SteeringError(
            f"--val_share {args.val_share:g} parts nothing, for strengths are chosen on "
            f"{', '.join(twin.name for twin in twins.values())}: add --val_split share, or leave it out"
        )
    pooled = {unit.name: unit.pool(twins) for unit in units}
    for unit in units:
        twin = pooled[unit.name]
        tell(f"{unit.name}: {tell_validation(twin.name, twin.facts, (args.val_limit, args.limit))}")
        if unit.group:
            asked[unit.name] = unit.rule
            metrics |= {unit.name: unit.metric, twin.name: unit.metric}
    look_at_others(args, twins, manager, known, look_at)
    texts = None
    if args.cost is not None:
        texts = find_cost_texts(args.cost, manager, {name: read.task for name, read in known.items()})
        tell(f"what steering costs is measured on {len(texts.pairs)} texts of {texts.source}")
    groups = {unit.of["name"]: unit.of["rule"] for unit in units if unit.of}
    settings = args.settings(plans, pooled, asked, groups, texts.settings if texts else None)
    state = read_state(args.folder, settings)
    if is_finished(args, state, pooled):
        return state
    what = f"the sweep {args.folder}"
    with held(args.folder / ".sweep.lock", what, "wait for its end, or name another --output_path"):
        state = read_state(args.folder, settings)  # another start may have gone on in the meantime
        if is_finished(args, state, pooled):
            return state
        if args.model == "steered-hf" and find_spec("vllm") is not None:
            console.print(
                "vLLM is installed here: --model steered-vllm runs the same sweep on it, on two cores in two fifths "
                "to three quarters of the time, on a GPU in about half (docs/BENCHMARKS.md)",
                highlight=False,
            )
        look_at_models(args)
        state["complete"] = False
        _clean(args)
        write_sweep(args.folder / "sweep.json", state)
        place = {"batch_size": args.batch_size, "device": args.device}
        own = args.arguments | args.contenders[0].arguments | args.strengths()
        with looked_up_once():
            lm = model.create_from_arg_obj(own, place)
            work = Work(units, twins, known, texts)
            SweepOfModel(args, manager, console, plans, lm, state, metrics).run(work)
            for other in args.models:
                del lm
                let_go()
                arguments = other.arguments(args.arguments, args.model) | args.strengths() | {args.unit: 0}
                plans = {args.contenders[0].name: args.plan_of_model()}
                lm = model.create_from_arg_obj(arguments, place)
                SweepOfModel(args, manager, console, plans, lm, state, metrics).run_model(other, work)
        _finish(args, state)
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


def _finish(args: SweepArgs, state: dict[str, Any]) -> None:
    """Enter what takes all arms, and that all is done."""
    for found in state["tasks"].values():
        shares = compare_with_own(args.folder, found["test"])
        found["test"] = {name: arm | {"share_of_own": shares.get(name)} for name, arm in found["test"].items()}
    state["complete"] = True
    write_sweep(args.folder / "sweep.json", state)
