"""What steering costs: an engine against the harness's own `hf`, as ratios of wall time in one process.

    python benchmarks/engines.py --task gsm8k_steer --vectors smollm2_gsm8k --docs 32 --chat --sizes 1,19

needs models/smollm2 (`make demo`) and the data (the hub, or LM_EVAL_STEER_DATA); `--engine steered-vllm` needs the
environment of `make test-vllm`. Loading the models is not timed. Prints a Markdown table; with `--repeat`, medians.
"""

from __future__ import annotations

import argparse
import importlib.resources
import tempfile
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import psutil
import torch
from accelerate.utils.memory import clear_device_cache
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers.integrations import sdpa_attention

from lm_eval_steer import plugin
from lm_eval_steer.axis.record import Line, read_lines
from lm_eval_steer.engines.hf.prefix import shared_length
from lm_eval_steer.interventions.alphas import PAPER
from lm_eval_steer.interventions.intervention import NOTHING
from lm_eval_steer.interventions.plan import SteeringPlan

ALPHAS = (0.0, *PAPER)
"""The paper's set, and 0: 19 strengths."""
T = TypeVar("T")
TINY = 1e-30
"""Steers every position and is lost in rounding, so that a run without steering writes as many tokens."""


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="steered-hf", choices=["steered-hf", "steered-vllm"])
    parser.add_argument("--model", default="models/smollm2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", help="of hf and steered-hf; vLLM runs on what it was built for")
    parser.add_argument("--task", default="arith_steer")
    parser.add_argument("--vectors", default="smollm2_arith")
    parser.add_argument("--docs", type=int, default=16)
    parser.add_argument("--shots", type=int, help="default: the task's five")
    parser.add_argument("--new_tokens", type=int, default=128)
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--sizes", default="1,2,5,10,19", help="how many of the 19 strengths each run has")
    parser.add_argument("--hf_batch", type=int, default=16)
    parser.add_argument("--batch", default="64", help="of steered-hf, a number or auto; vLLM forms its own")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--early_stop", action="store_true", help="also a vote that leaves out what cannot change it")
    parser.add_argument("--suffix", type=int, help="tokens that suffix decoding drafts, of steered-vllm (one run each)")
    parser.add_argument("--compiled", action="store_true", help="steered-vllm with enforce_eager=False")
    parser.add_argument("--unsteered", action="store_true", help="also the engine with against without steering")
    return parser.parse_args()


def make_task(lm: HFLM, args: argparse.Namespace) -> Any:
    """The task with the requests of its first documents."""
    folder = str(importlib.resources.files("lm_eval_steer.tasks"))
    task: Any = TaskManager(include_path=folder, include_defaults=False).load([args.task])["tasks"][args.task]
    if args.shots is not None:
        task.set_config("num_fewshot", args.shots)
    template = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": lm.apply_chat_template}
    more = template | {"tokenizer_name": lm.tokenizer_name} if args.chat else {}
    task.build_all_requests(limit=args.docs, rank=0, world_size=1, **more)
    for request in task.instances:
        if request.request_type == "generate_until":
            request.arguments = (request.arguments[0], request.arguments[1] | {"max_gen_toks": args.new_tokens})
    return task


def load(args: argparse.Namespace) -> Any:
    """The steered model; its plan is set before each run."""
    common = {"pretrained": args.model, "dtype": args.dtype, "alpha": 0}
    if args.engine == "steered-vllm":
        drafts = {"method": "suffix", "num_speculative_tokens": args.suffix, "suffix_decoding_max_spec_factor": 4.0}
        asked = {"speculative_config": drafts if args.suffix else None, "enforce_eager": not args.compiled}
        return get_model(args.engine)(**common, max_model_len=2048, **asked)
    return get_model(args.engine)(**common, batch_size=args.batch, device=args.device, max_batch_size=1024)


def share_of_positions(prompts: list[list[int]], texts: list[list[int]], lines: list[Line]) -> str:
    """The positions that responses take, what all prompts begin with once per strength, as a share of those of `hf`."""
    shared, strengths = shared_length(prompts), len({line.alpha for line in lines})
    own = sum(len(prompts[line.doc_id]) - shared + (line.tokens or 0) for line in lines)
    return f"{(strengths * shared + own) / sum(map(len, [*prompts, *texts])):.2f}"


class Runs:
    """Runs whose time and memory are told as shares of the first.

    Args:
        repeat: how often each is run.
        device: whose memory is told.

    Attributes:
        base: seconds of an `hf` run.
    """

    def __init__(self, repeat: int, device: torch.device) -> None:
        self._repeat, self._process = repeat, psutil.Process()
        self._before = self._process.memory_info().rss
        self._device = device
        self.base = 0.0

    def seconds(self, run: Callable[[], T]) -> tuple[float, T]:
        """Median time of some runs, and what the last gives."""
        times = []
        for _ in range(self._repeat):
            start = time.perf_counter()
            result = run()
            times.append(time.perf_counter() - start)
        return median(times), result

    def ratio(self, one: Callable[[], Any], other: Callable[[], Any]) -> float:
        """How long one takes against another: the median over pairs of neighbours, since a machine's speed drifts."""
        ratios = []
        for _ in range(self._repeat):
            start = time.perf_counter()
            one()
            between = time.perf_counter()
            other()
            ratios.append((between - start) / (time.perf_counter() - between))
        return median(ratios)

    def row(self, name: str, run: Callable[[], str], model: Any) -> None:
        """Print a row of the table.

        Args:
            name: what is run.
            run: runs it; gives the share of `hf`'s positions that it had to run.
            model: a torch model, whose weights are not counted as memory of the run; None for one of another process.
        """
        peak, over = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not over.wait(0.02):
                peak = max(peak, self._process.memory_info().rss)

        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            took, positions = self.seconds(run)
        finally:
            over.set()
            watcher.join()
        memory = "-"
        if model is not None:
            weights = sum(one.nbytes for one in model.parameters())
            if self._device.type == "cuda":
                peak, self._before = torch.cuda.max_memory_allocated(self._device), 0
            memory = f"{(peak - self._before - weights) / 2**30:.1f}"
        print(f"| {name} | {took / self.base:.3f} | {positions} | {memory} |", flush=True)


def main() -> None:
    """Time `hf`, sets of growing size, a vote that stops early, and what steering itself takes."""
    args = read_arguments()
    runs = Runs(args.repeat, torch.device(args.device))
    plugin.install(force=True)
    # Keys and values that heads share are copied for each by older transformers, as in steered-vllm's environment, and
    # not by newer ones: `hf` is measured at its best.
    copies, sdpa_attention.use_gqa_in_sdpa = sdpa_attention.use_gqa_in_sdpa, lambda *_: True
    plain: Any = HFLM(pretrained=args.model, device=args.device, dtype=args.dtype, batch_size=args.hf_batch)
    task = make_task(plain, args)
    requests = task.instances
    kind = requests[0].request_type
    getattr(plain, kind)(requests[:2], disable_tqdm=True)  # warms up
    runs.base, texts = runs.seconds(lambda: getattr(plain, kind)(requests, disable_tqdm=True))
    plain = None  # its memory is free for the engine
    clear_device_cache(garbage_collection=True)
    sdpa_attention.use_gqa_in_sdpa = copies
    lm = load(args)
    model = None if args.engine == "steered-vllm" else lm.model
    print(f"{args.task}, {args.docs} documents, at most {args.new_tokens} new tokens, {args.dtype}")
    print(f"{args.engine} at batch {args.batch}, hf at batch {args.hf_batch}, median of {args.repeat}\n")
    print("| work | time / one hf run | positions / those of hf | GiB above the model |\n|---|---|---|---|")
    prompts = [lm.tok_encode(request.args[0]) for request in requests] if kind == "generate_until" else []
    texts = list(map(lm.tok_encode, texts)) if prompts else []

    def run(alpha: Any, prepare: Callable[[], None] = lambda: None, **more: Any) -> tuple[dict[str, Any], str]:
        with tempfile.TemporaryDirectory() as record:
            lm.steer(SteeringPlan.build(vectors=args.vectors, alpha=alpha, record=record, **more))
            prepare()
            if hasattr(lm.model, "reset_prefix_cache"):
                lm.model.reset_prefix_cache()  # what an earlier run left would be a present
            getattr(lm, kind)(requests, disable_tqdm=True)
            votes = lm.get_model_info()["steering"]["votes"]
            return votes, share_of_positions(prompts, texts, list(read_lines(record))) if prompts else "-"

    def let_go() -> None:
        """Run the same rows on the same engine without steering."""
        if args.engine == "steered-vllm":
            lm._rows.unload()
        else:
            lm.engine.load([NOTHING])

    run(0.5)  # warms up
    for size in map(int, args.sizes.split(",")):
        chosen = 0.5 if size == 1 else list(ALPHAS[:: len(ALPHAS) // size][:size])
        runs.row(f"{size} alpha{'s' * (size > 1)}, all responses", lambda chosen=chosen: run(chosen)[1], model)  # type: ignore[misc]
    if args.early_stop:
        votes: dict[str, Any] = {}

        def vote() -> str:
            found, share = run(list(ALPHAS), vote_early_stop=True)
            votes.update(found)
            return share

        runs.row(f"vote over {len(ALPHAS)} alphas with early stop", vote, model)
        print(f"\nThe vote left out {votes['skipped']} of {votes['responses']} responses.")
    if args.unsteered:
        ratio = runs.ratio(lambda: run(TINY), lambda: run(TINY, let_go))
        print(f"\nSteered by {TINY:g}, a run takes {ratio:.3f} of what the same rows take unsteered.")


if __name__ == "__main__":
    main()
