"""The vectors of a transfer, and the models that they were read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_folder
from lm_eval_steer.models.checkpoint import hub_commit
from lm_eval_steer.text import shortened
from lm_eval_steer.transfer.model import Model
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.load import load_one
from lm_eval_steer.vectors.vector import SteeringVector

_MAPS = "lm-eval-steer transfer, whose maps are fitted on the outputs of blocks,"


def read_vectors(names: Sequence[str]) -> tuple[SteeringVector, ...]:
    """The vectors of these names or files.

    Raises:
        SteeringError: for what is no vector, and for one that was transferred already.
    """
    vectors = tuple(load_one(find_vector(name), _MAPS) for name in names)
    for vector in vectors:
        vector.refuse_maps("a transfer")
    for name, vector in zip(names, vectors, strict=True):
        if vector.transfer is not None:
            raise SteeringError(
                f"{shortened(name)} was transferred to {vector.space['name']} already, where its directions mean "
                f"nothing to a map from {vector.passport['parent']['name']}: name the vector that it was made from"
            )
    return vectors


def find_parents(
    names: Sequence[str], vectors: Sequence[SteeringVector], told: Sequence[Mapping[str, Any]], device: str | None
) -> tuple[Model, ...]:
    """The model that each vector was read from, one object for all vectors of one parent.

    Args:
        names: of the vectors, for sentences.
        vectors: with passports that name their parents.
        told: arguments of each parent, in the order in which the vectors first name them; none for what the passports
            say.
        device: where they run.

    Raises:
        SteeringError: for another number of parents than the vectors have, and for a model that is not the one that a
            passport names.
    """
    said = [vector.passport["parent"] for vector in vectors]
    distinct = [one for number, one in enumerate(said) if _place(one, said) == number]
    if told and len(told) != len(distinct):
        raise SteeringError(
            f"--parent_args is given {len(told)} times, and the parents of the vectors are "
            f"{', '.join(one['name'] for one in distinct)}: give it once for each, in this order, or not at all"
        )
    arguments = told or [_named(one) for one in distinct]
    models = [Model(one, device, "--parent_args") for one in arguments]
    for name, one in zip(names, said, strict=True):
        _refuse_other(name, one, models[_place(one, distinct)])
    return tuple(models[_place(one, distinct)] for one in said)


def _place(one: Mapping[str, Any], parents: Sequence[Mapping[str, Any]]) -> int:
    """The number of the first of some passports' parents that is the same model."""
    which = Identity.of(one)
    return next(number for number, other in enumerate(parents) if which.is_same(Identity.of(other)))


def _named(parent: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the model that a passport names.

    Raises:
        SteeringError: for the name of a folder that was elsewhere.
    """
    name, revision = parent["name"], parent.get("revision")
    arguments = {"pretrained": name} | ({"revision": revision} if revision else {})
    if "/" not in name and not is_folder(name) and hub_commit(arguments) is None:
        raise SteeringError(
            f"the vector was read from {shortened(name)}, which is not here: say where it is, as in --parent_args "
            f"pretrained=models/{shortened(name)}"
        )
    return arguments


def _refuse_other(vector: str, said: Mapping[str, Any], model: Model) -> None:
    """Refuse a model that is not the one a vector was read from.

    Raises:
        SteeringError: names both.
    """
    found = model.description
    known = Identity.of(said)
    if known.is_same(Identity.of(found)) and model.shape == (said["num_blocks"], said["hidden_size"]):
        return
    raise SteeringError(
        f"{shortened(vector)} was read from {known.told(said['num_blocks'], said['hidden_size'])}, and --parent_args "
        f"name {Identity.of(found).told(*model.shape)}: name the model that the vector was read from"
    )
