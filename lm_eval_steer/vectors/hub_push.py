"""Files of a vector to a repository on the Hugging Face Hub, in one commit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import printable, shortened
from lm_eval_steer.vectors.formats import suffixes
from lm_eval_steer.vectors.hub import asked, read_reference

CARD = "README.md"
"""The page of a repository."""


@dataclass(frozen=True)
class Remote:
    """What a repository is before something is pushed to it.

    Attributes:
        repo: `org/name`.
        is_there: whether there is one.
        is_private: whether it is private.
        files: their names, on the branch that is pushed to.
    """

    repo: str
    is_there: bool
    is_private: bool
    files: tuple[str, ...]

    def card_of(self, file: str) -> str:
        """Where the card of a file goes: to the repository's page, unless that is of other vectors."""
        others = [name for name in self.files if name.endswith(suffixes()) and name != file]
        return f"{file.rpartition('.')[0]}.md" if others and CARD in self.files else CARD


def look_at(repo: str, private: bool, revision: str | None) -> Remote:
    """What is there, before the work.

    Args:
        repo: `org/name`.
        private: whether it is to be private.
        revision: branch that is pushed to; None for the main one.

    Raises:
        SteeringError: for what is no name of a repository, for a public one that is to be private, and where the Hub
            cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    said = read_reference(repo)
    if said is None or str(said) != said.repo:
        raise SteeringError(f"{printable(shortened(repo))} is no repository on the Hub: name it org/name")
    api = HfApi()

    def look() -> Remote:
        try:
            info = api.model_info(repo, revision=revision)
        except RevisionNotFoundError:  # the branch is made
            info = api.model_info(repo)
        except RepositoryNotFoundError:
            return Remote(repo, False, private, ())
        files = tuple(one.rfilename for one in info.siblings or ())
        return Remote(repo, True, bool(info.private), files)

    found = asked(look, repo, revision)
    if private and found.is_there and not found.is_private:
        raise SteeringError(f"{repo} is there already, and public: make it private on its page, or leave out --private")
    return found


def push(remote: Remote, files: Mapping[str, bytes], message: str, revision: str | None) -> str:
    """Put files into a repository, which is made where there is none, in one commit.

    Args:
        remote: as `look_at` found it.
        files: name in the repository -> content.
        message: of the commit.
        revision: branch, made from the main one where there is none; None for the main one.

    Returns:
        The page of the commit.

    Raises:
        SteeringError: where nobody is logged in who may write there, the Hub takes the card for damaged, or cannot be
            reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api, repo = HfApi(), remote.repo

    def act() -> str:
        if not remote.is_there:
            api.create_repo(repo, private=remote.is_private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        added = [CommitOperationAdd(name, raw) for name, raw in files.items()]
        return str(api.create_commit(repo, added, commit_message=message, revision=revision).commit_url)

    try:
        return asked(act, repo, revision)
    except SteeringError:
        raise
    except ValueError as error:  # of a header that the Hub refuses
        raise SteeringError(f"the Hub refuses the card: {' '.join(str(error).split())}") from None


def check_name(name: str) -> str:
    """The name of a file in a repository.

    Raises:
        SteeringError: for a path that leads out of it, and for another suffix than a vector has.
    """
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", name, re.ASCII) or not name.endswith(suffixes()):
        raise SteeringError(
            f"--as {printable(shortened(name))}: name a {' or '.join(suffixes())} file in the repository, as in "
            "a/v.safetensors, by letters, digits, and . _ -"
        )
    return name


def shown(files: Mapping[str, bytes]) -> Iterable[str]:
    """A line per file, with its size."""
    return (f"  {name} ({len(raw):,} bytes)" for name, raw in files.items())
