"""The page of `lm-eval-steer report` in a browser, as a person uses it: read from a file, without a network."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

import reports
from browser import Browser, chromium, missing
from conftest import ROOT
from lm_eval_steer.report.page import write_page
from lm_eval_steer.report.tables import read_leaderboard

DOCUMENTS = 120
SHOWN = "document.querySelector('#document h3')?.textContent"


def write(folder: Path, *more: str) -> Path:
    return write_page(read_leaderboard([folder, *map(Path, more)]), folder / "report.html")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    reports.write(folder, DOCUMENTS)
    return write(folder)


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    if why := missing():
        pytest.skip(why)
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The window; whatever a page did in it, it asked for no address and the console is silent."""
    window.resize(1300, 900)
    window.complaints()
    window.requests()
    yield window
    assert window.complaints() == []
    asked = [address for address in window.requests() if not address.startswith(("file:", "data:,", "about:"))]
    assert asked == []


def test_without_chromium_the_tests_are_skipped_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`make test` installs nothing as root; CI asks for it, so there nothing is skipped."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing() == "chromium and chromedriver not found on PATH: `make browser` installs what is missing"
    monkeypatch.undo()
    steps = {target: plan(target) for target in ("test", "browser")}
    assert "browser.sh" not in steps["test"]
    assert "browser.sh" in steps["browser"]
    assert "sudo" in (ROOT / "scripts" / "browser.sh").read_text()
    commands = (ROOT / ".ci" / "run").read_text().splitlines()
    assert commands.index("make browser") < commands.index("make test")


def plan(target: str) -> str:
    """What make would run for a target."""
    return subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def arrive(browser: Browser, page: Path, fragment: str = "") -> None:
    browser.open(page, fragment)
    browser.wait(SHOWN)


def numbers(browser: Browser) -> list[int]:
    """Documents of the page of the list."""
    return [int(text) for text in browser.texts("#documents .number")]


FIRST = "#table > .scroll:nth-of-type(1)"
"""The table of the task's first metric; those of others follow."""


def arms(browser: Browser) -> list[str]:
    return browser.texts(f"{FIRST} tbody td:first-child")


def test_the_table_sorts_by_a_column_and_back(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    before = arms(browser)
    assert before[0] == "baseline"
    heads = browser.texts(f"{FIRST} th button")
    column = heads.index("score") + 1
    click = f"{FIRST} th:nth-child({column}) button"
    state = f"document.querySelector('{FIRST} th:nth-child({column})').ariaSort"
    orders = []
    for _ in range(4):
        browser.click(click)
        orders.append((browser.run(f"return {state}"), browser.texts(f"{FIRST} td:nth-child({column})")))
    values = [float(text.rstrip("%")) for text in orders[0][1]]
    assert values == sorted(values)
    assert [float(text.rstrip("%")) for text in orders[1][1]] == sorted(values, reverse=True)
    assert [order for order, _ in orders] == ["ascending", "descending", None, "ascending"]
    browser.click(click)
    browser.click(click)
    assert arms(browser) == before


def test_what_has_no_value_stands_last_and_the_keyboard_sorts_too(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    heads = browser.texts(f"{FIRST} th button")
    column = heads.index("change") + 1
    browser.run(f"document.querySelector('{FIRST} th:nth-child({column}) button').focus()")
    for _ in range(2):
        browser.key(Keys.ENTER)
        cells = browser.texts(f"{FIRST} td:nth-child({column})")
        assert cells[-1] == "-"
        assert "-" not in cells[:-1]


def test_paging_by_list_buttons_and_arrow_keys(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    assert numbers(browser) == list(range(50))
    assert browser.texts("#status") == ["120 documents."]
    browser.click("#page-after")
    browser.click("#page-after")
    assert (numbers(browser), browser.texts("#page")) == (list(range(100, 120)), ["page 3 of 3"])
    assert browser.run("return document.getElementById('page-after').disabled")
    browser.click("#documents button")
    assert browser.texts("#document h3")[0] == "Document 100 (101 of 120 shown)"
    browser.key(Keys.ARROW_LEFT)
    assert browser.texts("#document h3")[0] == "Document 99 (100 of 120 shown)"
    assert numbers(browser) == list(range(50, 100))
    browser.click("[data-name=after]")
    assert browser.texts("#document h3")[0] == "Document 100 (101 of 120 shown)"
    browser.run("document.querySelector('#documents [aria-current]').focus()")
    browser.key(Keys.ARROW_RIGHT)
    assert browser.texts("#document h3")[0] == "Document 101 (102 of 120 shown)"


def test_a_key_in_a_field_turns_no_page(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    browser.run("document.getElementById('search').focus()")
    browser.key(Keys.ARROW_RIGHT)
    assert browser.texts("#document h3")[0] == "Document 0 (1 of 120 shown)"


def test_filters_count_and_keep_what_they_say(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    right = {arm: {i for i in range(DOCUMENTS) if reports.is_right(arm, i)} for arm in ("baseline", "0.5", "vote")}
    expected = {
        "gained": right["0.5"] - right["baseline"],
        "lost": right["baseline"] - right["0.5"],
        "vote": right["vote"] ^ right["baseline"],
        "vote-lost": right["baseline"] - right["vote"],
    }
    for name, documents in expected.items():
        browser.choose("filter", name)
        assert numbers(browser) == sorted(documents)[:50]
        assert browser.texts("#status") == [f"{len(documents)} of 120 documents."]
        assert browser.run("return document.getElementById('filter').selectedOptions[0].label").endswith(
            f"({len(documents)})"
        )
    assert browser.run("return document.querySelector('option[value=vote-gained]').disabled")


def test_search_reads_questions_and_every_response(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    browser.choose("search", "DOCUMENT 7 ASKS")
    browser.wait("document.getElementById('status').textContent == '1 of 120 documents.'")
    assert browser.texts("#document h3")[0] == "Document 7 (1 of 1 shown)"
    browser.choose("search", "nowhere to be found")
    browser.wait("document.getElementById('browser').hidden")
    assert browser.texts("#status") == ["0 of 120 documents: none is like that."]


def test_a_strength_shows_its_response_and_what_differs_is_marked(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    cells = browser.texts(".strip .cell")
    assert cells == ["no steering2✓", "α = 0.252✓ ●", "α = 0.5 ★2✓ ●", "α = 12✓ ●"]
    browser.click("[data-name=after]")
    assert browser.texts(".strip .cell") == ["no steering7✗", "α = 0.257✗ ●", "α = 0.5 ★7✗ ●", "α = 17✗ ●"]
    browser.click("[data-name='strength 1']")
    assert browser.texts(".response h3") == ["Without steering", "Steered, α = 1", "Vote of 3"]
    assert browser.texts(".response pre") == [reports.said(arm, 1)[0] for arm in ("baseline", "1.0", "vote")]
    assert browser.texts(".response mark") == ["baseline. ", "1.0. ", "vote. "]
    assert browser.texts(".response .glyph") == ["✗ wrong"] * 3


def test_the_address_keeps_the_document(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    browser.choose("view", "0 1")
    browser.wait("location.hash.includes('random')")
    browser.run("document.querySelectorAll('#documents button')[42].click()")
    browser.click("[data-name='strength 1']")
    fragment = browser.run("return location.hash")
    assert fragment == "#row=0&view=random%3A1&doc=42&at=1"
    arrive(browser, page, fragment)
    browser.wait("document.querySelector('#document h3').textContent.startsWith('Document 42 ')")
    assert browser.texts(".response h3") == ["Without steering", "Steered, α = 1", "Vote of 3"]
    assert browser.run("return document.getElementById('view').value") == "0 1"
    browser.run("location.hash = '#row=0&view=the+vector&doc=119'")
    browser.wait("document.querySelector('#document h3').textContent.startsWith('Document 119 ')")


@pytest.mark.parametrize("fragment", ["#row=9&doc=1", "#row=0&view=x&doc=x&at=x", "#doc=%ff", "#samples"])
def test_an_address_that_is_none_shows_the_first_document(fragment: str, browser: Browser, page: Path) -> None:
    arrive(browser, page, fragment)
    assert browser.texts("#document h3")[0] == "Document 0 (1 of 120 shown)"


def test_the_whole_document_and_its_prompt(browser: Browser, page: Path) -> None:
    arrive(browser, page)
    browser.click("#document summary")
    browser.wait("document.querySelector('#document .prompt')")
    assert browser.texts(".fields th, .fields td, .prompt") == ["q", "0", "0+1="]


@pytest.mark.parametrize("width", [360, 800, 1300])
def test_nothing_is_wider_than_the_window(width: int, browser: Browser, page: Path) -> None:
    browser.resize(width, 800)
    arrive(browser, page)
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_what_a_model_wrote_is_shown_and_never_run(browser: Browser, tmp_path: Path) -> None:
    reports.write_hostile(tmp_path)
    page = write(tmp_path)
    arrive(browser, page)
    assert browser.run("return document.querySelectorAll('img, iframe, object, b, i, u').length") == 0
    question = browser.texts(".question")[0]
    assert question.startswith(
        "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>\"'`{{ 7*7 }}"
    )
    assert question.endswith("[U+2028][U+2029][U+202E]␀␛]0;t␇&lt;&#60;]]>")
    browser.click("[data-name='strength 0.25']")
    assert "\ufffd" in browser.texts(".response.steered pre")[0]
    browser.click("[data-name=after]")
    assert browser.texts(".response pre")[0] == "(empty)"
    browser.click("[data-name=after]")
    assert len(browser.texts(".response pre")[0]) == 20_000
    browser.click(".response > button")
    assert len(browser.texts(".response pre")[0]) == 300_000
    assert browser.run("return typeof window.hacked") == "undefined"
    assert browser.run("return document.title").startswith("Does steering help? </title><script>"[:20])


def test_a_thousand_documents_and_nineteen_strengths(browser: Browser, tmp_path: Path) -> None:
    reports.write_large(tmp_path)
    begun = time.process_time()
    page = write(tmp_path)
    assert time.process_time() - begun < 40
    assert page.stat().st_size < 6e6
    begun = time.monotonic()
    arrive(browser, page)
    assert time.monotonic() - begun < 60
    assert len(browser.texts(".strip .cell")) == 20
    assert browser.run("return document.querySelectorAll('*').length") < 3000
    begun = time.monotonic()
    for _ in range(60):
        browser.click("[data-name=after]")
    assert time.monotonic() - begun < 60
    assert browser.texts("#document h3")[0] == "Document 60 (61 of 1000 shown)"
    assert browser.texts("#page") == ["page 2 of 20"]
    browser.choose("search", browser.texts(".response.steered pre")[0][:60])
    browser.wait("document.getElementById('status').textContent === '1 of 1000 documents.'")
