"""A small Hub on this machine: repositories with commits, as huggingface_hub asks for them, with files in LFS."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from huggingface_hub import constants

from lm_eval_steer.vectors import hub

TOKEN = "hf_of_a_test"
Files = dict[str, bytes]


@dataclass
class Repo:
    """A repository.

    Attributes:
        private: whether it is read with a token only.
        commits: commit -> its files.
        branches: branch -> its commit.
    """

    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        """Put files on a branch."""
        whole = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        told = "".join(f"{name}{hashlib.sha1(raw).hexdigest()}" for name, raw in sorted(whole.items()))
        name = hashlib.sha1(f"{len(self.commits)}{told}".encode()).hexdigest()
        self.commits[name], self.branches[branch] = whole, name
        return name

    def find(self, revision: str) -> str | None:
        """The commit that a branch, or a commit, is."""
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None


@dataclass
class Hub:
    """What the server has, and what it was asked."""

    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""
    broken: int = 0
    """A status that is answered to everything."""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def answer(self, content: Any, status: int = 200, **headers: str) -> None:
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in ({"content_length": str(len(raw))} | headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw)

        def refuse(self, status: int, code: str = "") -> None:
            self.answer({"error": code}, status, **({"x_error_code": code} if code else {}))

        def go(self) -> None:
            path = unquote(urlsplit(self.path).path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            hub.asked.append(f"{self.command} {path}")
            if hub.broken:
                return self.refuse(hub.broken)
            for method, pattern, act in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method:
                    return act(self, body, **found.groupdict())
            return self.refuse(404)

        do_GET = do_HEAD = do_POST = do_PUT = go

        @property
        def is_known(self) -> bool:
            return self.headers.get("authorization") == f"Bearer {TOKEN}"

        def find(self, repo: str, revision: str) -> tuple[Repo, str] | None:
            """A commit that may be read; else it is refused as the Hub does."""
            there = hub.repos.get(repo)
            if there is None or (there.private and not self.is_known):
                self.refuse(401 if not self.is_known else 404, "RepoNotFound")
                return None
            commit = there.find(revision)
            if commit is None:
                self.refuse(404, "RevisionNotFound")
                return None
            return there, commit

        def info(self, _: bytes, repo: str, revision: str | None = None) -> None:
            if found := self.find(repo, revision or "main"):
                there, commit = found
                siblings = [{"rfilename": name, "size": len(raw)} for name, raw in there.commits[commit].items()]
                self.answer({"id": repo, "sha": commit, "private": there.private, "siblings": siblings})

        def resolve(self, _: bytes, repo: str, revision: str, file: str) -> None:
            if found := self.find(repo, revision):
                there, commit = found
                raw = there.commits[commit].get(file)
                if raw is None:
                    return self.refuse(404, "EntryNotFound")
                self.answer(raw, x_repo_commit=commit, etag=f'"{hashlib.sha256(raw).hexdigest()}"')
            return None

        def create(self, body: bytes) -> None:
            said = json.loads(body)
            repo = f"{said['organization']}/{said['name']}"
            if not self.is_known:
                return self.refuse(401)
            if repo in hub.repos:
                return self.answer({"url": f"{hub.url}/{repo}", "error": "You already created this model repo"}, 409)
            hub.repos[repo] = Repo(said.get("visibility") == "private" or bool(said.get("private")))
            hub.repos[repo].commit({".gitattributes": b"*.safetensors filter=lfs"})
            return self.answer({"url": f"{hub.url}/{repo}"})

        def branch(self, _: bytes, repo: str, branch: str) -> None:
            there = hub.repos[repo]
            if branch in there.branches:
                return self.refuse(409)
            there.branches[branch] = there.branches["main"]
            return self.answer({})

        def validate(self, body: bytes) -> None:
            head = json.loads(body)["content"].split("---\n")[1]
            said = yaml.safe_load(head)
            bad = [name for name in ("base_model",) if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(said.get(name, "a/b")))]
            errors = [{"message": f'"{name}" must be an id on the Hub'} for name in bad]
            self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)

        def preupload(self, body: bytes, repo: str, revision: str) -> None:
            def mode(name: str) -> str:
                return "lfs" if name.endswith((".safetensors", ".png")) else "regular"

            said = json.loads(body)["files"]
            self.answer(
                {"files": [{"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False} for f in said]}
            )

        def batch(self, body: bytes, repo: str) -> None:
            made = [
                one | {"actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": made}, content_type="application/vnd.git-lfs+json")

        def store(self, body: bytes, oid: str) -> None:
            assert hashlib.sha256(body).hexdigest() == oid
            hub.blobs[oid] = body
            self.answer(b"")

        def commit(self, body: bytes, repo: str, revision: str) -> None:
            files: Files = {}
            for line in map(json.loads, body.splitlines()):
                said = line["value"]
                if line["key"] == "file":
                    files[said["path"]] = base64.b64decode(said["content"])
                elif line["key"] == "lfsFile":
                    files[said["path"]] = hub.blobs[said["oid"]]
            name = hub.repos[repo].commit(files, revision)
            self.answer({"success": True, "commitOid": name, "commitUrl": f"{hub.url}/{repo}/commit/{name}"})

    name = r"(?P<repo>[\w.-]+/[\w.-]+)"
    ROUTES: list[tuple[str, str, Any]] = [
        ("POST", "/api/repos/create", Handler.create),
        ("POST", "/api/validate-yaml", Handler.validate),
        ("POST", rf"/api/models/{name}/preupload/(?P<revision>.+)", Handler.preupload),
        ("POST", rf"/api/models/{name}/commit/(?P<revision>.+)", Handler.commit),
        ("POST", rf"/api/models/{name}/branch/(?P<branch>.+)", Handler.branch),
        ("POST", rf"/{name}.git/info/lfs/objects/batch", Handler.batch),
        ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", Handler.store),
        ("GET", rf"/api/models/{name}", Handler.info),
        ("GET", rf"/api/models/{name}/revision/(?P<revision>.+)", Handler.info),
        ("GET HEAD", rf"/{name}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", Handler.resolve),
    ]
    return Handler


@contextmanager
def serving() -> Iterator[Hub]:
    """A server on a port of this machine, and what it has."""
    found = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(found)) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


@contextmanager
def in_reach(patch: pytest.MonkeyPatch, cache: Any) -> Iterator[Hub]:
    """The server in the place of the Hub, for this process: with a cache of its own and not offline."""
    with serving() as found:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "ENDPOINT", found.url)
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{found.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
        hub.download.cache_clear()
        yield found
        hub.download.cache_clear()
