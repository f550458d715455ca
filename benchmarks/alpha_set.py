"""What a set of strengths costs: steered-hf against hf, and against one run per strength, as ratios of wall time.

    python benchmarks/alpha_set.py --task gsm8k_steer --vectors smollm2_gsm8k --docs 32 --alpha paper --chat

needs models/smollm2 (`make demo`) and the data (the hub, or LM_EVAL_STEER_DATA). All times are of one process, without
loading the model. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import importlib.resources
import tempfile
import time
from typing import Any

from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lm_eval_steer.alphas import read_alphas
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.models.plan import SteeringPlan


def make_requests(lm: Any, args: argparse.Namespace) -> list[Any]:
    """The first requests of the task."""
    folder = str(importlib.resources.files("lm_eval_steer.tasks"))
    task = TaskManager(include_path=folder, include_defaults=False).load([args.task])["tasks"][args.task]
    template = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": lm.apply_chat_template}
    more = template | {"tokenizer_name": lm.tokenizer_name} if args.chat else {}
    task.build_all_requests(limit=args.docs, rank=0, world_size=1, **more)
    for request in task.instances:
        if request.request_type == "generate_until":
            request.arguments = (request.arguments[0], request.arguments[1] | {"max_gen_toks": args.new_tokens})
    make_requests.task = task  # type: ignore[attr-defined]  # known to the vote as long as it lives
    return task.instances


def timed(lm: Any, requests: list[Any]) -> tuple[float, list[Any]]:
    """Seconds and responses."""
    kind = requests[0].request_type
    start = time.perf_counter()
    responses = getattr(lm, kind)(requests, disable_tqdm=True)
    return time.perf_counter() - start, responses


def main() -> None:
    """Time hf, single strengths, the whole set, and the set with early stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="arith_steer")
    parser.add_argument("--docs", type=int, default=16)
    parser.add_argument("--new_tokens", type=int, default=128)
    parser.add_argument("--alpha", default="0.1:0.5:0.1")
    parser.add_argument("--vectors", default="smollm2_arith")
    parser.add_argument("--model", default="models/smollm2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--chat", action="store_true")
    args = parser.parse_args()
    common = {"pretrained": args.model, "device": "cpu", "dtype": args.dtype}
    plain = HFLM(**common, batch_size=16)
    requests = make_requests(plain, args)
    base, _ = timed(plain, requests)
    del plain
    alphas = read_alphas(args.alpha)
    steering = {"vectors": args.vectors}
    lm = SteeredHF(**common, batch_size=args.batch_size, **steering, alpha=alphas[0])
    print(
        f"{args.task}, {args.docs} documents, at most {args.new_tokens} new tokens, {args.dtype}, {len(alphas)} alphas"
    )
    print("| work | time / one hf run |\n|---|---|")
    singles = 0.0
    texts = []
    for alpha in alphas:
        lm.steer(SteeringPlan.build(**steering, alpha=alpha))
        seconds, responses = timed(lm, requests)
        singles += seconds
        texts.append(responses)
    print(f"| one alpha (mean of {len(alphas)}) | {singles / len(alphas) / base:.2f} |")
    print(f"| {len(alphas)} runs, one per alpha | {singles / base:.2f} |", flush=True)
    for name, early in (("one run over the set", False), ("the same, a vote with early stop", True)):
        with tempfile.TemporaryDirectory() as record:
            lm.steer(SteeringPlan.build(**steering, alpha=list(alphas), vote_early_stop=early, record=record))
            seconds, _ = timed(lm, requests)
            votes = lm.get_model_info()["steering"]["votes"]
        skipped = f" ({votes['skipped']} of {votes['responses']} responses skipped)" if early else ""
        print(f"| {name}{skipped} | {seconds / base:.2f} |", flush=True)


if __name__ == "__main__":
    main()
