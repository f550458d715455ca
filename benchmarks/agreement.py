"""Do the engines say the same on real prompts, on this device?

    python benchmarks/agreement.py --device cuda
    python benchmarks/agreement.py --device cuda --engine steered-vllm

The first compares `hf` with `steered-hf` at α = 0, and `steered-hf` at four strengths with the oracle
(engines/reference.py); the second, in the environment of `make test-vllm`, `steered-hf` with `steered-vllm`. Needs
models/smollm2 (`make demo`) and the data (the hub, or LM_EVAL_STEER_DATA).
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

from engines import make_task
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from lm_eval_steer import plugin
from lm_eval_steer.axis.record import Line, read_lines
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF

ALPHAS = [0.0, 0.5, 1.0, 3.0]
TIE = 1e-3
"""Two best logits that are nearer than this may change places in rounding."""


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="steered-hf", choices=["steered-hf", "steered-vllm"])
    parser.add_argument("--model", default="models/smollm2")
    parser.add_argument("--device", default="cpu", help="of hf and steered-hf; vLLM runs on what it was built for")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--task", default="gsm8k_steer")
    parser.add_argument("--vectors", default="smollm2_gsm8k")
    parser.add_argument("--docs", type=int, default=8)
    parser.add_argument("--oracle_docs", type=int, default=2, help="of these the oracle runs, which is slow")
    parser.add_argument("--new_tokens", type=int, default=48)
    parser.add_argument("--compiled", action="store_true", help="steered-vllm with enforce_eager=False")
    parser.set_defaults(shots=None, chat=True)  # of make_task
    return parser.parse_args()


def respond(lm: Any, vectors: str, requests: list[Any]) -> dict[tuple[int, float], Line]:
    """The responses at all strengths, by document and strength; says whether the steering was applied as implied."""
    with tempfile.TemporaryDirectory() as record:
        lm.steer(SteeringPlan.build(vectors=vectors, alpha=ALPHAS, record=record))
        lm.generate_until(requests, disable_tqdm=True)
        application = lm.get_model_info()["steering"]["application"]
        print(f"{type(lm).__name__} steered what lengths imply: {application['steered'] == application['implied']}")
        return {(line.doc_id, line.alpha): line for line in read_lines(record)}


def is_oracles(line: Line, lm: SteeredHF, prompt: str, new_tokens: int) -> bool:
    """Whether the oracle writes a response, or meets a tie where it parts from it."""
    child = lm.plan.fit(lm.model.config.num_hidden_layers, lm.model.config.hidden_size, lm.model_identity)
    assert child is not None
    place = lm.plan.alphas.index(line.alpha)
    oracle = Reference(lm.model, lm.plan.interventions(lm.model.config.num_hidden_layers, child)[place])
    written = oracle.generate(lm.tok_encode(prompt), new_tokens, [lm.eot_token_id])
    for step, gap in enumerate(written.gaps, 1):
        text = str(lm.tok_decode(written.tokens[:step]))
        if not text.startswith(line.response) and not line.response.startswith(text):
            return gap < TIE
    return True


def main() -> None:
    """Run the engines and count what is equal."""
    args = read_arguments()
    plugin.install(force=True)
    hf = SteeredHF(args.model, device=args.device, dtype=args.dtype, batch_size=64, alpha=0)
    task = make_task(hf, args)  # kept, since a vote asks the task of its requests how answers are read
    requests = task.instances
    ours = respond(hf, args.vectors, requests)
    if args.engine == "steered-vllm":
        more = {"max_model_len": 2048, "gpu_memory_utilization": 0.4, "enforce_eager": not args.compiled}
        vllm = get_model(args.engine)(pretrained=args.model, dtype=args.dtype, alpha=0, **more)
        theirs = respond(vllm, args.vectors, requests)
        same = [key for key, line in ours.items() if line.response == theirs[key].response]
        apart = max((abs((ours[key].logprob or 0) - (theirs[key].logprob or 0)) for key in same), default=0.0)
        print(f"steered-vllm gives {len(same)} of {len(ours)} responses of steered-hf, logprobs within {apart:.0e}")
        return
    plain: Any = HFLM(pretrained=args.model, device=args.device, dtype=args.dtype, batch_size=16)
    texts = plain.generate_until(requests, disable_tqdm=True)
    same_texts = sum(text == ours[one.doc_id, 0.0].response for text, one in zip(texts, requests, strict=True))
    print(f"steered-hf at 0 gives {same_texts} of {len(requests)} responses of hf")
    asked = [(one, alpha) for one in requests[: args.oracle_docs] for alpha in ALPHAS]
    right = sum(is_oracles(ours[one.doc_id, alpha], hf, one.args[0], args.new_tokens) for one, alpha in asked)
    print(f"steered-hf gives {right} of {len(asked)} responses of the oracle, but for ties")


if __name__ == "__main__":
    main()
