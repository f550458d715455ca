"""Presets: what papers do, in arguments of the plan: the table of the `preset` argument, and what names stand for.

A preset is written out before anything else reads the arguments, so that results hold what it stands for and not its
name. Whatever is named beside it takes the place of what it says. Docs: METHOD.md, "Presets".

    python -m lm_eval_steer.interventions.presets    # prints the table of METHOD.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.table import Table
from lm_eval_steer.text import quoted

if TYPE_CHECKING:
    from lm_eval_steer.vectors.several import AnyVector

ONE_BLOCK = "it steers one block: name it, as in layers=13"
ONE_DIRECTION = "it takes one direction for all blocks: name the block it was read at, as in layer_map=only:13"


@dataclass(frozen=True)
class Preset:
    """What a paper does.

    Attributes:
        paper: which.
        arguments: of the plan, but for the strength.
        counts: the argument that its strength is here: `alpha`, or `dose`, a share of ‖h‖, where its α is one.
        strength: its default; None where it tries several and has none.
        tries: which, or what else it says of them.
        needs: argument that has to be named beside it -> why.
        differs: what is not the same here.
    """

    paper: str
    arguments: Mapping[str, Any]
    counts: str = "alpha"
    strength: float | None = None
    tries: str = ""
    needs: Mapping[str, str] = field(default_factory=dict)
    differs: str = ""

    @property
    def written_out(self) -> str:
        """Its arguments as --model_args has them."""
        said = dict(self.arguments) | ({} if self.strength is None else {self.counts: f"{self.strength:g}"})
        return ",".join(f"{name}={value}" for name, value in said.items())


PRESETS: Table[Preset] = Table(
    "preset",
    {
        "caa": Preset(
            "Contrastive Activation Addition (arXiv 2312.06681)",
            {"operator": "add", "unit": "projection", "tokens": "after:1"},
            strength=1.0,
            tries="multipliers of the raw mean difference, such as -1 and 1",
            needs={"layers": ONE_BLOCK},
            differs="a vector of `--method mean` is theirs; it is added behind the prompt, not at its last token, so "
            "that choices of one token do not move",
        ),
        "actadd": Preset(
            "activation addition (arXiv 2308.10248), as Arditi et al. have it (arXiv 2406.11717)",
            {"operator": "add", "unit": "projection", "site": "block_input", "tokens": "all"},
            strength=1.0,
            tries="1 or -1 times the raw mean difference",
            needs={"layers": ONE_BLOCK},
            differs="a vector of `--site block_input --method mean` is theirs; the first paper adds one difference for "
            "each of the first tokens, here all tokens get the same",
        ),
        "arditi": Preset(
            "directional ablation (arXiv 2406.11717)",
            {"operator": "ablate", "site": "block_input+attention+mlp", "tokens": "all"},
            strength=1.0,
            tries="1, all of it",
            needs={"layer_map": ONE_DIRECTION},
            differs="which block's direction is best is for a sweep to find",
        ),
        "iti": Preset(
            "Inference-Time Intervention (arXiv 2306.03341)",
            {"operator": "add", "unit": "sigma", "site": "heads", "tokens": "generated"},
            strength=15.0,
            tries="15 deviations for LLaMA-7B",
            differs="the heads are those of the file: `extract --site heads --heads 48 --method mean` chooses them by "
            "held-out pairs, where they train probes",
        ),
        "icv": Preset(
            "In-Context Vectors (arXiv 2311.06668)",
            {"operator": "icv", "site": "mlp", "tokens": "all"},
            counts="dose",
            strength=0.8,
            tries="λ, 0.8 by default",
            differs="their vector is the first component of the differences of all blocks together",
        ),
        "unlock": Preset(
            "UNLOCK (arXiv 2604.06377)",
            {"operator": "add_keep_norm", "tokens": "last"},
            counts="dose",
            tries="0.05, 0.1, 0.2 and 0.5",
        ),
        "angular": Preset(
            "Angular Steering (arXiv 2510.26243)",
            {"operator": "rotate_to", "tokens": "all"},
            tries="every 10 degrees, 0 to 350",
            needs={
                "layer_map": ONE_DIRECTION,
                "second": "it turns in a plane: name the vector of its second direction",
            },
            differs="at outputs of blocks, not of the norms inside them, and at all tokens alike",
        ),
    },
)


def expanded(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without `preset` and `operator=ace`, which stand for others.

    Args:
        given: arguments of the plan that were named, and any others.

    Raises:
        SteeringError: for a preset that there is not, and one whose strength has to be named and is not; for a unit
            beside `ace`.
    """
    rest = {name: value for name, value in given.items() if name != "preset"}
    name = given.get("preset")
    if name is not None:
        rest = _with_preset(name, rest)
    operator = rest.get("operator")
    if isinstance(operator, str) and operator == "ace":
        if rest.get("unit", "projection") != "projection":
            raise SteeringError(
                f"unit={quoted(rest['unit'])} has no meaning for operator=ace, whose strength is 0 at the mean of the "
                "negative side and 1 at that of the positive: leave unit out"
            )
        rest |= {"operator": "set", "unit": "projection"}
    return rest


def _with_preset(name: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(name, str) or name not in PRESETS:
        raise SteeringError(f"preset={quoted(name)} is not understood: use one of {', '.join(PRESETS)}")
    preset, rest = PRESETS[name], dict(named)
    if preset.counts == "dose" and rest.get("alpha") is not None and rest.get("dose") is None:
        rest["dose"] = rest.pop("alpha")  # in the paper's words
    says = dict(preset.arguments)
    if "normalize" in rest:
        says.pop("operator")
    if rest.get("dose") is not None:
        says.pop("unit", None)
    if all(rest.get(one) is None for one in ("alpha", "dose", "alpha_per_layer")):
        if preset.strength is None:
            raise SteeringError(
                f"preset={name} has no strength of its own ({preset.tries}): name one, as in {preset.counts}="
                f"{'30' if name == 'angular' else '0.1'}"
            )
        says[preset.counts] = preset.strength
    return says | rest


def refuse_unnamed(given: Mapping[str, Any], vector: AnyVector | None) -> None:
    """Refuse a preset without what a run has to say itself, since nothing else would be right by default.

    Args:
        given: arguments of the plan that were named.
        vector: that is to steer; one of a single block, or that was transferred, says itself what lacks.

    Raises:
        SteeringError: with the argument that lacks.
    """
    name = given.get("preset")
    single = vector is not None and all(len(vector.at(site).layers) == 1 for site in vector.sites)
    said = {"layers": single, "layer_map": vector and vector.transfer}
    for argument, why in (PRESETS[name].needs if name is not None else {}).items():
        if given.get(argument) is None and not said.get(argument):
            raise SteeringError(f"preset={name} lacks {argument}: {why}")


def table() -> str:
    """The presets as the table of docs/METHOD.md."""
    rows = [
        f"| `{name}` | {one.paper} | `{one.written_out}` | {one.tries} | "
        f"{', '.join(f'`{needed}`' for needed in one.needs) or '-'} | {one.differs or '-'} |"
        for name, one in ((name, PRESETS[name]) for name in PRESETS)
    ]
    head = [
        "| preset | paper | stands for | its strengths | to be named beside it | what differs |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
