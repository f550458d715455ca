"""Algorithm 1 from end to end: parent model and pairs in, SteeringVector out."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lm_eval_steer.engines.hf.anchors import find_anchors
from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, hidden_size, text_config
from lm_eval_steer.engines.hf.probes import require_causal
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.capture import capture_sites
from lm_eval_steer.extraction.directions import shuffle_orders
from lm_eval_steer.extraction.of_sites import best_heads, find_directions
from lm_eval_steer.extraction.source import Source, make_pairs
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.interventions.layers import parse_layers
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sites import DEFAULT, SITES, place_of
from lm_eval_steer.vectors.formats.header import SITE
from lm_eval_steer.vectors.several import AnyVector, together
from lm_eval_steer.vectors.vector import SteeringVector

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


def extract(args: ExtractionArgs, source: Source, parent: SteeredHF) -> AnyVector:
    """Run Algorithm 1 of the paper on what `load_source` returned, at each site that is asked for.

    Memory beyond the model is two times pairs x blocks x hidden float32 numbers for each site, and one batch.

    Raises:
        SteeringError: for a parent that is no causal model, and for pairs or blocks that do not fit.
    """
    require_last_token(parent)
    pairs, data = make_pairs(args, source, parent)
    blocks = find_blocks(parent.model, parent.plan.blocks)
    layers = parse_layers(args.layers, len(blocks)) or tuple(range(len(blocks)))
    tokens = [(parent.tok_encode(pair.positive), parent.tok_encode(pair.negative)) for pair in pairs]
    there = {site: layers if SITES[site].in_blocks else (0,) for site in args.sites}
    places = [place_of(site, layer) for site, of_site in there.items() for layer in of_site]
    anchors = find_anchors(base_model(parent.model), blocks, places)
    captured = capture_sites(parent.model, anchors, tokens, args.batch_size, parent.device)
    orders = shuffle_orders(len(pairs), args.seed)
    common = {
        "parent": describe(parent, len(blocks), hidden_size(parent.model)),
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
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software": {
            name: importlib.metadata.version(name) for name in ("lm_eval_steer", "lm_eval", "transformers", "torch")
        },
    }
    vectors = []
    for site, of_site in there.items():
        directions, statistics = find_directions(captured[site], of_site, orders, args)
        if SITES[site].by_head and args.heads is not None:
            of_site, directions, statistics = best_heads(directions, statistics, args.heads)
        said = {"site": SITE if site == DEFAULT else site, "blocks": statistics}
        vectors.append(SteeringVector(directions, of_site, common | said))
    return together(tuple(vectors))


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
