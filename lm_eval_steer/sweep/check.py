"""What a sweep refuses before any model is loaded: one sentence per way to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval_steer.compare.arms import ROLES
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_folder, refuse_unwritable
from lm_eval_steer.interventions.arguments import OPTIONS
from lm_eval_steer.interventions.controls import read_controls
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.interventions.presets import expanded
from lm_eval_steer.models.parts import BY_SHARE
from lm_eval_steer.sweep.profile_search import check_search
from lm_eval_steer.sweep.race import SEARCHES

if TYPE_CHECKING:
    from lm_eval_steer.sweep.args import SweepArgs

# What a sweep says itself: key of --model_args -> the option for it.
_OPTIONS = OPTIONS | {"batch_size": "--batch_size", "device": "--device"}


def check(args: SweepArgs) -> None:
    """Refuse arguments that are wrong, or do not go together.

    Raises:
        SteeringError: with one sentence.
    """
    for key, option in _OPTIONS.items():
        if key in args.model_args:
            raise SteeringError(
                f"{key}={args.model_args[key]!r} is in --model_args: leave it out there, a sweep has {option}"
            )
    _check_documents(args)
    _check_harness(args)
    _check_search(args)
    _ = args.vectors, read_controls(args.controls), args.harness
    _check_others(args)
    _check_votes(args)
    if not args.output_path:
        raise SteeringError("--output_path is empty: name the folder of the sweep")
    for name in ("sweep.json", "record/.probe", "arms/.probe"):
        refuse_unwritable(args.folder / name)


def _check_documents(args: SweepArgs) -> None:
    if not args.tasks:
        raise SteeringError("--tasks names no task: name one, as in --tasks gsm8k_steer")
    for name in args.tasks:
        if args.tasks.count(name) > 1:
            raise SteeringError(f"--tasks names {name} twice: name every task once")
    if args.val_task and len(args.val_task) != len(args.tasks):
        raise SteeringError(
            f"--val_task names {len(args.val_task)} tasks and --tasks {len(args.tasks)}: give one validation task "
            "per task, in the same order"
        )
    if args.val_split is not None and args.val_task:
        raise SteeringError(
            f"--val_task {','.join(args.val_task)} and --val_split {args.val_split} are two choices of validation "
            "documents: give one"
        )
    if args.val_share is not None:
        _check_share(args, args.val_share)
    for option, limit in (("--limit", args.limit), ("--val_limit", args.val_limit)):
        if limit is not None and not 0 < limit < float("inf"):
            raise SteeringError(f"{option} {limit:g} leaves no document: give a number above 0, or a share below 1")


def _check_harness(args: SweepArgs) -> None:
    if not _is_batch_size(args.batch_size):
        raise SteeringError(f"--batch_size {args.batch_size} is not understood: give a number from 1 on, or auto")
    if args.num_fewshot is not None and args.num_fewshot < 0:
        raise SteeringError(f"--num_fewshot {args.num_fewshot} is no number of shots: give 0 or more")
    if args.fewshot_as_multiturn and not args.apply_chat_template:
        raise SteeringError(
            "--fewshot_as_multiturn makes turns of a conversation, and without a chat template there are none: "
            "add --apply_chat_template"
        )
    if args.include_path and not is_folder(args.include_path):
        raise SteeringError(f"--include_path {args.include_path} is no folder: name the folder of your tasks")


def _check_search(args: SweepArgs) -> None:
    if 0.0 in args.alphas:
        operator = expanded(args.arguments | {args.unit: 1}).get("operator", "add")
        at_zero = operator in OPERATORS and OPERATORS[operator].acts(0.0)
        raise SteeringError(
            f"--{args.unit} {args.strengths_given} holds 0, which is the baseline without steering that a sweep adds "
            "itself: "
            + (f"under operator={operator} give a number near it, such as 0.001" if at_zero else "leave it out")
        )
    if args.search not in SEARCHES:
        raise SteeringError(f"--search {args.search} is no search: use one of {', '.join(SEARCHES)}")
    if args.per_layer is not None:
        check_search(args.per_layer, args.budget, args.sampling_seed)
        if args.sites is not None:
            raise SteeringError(
                f"--per-layer {args.per_layer} searches strengths of several blocks, and --sites {args.sites} "
                "steers one at a time: leave one of them out"
            )
        if "alpha_per_layer" in args.model_args:
            raise SteeringError(
                f"alpha_per_layer={args.model_args['alpha_per_layer']!r} is in --model_args, and --per-layer "
                f"{args.per_layer} searches it: leave one of them out"
            )
    if args.most_cost is not None and args.search == "race":
        raise SteeringError(
            f"--search race leaves strengths out by their score alone, and --choose {args.choose} by their cost, "
            "too: leave one of them out"
        )
    if args.most_cost is not None and args.cost is None:
        raise SteeringError(f"--choose {args.choose} bounds what a strength costs, which is not measured: add --cost")


def _check_others(args: SweepArgs) -> None:
    """Refuse baselines of another kind that are the baseline itself, and what takes a vector where none is."""
    for one in args.others:
        one.refuse_baseline(args.model_args.get("pretrained"), args.system_instruction, args.num_fewshot)
        if any(contender.arm(role).folder == one.arm.folder for contender in args.contenders for role in ROLES):
            raise SteeringError(f"--arms calls a vector so that an arm of it and {one.name} would lie in one folder")
    if not args.alphas:
        given = {
            "--controls": read_controls(args.controls) and args.controls,
            "--per-layer": args.per_layer,
            "--search": None if args.search == "full" else args.search,
            "--cost": args.cost,
        }
        for option, value in given.items():
            if value:
                raise SteeringError(
                    f"{option} {value} takes a vector, and the sweep has none: name one with --arms NAME=FILE or "
                    f"vectors= in --model_args, or leave {option} out"
                )


def _check_votes(args: SweepArgs) -> None:
    names = [one.name for one in args.searched] if args.voters else []
    for name in args.voters or ():
        if name not in names:
            raise SteeringError(
                f"--votes {name} is nothing that has strengths here: name some of {', '.join(names)}, or none"
            )


def _check_share(args: SweepArgs, share: float) -> None:
    if not 0 < share < 1:
        left = "to choose a strength on" if share <= 0 else "to test it on"
        raise SteeringError(f"--val_share {share:g} leaves no document {left}: give a share between 0 and 1, as in 0.3")
    given = f"--val_task {','.join(args.val_task)}" if args.val_task else f"--val_split {args.val_split}"
    if args.val_task or args.val_split not in (None, BY_SHARE):
        raise SteeringError(f"--val_share {share:g} parts nothing beside {given}: leave one of them out")


def _is_batch_size(value: Any) -> bool:
    """Whether the model classes of the harness take it: a number, `auto`, or `auto:N`."""
    if isinstance(value, str):
        word, colon, times = value.partition(":")
        return word == "auto" and (not colon or (times.isdecimal() and int(times) > 0))
    return type(value) is int and value > 0
