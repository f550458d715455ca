"""Sites: what is steered at each of them, against computations that have no hook there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Edit, intervene
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.sites import SITES, in_order, place_of, split, told


def test_places_have_one_name_each() -> None:
    places = [place_of(site, block) for block in (10, 2) for site in SITES]
    assert [split(place) for place in places] == [(site, block) for block in (10, 2) for site in SITES]
    assert in_order(places)[:4] == [2, 10, "attention.2", "attention.10"]
    assert [told(place) for place in (3, "mlp.3", "final_norm.0")] == ["block 3", "mlp of block 3", "final_norm"]


@pytest.mark.parametrize(
    ("site", "sites"),
    [
        (None, ("block",)),
        ("mlp", ("mlp",)),
        ("mlp+block_input+attention", ("block_input", "attention", "mlp")),
        (["mlp", "attention"], ("attention", "mlp")),
    ],
)
def test_one_site_or_several(site: Any, sites: tuple[str, ...]) -> None:
    plan = SteeringPlan.build(vectors=make_vector(), alpha=1, site=site)
    assert plan.sites == sites
    assert plan.settings()["site"] == "+".join(sites)
    child = plan.fit(3, 32)
    assert child is not None
    (one,) = plan.interventions(3, child)
    assert one.sites == sites if len(sites) == 1 else set(one.sites) == set(sites)
    assert [split(place)[1] for place in one.places] == [0, 1, 2] * len(sites)


@pytest.mark.parametrize("site", ["mpl", "", [], "block+", 3, ["block", 4]])
def test_a_site_that_there_is_not(site: Any) -> None:
    with pytest.raises(SteeringError, match="is not understood: use one of block, block_input, attention, mlp, heads"):
        SteeringPlan.build(vectors=make_vector(), alpha=1, site=site)


@pytest.mark.parametrize("site", ["heads", "final_norm"])
def test_directions_of_blocks_have_no_meaning_there(site: str) -> None:
    plan = SteeringPlan.build(vectors=make_vector(), alpha=1, site=site)
    with pytest.raises(SteeringError, match=rf"site={site} takes directions .* has those of block: .* --site {site}"):
        plan.fit(3, 32)


def test_another_site_is_another_intervention() -> None:
    v = np.ones(4, dtype=np.float32)
    prints = {intervene([Edit(0, "add", v, 1.0, site)]).fingerprint for site in SITES}
    assert len(prints) == len(SITES.names)
    assert "site" not in intervene([Edit(0, "add", v, 1.0)]).content()["edits"][0]  # as records have it
    several = intervene([Edit(0, "add", v, 1.0, site) for site in ("mlp", "block", "block_input")])
    assert several.places == (0, "block_input.0", "mlp.0")
