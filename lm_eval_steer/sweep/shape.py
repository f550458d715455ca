"""What sweep.json must look like for a sweep to go on from it: docs/SWEEP.md as a form that is checked once."""

from __future__ import annotations

from typing import Any

from lm_eval_steer.shapes import COUNT, NUMBER, OBJECT, TEXT, YES_OR_NO, Each, Either, Kind, Parts, Table, check

_SCORE = Kind("a number or null", lambda value: value is None or NUMBER.test(value))
_ARM = Parts(
    {"alpha": Either(Each(NUMBER, 1), NUMBER), "result": TEXT, "n": COUNT, "responses": COUNT, "skipped": COUNT},
    {
        **dict.fromkeys(("control", "metric", "no_score", "digest"), TEXT),
        "score": NUMBER,
        "interval": Each(NUMBER, 2),
        "tokens": COUNT,
        "votes": OBJECT,
        "against_baseline": Parts(
            {}, dict.fromkeys(("change", "p"), NUMBER) | dict.fromkeys(("texts_changed", "gained", "lost"), COUNT)
        ),
        "doses": Table(OBJECT),
    },
)
_PASS = Parts(
    {
        "alphas": Each(NUMBER, 1),
        "seconds": NUMBER,
        "new": COUNT,
        "doses": Table(Table(Parts({"positions": COUNT}, {"dose": NUMBER, "survival": NUMBER}))),
    },
    {"application": OBJECT},
)
_TASK = Parts(
    {
        "validation": Parts(
            {"task": TEXT, "scores": Table(Table(_SCORE)), "best": Table(NUMBER)},
            {"n": COUNT, "metric": TEXT, "higher_is_better": YES_OR_NO},
        ),
        "test": Table(_ARM),
        "refused": Table(TEXT),
        "passes": Table(_PASS),
    },
    {"per_layer": Table(Parts({"alpha": NUMBER, "profile": Each(NUMBER, 1)}, {"score": NUMBER}))},
)
_STATE = Parts({"complete": YES_OR_NO, "settings": OBJECT, "tasks": Table(_TASK)})


def check_state(state: Any) -> None:
    """Refuse what is no content of a sweep.json.

    Raises:
        ValueError: names the part that is wrong, what it is, and what was expected.
    """
    check(state, _STATE, "its content")
