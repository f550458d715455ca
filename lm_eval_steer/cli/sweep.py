"""`lm-eval-steer sweep`: search the strength on validation rows, then test it, its vote and its controls."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from lm_eval_steer import plugin
from lm_eval_steer.cli.arguments import PAIRS, Names, Pairs, add_command, pick, read_batch_size, read_path, read_seeds
from lm_eval_steer.cli.output import make_console

COST_TEXTS = "arc_challenge_steer"
"""Whose extraction rows --cost takes where none is named: questions of natural science, in plain English."""


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "sweep",
        run,
        "search the strength on validation rows, then test it, the vote over the set, and controls",
        "lm-eval-steer sweep --model_args pretrained=models/smollm2,vectors=smollm2_arith \\\n"
        "    --tasks arith_steer --alpha paper --controls random:2 --limit 40 --val_limit 40 --output_path sweep",
    )
    option = parser.add_argument
    option("--model", default="steered-hf", help="a model class of the harness that steers (default: steered-hf)")
    option(
        "--model_args",
        nargs="+",
        required=True,
        action=Pairs,
        metavar=PAIRS,
        help="as for lm_eval, without alpha, dose, control, record, seed, batch_size, device",
    )
    option("--tasks", required=True, nargs="+", action=Names, metavar="TASK,...", help="test tasks")
    option(
        "--val_task",
        nargs="+",
        default=[],
        action=Names,
        metavar="TASK,...",
        help="validation tasks, one per task (default: TASK_val where there is one)",
    )
    option(
        "--val_split",
        metavar="NAME|share",
        help="in place of them, a split of the task's data, or share for a part of its test documents (default without "
        "a TASK_val: its validation split, else its training split, else share)",
    )
    option("--val_share", type=float, metavar="S", help="of the test documents, where these are parted (default: 0.3)")
    option(
        "--metric",
        metavar="NAME[,filter]",
        help="what strengths are chosen by and verdicts are about (default: each task's first)",
    )
    option(
        "--metrics", action="store_true", help="a table of each other metric, too (default: where they are one or two)"
    )
    option("--per_task", action="store_true", help="a strength for every task of a group (default: one for the group)")
    option(
        "--votes",
        nargs="+",
        action=Names,
        metavar="NAME,...",
        help="of which vectors and controls the vote over the set is tested, as a table names them, or none (default: "
        "all)",
    )
    option("--members", action="store_true", help="show the tasks of groups, too")
    option("--alpha", metavar="SET", help="the strengths: paper, [0.04,0.5] or 0.01:0.09:0.01")
    option("--dose", metavar="SET", help="in place of --alpha, strengths as shares of ‖h‖")
    option(
        "--output_path",
        required=True,
        type=read_path,
        metavar="DIR",
        help="where results go, and from where it goes on",
    )
    option("--limit", type=float, metavar="N", help="documents of a test task, or a share below 1")
    option("--val_limit", type=float, metavar="N", help="documents of a validation task, or a share below 1")
    option(
        "--batch_size",
        type=read_batch_size,
        default="auto",
        metavar="N",
        help="rows of a batch, or auto (default: auto)",
    )
    option("--device", help="as for lm_eval")
    option(
        "--controls",
        metavar="LIST",
        help="all, or a list of random:N, map-shuffled:N, shuffled, negated, identity, self-consistency",
    )
    option(
        "--arms",
        nargs="+",
        action="extend",
        metavar="NAME=FILE,...",
        help="in place of vectors= in --model_args, several vectors by name: they share baseline and documents; beside "
        'any vector, or alone, what may do as well: "prompt=TEXT" (a system instruction, a word of its own; of several '
        "the best on validation rows), shots=N, model=ID (a folder or the name of another model, or an adapter)",
    )
    option(
        "--sites",
        metavar="each",
        help="each: the vector at one block at a time, beside all of them: which layer, and how strongly",
    )
    option(
        "--search",
        default="full",
        metavar="HOW",
        help="full, or race: validation documents in growing rounds, and no more of them for a strength that is surely "
        "worse than the best so far (default: full)",
    )
    option("--per-layer", "--per_layer", metavar="HOW", help="search strengths by block, too: coordinate or optuna")
    option("--budget", type=int, default=20, help="the most profiles that --per-layer tries (default: 20)")
    option(
        "--cost",
        nargs="?",
        const=COST_TEXTS,
        metavar="TASK|FILE",
        help="measure how much less likely every strength makes unrelated text: extraction rows of a task (default: "
        f'{COST_TEXTS}), or a .jsonl file of {{"text": ...}}',
    )
    option(
        "--choose",
        metavar="effect@cost=C",
        help="with --cost, the best of the strengths that cost C nats per token or less (default: of all)",
    )
    option(
        "--seed",
        type=read_seeds,
        metavar="N[,N,N,N]",
        help="as for lm_eval (default: 0,1234,1234,1234); the first is that of sampled tokens and of --per-layer, too",
    )
    _add_prompting(parser)


def _add_prompting(parser: argparse.ArgumentParser) -> None:
    """How tasks are asked: options of `lm_eval` with its meanings and defaults."""
    option = parser.add_argument_group("as for lm_eval, on test and validation rows alike").add_argument
    option("--apply_chat_template", nargs="?", const=True, default=False, metavar="NAME", help="use a chat template")
    option(
        "--fewshot_as_multiturn",
        nargs="?",
        type=lambda text: text.lower() in ("true", "1", "yes"),
        const=True,
        metavar="BOOL",
        help="shots as turns of a conversation (default: with --apply_chat_template)",
    )
    option("--system_instruction", metavar="TEXT", help="a system prompt")
    option("--num_fewshot", type=int, metavar="N", help="shots, in place of the task's own number")
    option("--gen_kwargs", nargs="+", action=Pairs, metavar=PAIRS, help="as in max_gen_toks=2048,until=[]")
    option("--include_path", type=read_path, metavar="DIR", help="folder of tasks of your own")
    option("--metadata", nargs="+", action=Pairs, metavar=PAIRS, help="for tasks that ask for some")
    option("--trust_remote_code", action="store_true", help="run code that comes with a model or data set")
    option("--confirm_run_unsafe_code", action="store_true", help="run tasks that execute what the model writes")


def run(args: argparse.Namespace) -> None:
    """Run Algorithms 2 and 3 of the paper and print a table per task."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # a table shows the progress, and the replays of the arms have none
    plugin.install(force=True)
    from lm_eval_steer.compare.per_task import describe_groups
    from lm_eval_steer.sweep import (
        SweepArgs,
        make_members_table,
        make_metric_tables,
        make_notes,
        make_table,
        run_sweep,
    )

    wanted = pick(SweepArgs, args)
    found = run_sweep(wanted)
    console = make_console()
    groups = describe_groups(wanted.folder, found)
    hidden = {task for name in groups if not args.members for task in found["settings"]["groups"][name]["members"]}
    for name, task in [*groups.items(), *((name, task) for name, task in found["tasks"].items() if name not in hidden)]:
        for table in (make_table(name, task, wanted.unit), *make_metric_tables(name, task, wanted.unit, args.metrics)):
            console.print(table)
        if args.members and task["validation"].get("kind") == "group":
            console.print(make_members_table(wanted.folder, name, task))
        for note in make_notes(name, task, args.metrics):
            print(f"- {note}")
    print(f"Wrote {Path(args.output_path) / 'sweep.json'}. All runs in one table:")
    print(f"  lm-eval-steer leaderboard {shlex.quote(args.output_path)}")
