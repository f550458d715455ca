"""Algorithm 1 from end to end: parent model and pairs in, SteeringVector out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, text_config
from lm_eval_steer.engines.hf.probes import require_causal
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.capture import capture_differences
from lm_eval_steer.extraction.directions import find_direction, shuffle_orders
from lm_eval_steer.extraction.methods import METHODS
from lm_eval_steer.extraction.pairs import ContrastPair, candidates, load_task, read_pairs, task_pairs
from lm_eval_steer.extraction.prompts import ParentTemplate
from lm_eval_steer.extraction.rationales import read_rationales
from lm_eval_steer.extraction.templates import pair_template
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.interventions.layers import parse_layers, read_layers
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.vectors.vector import SITE, SteeringVector

logger = logging.getLogger(f"lm_eval.{__name__}")


@dataclass(frozen=True)
class ExtractionArgs:
    """What `lm-eval-steer extract` was asked for; recorded in the passport.

    Attributes:
        task: the task whose extraction rows make the pairs.
        pairs: a JSONL file of pairs instead.
        n: number of pairs; None takes 128 of a task's rows, and all pairs of a file.
        method: how a direction is found, a name in `METHODS`.
        normalize_differences: unit differences before the fit.
        layers: the parent's blocks to read.
        batch_size: texts per forward pass.
        seed: chooses rows and the order inside pairs.
        apply_chat_template: ask the parent through its chat template.
        rationales: JSONL of reasoning, for a task that has none (rationales.py).
        pair_template: YAML file of pair templates, instead of the package's.
    """

    task: str | None = None
    pairs: str | None = None
    n: int | None = None
    method: str = "pca"
    normalize_differences: bool = False
    layers: Any = "all"
    batch_size: int = 8
    seed: int = 0
    apply_chat_template: bool = False
    rationales: str | None = None
    pair_template: str | None = None

    def __post_init__(self) -> None:
        if self.task is None and self.pairs is None:
            raise SteeringError("nothing to extract from: name a --task or a file of --pairs")
        METHODS[self.method]  # refuses a name that is not there
        for name in ("n", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SteeringError(f"{name}={value} is not positive")
        _refuse_few(self.n)
        if self.seed < 0:
            raise SteeringError(f"seed={self.seed} is negative: use a whole number from 0 on")
        read_layers(self.layers)
        for name in ("apply_chat_template", "rationales", "pair_template"):
            if self.pairs is not None and getattr(self, name):
                raise SteeringError(f"--pairs are complete texts: --{name} has no meaning for them")


DEFAULT_PAIRS = 128

_SHAPING = ("blocks", "system_role")
"""Steering arguments that say how a parent is read; all others steer, or keep what was generated."""


@dataclass(frozen=True)
class Source:
    """What the pairs are made from, seen to make pairs.

    Attributes:
        pairs: those of a file; None for a task.
        task: a task of this package.
        template: of the task's pairs.
        rationales: for a task that has no reasoning.
    """

    pairs: list[ContrastPair] | None = None
    task: Any = None
    template: dict[str, str] = field(default_factory=dict)
    rationales: dict[str, str] | None = None


def load_parent(model_args: dict[str, Any], device: str | None) -> SteeredHF:
    """The parent as the harness would load it: every HFLM argument works, alpha=0.

    Raises:
        SteeringError: for arguments that no parent has, and where it cannot be loaded.
    """
    refuse_steered(model_args)
    return SteeredHF(**({"device": device} if device else {}) | model_args, alpha=0)


def refuse_steered(model_args: Mapping[str, Any], option: str = "--model_args") -> None:
    """Refuse arguments that name no model, or that no model has which is read and not steered.

    Raises:
        SteeringError: names the option that they came from.
    """
    name = model_args.get("pretrained")
    if not name or not isinstance(name, str):
        raise SteeringError(f"{option} must name the model, as in pretrained=microsoft/phi-4")
    if steering := [key for key in model_args if key in ARGUMENT_NAMES and key not in _SHAPING]:
        raise SteeringError(
            f"{option} has {steering[0]}={model_args[steering[0]]}, and this model is not steered: leave it out"
        )
    window = model_args.get("max_length")
    if window is not None and (not isinstance(window, int) or isinstance(window, bool) or window < 1):
        raise SteeringError(f"{option} has max_length={window}, which is no number of tokens: use 1 or more")


def load_source(args: ExtractionArgs) -> Source:
    """What the pairs are made from, with all that can be wrong about it found before a model is loaded.

    Raises:
        SteeringError: for files that cannot be read, too few pairs, and templates that do not fit the rows.
    """
    if args.pairs is not None:
        pairs = read_pairs(args.pairs)
        if (args.n or 0) > len(pairs):
            raise SteeringError(f"n={args.n} pairs, but {args.pairs} holds {len(pairs)}: use a smaller --n")
        _refuse_few(len(pairs), f" in {args.pairs}")
        return Source(pairs)
    assert args.task is not None  # ExtractionArgs
    template = pair_template(args.task, args.pair_template)
    rationales = read_rationales(args.rationales) if args.rationales else None
    source = Source(None, load_task(args.task), template, rationales)
    pairs = task_pairs(source.task, template, args.n or DEFAULT_PAIRS, args.seed, None, rationales)
    if all(pair.positive == pair.negative for pair in pairs):
        raise SteeringError(f"the pair template for {args.task} gives the same text on both sides: {template!r}")
    return source


def make_pairs(args: ExtractionArgs, source: Source, parent: SteeredHF) -> tuple[list[ContrastPair], dict[str, Any]]:
    """The pairs, each of which fits the parent's window, and what the passport says of them."""
    if source.pairs is not None:
        pairs, _ = _that_fit(source.pairs, args.n or len(source.pairs), parent)
        return pairs, {"source": "file", "pairs_sha256": _digest(pairs)}
    render = ParentTemplate(parent) if args.apply_chat_template else None
    wanted = args.n or DEFAULT_PAIRS
    rows_of = candidates(source.task, source.template, wanted, args.seed, render, source.rationales)
    pairs, too_long = _that_fit(rows_of, wanted, parent)
    rows = [pair.row for pair in pairs]
    return pairs, {
        "source": "task",
        "task": args.task,
        "dataset": (source.task.config.metadata or {}).get("dataset"),
        "split": source.task.config.training_split,
        "rows": rows,
        "rows_sha256": hashlib.sha256("\n".join(map(str, rows)).encode()).hexdigest(),
        "pair_template": source.template,
        "pairs_sha256": _digest(pairs),
        **({"rows_too_long": [pair.row for pair in too_long]} if too_long else {}),
        **({"thought": render.thought} if render and render.thought else {}),
    }


def extract(args: ExtractionArgs, source: Source, parent: SteeredHF) -> SteeringVector:
    """Run Algorithm 1 of the paper on what `load_source` returned.

    Memory beyond the model is pairs x blocks x hidden float32 numbers, and one batch.

    Raises:
        SteeringError: for a parent that is no causal model, and for pairs or blocks that do not fit.
    """
    require_last_token(parent)
    pairs, data = make_pairs(args, source, parent)
    blocks = find_blocks(parent.model, parent.plan.blocks)
    layers = parse_layers(args.layers, len(blocks)) or tuple(range(len(blocks)))
    tokens = [(parent.tok_encode(pair.positive), parent.tok_encode(pair.negative)) for pair in pairs]
    differences, norms = capture_differences(
        parent.model, {layer: blocks[layer] for layer in layers}, tokens, args.batch_size, parent.device
    )
    orders = shuffle_orders(len(pairs), args.seed)
    found = [
        find_direction(differences[:, i], orders, args.method, args.normalize_differences)
        for i in tqdm(range(len(layers)), desc="Finding directions", unit="block")
    ]
    statistics = [
        {
            "block": layer,
            **{key: value for key, value in vars(direction).items() if key != "vector"},
            "mean_norm": float(norm),
        }
        for layer, direction, norm in zip(layers, found, norms, strict=True)
    ]
    passport = {
        "parent": describe(parent, len(blocks), differences.shape[2]),
        "site": SITE,
        "layer_base": 0,
        "method": {
            key: value
            for key, value in asdict(args).items()
            if key in ("method", "normalize_differences", "seed", "apply_chat_template")
        }
        | {"orders": "half"},
        "data": data | {"n_pairs": len(pairs)},
        "token_read": "last",
        "blocks": statistics,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software": {
            name: importlib.metadata.version(name) for name in ("lm_eval_steer", "lm_eval", "transformers", "torch")
        },
    }
    return SteeringVector(np.stack([direction.vector for direction in found]), layers, passport)


def require_last_token(parent: SteeredHF) -> None:
    """Refuse a model whose last token need not have read a text whole, or whose tokens look at those to come.

    Raises:
        SteeringError: names the model.
    """
    if parent.backend != "causal":
        raise SteeringError(
            f"{type(parent.model).__name__} is an encoder-decoder, and its last token need not have read a text whole: "
            "extract from a decoder-only parent; steered-hf steers encoder-decoders as children"
        )
    require_causal(base_model(parent.model), parent.device)


def _refuse_few(n: int | None, where: str = "") -> None:
    if n is not None and n < 2:
        raise SteeringError(f"{n} pair{where} is not enough to find a direction: use at least 2")


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


def describe(parent: SteeredHF, blocks: int, width: int) -> dict[str, Any]:
    """What a passport says of a model."""
    info = parent.get_model_info()
    return {
        # A local folder goes by its name: a path says nothing on the machine where the vector is used.
        "name": Path(parent.pretrained).name if Path(parent.pretrained).is_dir() else parent.pretrained,
        "revision": info["model_sha"] or parent.revision,
        "architecture": text_config(parent.model).model_type,
        "hidden_size": width,
        "num_blocks": blocks,
        "dtype": str(parent.model.dtype).removeprefix("torch."),
        "parameters": info["model_num_parameters"],
        "digest": parent.model_identity.digest,
    }


def _digest(pairs: list[ContrastPair]) -> str:
    return hashlib.sha256("\0".join(text for p in pairs for text in (p.positive, p.negative)).encode()).hexdigest()
