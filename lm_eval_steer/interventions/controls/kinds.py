"""The table of the kinds of control."""

from __future__ import annotations

from lm_eval_steer.interventions.controls.identity import IDENTITY
from lm_eval_steer.interventions.controls.kind import Kind
from lm_eval_steer.interventions.controls.map_shuffled import MAP_SHUFFLED
from lm_eval_steer.interventions.controls.negated import NEGATED
from lm_eval_steer.interventions.controls.random import RANDOM
from lm_eval_steer.interventions.controls.self_consistency import SELF_CONSISTENCY
from lm_eval_steer.interventions.controls.shuffled import SHUFFLED
from lm_eval_steer.table import Table

KINDS: Table[Kind] = Table(
    "control",
    {
        "random": RANDOM,
        "map-shuffled": MAP_SHUFFLED,
        "shuffled": SHUFFLED,
        "negated": NEGATED,
        "identity": IDENTITY,
        "self-consistency": SELF_CONSISTENCY,
    },
)

_VECTOR = Kind(lambda directions, seed: dict(directions))
"""The vector itself, as if it were a control."""


def kind_of(control: str | None) -> Kind:
    """The kind of a control by its name in a record or a result file, as in `random:3`.

    No name is the vector itself. What no installed package knows is taken as something that steers.
    """
    kind = (control or "").partition(":")[0]
    if kind not in KINDS:
        return _VECTOR
    return KINDS[kind]
