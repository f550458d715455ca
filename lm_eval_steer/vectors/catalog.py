"""Finding a steering vector by name: a path, ./vectors, the vectors shipped with the package, then the Hub."""

from __future__ import annotations

import importlib.resources
import re
import shlex
from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, is_folder
from lm_eval_steer.text import nearest, printable, quoted, shortened
from lm_eval_steer.vectors.formats import suffixes
from lm_eval_steer.vectors.hub import OF_OTHER_TOOLS, download, read_reference

# How the paper's parents are usually abbreviated in file names, so that a miss can print a command that runs.
_PARENTS = {
    "phi": "microsoft/phi-4",
    "qwen": "Qwen/Qwen2.5-14B-Instruct",
    "mistral": "mistralai/Mistral-7B-Instruct-v0.3",
}
_TASKS = {"arith": "arith_steer", "math": "math_steer", "arc": "arc_challenge_steer"}


def shipped_folder() -> Path:
    """The folder of the vectors that come with the package."""
    return Path(str(importlib.resources.files("lm_eval_steer.shipped")))


def shipped_names() -> list[str]:
    """Names, without suffix, of the vectors that come with the package."""
    return sorted(path.stem for path in shipped_folder().iterdir() if path.suffix in suffixes())


def find_vector(name: str) -> Path:
    """Resolve `name`, with or without its suffix, to a file; one on the Hub (vectors/hub.py) is brought into its cache.

    Raises:
        SteeringError: says where it looked and which command would make the file, or that the file is none; of what
            only the Hub can have, why it gives none.
    """
    folders = [Path(), Path("vectors"), shipped_folder()]
    if Path(name).is_absolute():
        folders = folders[:1]
    endings = ("",) if Path(name).suffix in (*suffixes(), *OF_OTHER_TOOLS) else suffixes()
    for folder in folders:
        for ending in endings:
            candidate = folder / f"{name}{ending}"
            if is_file(candidate):
                return candidate
    if is_file(name):
        raise SteeringError(
            f"{printable(shortened(name))} is no steering vector: its name does not end in {' or '.join(suffixes())}"
        )
    if is_folder(name):
        raise SteeringError(
            f"{printable(shortened(name))} is a folder, and a vector is a file: name one in it, or make one of a "
            f"folder of another tool with lm-eval-steer vectors import {printable(shlex.quote(name))} --out FILE"
        )
    reference = None if is_folder(name.partition("/")[0]) and ":" not in name else read_reference(name)
    if reference is not None:
        try:
            return download(reference)
        except SteeringError as error:
            raise SteeringError(
                f"no steering vector {quoted(name)}: it is neither ./{name} nor ./vectors/{name}, and as a name on the "
                f"Hub: {error}"
            ) from None
    name = shortened(name)
    looked = [f"./{name}", f"./vectors/{name}"] if len(folders) > 1 else [name]
    shipped = f" and the shipped vectors{nearest(name, shipped_names())}, which lm-eval-steer vectors list shows"
    places = printable(", ".join(looked)) + (shipped if len(folders) > 1 else "")
    raise SteeringError(
        f"no steering vector {quoted(name)}: looked at {places}; make it with: {printable(extract_command(name))}"
    )


def extract_command(name: str) -> str:
    """The `lm-eval-steer extract` command that would write `name`, parent and task guessed from the name."""
    suffixed = Path(name).suffix in suffixes()  # the name qwen2.5-14b_arc has a dot but no suffix
    stem = Path(name).stem if suffixed else Path(name).name
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word]
    parent = next((model for key, model in _PARENTS.items() if any(w.startswith(key) for w in words)), "PARENT_MODEL")
    task = next((task for key, task in _TASKS.items() if any(w.startswith(key) for w in words)), "gsm8k_steer")
    out = shlex.quote(name if suffixed else f"{name}.safetensors")
    return f"lm-eval-steer extract --model_args pretrained={parent} --task {task} --out {out}"
