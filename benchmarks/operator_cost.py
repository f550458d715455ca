"""What one further operator or site in a batch costs, and what those cost that no row uses: shares of forward passes.

    python benchmarks/operator_cost.py --engine steered-vllm
    python benchmarks/operator_cost.py --engine steered-hf --operators ablate,turn --sites mlp,heads

Rows with random prompts are written under `add` at the output of every block of models/smollm2 (width 576; `make demo`
brings it); between two such runs the same rows are written with half of them under one further operator or site, or
while every operator and site is loaded and none of them is used, or without steering. What is told is processor time,
which other work on the machine does not share, as a ratio to the runs before and behind; of all rounds the median and
the quartiles. What `add` itself comes to against `add` says how exact that is. The engine of vLLM runs inside this
process, so that its time is counted.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

import numpy as np
from lm_eval.api.registry import get_model
from transformers import AutoConfig

from lm_eval_steer import plugin
from lm_eval_steer.engines.protocol import Generation, Job
from lm_eval_steer.interventions.intervention import NOTHING, Edit, Intervention, intervene
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.sites import SITES

STRENGTHS = {"length": 0.1, "share": 0.1, "angle": 1.0}
OF_A_MAP = 1 + 2 * 4
"""Rows of a map of rank 4, which `low_rank` takes."""
PROMPT = 8
BASE = "add at block"


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="steered-vllm", choices=("steered-vllm", "steered-hf"))
    parser.add_argument("--model", default="models/smollm2")
    parser.add_argument("--rows", type=int, default=16, help="how many are in a batch")
    parser.add_argument("--new_tokens", type=int, default=16, help="passes of a run, each of one token of every row")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--operators", default=",".join(OPERATORS), help="the further ones, at outputs of blocks")
    parser.add_argument("--sites", default=",".join(SITES), help="the further ones, under add")
    return parser.parse_args()


def make(
    operators: list[str], sites: list[str], depth: int, width: int, heads: int, head_dim: int
) -> dict[str, Intervention]:
    """Operators at the outputs of all blocks, and `add` at sites, with random directions; `add` at blocks first."""
    draw = np.random.default_rng(0)

    def edits(operator: str, site: str) -> Iterator[Edit]:
        shape: tuple[int, ...] = (heads, head_dim) if SITES[site].by_head else (width,)
        strength = STRENGTHS[OPERATORS[operator].strength]
        for block in range(depth if SITES[site].in_blocks else 1):
            drawn = draw.normal(size=(OPERATORS[operator].directions or OF_A_MAP, *shape)).astype(np.float32)
            drawn /= np.linalg.norm(drawn, axis=-1, keepdims=True)
            yield Edit(block, operator, np.stack([*drawn], axis=-2) if len(drawn) > 1 else drawn[0], strength, site)

    found = {f"{operator} at block": intervene(edits(operator, "block")) for operator in ["add", *operators]}
    return found | {f"add at {site}": intervene(edits("add", site)) for site in sites if site != "block"}


def main() -> None:
    """Run all, round by round, and print a Markdown table."""
    args = read_arguments()
    plugin.install(force=True)
    if args.engine == "steered-vllm":
        own: dict[str, Any] = {"max_model_len": 256, "max_num_batched_tokens": 256}
        least: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True}
    else:
        own, least = {"batch_size": args.rows, "device": "cpu"}, {"do_sample": False, "min_new_tokens": args.new_tokens}
    lm: Any = get_model(args.engine)(pretrained=args.model, dtype="float32", alpha=0, **own)
    config = AutoConfig.from_pretrained(args.model)
    depth, width, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    chosen = args.operators.split(","), args.sites.split(",")
    known = make(*chosen, depth, width, heads, getattr(config, "head_dim", None) or width // heads)
    names, everything = [*known, "no row is steered"], [*known.values(), NOTHING]
    draw = np.random.default_rng(1)
    prompts = [draw.integers(100, 10000, size=PROMPT).tolist() for _ in range(args.rows)]
    told = Generation((), args.new_tokens, least)

    def run(of_row: list[int]) -> float:
        jobs = [Job(row, of_row[row], prompt=prompts[row], generation=told) for row in range(args.rows)]
        if args.engine == "steered-vllm":
            lm.model.reset_prefix_cache()
        start = time.process_time()
        done = list(lm.engine.run(jobs))
        took = time.process_time() - start
        assert len(done) == args.rows
        return took

    others = "the others loaded, none used"
    runs: dict[str, tuple[list[Intervention], list[int]]] = {others: (everything, [0] * args.rows)}
    runs[names[-1]] = everything, [len(known)] * args.rows
    for number in range(1, len(known)):
        runs[f"half of the rows {names[number]}"] = [everything[0], everything[number]], [0, 1] * (args.rows // 2)

    def measure(loaded: list[Intervention], of_row: list[int]) -> float:
        lm.engine.load(loaded)
        return run(of_row)

    base = everything[:1], [0] * args.rows
    ratios: dict[str, list[float]] = {name: [] for name in (f"{BASE}, a second time", *runs)}
    measure(*base)  # warms up
    before = measure(*base)
    for _ in range(args.rounds):
        for name, found in ratios.items():
            took, after = measure(*runs.get(name, base)), measure(*base)
            found.append(2 * took / (before + after))
            before = after
    print(f"\n{args.engine}, {args.rows} rows, {args.new_tokens} passes, {args.rounds} rounds\n")
    print(f"| run | processor time / all rows {BASE} | quartiles |\n|---|---|---|")
    for name, found in ratios.items():
        low, middle, high = np.percentile(found, (25, 50, 75))
        print(f"| {name} | {middle:.3f} | {low:.3f} to {high:.3f} |")


if __name__ == "__main__":
    main()
