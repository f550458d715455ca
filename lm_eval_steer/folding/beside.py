"""A GGUF child keeps its weights: what steers it is a control vector of llama.cpp, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval_steer.engines.hf.steer import plan_of_one
from lm_eval_steer.engines.llama_cpp.shifts import control_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file
from lm_eval_steer.folders import refuse_filled, write_folder
from lm_eval_steer.folding.fold import TAKEN
from lm_eval_steer.folding.write import refuse_unknown, write_card
from lm_eval_steer.models.checkpoint import weights_digest
from lm_eval_steer.text import shortened
from lm_eval_steer.vectors.exports.control_vector import write_rows
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.vector import SteeringVector

SUFFIX = ".gguf"
NAME = "control.gguf"
"""File of the folder that llama.cpp is given."""


def write_beside(out: str | Path, vector: SteeringVector, child: str, steering: Mapping[str, Any]) -> list[int]:
    """Write what a run of `steered-gguf` adds, for llama.cpp to add: at strength 1 there.

    Args:
        out: folder; it must be empty or not be there.
        vector: is added to the child.
        child: a model in GGUF.
        steering: arguments of the plan, those of `write_folded` but for `blocks`.

    Returns:
        The blocks that it shifts.

    Raises:
        SteeringError: one sentence for whatever is the user's to mend.
    """
    refuse_filled(out)
    refuse_unknown(steering)
    architecture, depth, width = _shape(Path(child))
    plan = plan_of_one(vector, steering, TAKEN, "fold")
    if plan.blocks is not None:
        raise SteeringError(
            f"blocks={plan.blocks} names no place in a GGUF file, whose blocks have numbers: leave it out"
        )
    digest = weights_digest({"pretrained": child})
    known = plan.fit(depth, width, Identity(child, architecture=architecture, digest=digest))
    (intervention,) = found = plan.interventions(depth, known)
    plan.refuse_overflow(found, "float32")
    shifts = control_vector(intervention, depth)
    if not shifts:
        raise SteeringError("a strength of 0 leaves the child as it is: there is nothing to write")

    def write(folder: Path) -> None:
        rows = dict(sorted(shifts.items(), reverse=True))  # as `vectors export --to llama.cpp` has them
        write_rows(folder / NAME, rows, architecture, {})
        write_card(folder, vector, child, digest, steering, kind="control vector of llama.cpp")

    write_folder(out, write)
    return sorted(shifts)


def _shape(path: Path) -> tuple[str, int, int]:
    """Architecture, number of blocks and width that the header of a model in GGUF says.

    Raises:
        SteeringError: where there is no such file, or its header does not say that.
    """
    from gguf import GGUFReader

    if not is_file(path):
        raise SteeringError(f"there is no file {shortened(path)}: name a model in GGUF with --child")
    try:
        fields = GGUFReader(path).fields
        architecture = str(fields["general.architecture"].contents())
        depth, width = (int(fields[f"{architecture}.{key}"].contents()) for key in ("block_count", "embedding_length"))
    except Exception:  # it checks nothing of what it reads, so that a damaged file makes it raise nearly anything
        raise SteeringError(f"{shortened(path)} is no model in GGUF, or its header is damaged") from None
    return architecture, depth, width
