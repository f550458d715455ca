"""How much of a residual stream's length lies in a few components: why a share of ‖h‖ is another step in each family.

    python benchmarks/norms.py MODEL...

takes folders or hub ids of transformers models, and runs the questions of arith_steer. Prints a Markdown table: of each
position's ‖h‖², the share of its three longest components: the mean over the positions of a block, least and most over
the blocks. The first position is left out, which many models give a length of its own, and so is the last block.
"""

from __future__ import annotations

import importlib.resources
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LONGEST, TOKENS = 3, 600


@torch.no_grad()
def shares(name: str, text: str) -> list[float]:
    """Per block."""
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(name)(text, return_tensors="pt").input_ids[:, :TOKENS]
    squares = [state[0, 1:] ** 2 for state in model(ids, output_hidden_states=True).hidden_states[1:-1]]
    return [float((square.topk(LONGEST).values.sum(-1) / square.sum(-1)).mean()) for square in squares]


def main(names: list[str]) -> None:
    """A row per model."""
    lines = importlib.resources.files("lm_eval_steer.tasks").joinpath("arith/test.jsonl").read_text().splitlines()
    text = "\n".join(json.loads(line)["question"] for line in lines[:20])
    print("| model | least | most |\n|---|---|---|")
    for name in names:
        found = shares(name, text)
        print(f"| {name} | {min(found):.0%} | {max(found):.0%} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
