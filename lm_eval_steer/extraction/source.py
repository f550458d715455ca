"""What pairs are made from: a file of them, a task with a template of pairs, or a task and what it declares."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import DEFAULT_PAIRS, ExtractionArgs, refuse_few
from lm_eval_steer.extraction.asking import Render
from lm_eval_steer.extraction.concept import Concept
from lm_eval_steer.extraction.contrasts import SHOTS, TARGET, Declared, default_contrast, draw_shots, facts, shots_of
from lm_eval_steer.extraction.pairs import ContrastPair, candidates, read_pairs
from lm_eval_steer.extraction.prompts import ParentTemplate
from lm_eval_steer.extraction.rationales import read_rationales
from lm_eval_steer.extraction.tasks import Split, documents, find_task
from lm_eval_steer.extraction.templates import has_template, pair_template
from lm_eval_steer.models.hf import SteeredHF

logger = logging.getLogger(f"lm_eval.{__name__}")

_SHOTS = 5
"""Examples of `shots` where the task itself is asked without any."""


@dataclass(frozen=True)
class Source:
    """What the pairs are made from, seen to make pairs.

    Attributes:
        pairs: those of a file; None for a task.
        task: of the harness.
        split: its documents.
        template: of the task's pairs; empty where the task declares them.
        declared: the pairs that the task declares.
        rationales: for a task that has no reasoning.
        shots: examples before every prompt.
        steering: how the concept that the task declares is meant to act, as arguments of a steered model; nothing
            where the command names another contrast.
    """

    pairs: list[ContrastPair] | None = None
    task: Any = None
    split: Split | None = None
    template: dict[str, str] = field(default_factory=dict)
    declared: Declared | None = None
    rationales: dict[str, str] | None = None
    shots: tuple[Any, ...] = ()
    steering: Mapping[str, Any] = field(default_factory=dict)

    def candidates(self, n: int, seed: int, render: Render | None) -> Iterator[ContrastPair]:
        """Pairs of `n` documents that the seed draws, then those of the others, which may take their place."""
        if self.declared is not None:
            return self.declared.pairs(n, render)
        assert self.split is not None  # of a task
        return candidates(self.task, self.template, n, seed, render, self.rationales, self.split.docs, self.shots)


def load_source(args: ExtractionArgs) -> Source:
    """What the pairs are made from, with all that can be wrong about it found before a model is loaded.

    Raises:
        SteeringError: for files that cannot be read, tasks that make no pairs, too few of them, and templates that do
            not fit the rows.
    """
    if args.pairs is not None:
        pairs = read_pairs(args.pairs)
        if (args.n or 0) > len(pairs):
            raise SteeringError(f"n={args.n} pairs, but {args.pairs} holds {len(pairs)}: use a smaller --n")
        refuse_few(len(pairs), f" in {args.pairs}")
        return Source(pairs)
    assert args.task is not None  # ExtractionArgs
    by_template = args.contrast is None and (args.pair_template is not None or has_template(args.task))
    if args.rationales and not by_template:
        raise SteeringError(f"--rationales fill a pair template, and {args.task} has none: add --pair_template FILE")
    template = pair_template(args.task, args.pair_template) if by_template else {}
    rationales = read_rationales(args.rationales) if args.rationales else None
    task = find_task(args.task, args.include_path)
    split = documents(task, args.split, args.seed)
    concept = Concept() if by_template else Concept.of(task)
    steering = concept.steering if args.contrast is None else {}
    args = concept.fill(args)
    shots = tuple(draw_shots(task, _count_shots(args, task), args.seed))
    if template:
        source = Source(None, task, split, template, None, rationales, shots)
        some = list(islice(source.candidates(args.n or DEFAULT_PAIRS, args.seed, None), args.n or DEFAULT_PAIRS))
        if all(pair.positive == pair.negative for pair in some):
            raise SteeringError(f"the pair template for {args.task} gives the same text on both sides: {template!r}")
        return source
    systems = (args.positive, args.negative) if args.positive and args.negative else None
    declared = Declared(task, split, args.contrast or default_contrast(task), args.seed, shots, systems, concept.worked)
    _look_through(declared, args.n or DEFAULT_PAIRS)
    return Source(None, task, split, {}, declared, None, shots, steering)


def _count_shots(args: ExtractionArgs, task: Any) -> int:
    if args.num_fewshot is not None:
        return args.num_fewshot
    return (task.config.num_fewshot or _SHOTS) if args.contrast == SHOTS else 0


def _look_through(declared: Declared, n: int) -> None:
    """Refuse a task whose documents make too few pairs, or pairs that say nothing of them.

    Raises:
        SteeringError: with the counts.
    """
    name, split = declared.task.config.task, declared.split
    if n > len(split.docs):
        raise SteeringError(
            f"n={n} pairs, but the split {split.name} of {name} has {len(split.docs)} documents: use a smaller --n"
        )
    some = list(islice(declared.pairs(n, None), n))
    if len(some) < n:
        why = ", ".join(f"{count} {reason}" for reason, count in declared.left_out.items())
        advice = f"use --n {len(some)}" if len(some) > 1 else "name another --split, or bring pairs with --pairs FILE"
        raise SteeringError(
            f"n={n} pairs, but the split {split.name} of {name} makes {len(some)} of its {len(split.docs)} documents "
            f"({why}): {advice}"
        )
    if declared.kind == TARGET and len({pair.positive[len(pair.negative) :] for pair in some}) == 1:
        target = some[0].positive[len(some[0].negative) :]
        raise SteeringError(
            f"all {n} documents of {name} that would be read have the target {target.strip()[:60]!r}, which says "
            "nothing of any of them: use more (--n), another --seed, or a --pair_template over their own fields"
        )


def make_pairs(args: ExtractionArgs, source: Source, parent: SteeredHF) -> tuple[list[ContrastPair], dict[str, Any]]:
    """The pairs, each of which fits the parent's window, and what the passport says of them."""
    if source.pairs is not None:
        pairs, _ = _that_fit(source.pairs, args.n or len(source.pairs), parent)
        return pairs, {"source": "file", "pairs_sha256": _digest(pairs)}
    assert source.split is not None  # of a task
    render = ParentTemplate(parent) if args.apply_chat_template else None
    wanted = args.n or DEFAULT_PAIRS
    pairs, too_long = _that_fit(source.candidates(wanted, args.seed, render), wanted, parent)
    rows = [pair.row for pair in pairs]
    return pairs, {
        "source": "task",
        "task": args.task,
        "dataset": _dataset(source.task),
        "split": source.split.name,
        **({"share": source.split.share} if source.split.share else {}),
        "rows": rows,
        "rows_sha256": hashlib.sha256("\n".join(map(str, rows)).encode()).hexdigest(),
        **(facts(source.declared) if source.declared else {"pair_template": source.template} | shots_of(source.shots)),
        "pairs_sha256": _digest(pairs),
        **({"rows_too_long": [pair.row for pair in too_long]} if too_long else {}),
        **({"thought": render.thought} if render and render.thought else {}),
    }


def _dataset(task: Any) -> Any:
    """What the task's metadata says of its dataset, else its path and name."""
    known = (task.config.metadata or {}).get("dataset")
    return known or {"path": task.config.dataset_path, "name": task.config.dataset_name}


def _that_fit(
    pairs: Iterable[ContrastPair], wanted: int, parent: SteeredHF
) -> tuple[list[ContrastPair], list[ContrastPair]]:
    """The first `wanted` pairs that fit the parent's window, and those before the last of them that do not."""
    fitting: list[ContrastPair] = []
    too_long: list[ContrastPair] = []
    longest = 0
    for pair in pairs:
        length = max(len(parent.tok_encode(text)) for text in (pair.positive, pair.negative))
        (fitting if length <= parent.max_length else too_long).append(pair)
        longest = max(longest, length)
        if len(fitting) == wanted:
            break
    window = f"the {parent.max_length} tokens that {parent.pretrained} takes"
    if len(fitting) < wanted:
        fewer = f", or use --n {len(fitting)}" if len(fitting) > 1 else ""
        raise SteeringError(
            f"{wanted} pairs are wanted, and {len(fitting)} fit into {window} (the longest is {longest} tokens long): "
            f"shorten the others{fewer}"
        )
    if too_long:
        names = ", ".join(pair.row for pair in too_long if pair.row is not None)
        logger.warning(
            "%d of the pairs do not fit into %s; others took their place%s",
            len(too_long),
            window,
            f" (left out are the rows {names})" if names else "",
        )
    return fitting, too_long


def _digest(pairs: list[ContrastPair]) -> str:
    return hashlib.sha256("\0".join(text for p in pairs for text in (p.positive, p.negative)).encode()).hexdigest()
