"""`lm-eval-steer transfer`: a parent's vector in a child's own space, by a map fitted on texts that both read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lm_eval_steer import plugin
from lm_eval_steer.cli.arguments import PAIRS, Pairs, add_command, pick, read_batch_size, read_path
from lm_eval_steer.cli.output import check_vector_file, make_console, quote, steered
from lm_eval_steer.transfer import defaults


class EachPairs(argparse.Action):
    """Reads key=value pairs as `Pairs` does, every time the option is given into a dictionary of its own."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        one = argparse.Namespace(**{self.dest: None})
        Pairs(self.option_strings, self.dest, nargs="+")(parser, one, values, option_string)
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), getattr(one, self.dest)])


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "transfer",
        run,
        "bring vectors of one parent or several into a child's own space, by a map fitted on texts that all read",
        "lm-eval-steer transfer phi4_gsm8k.safetensors --child models/smollm2 --task gsm8k_steer \\\n"
        "    --out phi4_gsm8k-smollm2.safetensors",
    )
    option = parser.add_argument
    option(
        "vectors",
        nargs="+",
        type=read_path,
        metavar="VECTOR",
        help="a vector file, or the name of one as for `vectors=`; several become one",
    )
    option("--child", type=read_path, metavar="ID_OR_DIR", help="the child: as pretrained=... in --child_args")
    option("--child_args", nargs="+", action=Pairs, metavar=PAIRS, help="arguments of the harness's `hf` model")
    option(
        "--parent_args",
        nargs="+",
        action=EachPairs,
        default=[],
        metavar=PAIRS,
        help="the same of the parent; of several parents once for each, in the order of their vectors "
        "(default: pretrained= the name in the passport)",
    )
    option(
        "--width_map",
        default=defaults.WIDTH_MAP,
        metavar="MAP",
        help="lstsq, ridge[:lambda], procrustes, lowrank:k, anchors:n, which are fitted on texts; cut, cut-raw, which "
        f"are not (default: {defaults.WIDTH_MAP})",
    )
    option(
        "--layer_map",
        default=defaults.LAYER_MAP,
        metavar="MAP",
        help="greedy, proportional, cka (blocks whose states are alike on the texts), only:N, a list CHILD:PARENT, "
        f"as in 0:0,5:3 (default: {defaults.LAYER_MAP})",
    )
    option("--out", required=True, type=read_path, metavar="FILE", help="the vector file, .safetensors or .pt")
    option("--weights", type=read_weights, metavar="W,...", help="of each vector (default: equal ones)")
    option("--device", help="as for lm_eval")
    _add_texts(parser)


def _add_texts(parser: argparse.ArgumentParser) -> None:
    """What both models read, and how."""
    option = parser.add_argument_group("what parent and child read").add_argument
    option("--task", metavar="TASK,...", help="tasks whose extraction rows are read (gsm8k_steer, arc_challenge_steer)")
    option("--texts", type=read_path, metavar="FILE", help='JSONL of {"text": ...} instead')
    option("--n", type=int, help=f"how many texts (default: {defaults.TEXTS:,}, or all where there are fewer)")
    option(
        "--tokens",
        default=defaults.TOKENS,
        metavar="WHICH",
        help="whose states: last of a text, mean of it, or all that end at the same character in both models, the "
        f"latter two without its first token (default: {defaults.TOKENS})",
    )
    option("--apply_chat_template", action="store_true", help="as a user's turn, through each model's chat template")
    option("--allow_leak", action="store_true", help="also validation, test and few-shot rows; the passport says so")
    option("--seed", type=int, default=0, help="chooses texts, those held out, and what a map draws (default: 0)")
    option(
        "--shuffle_texts",
        type=int,
        metavar="SEED",
        help="write the control: a map that is fitted on texts paired at random",
    )
    option("--batch_size", type=read_batch_size, default="auto", metavar="N", help="texts per pass (default: auto)")
    option("--cache", type=read_path, metavar="DIR", help="where states are kept (default: that of the user)")


def read_weights(text: str) -> list[float]:
    """Numbers that commas part."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not understood: give numbers, as in 2,1") from None


def run(args: argparse.Namespace) -> None:
    """Fit the maps, write the vector, and show what came of every block."""
    plugin.install(force=True)
    from lm_eval_steer.extraction.keep import keep
    from lm_eval_steer.interventions.meant import meant
    from lm_eval_steer.transfer.args import TransferArgs
    from lm_eval_steer.transfer.carry import carry
    from lm_eval_steer.transfer.prepare import prepare
    from lm_eval_steer.vectors.show import blocks_table

    wanted = pick(TransferArgs, args)
    check_vector_file(args.out)
    prepared = prepare(wanted)
    vector = carry(wanted, prepared)
    keep(vector, args.out)
    make_console().print(blocks_table(vector))
    child = str((wanted.child_args or {}).get("pretrained", wanted.child))
    print(f"Wrote {args.out} ({len(vector.layers)} directions of width {vector.directions.shape[1]}). Use it:")
    given = steered(args.out, child, meant(vector.passport.get("steering")))
    print(f"  lm_eval --model steered-hf --model_args {given} --tasks TASK")
    if wanted.is_fitted and wanted.shuffle_texts is None:
        control = Path(args.out).with_stem(f"{Path(args.out).stem}.map-shuffled-1")
        print("Whether the texts taught the map anything, its control tells: the same command with")
        print(f"  --shuffle_texts 1 --out {quote([str(control)])}")
