"""`lm-eval-steer rationales`: a model writes the reasoning that a dataset lacks."""

from __future__ import annotations

import argparse
from typing import Any

from lm_eval_steer import plugin
from lm_eval_steer.cli.arguments import PAIRS, Pairs, add_command, pick, read_path
from lm_eval_steer.cli.output import quote


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "rationales",
        run,
        "let a model write the reasoning that a dataset lacks, given the right answers; goes on where it stopped",
        "lm-eval-steer rationales --model_args pretrained=microsoft/phi-4 --task arc_challenge_steer --out arc.jsonl "
        "--apply_chat_template",
    )
    option = parser.add_argument
    option("--model", default="hf", help="a model class of the harness, API models included (default: hf)")
    option("--model_args", nargs="+", action=Pairs, metavar=PAIRS, help="as for lm_eval")
    option("--task", required=True, help="task whose extraction rows need reasoning (arc_challenge_steer)")
    option("--out", required=True, type=read_path, metavar="FILE", help="JSONL to write or to go on with")
    option("--n", type=int, default=160, help="how many rows to ask for (default: 160)")
    option("--seed", type=int, default=0, help="which rows (default: 0)")
    option("--device", help="as for lm_eval")
    option("--batch_size", type=int, default=8, help="requests between two writes (default: 8)")
    option("--max_gen_toks", type=int, default=512, help="limit of one rationale (default: 512)")
    option("--apply_chat_template", action="store_true", help="ask through the model's chat template")


def run(args: argparse.Namespace) -> None:
    """Ask the model for what is missing in the file, and tell what came of it."""
    plugin.install(force=True)
    from lm_eval_steer.extraction.extract import load_parent
    from lm_eval_steer.extraction.pairs import load_task
    from lm_eval_steer.extraction.rationale_file import Author
    from lm_eval_steer.extraction.rationales import RationaleArgs, prepare, write_rationales
    from lm_eval_steer.extraction.templates import pair_template
    from lm_eval_steer.models.load import loading, model_class

    wanted = pick(RationaleArgs, args)
    kind = model_class(args.model, "use hf, or another that lm_eval ls models names")
    template = pair_template(args.task)
    task = load_task(args.task)
    model_args = {"batch_size": args.batch_size} | (args.model_args or {})
    settings = {key: getattr(args, key) for key in ("max_gen_toks", "apply_chat_template")}
    author = Author.of(args.model, model_args, **settings)
    prepare(wanted, task, template["negative"], author)  # now, not after the model is loaded
    if args.model in ("hf", "steered-hf"):  # as extract loads a parent: the machine's device, system prompt merged
        writer = load_parent(model_args, args.device)
    else:
        with loading(author.name):
            writer = kind.create_from_arg_obj(model_args, {"device": args.device})
    attempts, kept = write_rationales(wanted, task, writer, template["negative"], author)
    print(f"{args.out} holds {attempts} rationales, {kept} of which reach the right answer.", end=" ")
    if kept < 2:
        print("A direction needs 2 at least: ask for more with --n, or a stronger model into another file.")
        return
    print("Use them:")
    more = f"--task {args.task} --rationales {quote([args.out])} --n {kept} --out FILE"
    print(f"  lm-eval-steer extract --model_args pretrained=PARENT {more}")
