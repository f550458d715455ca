"""Algorithm 1 from end to end: parent model and pairs in, SteeringVector out."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lm_eval_steer.engine.probes import require_causal
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.capture import capture_differences
from lm_eval_steer.extraction.directions import METHODS, find_direction, shuffle_orders
from lm_eval_steer.extraction.pairs import ContrastPair, load_task, pair_template, read_pairs, task_pairs
from lm_eval_steer.extraction.rationales import read_rationales
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.steering.blocks import base_model, find_blocks, text_config
from lm_eval_steer.transfer.layers import parse_layers
from lm_eval_steer.vector import SITE, SteeringVector


@dataclass(frozen=True)
class ExtractionArgs:
    """What `lm-eval-steer extract` was asked for; recorded in the passport.

    Attributes:
        task: the task whose extraction rows make the pairs.
        pairs: a JSONL file of pairs instead.
        n: number of pairs; None takes 128 of a task's rows, and all pairs of a file.
        method: `pca` or `mean` (directions.py).
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
        if self.method not in METHODS:
            raise SteeringError(f"method {self.method!r} is not understood: use one of {', '.join(METHODS)}")
        for name in ("n", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SteeringError(f"{name}={value} is not positive")
        for name in ("apply_chat_template", "rationales", "pair_template"):
            if self.pairs is not None and getattr(self, name):
                raise SteeringError(f"--pairs are complete texts: --{name} has no meaning for them")


DEFAULT_PAIRS = 128


def load_parent(model_args: dict[str, Any], device: str | None) -> SteeredHF:
    """The parent as the harness would load it: every HFLM argument works, alpha=0."""
    if not model_args.get("pretrained"):
        raise SteeringError("--model_args must name the parent, as in pretrained=microsoft/phi-4")
    return SteeredHF(**({"device": device} if device else {}) | model_args, alpha=0)


def load_source(args: ExtractionArgs) -> Any:
    """What the pairs are made from: the pairs of a file, or a task of this package. Needs no model yet."""
    if args.pairs is None:
        assert args.task is not None  # ExtractionArgs
        pair_template(args.task, args.pair_template)
        return load_task(args.task)
    pairs = read_pairs(args.pairs)
    if args.n is not None and args.n > len(pairs):
        raise SteeringError(f"n={args.n} pairs, but {args.pairs} holds {len(pairs)}: use a smaller --n")
    return pairs[: args.n]


def make_pairs(args: ExtractionArgs, source: Any, parent: SteeredHF) -> tuple[list[ContrastPair], dict[str, Any]]:
    """The pairs and what the passport says of them."""
    if args.task is None or args.pairs is not None:
        return source, {"source": "file", "pairs_sha256": _digest(source)}
    render = parent.apply_chat_template if args.apply_chat_template else None
    if render and parent.tokenizer.chat_template is None:
        raise SteeringError(f"{parent.pretrained} has no chat template: leave out --apply_chat_template")
    template = pair_template(args.task, args.pair_template)
    rationales = read_rationales(args.rationales) if args.rationales else None
    pairs = task_pairs(source, template, args.n or DEFAULT_PAIRS, args.seed, render, rationales)
    rows = [pair.row for pair in pairs]
    return pairs, {
        "source": "task",
        "task": args.task,
        "dataset": (source.config.metadata or {}).get("dataset"),
        "split": source.config.training_split,
        "rows": rows,
        "rows_sha256": hashlib.sha256("\n".join(map(str, rows)).encode()).hexdigest(),
        "pair_template": template,
        "pairs_sha256": _digest(pairs),
    }


def extract(args: ExtractionArgs, source: Any, parent: SteeredHF) -> SteeringVector:
    """Run Algorithm 1 of the paper on what `load_source` returned.

    Memory beyond the model is pairs x blocks x hidden float32 numbers, and one batch.

    Raises:
        SteeringError: for a parent that is no causal model, and for pairs or blocks that do not fit.
    """
    if parent.backend != "causal":
        raise SteeringError(
            f"{type(parent.model).__name__} is an encoder-decoder, and its last token need not have read a text whole: "
            "extract from a decoder-only parent; steered-hf steers encoder-decoders as children"
        )
    require_causal(base_model(parent.model), parent.device)
    pairs, data = make_pairs(args, source, parent)
    blocks = find_blocks(parent.model, parent.plan.blocks)
    layers = parse_layers(args.layers, len(blocks)) or tuple(range(len(blocks)))
    tokens = [(_encode(parent, pair.positive), _encode(parent, pair.negative)) for pair in pairs]
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
        "parent": _describe(parent, len(blocks), differences.shape[2]),
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


def _encode(parent: SteeredHF, text: str) -> list[int]:
    tokens = parent.tok_encode(text)
    if len(tokens) > parent.max_length:
        raise SteeringError(
            f"a pair is {len(tokens)} tokens long, {parent.pretrained} takes {parent.max_length}: shorten the pairs"
        )
    return tokens


def _describe(parent: SteeredHF, blocks: int, width: int) -> dict[str, Any]:
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
    }


def _digest(pairs: list[ContrastPair]) -> str:
    return hashlib.sha256("\0".join(text for p in pairs for text in (p.positive, p.negative)).encode()).hexdigest()
