"""One digest of what a model is: of its checkpoint's files, which needs no model and takes well below a second.

It is in every record and in sweep.json, so that weights that change in the same folder are noticed. It holds what
changes responses: weights, configuration, generation configuration, tokenizer, chat templates and the model's own code,
of the model as of its adapter, delta and other tokenizer.

Small files count whole. Of larger files of weights, size, form and samples count: of a file in safetensors, samples of
every tensor; of one that torch saved, the checksum that it has for every tensor; of others, samples all over it. So
training, merging and conversion are noticed always; one number of a large model that was changed by hand may not be. A
folder's place, and the times of its files, do not matter. Of a model on the hub its commit counts.

`weights_digest` holds the weights alone: a vector that was made for a model knows it by them, whatever release of a
library wrote its configuration and tokenizer anew, and whether it lies in a folder or in the hub's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from lm_eval_steer.axis.record import digest

WHOLE = 32 * 2**20
"""Bytes up to which a file counts whole."""

PIECE = 4096
"""Bytes of a sample: what a disk reads at once."""

PIECES = 1024
"""About as many samples are taken of a file."""

PARTS = ("peft", "delta", "tokenizer", "lora_local_path")
"""Arguments of the model classes that name another checkpoint, or what is added to one."""

ADAPTERS = ("peft", "delta", "lora_local_path")
"""Those of them that change weights."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf")
_TEXTS = (
    *("*config*.json", "*.index.json", "*token*.json", "*vocab*", "*merges*.txt", "*chat_template*", "*.jinja"),
    *("*.model", "*.tiktoken", "*.py", "params.json", "tekken.json", "additional_chat_templates/*"),
)
_TRAINING = ("optimizer*", "scheduler*", "rng_state*", "training_args*", "scaler*")
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


def checkpoint_digest(arguments: Mapping[str, Any]) -> str | None:
    """SHA-256 of all that a model class would load, from the files alone.

    Args:
        arguments: of the model class (`--model_args`).

    Returns:
        None where `pretrained` is no text, or names what is not on this machine (yet).
    """
    found: dict[str, Any] = {}
    for name in ("pretrained", *PARTS):
        value = arguments.get(name)
        if isinstance(value, str | os.PathLike) and str(value):
            found[name] = _describe(Path(os.fspath(value)), name, arguments)
    return digest(found) if found.get("pretrained") else None


def weights_digest(arguments: Mapping[str, Any]) -> str | None:
    """SHA-256 of the weights that a model class would load, with those of an adapter or delta, from the files alone.

    Args:
        arguments: of the model class (`--model_args`).

    Returns:
        None where `pretrained` is no text, or weights are not on this machine (yet).
    """
    names = ("pretrained", *(name for name in ADAPTERS if arguments.get(name)))
    found = {name: _weights(arguments.get(name), name, arguments) for name in names}
    return digest(found) if all(found.values()) else None


def _weights(value: Any, name: str, arguments: Mapping[str, Any]) -> Any:
    """File -> digest of the weights in a folder, of the hub's cache, too, or the digest of a file; None for none."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        return None
    path = Path(os.fspath(value))
    try:
        if path.is_file():
            return _file_digest(path)
        if not path.is_dir():
            commit = _commit(str(path), arguments)
            path = _hub_folder(str(path), arguments) / "snapshots" / str(commit)
        gguf = str(arguments.get("gguf_file") or "") if name == "pretrained" else ""
        folder = path / str(arguments.get("subfolder") or "")
        files = sorted(file for file in _files(folder, gguf) if any(fnmatch(file.name, one) for one in _WEIGHTS))
        safe = [file for file in files if file.suffix == ".safetensors"]  # which is loaded, where there are others
        return {file.relative_to(folder).as_posix(): _file_digest(file) for file in safe or files} or None
    except (OSError, ValueError):  # such are refused where they are loaded
        return None


def hub_commit(arguments: Mapping[str, Any]) -> str | None:
    """The commit of the model on the hub that `pretrained` names; None for a folder and for what is not here."""
    name = str(arguments["pretrained"])
    return None if os.path.lexists(name) else _commit(name, arguments)


def _describe(path: Path, name: str, arguments: Mapping[str, Any]) -> Any:
    """File -> digest of a folder, the digest of a file, or the commit of a model on the hub; None for none of them."""
    try:
        if path.is_dir():
            gguf = str(arguments.get("gguf_file") or "") if name == "pretrained" else ""
            folders = [path, *([path / str(arguments["subfolder"])] if arguments.get("subfolder") else [])]
            files = sorted({file for folder in folders for file in _files(folder, gguf)})
            return {file.relative_to(path).as_posix(): _file_digest(file) for file in files} or None
        if path.is_file():
            return _file_digest(path)
    except (OSError, ValueError):  # such are refused where they are loaded
        return None
    commit = _commit(str(path), arguments, arguments.get("tokenizer_revision") if name == "tokenizer" else None)
    return {"commit": commit} if commit else None


def _files(folder: Path, gguf: str) -> Iterator[Path]:
    """The files of a checkpoint that change responses; of several in GGUF, the one that is asked for."""
    for file in (*folder.iterdir(), *folder.glob("additional_chat_templates/*")):
        name = file.relative_to(folder).as_posix()
        if (name.endswith(".gguf") and name != gguf) or any(fnmatch(name, pattern) for pattern in _TRAINING):
            continue
        if any(fnmatch(name, pattern) for pattern in (*_WEIGHTS, *_TEXTS)) and file.is_file():
            yield file
    if gguf and "/" in gguf and (folder / gguf).is_file():
        yield folder / gguf


def _file_digest(path: Path) -> str:
    """SHA-256 of a file, or of what its size, form and samples are."""
    size = path.stat().st_size
    sha = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE:
            sha.update(file.read())
            return sha.hexdigest()
        for start, length in _places(path, file, size, sha):
            file.seek(start)
            sha.update(file.read(length))
    return sha.hexdigest()


def _places(path: Path, file: BinaryIO, size: int, sha: Any) -> Iterator[tuple[int, int]]:
    """Start and length of the samples of a large file; what is known of it beside them goes into `sha`."""
    tensors = _tensors(file, size, sha) if path.suffix == ".safetensors" else []
    if not tensors and zipfile.is_zipfile(file):  # by torch.save
        with zipfile.ZipFile(file) as archive:
            sha.update(repr([(one.filename, one.file_size, one.CRC) for one in archive.infolist()]).encode())
    tensors = tensors or [(0, size)]
    for start, end in tensors:
        pieces = min(max(1, PIECES // len(tensors)), -(-(end - start) // PIECE))
        last = max(end - PIECE, start)  # the first piece begins where the tensor begins, the last ends where it ends
        for number in range(pieces):
            place = start + (last - start) * number // max(pieces - 1, 1)
            yield place, min(PIECE, end - place)


def _tensors(file: BinaryIO, size: int, sha: Any) -> list[tuple[int, int]]:
    """Begin and end of every tensor in safetensors, whose header goes into `sha`; none where the file is no such."""
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= min(size - 8, 100 * 2**20):  # the most that safetensors takes
        return []
    header = file.read(length)
    sha.update(header)
    try:
        spans = [one["data_offsets"] for name, one in json.loads(header).items() if name != "__metadata__"]
        tensors = sorted((8 + length + begin, 8 + length + end) for begin, end in spans)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return tensors if all(0 < begin <= end <= size for begin, end in tensors) else []


def _commit(name: str, arguments: Mapping[str, Any], revision: Any = None) -> str | None:
    """The commit of a model of the hub that this machine has; None where it has none."""
    revision = str(revision or arguments.get("revision") or "main")
    try:
        folder = _hub_folder(name, arguments)
        if not _COMMIT.fullmatch(revision):
            revision = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):  # the latter for what is no name of a model
        return None
    return revision if _COMMIT.fullmatch(revision) else None


def _hub_folder(name: str, arguments: Mapping[str, Any]) -> Path:
    """Where the hub's cache has a model, if it has it."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    cache = arguments.get("cache_dir") or arguments.get("download_dir")
    return Path(str(cache or constants.HF_HUB_CACHE)) / repo_folder_name(repo_id=name, repo_type="model")
