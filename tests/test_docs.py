"""What the pages say of the repository is there: files, folders, headings, tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lm_eval_steer
from conftest import ROOT

PAGES = [
    ROOT / "README.md",
    *(page for folder in ("docs", "tasks", "vectors") for page in sorted((ROOT / folder).rglob("*.md"))),
]

FOLDERS = ("lm_eval_steer", "tasks", "vectors", "docs", "tests", "benchmarks", "scripts", "build_tools", ".ci")


@pytest.fixture(scope="module")
def places() -> set[str]:
    """Every file and folder of the repository as pages may name it: by its whole path, or by the end of it."""
    files = [path.relative_to(ROOT) for path in ROOT.iterdir() if path.is_file()]
    files += [path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    whole = {path for file in files for path in (file.as_posix(), *(f"{folder}/" for folder in file.parents))}
    return {end for path in whole for end in _ends(path)}


def _ends(path: str) -> list[str]:
    names = path.rstrip("/").split("/")
    closing = "/" if path.endswith("/") else ""
    return ["/".join(names[start:]) + closing for start in range(len(names))]


def _headings(page: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them of its headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_folder_and_link_of_a_page_is_there(page: Path, places: set[str]) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`([\w./-]+(?:\.py|\.sh|/))(?:::\w+)?`", text)
    assert [name for name in named if name not in places and not name.startswith("DIR/")] == []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), target
            assert not anchor or anchor in _headings(linked), target


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_reads_alike_on_github_and_in_the_site(page: Path) -> None:
    """Rows of a table have the cells of its head, and a list stands behind an empty line, or it is text in the site."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(?![-*|#<\s]|\d+\. ).+\n(?:[-*]|\d+\.) .*$", text, re.MULTILINE) == []
    for table in re.findall(r"^(?:\|.*\n)+", text, re.MULTILINE):
        if re.match(r".*\n\|[\s:|-]+\|\n", table):
            bars = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(bars) == 1, table


def test_the_version_is_that_of_the_newest_changes() -> None:
    """`lm_eval_steer/__init__.py` has it, and setup.cfg reads it there."""
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", changes, re.MULTILINE)[0] == lm_eval_steer.__version__
    assert "version = attr: lm_eval_steer.__version__" in (ROOT / "setup.cfg").read_text(encoding="utf-8").splitlines()


def test_the_first_page_is_short() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") < 120


def test_every_test_that_a_fault_names_is_there() -> None:
    named = []
    for row in (ROOT / "docs" / "FAULTS.md").read_text(encoding="utf-8").splitlines():
        path = None
        for found in re.finditer(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", row.rpartition(" | ")[2]):
            path = found[1] or path
            if path:
                named.append((path, found[2]))
    assert len(named) > 100
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in {path for path, _ in named}}
    assert [(path, name) for path, name in named if name and f"def {name}(" not in sources[path]] == []


def test_the_glossary_says_each_word_once() -> None:
    page = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
    words = [row.split("|")[1].strip() for row in page.splitlines() if row.startswith("| ")]
    words = [word for word in words if word != "word"]
    assert len(words) > 50
    assert sorted(words) == sorted(set(words))
