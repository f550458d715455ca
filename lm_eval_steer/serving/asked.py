"""What a request asks for: a vector, a strength and positions, read from its `vllm_xargs`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions import checks
from lm_eval_steer.interventions.alphas import read_alphas
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.tokens import TokenRule, token_rule
from lm_eval_steer.serving.vectors import Vectors
from lm_eval_steer.text import nearest, quoted, shortened

ARGUMENTS = ("vectors", "alpha", "tokens")
"""Keys of a request; they mean what they mean in `--model_args`."""

SALT = "lm_eval_steer:"
"""How the salt of every steered request begins, and no other's."""


@dataclass(frozen=True)
class Asked:
    """The steering of one request.

    Attributes:
        number: of its vector.
        alpha: its strength, never 0.
        tokens: which positions, in the one spelling of the rule.
        fingerprint: of what the vector does at strength 1.
    """

    number: int
    alpha: float
    tokens: str
    fingerprint: str

    @property
    def rule(self) -> TokenRule:
        """Which positions."""
        return token_rule(self.tokens)

    def salt(self, prompt: int, other: str | None) -> str:
        """What keeps its keys and values apart in the prefix cache.

        Those of a beginning depend on vector, strength and rule, and where the rule counts from the end of the prompt
        also on its length.

        Args:
            prompt: tokens of it.
            other: salt that the client gives.
        """
        what = [self.fingerprint, self.alpha, self.tokens, prompt if self.rule.needs_prompt else None, other]
        return SALT + hashlib.sha256(json.dumps(what).encode()).hexdigest()


def read_asked(given: Mapping[str, Any], vectors: Vectors, default: Mapping[str, Any]) -> Asked | None:
    """What a request asks for; None where it is not to be steered.

    Args:
        given: those keys of the request that are not vLLM's own.
        vectors: that it may name.
        default: stands for the keys that it does not give.

    Raises:
        SteeringError: one sentence for a key, name, strength or rule that there is not.
    """
    if unknown := sorted(set(given) - set(ARGUMENTS)):
        near = nearest(unknown[0], ARGUMENTS)
        raise SteeringError(
            f"vllm_xargs has the key {quoted(unknown[0])}, which nothing reads{near}: use {', '.join(ARGUMENTS)}"
        )
    asked = {**default, **given}
    if not asked:
        return None
    alphas = read_alphas(asked.get("alpha"))
    if len(alphas) > 1:
        raise SteeringError(f"alpha={quoted(asked['alpha'])} holds {len(alphas)} strengths: give a request one")
    tokens = checks.tokens("tokens", asked.get("tokens", "all"))
    if token_rule(tokens).match is not None:
        raise SteeringError(
            f"tokens={quoted(tokens)} asks for some tokens alone, and a server steers by positions: leave match: out"
        )
    name = asked.get("vectors")
    if name is None and not alphas[0]:
        return None
    number = _number(name, vectors)
    edits = [replace(edit, strength=alphas[0]) for edit in vectors.interventions[number].edits]
    scaled = Intervention(tuple(edits), tokens=tokens)
    plan = list(vectors.plans.values())[number].with_changes(alphas=alphas)
    plan.refuse_overflow([scaled], vectors.model.dtype)
    if alphas[0] and not any(edit.acts for edit in edits):
        raise SteeringError(f"alpha={quoted(asked['alpha'])} is 0 in float32: use a larger strength, such as 0.04")
    if not alphas[0]:
        return None
    return Asked(number, edits[0].strength, tokens, vectors.interventions[number].fingerprint)


def _number(name: Any, vectors: Vectors) -> int:
    """Of a vector; a name is looked up among those that were read at start, and no file is."""
    names = list(vectors.plans)
    if name in names:
        return names.index(name)
    if isinstance(name, str) and name in vectors.refused:
        raise SteeringError(f"vectors={quoted(name)} cannot steer this model: {vectors.refused[name]}")
    near = nearest(name, names) if isinstance(name, str) else ""
    raise SteeringError(
        f"vectors={quoted(shortened(str(name)))} names none of this server's vectors{near}: use {', '.join(names)}"
        if name is not None
        else f"vectors is missing: name one of this server's, {', '.join(names)}"
    )
