"""Vectors on the Hugging Face Hub, `org/name[:file][@revision]`: through huggingface_hub, its cache and its settings.

A file is downloaded and then read as any other, so nothing of it is run. HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN and
HF_HOME act as they do for models.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file
from lm_eval_steer.text import printable, shortened
from lm_eval_steer.vectors.formats import suffixes

OF_OTHER_TOOLS = (".gguf", ".svec", ".json", ".pth", ".npy")
"""Suffixes of files of other tools, which are named with them."""

T = TypeVar("T")

_NAME = r"[A-Za-z0-9][\w.-]*"
_REFERENCE = re.compile(rf"(?P<repo>{_NAME}/{_NAME})(:(?P<file>[^@:]+))?(@(?P<revision>[^@:]+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_LARGEST = 2**30
"""Bytes of a file: directions of a thousand blocks have fewer."""
_SHOWN = 4
"""Names of files in a sentence."""


@dataclass(frozen=True)
class Reference:
    """What names a vector on the Hub.

    Attributes:
        repo: `org/name`.
        file: in it, with or without its suffix; None for its only one.
        revision: a branch, a tag or a commit; None for the main branch.
    """

    repo: str
    file: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{':' + self.file if self.file else ''}{at}"


class UnreachableError(SteeringError):
    """The Hub gave no answer, or was not asked."""


def read_reference(name: str) -> Reference | None:
    """What a name means on the Hub; None for one that cannot be there, such as the path of a vector file.

    >>> read_reference("org/name:v.safetensors@main")
    Reference(repo='org/name', file='v.safetensors', revision='main')
    """
    found = _REFERENCE.fullmatch(name)
    if found is None:
        return None
    is_path = not found["file"] and not found["revision"] and name.endswith((*suffixes(), *OF_OTHER_TOOLS))
    return None if is_path else Reference(found["repo"], found["file"], found["revision"])


@functools.cache
def download(reference: Reference) -> Path:
    """The file in the cache of the Hub's files, brought there where it is not; a process asks once.

    Where the Hub cannot be reached, or HF_HUB_OFFLINE says not to ask it, it is what the cache holds.

    Raises:
        SteeringError: for a repository, revision or file that is not there or may not be read, several files of which
            none is named, a file too large for directions, and what is neither cached nor in reach.
    """
    try:
        files = _listed(reference)
    except UnreachableError as error:
        return _cached(reference, error)
    name = _chosen(list(files), reference)
    if files[name] > _LARGEST:
        raise SteeringError(
            f"{name} of {reference.repo} has {files[name] / 2**30:.1f} GiB, more than any file of directions: name "
            f"another, as in {reference.repo}:FILE"
        )
    from huggingface_hub import hf_hub_download

    return Path(
        asked(
            lambda: hf_hub_download(reference.repo, name, revision=reference.revision),
            reference.repo,
            reference.revision,
        )
    )


def origin(path: Path) -> dict[str, str] | None:
    """Where on the Hub a file in the cache comes from: `repo`, `file` and `commit`; None for any other file."""
    parts = path.parts
    for place in range(len(parts) - 3):
        folder, snapshots, commit = parts[place : place + 3]
        if folder.startswith("models--") and snapshots == "snapshots" and _COMMIT.fullmatch(commit):
            repo = folder.removeprefix("models--").replace("--", "/", 1)
            return {"repo": repo, "file": "/".join(parts[place + 3 :]), "commit": commit}
    return None


def bring_beside(path: Path) -> None:
    """Bring a file from where the files around it in the cache come from, where it is there and not here yet.

    Args:
        path: in the cache, or anywhere else, where nothing is done.
    """
    found = None if is_file(path) else origin(path)
    if found is not None:
        try:
            download(Reference(found["repo"], found["file"], found["commit"]))
        except SteeringError:  # then it is missing, as any other
            return


def _listed(reference: Reference) -> Mapping[str, int]:
    """The files of a repository, with their sizes in bytes."""
    from huggingface_hub import HfApi

    api = HfApi()
    info = asked(
        lambda: api.model_info(reference.repo, revision=reference.revision, files_metadata=True, timeout=10.0),
        reference.repo,
        reference.revision,
    )
    return {one.rfilename: one.size or 0 for one in info.siblings or ()}


def _chosen(files: list[str], reference: Reference) -> str:
    """The file that is meant: the one that is named, or the only one that looks like directions, our own before others.

    Raises:
        SteeringError: where there is none, or more than one.
    """
    if reference.file is not None:
        for ending in ("", *suffixes()):
            if f"{reference.file}{ending}" in files:
                return f"{reference.file}{ending}"
    for suffix in (*suffixes(), ".gguf", ".svec"):
        found = sorted(name for name in files if name.endswith(suffix))
        if len(found) == 1 and reference.file is None:
            return found[0]
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            told = f"{', '.join(found[:_SHOWN])}{more}"
            if reference.file is not None:
                raise SteeringError(f"{reference.repo} has no file {reference.file!r}, but {told}")
            raise SteeringError(f"{reference.repo} has {told}: name one, as in {reference.repo}:{found[0]}")
    raise SteeringError(f"{reference.repo} has no {f'file {reference.file!r}' if reference.file else 'vector file'}")


def _cached(reference: Reference, why: UnreachableError) -> Path:
    """What the cache holds of a reference.

    Raises:
        SteeringError: where it holds nothing of it; `why` says why nobody else was asked.
    """
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{reference.repo.replace('/', '--')}"
    commit = reference.revision or "main"
    if not _COMMIT.fullmatch(commit):
        branch = folder / "refs" / commit
        commit = branch.read_text(encoding="utf-8").strip() if ".." not in commit and is_file(branch) else ""
    place = folder / "snapshots" / commit
    files = [str(file.relative_to(place).as_posix()) for file in place.rglob("*") if is_file(file)] if commit else []
    try:
        return place / _chosen(files, reference)
    except SteeringError as error:
        missing = f"in the cache {error}" if files else f"the cache {constants.HF_HUB_CACHE} holds none of its files"
        raise SteeringError(f"{why}, and {missing}") from None


def asked(ask: Callable[[], T], repo: str, revision: str | None = None) -> T:
    """What the Hub answers.

    Args:
        ask: asks it, through huggingface_hub.
        repo: `org/name`, for sentences.
        revision: likewise.

    Raises:
        UnreachableError: where it gives no answer.
        SteeringError: for a repository or a revision that is not there, or may not be read or written.
    """
    from huggingface_hub import constants, errors

    try:
        return ask()
    except errors.GatedRepoError:
        raise SteeringError(f"{repo} is gated: ask for access on its page, and log in with hf auth login") from None
    except errors.RepositoryNotFoundError:
        raise SteeringError(
            f"there is no repository {repo} at {constants.ENDPOINT}, or it is private and nobody is logged in who may "
            "read it (hf auth login)"
        ) from None
    except errors.RevisionNotFoundError:
        raise SteeringError(f"{repo} has no revision {revision!r}") from None
    except errors.OfflineModeIsEnabled:
        raise UnreachableError("HF_HUB_OFFLINE=1 does not let the Hub be asked") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status >= 500:
            raise UnreachableError(f"{constants.ENDPOINT} answers with an error (status {status})") from None
        login = ": log in with hf auth login as somebody who may" if status in (401, 403) else ""
        raise SteeringError(f"{constants.ENDPOINT} refuses {repo} (status {status}){login}") from None
    except (errors.HTTPError, OSError) as error:  # of the network
        reason = printable(shortened(" ".join(str(error).split()), 160))
        raise UnreachableError(f"{constants.ENDPOINT} cannot be reached ({reason or type(error).__name__})") from None
