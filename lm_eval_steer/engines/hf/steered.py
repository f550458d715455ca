"""SteeredModel: a transformers model under a steering vector until it is unloaded, and a folder that keeps that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from lm_eval_steer import __version__
from lm_eval_steer.engines.hf.blocks import find_blocks, hidden_size, identity_of
from lm_eval_steer.engines.hf.steer import TAKEN, attached, one_intervention
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import read_json
from lm_eval_steer.folders import write_folder
from lm_eval_steer.interventions.argument import declare
from lm_eval_steer.text import quoted, shortened
from lm_eval_steer.vectors.several import AnyVector, read_vector

CARD = "steering.json"
"""File of the folder that says how the vector beside it steers."""
_FILES = {"vector": "vector.safetensors", "second": "second.safetensors"}
"""Attribute of a plan -> file of its vector."""


class SteeredModel:
    """A transformers model that is steered, in `generate` and in plain calls, until `unload`.

        steered = lm_eval_steer.SteeredModel(model, "phi4_gsm8k.safetensors", alpha=0.04)
        steered.generate(**tokenizer(prompts, return_tensors="pt", padding=True))
        steered.save_pretrained("gsm8k-steering")

    It steers as `lm_eval_steer.steer` does, and the model itself is steered, too: whatever is not said here is its own.

    Attributes:
        model: that is steered.
        intervention: what is done to it.
    """

    @declare(TAKEN, before=("self", "model", "vectors"))
    def __init__(self, model: nn.Module, vectors: str | Path | AnyVector, **arguments: Any) -> None:
        """Begin to steer.

        Args:
            model: a transformers model, also under PEFT.
            vectors: a vector file, the name of a shipped one, or a vector.
            {arguments}

        Raises:
            SteeringError: one sentence for a value that is not understood, and for a model that cannot be steered so.
            TypeError: for an argument that there is not.
        """
        self._plan, self.intervention = one_intervention(model, vectors, arguments, TAKEN, "SteeredModel")
        self.model, self._arguments = model, arguments
        self._steering = ExitStack()
        self._steering.enter_context(attached(model, self.intervention, self._plan.blocks))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A call of the model."""
        return self.model(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "model":  # of one that was never made
            raise AttributeError(name)
        return getattr(self.model, name)

    def unload(self) -> nn.Module:
        """Stop to steer; gives the model, which is as it was."""
        self._steering.close()
        return self.model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the vector with its passport and how it steers, not the model: some hundred kilobytes.

        Args:
            folder: it must be empty or not be there.

        Raises:
            SteeringError: where something is there, or an argument is nothing that JSON holds.
        """
        plain = {name: value for name, value in self._arguments.items() if name != "second"}
        card = {
            "arguments": plain,
            "model": _told(self.model, self._plan.blocks),
            "intervention": self.intervention.fingerprint,
            "software": {"lm_eval_steer": __version__},
        }
        try:
            text = json.dumps(card, indent=2, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SteeringError(f"the arguments {quoted(plain)} are no JSON ({error}): give numbers and text") from None

        def write(part: Path) -> None:
            for attribute, file in _FILES.items():
                vector = getattr(self._plan, attribute)
                if vector is not None:
                    vector.save(part / file)
            (part / CARD).write_text(text + "\n", encoding="utf-8")

        write_folder(folder, write)

    @classmethod
    def from_pretrained(cls, model: nn.Module, folder: str | Path) -> SteeredModel:
        """Steer a model as what `save_pretrained` wrote says.

        Args:
            model: the one that it was saved with, loaded anew, or another to which the very same is done.
            folder: that was written.

        Raises:
            SteeringError: where the folder holds no steering, and where it would do something else to this model.
        """
        path = Path(folder).expanduser()
        card = read_json(path / CARD, "what SteeredModel.save_pretrained writes")
        if not _is_card(card):
            raise SteeringError(
                f"{shortened(path / CARD)} holds no steering: write it with SteeredModel.save_pretrained"
            )
        vector = read_vector(path / _FILES["vector"])
        second = path / _FILES["second"]
        more = {"second": read_vector(second)} if second.exists() else {}
        steered = cls(model, vector, **card["arguments"], **more)
        if steered.intervention.fingerprint != card["intervention"]:
            steered.unload()
            raise SteeringError(
                f"{shortened(path)} was saved with {_named(card['model'])}, and to {_named(_told(model, None))} its "
                "vector would do something else: use lm_eval_steer.SteeredModel(model, vector, ...) with a strength "
                "that was chosen for this model"
            )
        return steered


def _is_card(card: Any) -> bool:
    return (
        isinstance(card, Mapping)
        and isinstance(card.get("arguments"), Mapping)
        and set(card["arguments"]) <= {one.name for one in TAKEN} - {"second"}
        and isinstance(card.get("model"), Mapping)
        and set(card["model"]) == {"name", "architecture", "num_blocks", "hidden_size"}
        and isinstance(card.get("intervention"), str)
    )


def _told(model: nn.Module, blocks: str | None) -> dict[str, Any]:
    """Which model it is; of a folder its own name, as a path says nothing on another machine."""
    identity = identity_of(model)
    name = identity.name
    return {
        "name": Path(name).name if name and Path(name).exists() else name,
        "architecture": identity.architecture,
        "num_blocks": len(find_blocks(model, blocks)),
        "hidden_size": hidden_size(model),
    }


def _named(told: Mapping[str, Any]) -> str:
    return (
        f"{quoted(told['name'])} ({told['architecture']}, {told['num_blocks']} blocks of width {told['hidden_size']})"
    )
