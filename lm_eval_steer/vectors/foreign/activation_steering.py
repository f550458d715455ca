"""IBM's activation-steering: `.svec`, JSON with one direction per block, read at outputs and added at inputs."""

from __future__ import annotations

from lm_eval_steer.vectors.foreign.aisteer360 import directions_of
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import at_output_or_input, carried, number_of, one_row, scalars
from lm_eval_steer.vectors.foreign.source import Source
from lm_eval_steer.vectors.formats.header import KEY


def recognises(source: Source) -> bool:
    """Every block has one direction, and explained variances stand beside them."""
    found = directions_of(source)
    flat = bool(found) and not any(isinstance(one[0], list) for one in found.values())
    return flat and "explained_variances" in source.content


def read(source: Source, answers: Answers) -> Said:
    """Asks which of both sites is meant."""
    found = {
        number_of(block, "a block"): one_row(one, f"block {block}") for block, one in directions_of(source).items()
    }
    if passport := carried(source.content.get(KEY)):  # exported so that it acts where activation-steering adds it
        return Said({block - 1: row for block, row in found.items() if block}, passport=passport)
    shifts, notes = at_output_or_input(
        found,
        answers,
        "activation-steering reads its directions at the output of block N and adds them at the input of block N",
        {"output": "where they were read", "input": "where it adds them"},
    )
    return Said(shifts, "pca", {"architecture": source.content["model_type"]}, scalars(source.content), notes)


ACTIVATION_STEERING = ForeignFormat("a steering vector of IBM's activation-steering (.svec)", read, recognises)
