"""What `lm-eval-steer report` puts into a page: responses, scores, sentences, and nothing active but its own."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import reports
from lm_eval_steer.axis.record import Line, Record, digest
from lm_eval_steer.cli.main import main
from lm_eval_steer.compare.responses import Responses, read_responses
from lm_eval_steer.compare.runs import read_documents, read_runs
from lm_eval_steer.compare.scores import Response, Scores
from lm_eval_steer.compare.stats import HELPS, HURTS
from lm_eval_steer.report.page import make_page
from lm_eval_steer.report.page.data import BASELINE, embed, make_blocks, pack, question
from lm_eval_steer.report.page.svg import inline
from lm_eval_steer.report.page.words import MARKS, sum_up, tell
from lm_eval_steer.report.tables import Leaderboard, read_leaderboard
from lm_eval_steer.report.tables.blocks import tell_shared_keys
from reports import HOSTILE, write_hostile
from runs import write_record, write_run, write_sweep


def board_of(*folders: Path) -> Leaderboard:
    return read_leaderboard(list(folders))


def responses_of(*folders: Path) -> Responses:
    board = board_of(*folders)
    (responses,) = read_responses(board.rows, board.records)
    return responses


def unpack(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "sweep"
    reports.write(folder)
    return folder


# Responses


def test_a_view_per_control_with_every_strength_from_the_record(sweep: Path) -> None:
    responses = responses_of(sweep)
    assert [view.control for view in responses.views] == ["", "random:1"]
    view = responses.views[0]
    assert (view.names, view.alphas, view.best) == (["0.25", "0.5", "1"], [0.25, 0.5, 1.0], 1)
    for i, cells in enumerate(view.cells):
        for alpha, cell in zip(reports.ALPHAS, cells, strict=True):
            text, answer = reports.said(str(alpha), i)
            assert cell == Response(text, answer, float(answer == "2"), len(text.split()))
        assert view.voted is not None
        assert view.voted[i] == Response(*reports.said("vote", i), float(i % 4 == 0))
        assert responses.baseline[i] == Response(*reports.said("baseline", i), float(i % 2 == 0), 12)


def test_without_a_record_only_what_was_run_is_there(tmp_path: Path) -> None:
    reports.write(tmp_path, record=False)
    responses = responses_of(tmp_path)
    assert not responses.has_record
    view = responses.views[0]
    assert (view.names, view.best) == (["0.5"], 0)
    assert [cell.text for (cell,) in view.cells if cell] == [reports.said("0.5", i)[0] for i in range(12)]
    assert view.voted is not None


def test_a_row_without_samples_has_no_responses(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0], log_samples=False)
    board = board_of(tmp_path)
    assert read_responses(board.rows, board.records) == []


def test_documents_are_joined_by_what_they_are_not_by_place(tmp_path: Path) -> None:
    """The record's numbers of documents are those of its own run."""
    write_run(tmp_path / "a", [0.0, 1.0, 0.0])
    path = write_run(tmp_path / "b", [1.0, 0.0, 1.0], alpha=0.5, record="b/record", steering={"unit": "alpha"})
    (samples,) = path.parent.glob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    for row in rows:
        row["doc_id"] = 2 - row["doc_id"]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    responses = responses_of(tmp_path)
    assert [one.content["q"] for one in responses.documents] == [0, 1, 2]
    assert [cell.score for (cell,) in responses.views[0].cells if cell] == [1.0, 0.0, 1.0]


def test_a_plain_set_reads_its_record(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0])
    steering = {"vector": "5ha", "unit": "alpha", "control": None}
    write_run(tmp_path / "b", [1.0, 0.0], alpha=[0.25, 0.5], record="record", steering=steering)  # type: ignore[arg-type]
    lines = {("", 0.25): [("a", "2"), ("b", "3")], ("", 0.5): [("c", "2"), ("d", None)], ("", 9.0): [("x", "9")] * 2}
    write_record(tmp_path / "record", lines)
    (view,) = responses_of(tmp_path).views
    assert view.names == ["0.25", "0.5"]
    assert view.best is None
    assert [[cell.text for cell in cells if cell] for cells in view.cells] == [["a", "c"], ["b", "d"]]


def test_self_consistency_has_samples_in_place_of_strengths(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"baseline": (0, [0.0, 1.0]), "self-consistency": ([0.25, 0.5], [1.0, 1.0])})
    write_record(tmp_path / "record", {(f"self-consistency {i}", 0.0): [(f"s{i}", "2")] * 2 for i in (0, 1)})
    (view,) = responses_of(tmp_path).views
    assert (view.control, view.names, view.alphas, view.best) == ("self-consistency", ["0", "1"], [None, None], None)


def test_multiple_choice_shows_what_each_choice_came_to(tmp_path: Path) -> None:
    steering = {"settings": [digest({"any": "settings"})]}
    a = write_run(tmp_path / "a", [0.0, 1.0], metric="acc")
    b = write_run(tmp_path / "b", [1.0, 1.0], metric="acc", alpha=0.5, record="record", steering=steering)
    for path in (a, b):
        (samples,) = path.parent.glob("samples_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        for row in rows:
            row["arguments"] = {f"gen_args_{i}": {"arg_0": "Q", "arg_1": one} for i, one in enumerate((" x", " y"))}
            row |= {"resps": [[["-1.5", "False"]], [["-0.5", "True"]]], "filtered_resps": [["-1.5"], ["-0.5"]]}
        samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Record(tmp_path / "record") as record:
        settings = record.declare({"any": "settings"})
        values: dict[str, Any] = {"settings": settings, "kind": "choices", "task": "toy", "repeat": 0, "variant": ""}
        values |= {"prompt": digest(["Q", " x", "Q", " y"]), "alpha": 0.5, "response": None, "tokens": None}
        values |= {"logprob": None, "stop": None, "time": 0.0, "seconds": 0.0}
        scores = ((-1.5, False), (-0.5, True))
        record.append(Line(fingerprint=digest("1"), doc_id=1, scores=scores, answer="1", **values))
    responses = responses_of(tmp_path)
    (view,) = responses.views
    assert [one.answer for one in responses.baseline if one] == ["1", "1"]
    assert view.cells[1][0] == Response("  0    -1.500  x\n→ 1    -0.500  y", "1", 1.0)
    assert question({"question": "Which?", "choices": {"text": ["x", "y"]}}, "") == "Which?\nx\ny"


def test_samples_that_were_cut_are_told_in_one_sentence(sweep: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sweep, tmp_path / "sweep")
    (run,) = read_runs([folder / "arms" / "toy" / "best"])
    (samples,) = (folder / "arms" / "toy" / "best").rglob("samples_*.jsonl")
    samples.write_text(samples.read_text()[:-30])
    with pytest.raises(ValueError, match="holds no whole samples of lm_eval"):
        read_documents(run)


# Scores that no run gave


def test_equal_responses_and_equal_answers_score_equally() -> None:
    scores = Scores([(0, Response("a", "2", 1.0)), (0, Response("b", "7", 0.0))], {0: "2", 1: "5"}, True)
    assert scores.score(0, "a", "odd") == 1.0
    assert scores.score(0, "new", "7") == 0.0
    assert (scores.score(1, "new", "5"), scores.score(1, "new", "6"), scores.score(1, "new", None)) == (1.0, 0.0, 0.0)


def test_what_was_scored_otherwise_is_not_guessed() -> None:
    """A target that is no answer (an option's number), an answer that is scored by more than itself, a share."""
    scored = [(0, Response("a", "B", 1.0)), (1, Response("b", "C", 0.0))]
    scores = Scores(scored, {0: "1", 1: "0"}, True)
    assert (scores.score(0, "x", "B"), scores.score(0, "x", "A"), scores.score(0, "x", "1")) == (1.0, None, None)
    scores = Scores([(0, Response("a", "2", 1.0)), (0, Response("b", "2", 0.0))], {0: "2"}, True)
    assert (scores.score(0, "a", "2"), scores.score(0, "x", "2")) == (1.0, None)
    scores = Scores([(0, Response("a", "2", 0.5))], {0: "2"}, False)
    assert (scores.score(0, "a", "2"), scores.score(0, "x", "2")) == (0.5, None)


# Words and tables


@pytest.mark.parametrize(("gained", "word", "head"), [(12, HELPS, "Steering helps"), (0, HURTS, "Steering hurts")])
def test_a_verdict_in_words(gained: int, word: str, head: str, tmp_path: Path) -> None:
    before, after = [0.0] * 12 + [1.0] * 12, [1.0] * gained + [0.0] * (12 - gained) + [float(gained > 0)] * 12
    write_sweep(tmp_path, {"baseline": (0, before), "best": (0.5, after), "vote": ([0.25, 0.5], before)})
    board = board_of(tmp_path)
    told = tell(board.rows[0], board.names)
    assert told.word == word
    assert told.head == f"{head} child on toy."
    assert told.more[0].startswith("With the strength chosen on validation rows (α = 0.5): ")
    assert told.more[0].endswith(f"; {gained} gained, {12 - gained} lost.")
    assert told.more[1].startswith("Beside it: exact_match (loose) +0.0 (")
    assert "So few documents changed that no change could have been detected." in told.more[2]
    assert sum_up([told]) == ""
    assert sum_up([told, told]).startswith("Of 2 comparisons with the unsteered model, steering helps in ")


def test_a_row_that_cannot_be_judged_says_what_is_missing(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0], log_samples=False)
    write_run(tmp_path / "b", [0.0, 1.0], alpha=0.5, log_samples=False)
    board = board_of(tmp_path)
    assert (
        tell(board.rows[0], board.names).head == "No verdict on child on toy: not paired: run both with --log_samples."
    )
    page = make_page(board)
    assert "the harness keeps them only with --log_samples" in page
    assert 'id="index"' not in page


def test_columns_that_say_the_same_in_every_row_stand_above_the_table(sweep: Path) -> None:
    block = board_of(sweep).blocks()[0]
    table = tell_shared_keys(block)
    assert table.heading == ["child child, parent parent, vector v, n 12, time 1:30."]
    assert table.columns[:3] == ["arm", "score", "change"]
    cells = {row[0]: row for row in table.rows}
    assert MARKS[cells["best, α = 0.5"][8]] == ("○", "none")
    page = " ".join(make_page(board_of(sweep)).split())
    assert re.search(
        r'<td class="word none" data-value="(no evidence[^"]*)"><span class="mark"[^>]*>○</span> \1</td>', page
    )


# The page


class Reader(HTMLParser):
    """Elements, ids, and every address."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "action", "data", "xlink:href", "srcset"):
                self.links.append(str(value))
            assert not name.startswith("on")


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_asks_for_nothing_and_no_two_ids_are_the_same(sweep: Path) -> None:
    page = make_page(board_of(sweep))
    reader = read(page)
    assert reader.tags.count("svg") == 5
    assert len(set(reader.ids)) == len(reader.ids)
    assert all(link.startswith("#") or link == "data:," for link in reader.links)
    assert not re.search(r"https?:|@import|url\((?!#f\d)", page)
    targets = {link[1:] for link in reader.links if link.startswith("#")}
    assert targets <= set(reader.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(reader.ids)


def test_only_the_script_of_the_page_may_run(sweep: Path) -> None:
    page = make_page(board_of(sweep))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 1
    sha = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{sha}'; " in page
    assert "innerHTML" not in scripts[0]


def test_the_same_results_are_the_same_page(sweep: Path) -> None:
    assert make_page(board_of(sweep)) == make_page(board_of(sweep))


def test_what_others_wrote_is_text(tmp_path: Path) -> None:
    page = make_page(board_of(write_hostile(tmp_path)))
    page.encode()
    reader = read(page)
    assert not {"img", "b", "i", "u"} & set(reader.tags)
    assert reader.tags.count("script") == page.count("<script") == page.count("</script>") == 4
    assert "{{ 7*7 }}" in page
    assert "7*7 }}</" not in page.replace("{{ 7*7 }}", "")
    assert "\u2028" not in page
    assert "\x00" not in page


def test_embedded_json_ends_no_element() -> None:
    text = embed({"a": HOSTILE})
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert json.loads(text) == {"a": HOSTILE}


def test_texts_are_stored_once_and_come_back_as_they_were(tmp_path: Path) -> None:
    reports.write(tmp_path, record=False)
    same = reports.said("baseline", 0)[0]
    lines = {("", 0.25): [(same, "2"), (HOSTILE, None)] + [("again", "2")] * 10}
    write_record(tmp_path / "record", lines)
    board = board_of(tmp_path)
    index, blocks = make_blocks(read_responses(board.rows, board.records), board.names)
    (row,) = index["rows"]
    content = unpack(blocks[row["views"][0]["block"]])
    assert content["cells"][0][0][0] == BASELINE
    assert content["texts"][content["cells"][1][0][0]] == HOSTILE
    assert content["texts"].count("again") == 1
    assert unpack(blocks[row["block"]])["baseline"][0][0] == same
    assert pack(content) == pack(content)


def test_a_prompt_is_stored_without_what_all_begin_with(sweep: Path) -> None:
    board = board_of(sweep)
    index, blocks = make_blocks(read_responses(board.rows, board.records), board.names)
    content = unpack(blocks[index["rows"][0]["block"]])
    assert content["shared"] == ""
    assert [one["prompt"] for one in content["documents"]][:2] == ["0+1=", "1+1="]


def test_a_figure_in_a_page_keeps_its_references() -> None:
    svg = b"""<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
      width="9pt"><metadata>x</metadata><defs><style>*{}</style><path id="a"/></defs><!-- --><use xlink:href="#a"
      clip-path="url(#a)"/></svg>"""
    root = ElementTree.fromstring(inline(svg, "f1-", 'a "b" <c>'))
    assert [element.tag for element in root.iter()] == ["svg", "defs", "path", "use"]
    assert root.attrib == {"role": "img", "aria-label": 'a "b" <c>'}
    assert root[0][0].attrib == {"id": "f1-a"}
    assert root[1].attrib == {"href": "#f1-a", "clip-path": "url(#f1-a)"}


# The command


def test_the_command(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "report.html"
    assert main(["report", str(sweep), "--out", str(out)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"Wrote {out}. ")
    assert told[-1] == f"  lm-eval-steer figures {sweep} --out figures"
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert out.read_text().startswith("<!doctype html>")


def test_bad_input_is_one_sentence_and_leaves_no_page(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "x" / "report.html")

    def refused(*argv: str) -> str:
        assert main(["report", *argv]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        return told

    (tmp_path / "empty").mkdir()
    assert "name it with .html" in refused("missing", "--out", "report.pdf")
    assert "no such folder of results" in refused(str(tmp_path / "no"), "--out", out)
    assert "holds no results_*.json" in refused(str(tmp_path / "empty"), "--out", out)
    folder = shutil.copytree(sweep, tmp_path / "half")
    state = folder / "sweep.json"
    state.write_text(state.read_text()[:100])
    assert "is no whole sweep.json" in refused(str(folder), "--out", out)
    assert "the name of a folder of results is empty" in refused("", "--out", out)
    assert not (tmp_path / "x").exists()


def test_without_matplotlib_the_page_has_no_figures_and_says_how_to_get_them(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "report.html"
    assert main(["report", str(sweep), "--out", str(out)]) == 0
    wanted = 'pip install "lm_eval_steer[figures]"'
    assert wanted in capsys.readouterr().out
    page = out.read_text()
    reader = read(page)
    assert "svg" not in reader.tags
    assert html.escape(wanted, quote=False).replace('"', "&#34;") in page
    assert "vote of 3" in page  # the table and the documents are there
    assert len(re.findall(r'type="application/json"', page)) >= 2


@pytest.mark.parametrize("harm", ["gone", "empty", "of others", "of another version", "a pipe"])
def test_without_the_record_of_a_vote_the_page_has_what_the_results_hold(harm: str, tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0])
    steering = {"vector": "5ha", "unit": "alpha", "control": None}
    write_run(tmp_path / "b", [1.0, 0.0], alpha=[0.25, 0.5], record="record", steering=steering)  # type: ignore[arg-type]
    record = tmp_path / "record"
    alphas = (0.75,) if harm == "of others" else (0.25, 0.5)
    write_record(record, {("", alpha): [("a", "2"), ("b", "3")] for alpha in alphas})
    (file,) = record.glob("*.jsonl")
    if harm == "of another version":
        file.write_text(re.sub(r'"version":\d+', '"version":99', file.read_text(), count=1))
    elif harm == "a pipe":
        file.unlink()
        os.mkfifo(file)
    elif harm != "of others":
        shutil.rmtree(record)
        (record if harm == "empty" else tmp_path).mkdir(exist_ok=True)
    board = board_of(tmp_path)
    (view,) = read_responses(board.rows, board.records)[0].views
    assert (view.names, view.voters) == ([], [])
    page = make_page(board)
    assert "no agreement of votes, for that takes" in page
    assert ("Left out: " in page and str(file) in page) == (harm in ("of another version", "a pipe"))


def test_agreement_takes_every_strength_of_the_vote(tmp_path: Path) -> None:
    """A record that lost one of three strengths says nothing about the share of the three."""
    reports.write(tmp_path, record=False)
    write_record(tmp_path / "record", {("", 0.25): [reports.said("0.25", i) for i in range(12)]})
    responses = responses_of(tmp_path)
    assert responses.views[0].names == ["0.25", "0.5"]
    assert responses.views[0].voters == []


def test_control_characters_of_names_are_escaped(tmp_path: Path) -> None:
    child = "org/a\x1b]0;t\x07\x9b2J\u202e"
    reports.write(tmp_path, record=False, child=child)
    page = make_page(board_of(tmp_path))
    assert not set(page) & set("\x1b\x07\x9b\u202e")
    assert "a\\x1b]0;t\\x07\\x9b2J\\u202e" in page
    assert read(page).tags.count("svg") == 3
