"""One site at a time: `--sites each` makes a contender of each block, beside the vector at all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from lm_eval_steer.compare.sites import ALL, block_of
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.interventions.layers import read_layers
from lm_eval_steer.scale import Scale
from lm_eval_steer.sites import SITES
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.load import load_vector

EACH = "each"


def read_sites(given: str | None, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """The blocks at each of which the vector is to steer alone, ascending; none where nothing is given.

    They are those of which the vector has a direction, and of these the ones that `layers` names.

    Args:
        given: `each`, or None.
        arguments: --model_args of the sweep.

    Raises:
        SteeringError: for anything else, without a single vector in `arguments`, for blocks of it that go to others of
            the child, and where fewer than two are left.
    """
    if given is None:
        return ()
    if given != EACH:
        raise SteeringError(f"--sites {quoted(given)} is not understood: give each, for one block at a time")
    file = arguments.get("vectors")
    if not isinstance(file, str) or not file:
        raise SteeringError(
            "--sites each takes one vector, whose blocks it tries one at a time: name it as vectors= in --model_args, "
            "and none in --arms"
        )
    if (layer_map := arguments.get("layer_map", "greedy")) != "greedy":
        raise SteeringError(
            f"--sites each tries a vector's own blocks, and layer_map={quoted(layer_map)} brings them to others: leave "
            "layer_map out, or carry the vector over first (lm-eval-steer transfer)"
        )
    vector = load_vector(find_vector(os.path.expanduser(file)))
    of_sites = [set(vector.at(site).layers) for site in vector.sites if SITES[site].in_blocks]
    layers = set.intersection(*of_sites) if of_sites else set()
    wanted = read_layers(arguments.get("layers", ALL))
    blocks = tuple(sorted(layers if wanted is None else layers & set(wanted)))
    if len(blocks) < 2:
        raise SteeringError(
            f"--sites each has {len(blocks)} blocks to try, for layers={quoted(arguments.get('layers', ALL))} and a "
            f"vector of {len(layers)} blocks: leave --sites out, or name more layers"
        )
    return blocks


def tell_sites(name: str, task: Mapping[str, Any]) -> Iterator[str]:
    """Which block did best on validation rows, and what it and the vector at all blocks did in the test.

    Args:
        name: of the task.
        task: its part of sweep.json.
    """
    part, higher = task["validation"], task["validation"].get("higher_is_better")
    found = {
        contender: score
        for contender, best in part["best"].items()
        if block_of(contender) is not None and (score := part["scores"][contender].get(alpha_name(best))) is not None
    }
    if not found or higher is None:
        return
    best = (max if higher else min)(found, key=lambda one: found[one])
    arm, whole = task["test"].get(f"{best} best"), task["test"].get(f"{ALL} best")
    if arm is None or arm["score"] is None:
        return
    scores = [one["score"] for one in task["test"].values() if one["score"] is not None]
    scale = Scale(all(0 <= score <= 1 for score in scores), scores)

    def told(one: Mapping[str, Any]) -> str:
        change = (one.get("against_baseline") or {}).get("change")
        changed = "" if change is None else f" ({scale.change(change)})"
        return f"at {alpha_name(one['alpha'])}: {scale.score(one['score'])}{changed}"

    rest = f"; at all blocks, {told(whole)}" if whole and whole["score"] is not None else ""
    yield f"of single blocks, {block_of(best)} did best on {part['task']}, and on {name}, {told(arm)}{rest}"
