"""What reading a vector costs: `lm-eval-steer extract`'s forward passes against the usual way, as a ratio of wall time.

    python benchmarks/extraction.py [PAIRS] [REPEAT]

The usual way (repeng, RepE) runs every text whole, each side of the pairs by itself, and keeps all hidden states of a
batch. Needs models/smollm2 (`make demo`) and GSM8K (the hub, or LM_EVAL_STEER_DATA). Prints a Markdown table.
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Any

import numpy as np
import torch

from lm_eval_steer import plugin
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.capture import capture_pairs
from lm_eval_steer.extraction.extract import load_parent
from lm_eval_steer.extraction.source import load_source, make_pairs

BATCH = 8


@torch.no_grad()
def usual_way(parent: Any, texts: list[list[int]]) -> np.ndarray:
    """Hidden states at the last token of each text [texts, blocks, hidden]."""
    found = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens in batch])
        mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in batch])
        states = parent.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        last = torch.tensor([len(tokens) - 1 for tokens in batch])
        found.append(torch.stack([state[torch.arange(len(batch)), last] for state in states[1:]], dim=1))
    return torch.cat(found).numpy()


def main(pairs: int = 128, repeat: int = 3) -> None:
    """Time both ways on the same pairs."""
    plugin.install(force=True)
    args = ExtractionArgs(task="gsm8k_steer", n=pairs)
    parent = load_parent({"pretrained": "models/smollm2", "dtype": "float32"}, "cpu")
    made, _ = make_pairs(args, load_source(args), parent)
    tokens = [(parent.tok_encode(pair.positive), parent.tok_encode(pair.negative)) for pair in made]
    blocks = dict(enumerate(find_blocks(parent.model)))
    times: dict[str, list[float]] = {"usual": [], "ours": []}
    for _ in range(repeat):
        start = time.perf_counter()
        usual = usual_way(parent, [one for one, _ in tokens]) - usual_way(parent, [other for _, other in tokens])
        middle = time.perf_counter()
        ours = capture_pairs(parent.model, blocks, tokens, BATCH, parent.device).differences
        times["usual"].append(middle - start)
        times["ours"].append(time.perf_counter() - middle)
    # The last hidden state that transformers gives has gone through the final norm.
    largest = float(np.abs(ours - usual)[:, :-1].max())
    print("| pairs | extract / usual way | largest difference of a component |\n|---|---|---|")
    print(f"| {pairs} | {median(times['ours']) / median(times['usual']):.2f} | {largest:.0e} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
