"""Algorithm 1 from end to end: parent model and pairs in, SteeringVector out."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, text_config
from lm_eval_steer.engines.hf.probes import require_causal
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.capture import capture_pairs
from lm_eval_steer.extraction.directions import find_direction, shuffle_orders
from lm_eval_steer.extraction.source import Source, make_pairs
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.interventions.layers import parse_layers
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.vectors.vector import SITE, SteeringVector

_SHAPING = ("blocks", "system_role")
"""Steering arguments that say how a parent is read; all others steer, or keep what was generated."""


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


def extract(args: ExtractionArgs, source: Source, parent: SteeredHF) -> SteeringVector:
    """Run Algorithm 1 of the paper on what `load_source` returned.

    Memory beyond the model is two times pairs x blocks x hidden float32 numbers, and one batch.

    Raises:
        SteeringError: for a parent that is no causal model, and for pairs or blocks that do not fit.
    """
    require_last_token(parent)
    pairs, data = make_pairs(args, source, parent)
    blocks = find_blocks(parent.model, parent.plan.blocks)
    layers = parse_layers(args.layers, len(blocks)) or tuple(range(len(blocks)))
    tokens = [(parent.tok_encode(pair.positive), parent.tok_encode(pair.negative)) for pair in pairs]
    captured = capture_pairs(
        parent.model, {layer: blocks[layer] for layer in layers}, tokens, args.batch_size, parent.device
    )
    orders = shuffle_orders(len(pairs), args.seed)
    found = [
        find_direction(captured.differences[:, i], orders, args.method, args.normalize_differences)
        for i in tqdm(range(len(layers)), desc="Finding directions", unit="block")
    ]
    statistics = [
        {
            "block": layer,
            **{key: value for key, value in vars(direction).items() if key != "vector"},
            "mean_norm": float(norm),
            **_measured(*captured.projections(place, direction.vector)),
        }
        for place, (layer, direction, norm) in enumerate(zip(layers, found, captured.norms, strict=True))
    ]
    passport = {
        "parent": describe(parent, len(blocks), captured.differences.shape[2]),
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
        **({"steering": dict(source.steering)} if source.steering else {}),
        "blocks": statistics,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software": {
            name: importlib.metadata.version(name) for name in ("lm_eval_steer", "lm_eval", "transformers", "torch")
        },
    }
    return SteeringVector(np.stack([direction.vector for direction in found]), layers, passport)


def _measured(negative: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """What a passport says of ⟨h, v⟩ at one block, of which units of strength are made (interventions/alpha_units.py).

    Args:
        negative, positive: of each side of the pairs [pairs].
    """
    both = np.concatenate([negative, positive])
    return {
        "projection_negative": float(negative.mean()),
        "projection_positive": float(positive.mean()),
        "projection_deviation": float(both.std()),
    }


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
