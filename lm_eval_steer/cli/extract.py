"""`lm-eval-steer extract`: a steering vector from a parent model."""

from __future__ import annotations

import argparse
from typing import Any

from lm_eval_steer import plugin
from lm_eval_steer.cli.arguments import PAIRS, Pairs, add_command, pick, read_layers, read_path
from lm_eval_steer.cli.output import check_vector_file, make_console, quote, steered


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "extract",
        run,
        "extract a steering vector from a parent model",
        "lm-eval-steer extract --model_args pretrained=microsoft/phi-4,dtype=bfloat16 --task gsm8k_steer "
        "--out phi4_gsm8k.safetensors",
    )
    option = parser.add_argument
    option(
        "--model_args",
        nargs="+",
        required=True,
        action=Pairs,
        metavar=PAIRS,
        help="the parent: pretrained=ID_OR_DIR and any other argument of the harness's `hf` model",
    )
    option("--task", help="task whose documents make the pairs: gsm8k_steer, hellaswag or any other of the harness")
    option("--include_path", type=read_path, metavar="DIR", help="folder of tasks of your own, as lm_eval takes it")
    option(
        "--split",
        metavar="NAME|share",
        help="split of its documents, or share for a part of those that it is tested on (default: the training split)",
    )
    option(
        "--contrast",
        help="what tells the sides apart: target, wrong (option), shots (worked or bare), system (prompts); default: "
        "the package's template of the task, else what the task declares, else wrong where it has options, else target",
    )
    option("--positive", metavar="TEXT", help="system prompt of the positive side of --contrast system")
    option("--negative", metavar="TEXT", help="system prompt of the negative side")
    option(
        "--num_fewshot", type=int, metavar="N", help="examples before every prompt (default: 0; of shots the task's)"
    )
    option(
        "--pairs",
        type=read_path,
        metavar="FILE",
        help='JSONL of {"positive": text, "negative": text} instead of a task',
    )
    option(
        "--rationales",
        type=read_path,
        metavar="FILE",
        help="reasoning for a task that has none (lm-eval-steer rationales)",
    )
    option(
        "--pair_template", type=read_path, metavar="FILE", help="YAML of pair templates instead of the package's own"
    )
    option("--out", required=True, type=read_path, metavar="FILE", help="the vector file, .safetensors or .pt")
    option("--n", type=int, help="number of pairs (default: 128 rows of a task, all pairs of a file)")
    option(
        "--method",
        default="pca",
        help="pca (default, as RepE), mean (normalised mean difference) or one that another package brings",
    )
    option("--normalize_differences", action="store_true", help="unit differences first (the paper's formula)")
    option(
        "--site",
        default="block",
        metavar="SITE",
        help="where to read: block (its output), block_input, attention or mlp (what they add), heads, final_norm; "
        "several as in attention+mlp (default: block)",
    )
    option("--heads", type=int, metavar="N", help="of --site heads: keep those N that tell most held-out pairs apart")
    option("--layers", type=read_layers, default="all", help="blocks to read: all, 7, 10-20 or [1,4]")
    option("--device", help="cuda, cuda:1, cpu, mps (default: as the harness chooses)")
    option("--batch_size", type=int, default=8, help="texts per forward pass (default: 8)")
    option("--seed", type=int, default=0, help="chooses rows and the order inside pairs (default: 0)")
    option("--apply_chat_template", action="store_true", help="ask the parent through its chat template")


def run(args: argparse.Namespace) -> None:
    """Read the vector by Algorithm 1 of the paper, write it, and show how it steers."""
    plugin.install(force=True)
    from lm_eval_steer.extraction.args import ExtractionArgs
    from lm_eval_steer.extraction.extract import extract, load_parent
    from lm_eval_steer.extraction.keep import keep
    from lm_eval_steer.extraction.report import make_table
    from lm_eval_steer.extraction.source import load_source
    from lm_eval_steer.interventions.meant import meant
    from lm_eval_steer.sites import DEFAULT
    from lm_eval_steer.vectors.show import told_directions

    wanted = pick(ExtractionArgs, args)
    check_vector_file(args.out)
    source = load_source(wanted)
    vector = extract(wanted, source, load_parent(args.model_args or {}, args.device))
    keep(vector, args.out)
    parts = [vector.at(site) for site in vector.sites]
    for one in parts:
        make_console().print(make_table(one))
    if vector.sites == (DEFAULT,):
        print(f"Wrote {args.out} ({len(parts[0].layers)} directions of width {parts[0].directions.shape[1]}). Use it:")
    else:
        print(f"Wrote {args.out} ({'; '.join(map(told_directions, parts))}). Use it:")
    own = f" --include_path {args.include_path}" if args.include_path else ""
    given = steered(args.out, steering=meant(vector.passport.get("steering")))
    task = args.task or "gsm8k_steer"
    if source.split and source.split.share:
        vectors = quote([f"pretrained=CHILD,vectors={args.out}"])
        print(f"  lm-eval-steer sweep --model_args {vectors} --tasks {task}{own} --val_split share --alpha paper ...")
        print("which leaves out the documents that the vector was made from.")
    else:
        task = "ANOTHER_TASK" if source.split and source.split.tested else task
        print(f"  lm_eval --model steered-hf --model_args {given} --tasks {task}{own}")
