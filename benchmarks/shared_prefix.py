"""What running the shots once saves: steered-hf against hf on the same requests, as ratios of wall time in one run.

    python benchmarks/shared_prefix.py [DOCS] [NEW_TOKENS]

needs models/smollm2 (`make demo`) and the data (the hub, or LM_EVAL_STEER_DATA). Prints a Markdown table.
"""

from __future__ import annotations

import importlib.resources
import sys
import time
from collections.abc import Callable
from typing import Any

from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lm_eval_steer.engine import rows
from lm_eval_steer.models.hf import SteeredHF

MODEL = {"pretrained": "models/smollm2", "device": "cpu", "batch_size": 16}


def make_requests(name: str, docs: int, new_tokens: int) -> list[Any]:
    """The first requests of a task, without a chat template."""
    folder = str(importlib.resources.files("lm_eval_steer.tasks"))
    task = TaskManager(include_path=folder, include_defaults=False).load([name])["tasks"][name]
    task.build_all_requests(limit=docs, rank=0, world_size=1)
    for request in task.instances:
        if request.request_type == "generate_until":
            request.arguments = (request.arguments[0], request.arguments[1] | {"max_gen_toks": new_tokens})
    return task.instances


def timed(run: Callable[..., Any], requests: list[Any]) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    result = run(requests, disable_tqdm=True)
    return time.perf_counter() - start, result


def main(docs: int = 16, new_tokens: int = 128) -> None:
    """Time plain hf, steered-hf, and steered-hf that runs every prompt whole."""
    plain, steered = HFLM(**MODEL), SteeredHF(**MODEL, vectors="smollm2_gsm8k", alpha=1.0)
    print("| task | requests | steered-hf / hf | without sharing / hf | same result with and without sharing |")
    print("|---|---|---|---|---|")
    for name, method in (("gsm8k_steer", "generate_until"), ("arc_challenge_steer_mc", "loglikelihood")):
        requests = make_requests(name, docs, new_tokens)
        base, _ = timed(getattr(plain, method), requests)
        with_sharing, first = timed(getattr(steered, method), requests)
        shares, rows.can_share = rows.can_share, lambda model, width: False
        try:
            without, second = timed(getattr(steered, method), requests)
        finally:
            rows.can_share = shares
        if method == "generate_until":
            same = f"{sum(a == b for a, b in zip(first, second, strict=True))} of {len(requests)} texts"
        else:
            largest = max(abs(a[0] - b[0]) for a, b in zip(first, second, strict=True))
            same = f"log-likelihoods within {largest:.0e}"
        print(f"| {name} | {len(requests)} | {with_sharing / base:.2f} | {without / base:.2f} | {same} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
