"""The pages of the site: those of docs/, and what else of the repository is a page. mkdocs.yml names this file as hook.

A page stands in the repository as GitHub shows it, and its links are right there. Here they are turned to where the
same pages are in the site; one that leads nowhere ends `make docs`. Two kinds of pages are made: the commands as their
`--help` tells them, and, of REFERENCE.md, the docstrings behind its links.
"""

from __future__ import annotations

import argparse
import os.path
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"docs": "", "tasks": "tasks-of-this-package", "vectors": "shipped-vectors"}
"""Folder of the repository -> folder of the site. Not `tasks`: TASKS.md becomes a folder, too, and a file system may
take one for the other."""
SINGLE = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md"}
COMMANDS = "COMMANDS.md"
REFERENCE = "REFERENCE.md"
WIDTH = 96
"""Columns of a command's help."""

_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_NAME = re.compile(r"^- \[`(?P<name>[\w.]+)`\]\(\.\./(?P<file>[\w/]+)\.py\)$", re.MULTILINE)
FETCHED = re.compile(
    r"<(?:(?:script|img|iframe)\b[^>]*?\bsrc|link\b[^>]*?\brel=\"?(?:stylesheet|preload|preconnect)\b[^>]*?\bhref)"
    r"=[\"']?((?:https?:)?//[^\"'>\s]+)"
)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def pages() -> dict[str, str]:
    """Every Markdown page of the repository that the site has, to its place there."""
    found = dict(SINGLE)
    for folder, place in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.md")):
            inner = path.relative_to(ROOT / folder).as_posix()
            found[f"{folder}/{inner}"] = f"{place}/{inner}".lstrip("/")
    return found


def place_of(path: str) -> str | None:
    """Where a file or folder of the repository is in the site, from its top; None where it is not there."""
    if path.startswith("docs/") and (ROOT / path).is_file():
        return path.removeprefix("docs/")
    return pages().get(path) or pages().get(f"{path}/README.md")


def relinked(text: str, page: str) -> str:
    """A page with its links as the site needs them.

    Args:
        text: Markdown.
        page: its path in the repository.

    Raises:
        ValueError: names a link that leads to nothing that the site has.
    """
    here = os.path.dirname(place_of(page) or "")

    def turned(found: re.Match[str]) -> str:
        path, mark, anchor = found[1].partition("#")
        if "://" in path or not path:
            return found[1]
        target = place_of(os.path.normpath(os.path.join(os.path.dirname(page), path)))
        if target is None:
            raise ValueError(
                f"{page} links to {found[1]}, which the site does not have: link to a page, or name the file"
            )
        return os.path.relpath(target, here or ".") + mark + anchor

    parts = _FENCED.split(text)
    fences = [*_FENCED.findall(text), ""]
    return "".join(_LINK.sub(turned, part) + fence for part, fence in zip(parts, fences, strict=True))


def documented(text: str) -> str:
    """A page with docstrings in the place of list items that are links to names of the package."""

    def directive(found: re.Match[str]) -> str:
        name = own_name(found["name"])
        where = f"{found['file'].replace('/', '.')}.{name}"
        return f"\n::: {where}\n    options:\n      heading: {found['name']}\n      toc_label: {name}"

    return _NAME.sub(directive, text)


def own_name(path: str) -> str:
    """The name of an object within its module: `Class.method` of a dotted path to a method, else the last part."""
    return re.search(r"(?:[A-Z]\w*\.)?\w+$", path)[0]  # type: ignore[index]


def commands(parser: argparse.ArgumentParser) -> str:
    """Every command as its `--help` tells it."""
    told = [f"## {one.prog}\n\n```text\n{one.format_help().strip()}\n```\n" for one in _leaves(parser)]
    return "\n".join(["# Commands\n", "As `--help` tells them.\n", *told])


def _leaves(parser: argparse.ArgumentParser) -> Iterable[argparse.ArgumentParser]:
    """The parsers below one that are commands themselves, in the order of the help."""
    parser.formatter_class = partial(parser.formatter_class, width=WIDTH)  # type: ignore[assignment]
    inner = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    for group in inner:
        for command in group.choices.values():
            yield from _leaves(command)
    if not inner:
        yield parser


def filled(nav: list[Any], places: Iterable[str]) -> list[Any]:
    """The navigation with pages in the place of patterns: `folder/*` is every page of the folder but its first, and `*`
    every page at the top that no other line names."""
    named = set(_named(nav))
    left = [place for place in places if place not in named and not place.endswith(("README.md", "index.md"))]

    def fill(entry: Any) -> list[Any]:
        if isinstance(entry, dict):
            return [
                {title: fill(inner)[0] if isinstance(inner, str) else _flat(map(fill, inner))}
                for title, inner in entry.items()
            ]
        if not entry.endswith("*"):
            return [entry]
        folder = entry.removesuffix("*")
        return [place for place in left if place.startswith(folder) and "/" not in place.removeprefix(folder)]

    return _flat(map(fill, nav))


def _flat(lists: Iterable[list[Any]]) -> list[Any]:
    return [one for some in lists for one in some]


def _named(entry: Any) -> Iterable[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from _named(inner)


# What MkDocs calls, in this order.


def on_config(config: Any) -> Any:
    """Fill in the navigation."""
    config.nav = filled(config.nav, [*pages().values(), COMMANDS])
    return config


def on_files(files: Any, config: Any) -> Any:
    """Enter the pages that lie outside of docs/, and those that are made."""
    from mkdocs.structure.files import File

    from lm_eval_steer.cli.main import make_parser

    for path, place in pages().items():
        if not path.startswith("docs/"):
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, COMMANDS, content=commands(make_parser())))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn the links of a page, and show the docstrings that it links to."""
    from mkdocs.exceptions import PluginError

    path = {place: path for path, place in pages().items()}.get(page.file.src_uri)
    if path is None:
        return markdown
    try:
        return relinked(documented(markdown) if page.file.src_uri == REFERENCE else markdown, path)
    except ValueError as error:
        raise PluginError(str(error)) from None


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that fetches anything from elsewhere: the site is read without a network, too."""
    from mkdocs.exceptions import PluginError

    if foreign := FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} would fetch {foreign[1]}: bring it along")
    return output
