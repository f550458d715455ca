"""SteeringPlan: what the steering arguments of `model_args` mean, the one meaning that every engine serves."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.catalog import find_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.transfer.layers import read_layers
from lm_eval_steer.transfer.mapping import ChildVector, span, transfer
from lm_eval_steer.transfer.widths import WIDTH_MAPS
from lm_eval_steer.vector import SteeringVector

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

TOKENS = ("all", "prompt", "generated", "last")
SYSTEM_ROLES = ("merge", "drop")


@dataclass(frozen=True, eq=False)
class SteeringPlan:
    """A checked set of steering arguments. Build it with `SteeringPlan.build`.

    Attributes:
        vector: the parent's directions; None only where alpha is 0.
        alpha: length of the shift α·v in every block (strength of the paper).
        layers: the child's blocks to steer, as given; `all`, `10-20` or `[1,4]`.
        tokens: which positions are steered (steering/positions.py).
        normalize: keep the length of each block output.
        width_map: `cut` or `cut-raw` (transfer/widths.py).
        system_role: what to do when a chat template refuses a system role: `merge` it into the first user turn, or
            `drop` it as the harness's `hf` does.
        blocks: path of the list of decoder blocks, where it cannot be found by shape.
        allow_leak: evaluate on rows that the vector was extracted from.
    """

    vector: SteeringVector | None
    alpha: float
    layers: Any
    tokens: str
    normalize: bool
    width_map: str
    system_role: str
    blocks: str | None
    allow_leak: bool

    @classmethod
    def build(
        cls,
        *,
        vectors: str | Path | SteeringVector | None,
        alpha: Any,
        layers: Any,
        tokens: str,
        normalize: bool,
        width_map: str,
        system_role: str,
        blocks: str | None,
        allow_leak: bool,
    ) -> SteeringPlan:
        """Check the arguments and read the vector file, before a model is loaded.

        Raises:
            SteeringError: one sentence per way to be wrong.
        """
        _check_choice("tokens", tokens, TOKENS)
        _check_choice("width_map", width_map, tuple(WIDTH_MAPS))
        _check_choice("system_role", system_role, SYSTEM_ROLES)
        for argument, value in (("normalize", normalize), ("allow_leak", allow_leak)):
            if not isinstance(value, bool):
                raise SteeringError(f"{argument}={value!r} is not understood: use True or False")
        read_layers(layers)
        strength = _read_alpha(alpha)
        if vectors is None and strength != 0:
            raise SteeringError(
                f"alpha={strength:g} but no vectors: name a steering vector file, as in vectors=phi4_gsm8k.safetensors"
            )
        if vectors is not None and not isinstance(vectors, str | Path | SteeringVector):
            raise SteeringError(f"vectors={vectors!r} is not understood: name one steering vector file")
        vector = SteeringVector.load(find_vector(str(vectors))) if isinstance(vectors, str | Path) else vectors
        return cls(vector, strength, layers, tokens, normalize, width_map, system_role, blocks, allow_leak)

    @property
    def steers(self) -> bool:
        """False for alpha=0, which takes the harness's own path."""
        return self.alpha != 0

    def fit(self, blocks: int, width: int) -> ChildVector | None:
        """The vector in the space of a child of `blocks` blocks and hidden size `width`."""
        if self.vector is None:
            return None
        child = transfer(self.vector, blocks, width, layers=self.layers, width_map=self.width_map)
        report = child.report
        logger.info(
            "Steering block%s %s of %d (hidden %d) with %s (%d blocks, hidden %d): alpha=%g, tokens=%s, layer map %s, "
            "width map %s",
            "s"[: len(child.sources) > 1],
            span(report["steered_blocks"]),
            blocks,
            width,
            report["parent"],
            report["parent_blocks"],
            report["parent_hidden_size"],
            self.alpha,
            self.tokens,
            report["layer_map"],
            self.width_map,
        )
        return child

    def settings(self) -> dict[str, Any]:
        """Every argument that changes a response, JSON-ready; the vector stands for itself by its fingerprint."""
        return {
            "vector": self.vector.fingerprint if self.vector else None,
            "alpha": self.alpha,
            "layers": self.layers,
            "tokens": self.tokens,
            "normalize": self.normalize,
            "layer_map": "greedy",
            "width_map": self.width_map,
            "system_role": self.system_role,
            "blocks": self.blocks,
            "allow_leak": self.allow_leak,
        }


def fingerprint(settings: dict[str, Any]) -> str:
    """SHA-256 of JSON-ready settings: what may share a response cache or a record."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def _check_choice(argument: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SteeringError(f"{argument}={value!r} is not understood: use one of {', '.join(choices)}")


def _read_alpha(alpha: Any) -> float:
    if alpha is None:
        raise SteeringError("alpha is missing: say how long the shift is, as in alpha=0.04, or alpha=0 for none")
    if isinstance(alpha, str) and alpha.startswith("[") and not alpha.endswith("]"):
        raise SteeringError(
            f"alpha={alpha!r} was cut at a comma: model_args given as one string to simple_evaluate cannot hold a "
            "list; pass model_args as a dict"
        )
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise SteeringError(f"alpha={alpha!r} is not a number: this version steers with one strength, as in alpha=0.04")
    if not -sys.float_info.max <= alpha <= sys.float_info.max:  # NaN and integers of any size, too
        raise SteeringError(f"alpha={alpha!r} is not a finite number: use a strength such as alpha=0.04")
    return float(alpha)
