"""Vectors that a map brought into a child's space: what their passport must say, and how a child takes them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from conftest import make_transferred, make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.child import into_child
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.vectors.transferred import map_name, parents_of
from lm_eval_steer.vectors.vector import SteeringVector


@pytest.mark.parametrize("parents", [1, 2])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_keeps_the_transfer_and_lies_in_the_space_of_the_child(
    suffix: str, parents: int, tmp_path: Path
) -> None:
    vector = make_transferred(blocks=3, width=8, parents=parents, cka=[[0.1, 0.2, 0.3]] * 5)
    loaded = SteeringVector.load(vector.save(tmp_path / f"mapped{suffix}"))
    assert loaded.passport == vector.passport
    assert loaded.space == {"name": "child", "num_blocks": 3, "hidden_size": 8}
    assert [one["name"] for one in parents_of(loaded.passport)] == [f"org/parent-{i}" for i in range(parents)]
    assert loaded.fingerprint != make_transferred(blocks=3, width=8, seed=1).fingerprint


def test_a_vector_of_a_parent_lies_in_the_space_of_the_parent() -> None:
    vector = make_vector(blocks=3, width=8, seed=2)
    assert vector.transfer is None
    assert vector.space == vector.passport["parent"]


def changed(path: str, value: Any, parents: int = 1) -> SteeringVector:
    """A vector for a child of 3 x 8 whose passport says something else at a dotted path; `...` leaves it out."""
    vector = make_transferred(blocks=3, width=8, parents=parents)
    passport = copy.deepcopy(vector.passport)
    place, *names = [int(key) if key.isdecimal() else key for key in path.split(".")][::-1]
    inside = passport["transfer"]
    for name in names[::-1]:
        inside = inside[name]
    if value is ...:
        del inside[place]
    else:
        inside[place] = value
    return SteeringVector(vector.directions, vector.layers, passport)


WHOLE = "expected a whole number from 0 on"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("child", None, "the passport says transfer.child is None, expected an object"),
        ("child.name", 3, "the passport says transfer.child.name is 3, expected text"),
        ("child.num_blocks", True, f"the passport says transfer.child.num_blocks is True, {WHOLE}"),
        ("child.hidden_size", 9, "the directions are 8 wide, the passport says transfer.child.hidden_size 9"),
        (
            "child.num_blocks",
            2,
            "there is a direction for block 2, but the passport says transfer.child.num_blocks 2 and blocks count "
            "from 0",
        ),
        ("child.digest", 3, "the passport says transfer.child.digest is 3, expected text"),
        ("parents", [], "the passport says transfer.parents is [], expected a list that is not empty"),
        ("parents.0.weight", "1", "the passport says transfer.parents[0].weight is '1', expected a finite number"),
        ("width_map", "ridge", "the passport says transfer.width_map is 'ridge', expected an object"),
        ("layer_map.blocks", {"x": 1}, "the passport says a key of transfer.layer_map.blocks is 'x', expected"),
        ("texts.rows", [1], "the passport says transfer.texts.rows[0] is 1, expected text"),
        ("texts.held_out", -1, f"the passport says transfer.texts.held_out is -1, {WHOLE}"),
        ("tokens", 1, "the passport says transfer.tokens is 1, expected text"),
        ("shuffled", 1.5, "the passport says transfer.shuffled is 1.5, expected a seed from 1 to 999,999,999"),
        ("shuffled", 0, "the passport says transfer.shuffled is 0, expected a seed from 1 to 999,999,999"),
        ("blocks.1.r2", "0.5", "the passport says transfer.blocks[1].r2 is '0.5', expected a finite number"),
        ("blocks.1.source", ..., "the passport says transfer.blocks[1] is {"),
        (
            "blocks.1.block",
            0,
            "the passport says transfer.blocks of blocks [0, 0, 2], and directions are of [0, 1, 2]",
        ),
        ("blocks.2", ..., "the passport says transfer.blocks of blocks [0, 1], and directions are of [0, 1, 2]"),
        (
            "blocks.1.source",
            5,
            "the passport says that block 1 comes from block 5 of a parent that has num_blocks 5, and blocks count "
            "from 0",
        ),
        (
            "blocks.1.length",
            [0.5, 0.5],
            "the passport says 2 x length for block 1, and there are 1 transfer.parents",
        ),
        (
            "cka",
            [[0.1] * 3] * 4,
            "the passport says transfer.cka of shape [4, 3], expected parent x child blocks [5, 3]",
        ),
        ("cka", [[0.1] * 3] * 4 + [[0.1]], "the passport says transfer.cka of shape [5, 1, 3], expected"),
    ],
)
def test_one_sentence_for_each_way_to_be_wrong(path: str, value: Any, words: str) -> None:
    with pytest.raises(SteeringError) as caught:
        changed(path, value)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "parents.1.passport",
            ...,
            "the passport says no transfer.parents[1].passport, whose blocks nobody knows",
        ),
        (
            "parents.1.passport.parent",
            {"name": "p"},
            "the passport says transfer.parents[1].passport.parent is {'name': 'p'}, expected an object",
        ),
        ("blocks.0.source", 0, "the passport says 1 x source for block 0, and there are 2 transfer.parents"),
        ("blocks.0.source", [0, 7], "the passport says that block 0 comes from block 7 of a parent that has"),
    ],
)
def test_a_vector_of_several_parents_says_all_of_each(path: str, value: Any, words: str) -> None:
    with pytest.raises(SteeringError) as caught:
        changed(path, value, parents=2)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ({"name": "ridge", "lambda": 0.05}, "ridge:0.05"),
        ({"name": "lowrank", "k": 16}, "lowrank:16"),
        ({"name": "procrustes"}, "procrustes"),
        ({"name": "list", "blocks": {"5": 3}}, "list"),
        ({"name": "of others", "x": 10**400, "y": True, "z": "text"}, "of others"),
    ],
)
def test_a_map_goes_by_the_name_that_its_argument_has(section: dict[str, Any], name: str) -> None:
    assert map_name(section) == name


# How a child takes it


def test_the_child_takes_the_directions_as_they_stand() -> None:
    vector = make_transferred(blocks=4, width=8, parents=2)
    child = into_child(vector, 4, 8, layers="1-2", layer_map="proportional", width_map="ridge:0.05")
    assert {block: direction.tolist() for block, direction in child.directions.items()} == {
        block: vector.directions[block].tolist() for block in (1, 2)
    }
    assert child.report == {
        "parent": "org/parent-0 + org/parent-1",
        "parent_blocks": [5, 5],
        "parent_hidden_size": [6, 6],
        "child_blocks": 4,
        "child_hidden_size": 8,
        "layer_map": "proportional",
        "width_map": "ridge:0.05",
        "steered_blocks": [1, 2],
        "transferred": True,
    }


def test_a_block_without_a_direction_is_refused() -> None:
    whole = make_transferred(blocks=4, width=8)
    blocks = [one for one in whole.passport["transfer"]["blocks"] if one["block"] in (0, 3)]
    passport = whole.passport | {"transfer": whole.passport["transfer"] | {"blocks": blocks}}
    some = SteeringVector(whole.directions[[0, 3]], (0, 3), passport)
    with pytest.raises(SteeringError) as caught:
        into_child(some, 4, 8, layers=[0, 1], layer_map="proportional", width_map="ridge:0.05")
    assert str(caught.value) == "layers=[0, 1] names block 1, but the vector has directions for blocks 0, 3 only"


def test_a_run_is_recorded_with_the_maps_of_the_passport() -> None:
    settings = SteeringPlan.build(vectors=make_transferred(), alpha=1).settings()
    assert (settings["layer_map"], settings["width_map"]) == ("proportional", "ridge:0.05")


@pytest.mark.parametrize(
    ("name", "value", "held"), [("layer_map", "greedy", "proportional"), ("width_map", "cut-raw", "ridge:0.05")]
)
def test_directions_are_not_mapped_twice(name: str, value: str, held: str) -> None:
    with pytest.raises(SteeringError) as caught:
        SteeringPlan.build(vectors=make_transferred(), alpha=1, **{name: value})
    assert str(caught.value) == (
        f"{name}={value!r} has no meaning for a vector that was transferred to child with {name} {held} already: "
        "leave it out"
    )
