"""The vectors of a folder, as they steer one model: read at start, and known by name from then on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, is_folder
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.sites import DEFAULT
from lm_eval_steer.text import quoted, shortened
from lm_eval_steer.vectors.catalog import OF_OTHER_TOOLS
from lm_eval_steer.vectors.formats import suffixes
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.load import load_vector


@dataclass(frozen=True)
class Model:
    """What is steered.

    Attributes:
        blocks: how many it has.
        width: its hidden size.
        dtype: as in `float32`.
        identity: which one it is.
    """

    blocks: int
    width: int
    dtype: str
    identity: Identity


@dataclass(frozen=True)
class Vectors:
    """The vectors of a folder.

    Attributes:
        plans: name, ascending -> its plan, at strength 1.
        interventions: what each does to the model at strength 1, in the same order.
        refused: name -> why it cannot steer this model.
        model: that is steered.
    """

    plans: dict[str, SteeringPlan]
    interventions: tuple[Intervention, ...]
    refused: dict[str, str]
    model: Model

    @property
    def fingerprints(self) -> dict[str, str]:
        """Name -> of what it does at strength 1."""
        return {name: one.fingerprint for name, one in zip(self.plans, self.interventions, strict=True)}


def read_vectors(folder: str | Path, model: Model) -> Vectors:
    """Read every vector of a folder; a file's name without its suffix is the vector's.

    Raises:
        SteeringError: where the folder is none, two files have one name, or no vector can steer the model.
    """
    plans, interventions, refused = {}, [], {}
    for name, path in _files(folder):
        try:
            plan = SteeringPlan.build(vectors=load_vector(path), alpha=1)
            (one,) = plan.interventions(model.blocks, plan.fit(model.blocks, model.width, model.identity))
        except SteeringError as error:
            refused[name] = str(error)
            continue
        if one.sites != (DEFAULT,):
            refused[name] = f"it is one of {', '.join(one.sites)}, and a server steers outputs of blocks"
            continue
        plans[name] = plan
        interventions.append(one)
    if not plans:
        why = "".join(f"; {name}: {reason}" for name, reason in refused.items())
        raise SteeringError(f"no vector in {quoted(str(folder))} can steer this model{why or ': it has none'}")
    return Vectors(plans, tuple(interventions), refused, model)


def _files(folder: str | Path) -> Iterator[tuple[str, Path]]:
    """Names and files, ascending."""
    if not is_folder(folder):
        raise SteeringError(f"there is no folder {quoted(str(folder))}: name that of the vectors that may be asked for")
    seen: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix not in (*suffixes(), *OF_OTHER_TOOLS) or path.name.startswith(".") or not is_file(path):
            continue
        if path.stem in seen:
            both = f"{shortened(seen[path.stem].name)} and {shortened(path.name)}"
            raise SteeringError(f"{both} would have one name: rename one of them")
        seen[path.stem] = path
    yield from seen.items()
