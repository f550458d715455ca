"""A folded child as a folder: a checkpoint or an adapter, proven before it is there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from lm_eval_steer import __version__
from lm_eval_steer.engines.hf.steer import one_intervention
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.folders import refuse_filled, write_folder
from lm_eval_steer.folding.adapter import quiet
from lm_eval_steer.folding.biased import share
from lm_eval_steer.folding.fold import TAKEN, fold_intervention
from lm_eval_steer.folding.proof import log_likelihoods, prove
from lm_eval_steer.models.checkpoint import weights_digest
from lm_eval_steer.models.load import loading
from lm_eval_steer.vectors.vector import SteeringVector

CARD = "steering.json"
"""File of the folder that says what was folded into it."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What came of it.

    Attributes:
        kind: class of the checkpoint, or `adapter of` that of the child.
        what: is other than in the child, as in `30 biases`.
        dtype: of these weights.
        lost: the largest share of a block's shift, or of an ablation, that was lost in rounding to it.
        difference: of a token's log-likelihood from that of the steered child, the largest, in float32.
    """

    kind: str
    what: str
    dtype: str
    lost: float
    difference: float


def write_folded(
    out: str | Path, vector: SteeringVector, child: str, steering: Mapping[str, Any], dtype: str, adapter: bool
) -> Written:
    """Fold a vector into a child and write what comes of it.

    Args:
        out: folder; it must be empty or not be there.
        vector: is added to the child.
        child: folder, or name on the hub.
        steering: arguments of the plan, those in `TAKEN`.
        dtype: of the weights, as transformers takes it; `auto` for that of the child's files.
        adapter: write an adapter of PEFT in place of a checkpoint.

    Raises:
        SteeringError: one sentence for whatever is the user's to mend, and where the proof fails; `out` is not there
            then.
    """
    refuse_filled(out)
    refuse_unknown(steering)
    model = _load(child, dtype)
    digest = weights_digest({"pretrained": child})
    _, intervention = one_intervention(model, vector, steering, TAKEN, "fold", digest)
    folded = fold_intervention(model, intervention, steering.get("blocks"), adapter)
    kind = f"adapter of {type(model).__name__}" if adapter else type(folded.model).__name__
    biases = "float32" if adapter else str(model.dtype).removeprefix("torch.")
    exact = _load(child, "float32") if model.dtype != torch.float32 else model
    expected = log_likelihoods(exact, folded.done, steering.get("blocks"))
    is_rounded = folded.lost > 0 and folded.kind != "biases" and model.dtype != torch.float32
    if is_rounded:  # then the same in float32 is the proof
        unrounded = fold_intervention(exact, intervention, steering.get("blocks"), adapter)
        prove(unrounded.model, unrounded.model, expected, False)
    differences = []

    def write(folder: Path) -> None:
        with quiet():
            folded.model.save_pretrained(folder)
        if not adapter:
            _copy_tokenizer(child, folder)
        again = _load_adapter(exact, folder) if adapter else _load(folder)
        differences.append(prove(folded.model, again, expected, is_rounded))
        write_card(folder, vector, child, digest, steering, kind=kind, difference=differences[0])

    write_folder(out, write)
    what = f"{folded.count} {folded.kind}"
    return Written(kind=kind, what=what, dtype=biases, lost=folded.lost, difference=differences[0])


def refuse_unknown(steering: Mapping[str, Any]) -> None:
    """Refuse arguments of the plan that say nothing of what is folded.

    Raises:
        SteeringError: names them and those that there are.
    """
    names = [one.name for one in TAKEN]
    if unknown := sorted(set(steering) - set(names)):
        raise SteeringError(f"a fold takes no {', '.join(unknown)}: use {', '.join(names)}")


def write_card(
    folder: Path, vector: SteeringVector, child: str, digest: str | None, steering: Mapping[str, Any], **more: Any
) -> None:
    """Say in a folder what was folded, and into what: `digest` is that of the child's weights."""
    card = {
        "vector": {"fingerprint": vector.fingerprint, "space": vector.space["name"]},
        "child": {"name": _own_name(child), "digest": digest},
        "steering": dict(steering),
        "software": {"lm_eval_steer": __version__},
        **more,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _load(name: str | Path, dtype: str = "float32") -> PreTrainedModel:
    with loading(str(name)):
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype).eval()


def _load_adapter(child: PreTrainedModel, folder: Path) -> Any:
    from peft import PeftModel

    with quiet():
        return PeftModel.from_pretrained(share(child), str(folder)).eval()


def _own_name(child: str) -> str:
    """Of a folder or file its own name, as a path says nothing on another machine."""
    return os.path.basename(os.path.abspath(child)) if os.path.exists(child) else child


def _copy_tokenizer(child: str, folder: Path) -> None:
    """Put the child's tokenizer into the folder, where it has one."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(child)
    except (OSError, ValueError):
        return
    tokenizer.save_pretrained(folder)
