"""The pages as a site: what scripts/site_pages.py tells MkDocs, which `make docs` runs."""

from __future__ import annotations

import ast
import os.path
import re
from importlib import import_module
from typing import Any

import pytest
import yaml
from site_pages import FETCHED, commands, documented, filled, own_name, pages, place_of, relinked

import lm_eval_steer
from conftest import ROOT
from lm_eval_steer.cli.main import COMMANDS, make_parser

REFERENCE = re.findall(
    r"^- \[`(.*)`\]\(\.\./(.*)\)$", (ROOT / "docs" / "REFERENCE.md").read_text(encoding="utf-8"), re.MULTILINE
)


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without making the objects that it names."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


@pytest.fixture(scope="module")
def nav() -> list[Any]:
    return yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]


def named(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [one for inner in (entry.values() if isinstance(entry, dict) else entry) for one in named(inner)]


def test_every_page_is_in_the_navigation_once(nav: list[Any]) -> None:
    there = [*pages().values(), "COMMANDS.md"]
    assert sorted(named(filled(nav, there))) == sorted(there)
    assert [next(iter(section)) for section in nav] == ["Start", "Use", "Method", "Extend", "Results", "Reference"]


def test_a_pattern_stands_for_the_pages_that_no_other_line_names() -> None:
    nav = [{"A": ["one.md", {"B": ["folder/*"]}]}, "*"]
    there = ["one.md", "two.md", "folder/README.md", "folder/a.md", "folder/deep/b.md", "three.md"]
    assert filled(nav, there) == [{"A": ["one.md", {"B": ["folder/a.md"]}]}, "two.md", "three.md"]


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("README.md", "docs/USAGE.md#steering", "USAGE.md#steering"),
        ("README.md", "docs/figures/imports.svg", "figures/imports.svg"),
        ("README.md", "vectors", "shipped-vectors/README.md"),
        ("docs/USAGE.md", "../tasks/sentiment/README.md", "tasks-of-this-package/sentiment/README.md"),
        ("docs/USAGE.md", "../tasks", "tasks-of-this-package/README.md"),
        ("docs/USAGE.md", "../README.md#try-it", "index.md#try-it"),
        ("tasks/math/README.md", "../../docs/ANSWERS.md", "../../ANSWERS.md"),
        ("tasks/gsm8k/README.md", "../README.md", "../README.md"),
        ("docs/USAGE.md", "#steering", "#steering"),
        ("docs/USAGE.md", "https://example.org/a#b", "https://example.org/a#b"),
    ],
)
def test_a_link_leads_to_the_same_page(page: str, link: str, there: str) -> None:
    text = "see [this]({0}), and\n```\n[x](nowhere.md)\n```\n![that]({0})\n"
    assert relinked(text.format(link), page) == text.format(there)


@pytest.mark.parametrize("link", ["NOTHING.md", "../lm_eval_steer/table.py", "../benchmarks", "../../elsewhere.md"])
def test_a_link_to_what_the_site_does_not_have_is_refused(link: str) -> None:
    with pytest.raises(ValueError, match=r"docs/USAGE\.md links to .*, which the site does not have"):
        relinked(f"[a]({link})", "docs/USAGE.md")


def test_every_link_of_every_page_leads_somewhere() -> None:
    figures = {f"figures/{path.name}" for path in (ROOT / "docs" / "figures").iterdir()}
    there = {*pages().values(), *figures}
    for page, place in pages().items():
        text = documented((ROOT / page).read_text(encoding="utf-8"))
        for link in re.findall(r"\]\(([^)\s#]+)", relinked(text, page)):
            assert "://" in link or os.path.normpath(os.path.join(os.path.dirname(place), link)) in there, (page, link)
    assert place_of("docs/figures/imports.svg") == "figures/imports.svg"


ELSEWHERE = ("lm_eval_steer.models.vllm.SteeredVLLM", "lm_eval_steer.models.gguf.SteeredGGUF")
"""Classes whose programs are not in this environment."""


@pytest.mark.parametrize(("name", "file"), REFERENCE)
def test_a_name_of_the_reference_is_there_and_says_what_it_is(name: str, file: str) -> None:
    inner = own_name(name)
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for part in inner.split("."):
        kinds = (ast.ClassDef, ast.FunctionDef)
        (node,) = (one for one in body if isinstance(one, kinds) and one.name == part)
        body = node.body
    assert ast.get_docstring(node)
    if name not in ELSEWHERE:
        found: Any = import_module(name.removesuffix(f".{inner}"))
        for part in inner.split("."):
            found = getattr(found, part)
        assert callable(found) or isinstance(found, property)


def test_the_reference_has_all_that_the_package_names() -> None:
    assert {f"lm_eval_steer.{name}" for name in lm_eval_steer.__all__} <= {name for name, _ in REFERENCE}


def test_a_link_to_a_name_becomes_its_docstring() -> None:
    text = "- [`lm_eval_steer.SteeringVector.load`](../lm_eval_steer/vectors/vector.py)"
    lines = documented(f"# Python\n\n{text}\n").splitlines()
    assert "::: lm_eval_steer.vectors.vector.SteeringVector.load" in lines
    assert "      heading: lm_eval_steer.SteeringVector.load" in lines
    assert len(REFERENCE) > 20


def test_every_command_is_shown() -> None:
    page = commands(make_parser())
    heads = re.findall(r"^## lm-eval-steer (.*)$", page, re.MULTILINE)
    assert list(dict.fromkeys(head.split()[0] for head in heads)) == [one.__name__.split(".")[-1] for one in COMMANDS]
    assert {"vectors show", "vectors compare"} <= set(heads)
    assert "--val_limit" in page.partition("## lm-eval-steer sweep\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("html", "fetched"),
    [
        ('<script src="https://a.org/x.js">', "https://a.org/x.js"),
        ("<img alt='' src='//a.org/x.png'>", "//a.org/x.png"),
        ('<link rel="stylesheet" href="https://a.org/x.css">', "https://a.org/x.css"),
        ('<link href="assets/x.css" rel="stylesheet"><a href="https://a.org">', None),
        ('<link rel="canonical" href="https://a.org/here"><script src="assets/x.js">', None),
    ],
)
def test_what_a_page_would_fetch_from_elsewhere_is_seen(html: str, fetched: str | None) -> None:
    found = FETCHED.search(html)
    assert (found and found[1]) == fetched
