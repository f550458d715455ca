"""What a parent's direction does in a child behind each map: sentiment, where the effect of a sound direction is known.

    python benchmarks/transfer.py --parent models/qwen2.5-coder-0.5b --child models/smollm2 --limit 110

brings the parent's vector into the child by every map, and prints a Markdown table of arms: the child's own vector (the
ceiling), each map, the paper's cut, each fitted map on texts paired at random, random directions. Of each it tells

- effect: half the difference of `log_odds` between +v and -v on test rows of sentiment_steer, in nats, with a 95 %
  interval (t, over pairs of words, of which a row has one), and as a share of the effect of the child's own vector
  (bootstrap over the same). What has several seeds has a row of their mean, too;
- cos: the cosine with the child's own vector, mean over blocks; R²: of held-out texts, mean over blocks;
- cost: by how much the texts that no map was fitted on become less likely, in nats per token, mean of +v and -v.

Then what a transfer takes: from nothing (loading, reading, fitting, writing) against the forward passes of both models
over the same texts alone, and once more from the cache. Needs the models (`lm-eval-steer model`), and the data of the
tasks whose questions are read (the hub, or LM_EVAL_STEER_DATA) or a file of --texts.
"""

from __future__ import annotations

import argparse
import gc
import importlib.resources
import tempfile
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from lm_eval_steer import plugin
from lm_eval_steer.compare.stats import mean_interval, share_of_effect
from lm_eval_steer.engines.hf.blocks import decoder
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.capture import AUTO_ROWS, AUTO_TOKENS, in_order
from lm_eval_steer.extraction.extract import extract
from lm_eval_steer.extraction.source import load_source
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.batches import bounded
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.transfer import defaults
from lm_eval_steer.transfer.args import TransferArgs
from lm_eval_steer.transfer.carry import carry
from lm_eval_steer.transfer.model import Model
from lm_eval_steer.transfer.prepare import Prepared, prepare
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.vector import SteeringVector

TASK = "sentiment_steer"
CUT = ("cut", "greedy")
"""Width and layer map of the paper."""
FORWARD = "Forward passes of both models over the texts alone"
NOTHING = "A transfer from nothing, loading included"
CACHED = "A transfer from the cache"
SIGNS = (1, -1)
BATCH = 32
"""Rows of the child while it is measured."""


def read_arguments(told: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parent", required=True, help="a folder or a name on the hub, as --child")
    parser.add_argument("--child", required=True)
    parser.add_argument("--parent_dtype", help="default: that of its files")
    parser.add_argument("--child_dtype", help="likewise")
    parser.add_argument("--vector", help="the parent's (default: extracted here, mean difference of --pairs pairs)")
    parser.add_argument(
        "--pairs", type=int, default=64, help="pairs of sentiment_steer, of the child's own vector, too"
    )
    parser.add_argument(
        "--maps", nargs="+", default=["ridge", "procrustes", "lstsq"], help="width maps that are fitted"
    )
    parser.add_argument("--layer_maps", nargs="+", default=["proportional"])
    parser.add_argument("--task", default="gsm8k_steer,arc_challenge_steer", help="whose questions both models read")
    parser.add_argument("--texts", help="a JSONL file of texts instead")
    parser.add_argument("--n", type=int, default=1400, help="texts; a tenth is held out")
    parser.add_argument("--tokens", default=defaults.TOKENS, help="whose states: last, mean or all")
    parser.add_argument("--dose", type=float, default=0.005, help="share of each state's length, at every block")
    parser.add_argument("--shuffled", type=int, default=3, help="seeds of texts paired at random, for each map")
    parser.add_argument("--random", type=int, default=3, help="seeds of random directions")
    parser.add_argument("--limit", type=int, help="test rows (default: all 400)")
    parser.add_argument("--cost_texts", type=int, default=48, help="of the texts held out")
    parser.add_argument("--cache", help="folder that holds the states already; then only the time from it is told")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(told)


class Times:
    """Seconds of the clock and of the processors; other work on the machine does not lengthen the second as much.

    Attributes:
        spent: what was done -> both.
    """

    def __init__(self) -> None:
        self.spent: dict[str, np.ndarray] = {}

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Add the time of what is done within."""
        begun = np.array([time.perf_counter(), time.process_time()])
        yield
        now = np.array([time.perf_counter(), time.process_time()])
        self.spent[what] = self.spent.get(what, np.zeros(2)) + now - begun

    def told(self, base: str) -> Iterator[str]:
        """A line for each, as a share of one of them where that was measured."""
        for what, (clock, processors) in self.spent.items():
            line = f"{what}: {clock:.1f} s, {processors:.1f} s of the processors"
            if base in self.spent and what != base:
                shares = self.spent[what] / self.spent[base]
                line += f"; {shares[0]:.2f} and {shares[1]:.2f} of the forward passes"
            yield line


@dataclass(frozen=True)
class Arm:
    """What steers the child.

    Attributes:
        name: in the table.
        steering: arguments of a plan beside the dose.
        vector: whose cosine with the child's own vector, and R², are told.
        kind: what it shares with arms of other seeds.
    """

    name: str
    steering: Mapping[str, Any]
    vector: SteeringVector | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Measured:
    """What an arm does.

    Attributes:
        effects: [documents], half the difference of log_odds between +v and -v, in nats.
        cost: rise of the negative log-likelihood of other texts, in nats per token.
    """

    effects: list[float] = field(repr=False)
    cost: float


@contextmanager
def loaded(model: Model) -> Iterator[SteeredHF]:
    """A model for as long as it is needed."""
    lm = model.load()
    try:
        yield lm
    finally:
        del lm
        gc.collect()


@torch.no_grad()
def forward(lm: SteeredHF, texts: Sequence[str]) -> None:
    """Run a model over texts in the batches of a transfer, and keep nothing."""
    body = decoder(lm.model)
    encoded = [lm.tok_encode(text) for text in texts]
    order = in_order(encoded)
    for cut in bounded([len(encoded[number]) for number in order], 1, AUTO_TOKENS, AUTO_ROWS):
        rows = [torch.tensor(encoded[order[place]]) for place in cut]
        body(input_ids=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(lm.device), use_cache=False)


def model_arguments(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Of the parent and of the child."""
    told = ((args.parent, args.parent_dtype), (args.child, args.child_dtype))
    return [{"pretrained": name} | ({"dtype": dtype} if dtype else {}) for name, dtype in told]


def map_vector(args: TransferArgs) -> tuple[Prepared, SteeringVector]:
    """One transfer."""
    prepared = prepare(args)
    return prepared, carry(args, prepared)


def make_arms(args: argparse.Namespace, folder: Path, times: Times) -> tuple[list[Arm], list[str]]:
    """Read both models and map the parent's vector.

    Returns:
        arms: the child's own vector first.
        texts: of those that no map was fitted on.
    """
    parent, child = (Model(arguments, args.device) for arguments in model_arguments(args))
    vector = find_vector(args.vector) if args.vector else folder / "parent.safetensors"
    common = {"vectors": [str(vector)], "child_args": child.arguments, "device": args.device}
    reads = {"parent_args": [parent.arguments], "task": None if args.texts else args.task, "texts": args.texts}
    reads |= {"n": args.n, "tokens": args.tokens, "cache": args.cache or str(folder / "states")}
    asked = ExtractionArgs(task=TASK, method="mean", n=args.pairs)
    source = load_source(asked)
    if not args.vector:
        with loaded(parent) as lm:
            extract(asked, source, lm).save(vector)
    with loaded(child) as lm:
        own = extract(asked, source, lm)

    def transfer(width: str, layers: str, shuffle: int | None = None) -> tuple[Prepared, SteeringVector]:
        return map_vector(TransferArgs(**common, **reads, width_map=width, layer_map=layers, shuffle_texts=shuffle))

    with times.measure(CACHED if args.cache else NOTHING):
        prepared, _ = transfer(args.maps[0], args.layer_maps[0])
    assert prepared.texts is not None
    texts = prepared.texts.texts
    for model in () if args.cache else (parent, child):
        with loaded(model) as lm, times.measure(FORWARD):
            forward(lm, texts)
    if not args.cache:
        with times.measure(CACHED):
            transfer(args.maps[0], args.layer_maps[0])
    arms = [Arm("own", {"vectors": own}, own)]
    for width in args.maps:
        for layers in args.layer_maps:
            for shuffle in (None, *range(1, args.shuffled + 1)):
                mapped = transfer(width, layers, shuffle)[1]
                name, kind = f"{width}, {layers}", f"{width}, {layers}, texts at random"
                seeded = (name, None) if shuffle is None else (f"{kind} {shuffle}", kind)
                arms.append(Arm(seeded[0], {"vectors": mapped}, mapped, seeded[1]))
    cut = map_vector(TransferArgs(**common, width_map=CUT[0], layer_map=CUT[1]))[1]
    arms.append(Arm(", ".join(CUT), {"vectors": cut}, cut))
    for seed in range(1, args.random + 1):
        arms.append(Arm(f"random {seed}", {"vectors": own, "control": f"random:{seed}"}, kind="random"))
    return arms, [texts[number] for number in prepared.held_out][: args.cost_texts]


def documents(task: Any) -> list[Any]:
    """Those of the task's requests, by number."""
    docs = {request.doc_id: request.doc for request in task.instances}
    return [docs[number] for number in sorted(docs)]


def log_odds(lm: SteeredHF, task: Any) -> list[float]:
    """Of each document of the task, under what the model is steered by."""
    results: dict[int, list[tuple[float, bool]]] = {}
    for request, score in zip(task.instances, lm.loglikelihood(task.instances, disable_tqdm=True), strict=True):
        results.setdefault(request.doc_id, []).append(score)
    scored = zip(documents(task), sorted(results), strict=True)
    return [task.process_results(doc, results[number])["log_odds"] for doc, number in scored]


def surprise(lm: SteeredHF, texts: Sequence[str]) -> float:
    """Mean negative log-likelihood of the tokens of texts, in nats."""
    requests = [
        Instance("loglikelihood_rolling", doc={}, arguments=(text,), idx=0, metadata=("texts", number, 1))
        for number, text in enumerate(texts)
    ]
    tokens = sum(len(lm.tok_encode(text, add_special_tokens=False)) for text in texts)
    return -sum(lm.loglikelihood_rolling(requests, disable_tqdm=True)) / tokens


def measure(lm: SteeredHF, task: Any, texts: Sequence[str], arms: Sequence[Arm], dose: float) -> list[Measured]:
    """What each arm does to the child."""
    lm.steer(SteeringPlan.build(alpha=0))
    unsteered = surprise(lm, texts)
    found = []
    for arm in arms:
        moved, rises = [], []
        for sign in SIGNS:
            lm.steer(SteeringPlan.build(**arm.steering, dose=sign * dose))
            moved.append(log_odds(lm, task))
            rises.append(surprise(lm, texts) - unsteered)
        found.append(Measured([(more - less) / 2 for more, less in zip(*moved, strict=True)], fmean(rises)))
        print(f"{arm.name}: {fmean(found[-1].effects):+.2f} nats", flush=True)
    return found


def cosine(one: SteeringVector, other: SteeringVector) -> float:
    """Of the directions of two vectors, mean over the blocks that both have."""
    first, second = (dict(zip(vector.layers, vector.directions, strict=True)) for vector in (one, other))
    return fmean(float(np.dot(first[block], second[block])) for block in sorted(first.keys() & second.keys()))


def means(arms: Sequence[Arm], found: Sequence[Measured]) -> Iterator[tuple[str, Measured]]:
    """Of each kind of which several seeds were measured: its name in the table, and the mean of what they do."""
    kinds = [arm.kind for arm in arms if arm.kind is not None]
    for kind in dict.fromkeys(kinds):
        of_kind = [measured for arm, measured in zip(arms, found, strict=True) if arm.kind == kind]
        if len(of_kind) > 1:
            effects = np.mean([measured.effects for measured in of_kind], axis=0).tolist()
            cost = fmean(measured.cost for measured in of_kind)
            yield f"{kind}, mean of {len(of_kind)}", Measured(effects, cost)


def row(
    name: str,
    vector: SteeringVector | None,
    measured: Measured,
    own: SteeringVector,
    reference: Sequence[float],
    words: Sequence[Hashable],
) -> str:
    """A line of the table.

    Args:
        name: of the arm.
        vector: whose cosine with own, and R², are told.
        measured: what the arm does.
        own: the child's own vector.
        reference: what that does [documents].
        words: of each document, the pair that tells it from others: documents of one pair are taken together.
    """
    cells = [name, f"{fmean(measured.effects):+.2f}{_ends(mean_interval(measured.effects, words), '+.2f')}", ""]
    reach = mean_interval(reference, words)
    if reach is not None and not reach[0] <= 0 <= reach[1]:  # else own may move nothing, of which there is no share
        share = share_of_effect([0.0] * len(reference), measured.effects, reference, words)
        cells[-1] = f"{share.share:.0%}{_ends((share.low, share.high), '.0%')}"
    cells.append("" if vector is None else f"{cosine(vector, own):.2f}")
    explained = [block["r2"] for block in ((vector and vector.transfer) or {"blocks": []})["blocks"]]
    cells.append(f"{fmean(explained):.2f}" if explained and None not in explained else "")
    return f"| {' | '.join([*cells, f'{measured.cost:+.3f}'])} |"


def _ends(interval: tuple[float, float] | None, form: str) -> str:
    """An interval as the cells have it; nothing where there is none."""
    return "" if interval is None else f" ({interval[0]:{form}} to {interval[1]:{form}})"


def main(told: Sequence[str] | None = None) -> None:
    """Map, measure, and print."""
    args = read_arguments(told)
    plugin.install(force=True)
    torch.manual_seed(0)
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        arms, texts = make_arms(args, Path(folder), times)
    tasks = str(importlib.resources.files("lm_eval_steer.tasks"))
    task: Any = TaskManager(include_path=tasks, include_defaults=False).load([TASK])["tasks"][TASK]
    task.build_all_requests(limit=args.limit, rank=0, world_size=1)
    with loaded(Model(model_arguments(args)[1] | {"batch_size": BATCH}, args.device)) as lm:
        found = measure(lm, task, texts, arms, args.dose)
    own = arms[0].vector
    assert own is not None
    named = [Path(name).name for name in (args.parent, args.child)]
    words = [(doc["positive"], doc["negative"]) for doc in documents(task)]
    print(
        f"\n{named[0]} to {named[1]}, dose {args.dose:g}, {len(words)} documents, {len(set(words))} pairs of words, "
        f"{args.n} texts\n"
    )
    print("| arm | effect, nats | of own | cos with own | R² | cost, nats per token |\n|---|---|---|---|---|---|")
    lines = [(arm.name, arm.vector, measured) for arm, measured in zip(arms, found, strict=True)]
    for name, vector, measured in [*lines, *((name, None, mean) for name, mean in means(arms, found))]:
        print(row(name, vector, measured, own, found[0].effects, words))
    print("", *times.told(FORWARD), sep="\n")


if __name__ == "__main__":
    main()
