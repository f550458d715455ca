"""The files of an arm: what `lm_eval` leaves of a run, whether they are whole, and of which arguments they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.result_files import check_results, samples_file
from lm_eval_steer.files import is_file, is_folder, parse_json, read_text, unwritable
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.shapes import COUNT, OBJECT, Parts, Table, check
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.arms import Member

_CONTENT = Parts({"config": OBJECT, "configs": Table(OBJECT, least=1), "n-samples": Table(Parts({"effective": COUNT}))})


def result_file(folder: Path) -> Path | None:
    """The result file of an arm."""
    return next((path for path in sorted(folder.rglob("results_*.json")) if is_file(path)), None)


def read_back(folder: Path) -> dict[str, Any]:
    """The content of an arm's result file, once it and the samples beside it are seen to be whole.

    Raises:
        ValueError: where they are missing, cut or damaged; SteeringError is one.
    """
    path = result_file(folder)
    if path is None:
        raise ValueError("no result file")
    content = parse_json(read_text(path, "results"))
    check(content, _CONTENT, "its content")
    for task in content["configs"]:
        lines = read_text(samples_file(path, task), "samples").split("\n")
        documents = {repr(parse_json(line).get("doc_id")) for line in lines[:-1]}
        if lines[-1] or len(documents) != content["n-samples"][task]["effective"]:
            raise ValueError(f"{len(documents)} whole samples of {content['n-samples'][task]['effective']}")
    return dict(content)


def digest_of(folder: Path) -> str:
    """SHA-256 over the files of an arm, by which any change to them is noticed."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*.json*")):
        if is_file(path):
            sha.update(path.read_bytes())
    return sha.hexdigest()


def holds(
    folder: Path,
    args: SweepArgs,
    member: Member,
    known: str | None,
    asked: Mapping[str, Any] | None = None,
) -> bool:
    """Whether a folder is this arm, and whole.

    Args:
        folder: of the arm.
        args: of the sweep.
        member: the arm.
        known: the digest of its files, where sweep.json says it.
        asked: where a model was asked, the `settings` that it has for the arm, and task -> its `num_fewshot`.
    """
    try:
        if known is not None and digest_of(folder) != known:
            return False
        content = read_back(folder)
        check_results(content)
        config = content["config"]
        found = {
            "limit": config["limit"],
            "gen_kwargs": config["gen_kwargs"],
            "system_instruction": content["system_instruction"],
            "fewshot_as_multiturn": bool(content["fewshot_as_multiturn"]),
            "seed": [config[key] for key in ("random_seed", "numpy_seed", "torch_seed", "fewshot_seed")],
            "model_args": _telling(config["model_args"]),
            "chat": bool(content["chat_template_sha"]),
        }
        of_arm = {
            "settings": config["steering"]["settings"],
            "num_fewshot": {name: task["num_fewshot"] for name, task in content["configs"].items()},
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    harness = member.harness(args).settings()
    wanted = {
        "limit": args.limit,
        **{key: harness[key] for key in ("gen_kwargs", "system_instruction", "seed")},
        "fewshot_as_multiturn": bool(harness["fewshot_as_multiturn"]),
        "model_args": _telling(member.model_args(args)),
        "chat": bool(args.apply_chat_template),
    }
    return found == json.loads(json.dumps(wanted)) and (asked is None or of_arm == asked)


def _telling(model_args: Mapping[str, Any]) -> dict[str, Any]:
    """Without sizes and places, which may change between two starts."""
    return {key: value for key, value in model_args.items() if key not in NEUTRAL | {"vectors"}}


def remove(path: Path) -> None:
    """Remove a folder, or what is in its place, if there is anything.

    Raises:
        SteeringError: where the system refuses it.
    """
    try:
        if is_folder(path) and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()
    except OSError as error:
        raise unwritable(path, error) from None
