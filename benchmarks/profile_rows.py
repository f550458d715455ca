"""Where the time of steered-hf goes: torch's profiler over one run of a set of strengths, as shares of CPU time.

    python benchmarks/profile_rows.py --task gsm8k_steer --vectors smollm2_gsm8k --docs 8 --chat

takes the arguments of engines.py. Prints a Markdown table.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

from engines import ALPHAS, load, make_task, read_arguments
from torch.profiler import ProfilerActivity, profile, record_function

from lm_eval_steer import plugin
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.interventions.plan import SteeringPlan

PARTS = {
    "steering": ("steering",),
    "logits": ("logits",),
    "linear layers": ("aten::linear",),
    "attention": ("aten::scaled_dot_product_attention",),
    "keys and values put together": ("aten::cat",),
    "norms, activations, rotations": ("block",),
}
"""What an operator or one that it is part of is called, by part; the first that fits."""


def main() -> None:
    """Profile a run."""
    args = read_arguments()
    plugin.install(force=True)
    lm = load(args)
    task = make_task(lm, args)
    requests = task.instances
    hook = Steerer._hook

    def named_hook(self: Steerer, block: int) -> Any:
        return named("steering", hook(self, block))

    Steerer._hook = named_hook  # type: ignore[method-assign]
    for block in find_blocks(lm.model):
        block.forward = named("block", block.forward)
    head = lm.model.get_output_embeddings()
    head.forward = named("logits", head.forward)
    with tempfile.TemporaryDirectory() as record, profile(activities=[ProfilerActivity.CPU]) as seen:
        lm.steer(SteeringPlan.build(vectors=args.vectors, alpha=list(ALPHAS), record=record))
        getattr(lm, requests[0].request_type)(requests, disable_tqdm=True)
    parts: Counter[str] = Counter()
    for event in seen.events():
        parts[part_of(event)] += event.self_cpu_time_total
    print(f"{args.task}, {args.docs} documents, {len(ALPHAS)} alphas, {args.dtype}\n\n| part | share |\n|---|---|")
    for part, spent in parts.most_common():
        print(f"| {part} | {spent / parts.total():.1%} |")


def named(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same, under a name in the profile."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return call(*args, **kwargs)

    return run


def part_of(event: Any) -> str:
    """The part of an event, by its own name and those of what it is in."""
    names = set()
    while event is not None:
        names.add(event.name)
        event = event.cpu_parent
    return next((part for part, those in PARTS.items() if names.intersection(those)), "all else")


if __name__ == "__main__":
    main()
