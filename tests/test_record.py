"""The record: what was acknowledged is found again, whole, whatever happened to the writer."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lm_eval_steer.axis.record import VERSION, VOLATILE, Line, Record, digest, read_lines, settings_of
from lm_eval_steer.errors import SteeringError

SETTINGS = {"model": "tiny", "vector": None, "gen": {"until": ["\n\n", "ü"]}}
SHA = digest(SETTINGS)


def make_line(number: int = 0, **changes: Any) -> Line:
    """A generation; its fingerprint says `number` and nothing else."""
    values: dict[str, Any] = {
        "fingerprint": digest(["line", number]),
        "settings": SHA,
        "kind": "generation",
        "task": "arith",
        "doc_id": number,
        "repeat": 0,
        "prompt": digest("What is 1 + 1?"),
        "alpha": 0.04,
        "variant": "",
        "response": f"It is {number}.",
        "scores": None,
        "answer": str(number),
        "tokens": 4,
        "logprob": -1.5,
        "stop": "eos",
        "time": 1700000000.25,
        "seconds": 0.1,
    }
    return Line(**{**values, **changes})


def make_choices(number: int = 0, **changes: Any) -> Line:
    """A document's choices, the first of them impossible."""
    choices = {"kind": "choices", "response": None, "scores": ((-math.inf, False), (-0.1, True)), "answer": "1"}
    return make_line(number, **{**choices, "tokens": None, "logprob": None, "stop": None, **changes})


def write(folder: Path, *lines: Line, rank: int = 0) -> Path:
    """A record of these lines; the file of the last one."""
    with Record(folder, rank) as record:
        record.declare(SETTINGS)
        for line in lines:
            record.append(line)
    return folder / f"{lines[-1].task}.rank{rank}.jsonl"


def python(code: str, *args: object, **kwargs: Any) -> subprocess.Popen[str]:
    """Another process that has this module's helpers."""
    setup = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom test_record import *\n"
    command = [sys.executable, "-c", setup + code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)


# What is written is read


@pytest.mark.parametrize(
    "line",
    [
        make_line(),
        make_choices(),
        make_line(answer=None, tokens=None, logprob=None, stop=None),
        make_line(alpha=-0.1 - 0.2, variant="random:3", repeat=2, stop="length", seconds=0.0),
        make_line(response="", answer="", tokens=0, logprob=0.0),
        make_line(logprob=-math.inf),
        make_line(logprob=math.inf),
        make_line(logprob=math.nan),
        make_line(response="a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh\r\ni\nj\x00k"),
        make_line(response="\ud800 and \udc80", answer="\udfff"),
        make_line(response="😀 ü \\u2028 \\ud800 \" ' \\"),
    ],
)
def test_round_trip(line: Line, tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "b", line, make_line(1))
    assert path.read_bytes().count(b"\n") == 3
    assert list(read_lines(path.parent)) == [line, make_line(1)]
    with Record(path.parent) as record:
        assert record.get(line.fingerprint) == line
        assert record.get(digest("other")) is None
        assert line.fingerprint in record
        assert digest("other") not in record


def test_every_line_is_json_of_the_documented_schema(tmp_path: Path) -> None:
    lines = [make_line(logprob=-math.inf, response="\ud800\u2028"), make_choices(1)]
    path = write(tmp_path, *lines)
    docs = (Path(__file__).parent.parent / "docs" / "RECORD.md").read_text()
    documented = [row.split("`")[1] for row in docs.split("## A header")[0].split("\n") if row.startswith("| `")]

    def refuse(name: str) -> None:
        raise AssertionError(name)

    texts = path.read_bytes().decode("utf-8").split("\n")
    header, first, second = (json.loads(text, parse_constant=refuse) for text in texts[:-1])
    assert header == {"version": VERSION, "kind": "settings", "settings": SHA, "content": SETTINGS}
    assert list(first) == list(second) == documented == [field.name for field in dataclasses.fields(Line)]
    assert set(VOLATILE) == {row.split("`")[1] for row in docs.split("\n") if "**volatile**" in row}
    assert float(first["logprob"]) == -math.inf
    assert second["scores"] == [["-Infinity", False], [-0.1, True]]


def test_the_examples_of_the_document_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write(tmp_path / "steer_records", make_line(task="gsm8k_steer"))
    monkeypatch.chdir(tmp_path)
    docs = (Path(__file__).parent.parent / "docs" / "RECORD.md").read_text()
    examples = [part.split("```")[0] for part in docs.split("```python\n")[1:]]
    for example in examples:
        exec(example, {})
    assert capsys.readouterr().out == f"0 0.04 0 {SETTINGS}\ngsm8k_steer 0 0.04 0\n"
    assert len(examples) == 2


def test_appended_lines_are_seen_at_once(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        record.declare(SETTINGS)
        assert list(tmp_path.iterdir()) == []
        for number in range(3):
            record.append(make_line(number))
            assert [line.doc_id for line in read_lines(tmp_path)] == list(range(number + 1))
            assert record.get(digest(["line", number])) == make_line(number)
            assert Record(tmp_path, rank=1).get(digest(["line", number])) == make_line(number)


def test_a_field_that_is_not_known_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, make_line())
    path.write_text(path.read_text().replace('{"version":2,', '{"version":2,"new":[{}],'))
    assert list(read_lines(tmp_path)) == [make_line()]


def test_a_surrogate_pair_is_read_as_its_character(tmp_path: Path) -> None:
    line = make_line(response="\ud83d\ude00")
    with Record(tmp_path) as record:
        record.declare(SETTINGS)
        record.append(line)
        assert record.get(line.fingerprint) == make_line(response="😀")  # in this run as in the next


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "a"},
        {"fingerprint": "A" * 64},
        {"settings": None},
        {"prompt": "What is 1 + 1?"},
        {"version": 1},
        {"version": 3},
        {"version": True},
        {"kind": "settings"},
        {"task": ""},
        {"doc_id": None},
        {"doc_id": True},
        {"repeat": -1},
        {"alpha": 1},
        {"alpha": math.inf},
        {"variant": None},
        {"response": None},
        {"response": b"bytes"},
        {"scores": ((0.0, True),)},
        {"answer": 3},
        {"tokens": -1},
        {"tokens": 1.0},
        {"logprob": 0},
        {"stop": "max"},
        {"time": math.nan},
        {"seconds": None},
        {"kind": "choices", "response": None, "scores": ()},
        {"kind": "choices", "response": None, "scores": [(0.0, True)]},
        {"kind": "choices", "response": None, "scores": ((0.0, 1),)},
        {"kind": "choices", "scores": ((0.0, True),)},
    ],
)
def test_no_line_is_made_of_fields_that_the_schema_does_not_know(changes: dict[str, Any]) -> None:
    name = list(changes)[-1] if changes.get("kind") != "choices" or "response" in changes else "response"
    with pytest.raises(ValueError, match=name):
        make_line(**changes)


# Tasks and files


def test_tasks_do_not_mix(tmp_path: Path) -> None:
    tasks = [
        "arith",
        "Arith",
        "arith.rank0",
        "group/arith",
        "group%2Farith",
        "..",
        "a b",
        "算術",
        "\ud800",
        "x" * 300,
        "x" * 301,
    ]
    lines = [make_line(number, task=task) for number, task in enumerate(tasks)]
    write(tmp_path / "record", *lines)
    assert [path.name for path in tmp_path.iterdir()] == ["record"]
    assert len(list((tmp_path / "record").glob("*.jsonl"))) == len(tasks)
    assert all(len(path.name) < 220 for path in (tmp_path / "record").iterdir())
    for line in lines:
        assert list(read_lines(tmp_path / "record", line.task)) == [line]
    assert sorted(line.doc_id for line in read_lines(tmp_path / "record")) == list(range(len(tasks)))
    assert list(read_lines(tmp_path / "record", "other")) == []


def test_two_tasks_in_one_file_are_told_apart_by_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path, make_line(0, task="arith"))
    other = write(tmp_path, make_line(1, task="ARITH"))
    path.write_bytes(path.read_bytes() + other.read_bytes())  # as a file system that ignores case would
    other.unlink()
    assert [line.doc_id for line in read_lines(tmp_path, "arith")] == [0]
    assert [line.doc_id for line in read_lines(tmp_path, "ARITH")] == [1]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, make_line())
    for name in ("sweep.json", "arith.rank0.jsonl.bak", ".rank0.jsonl", "arith.rankx.jsonl"):
        (tmp_path / name).write_text("no record\n")
    assert list(read_lines(tmp_path)) == [make_line()]


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_a_run_goes_on_with_another_number_of_ranks(before: int, after: int, tmp_path: Path) -> None:
    for rank in range(before):
        write(tmp_path, *(make_line(number) for number in range(rank, 8, before)), rank=rank)
    records = [Record(tmp_path, rank) for rank in range(after)]
    for rank, record in enumerate(records):
        record.declare(SETTINGS)
        mine = range(rank, 12, after)
        assert [n for n in mine if record.get(digest(["line", n])) != make_line(n)] == [n for n in mine if n >= 8]
        for number in mine:
            if digest(["line", number]) not in record:
                record.append(make_line(number))
    for record in records:
        record.close()
    assert sorted(line.doc_id for line in read_lines(tmp_path)) == list(range(12))


def test_of_two_ranks_with_the_same_line_the_first_counts(tmp_path: Path) -> None:
    ranks = [2, 10, 0]
    records = [Record(tmp_path, rank) for rank in ranks]
    for rank, record in zip(ranks, records, strict=True):
        record.declare(SETTINGS)
        record.append(make_line(response=str(rank)))
        record.close()
    assert [line.response for line in read_lines(tmp_path)] == ["0"]
    line = Record(tmp_path, 10).get(make_line().fingerprint)
    assert line is not None
    assert line.response == "0"


# Settings


def test_a_header_stands_where_settings_first_appear_in_a_file(tmp_path: Path) -> None:
    other = {"model": "big"}
    for _ in range(2):
        with Record(tmp_path) as record:
            assert record.declare(SETTINGS) == SHA
            assert record.declare(other) == digest(other)
            done = len(list(read_lines(tmp_path)))
            for number, settings, task in [(0, SHA, "a"), (1, digest(other), "a"), (2, SHA, "a"), (3, SHA, "b")]:
                record.append(make_line(done + number, settings=settings, task=task))
    kinds = [json.loads(text)["kind"] for text in (tmp_path / "a.rank0.jsonl").read_text().split("\n")[:-1]]
    assert kinds == ["settings", "generation"] * 2 + ["generation"] * 4
    assert settings_of(tmp_path) == {SHA: SETTINGS, digest(other): other}


def test_settings_must_be_declared_and_a_line_is_appended_once(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        with pytest.raises(ValueError, match="`declare`"):
            record.append(make_line())
        record.declare(SETTINGS)
        record.append(make_line())
        with pytest.raises(ValueError, match="in the record already"):
            record.append(make_line(response="another"))
    with Record(tmp_path, rank=1) as record:
        with pytest.raises(ValueError, match="in the record already"):
            record.append(make_line())
        record.append(make_line(1))  # its settings are known from rank 0
    assert [line.doc_id for line in read_lines(tmp_path)] == [0, 1]


def test_digest_is_of_the_content_and_hides_nothing() -> None:
    assert digest({"a": 1, "b": [2.5, None]}) == digest({"b": (2.5, None), "a": 1})
    assert digest(SETTINGS) == digest(json.loads(json.dumps(SETTINGS)))
    different: list[Any] = [{}, [], None, "", 0, False, 0.5, {"a": 1}, {"a": "1"}, "\ud800", "\u2028"]
    assert len({digest(content) for content in different}) == len(different)
    for bad in ({1: 2}, [{"a": {None: 1}}], {1, 2}, object(), Path("a"), b"bytes", int):
        with pytest.raises(TypeError):
            digest(bad)
    with pytest.raises(ValueError, match="JSON compliant"):
        digest([math.inf])


# Broken files


def test_a_line_that_was_torn_anywhere_is_asked_for_again(tmp_path: Path) -> None:
    last = make_line(1, response="ü\u2028")
    path = write(tmp_path / "whole", make_line(0), last)
    whole = path.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    folder = tmp_path / "torn"
    folder.mkdir()
    torn = folder / path.name
    for length in range(start, len(whole)):
        torn.write_bytes(whole[:length])
        assert list(read_lines(folder)) == [make_line(0)]
        assert settings_of(folder) == {SHA: SETTINGS}
        with Record(folder, rank=1) as record:
            assert record.get(last.fingerprint) is None
        assert torn.read_bytes() == whole[:length]  # a reader cuts nothing
        with Record(folder) as record:
            record.append(last)
        assert torn.read_bytes() == whole


def test_a_header_that_was_torn_anywhere_is_written_again(tmp_path: Path) -> None:
    path = write(tmp_path, make_line())
    whole = path.read_bytes()
    for length in range(whole.find(b"\n") + 1):
        path.write_bytes(whole[:length])
        assert list(read_lines(tmp_path)) == []
        write(tmp_path, make_line())
        assert path.read_bytes() == whole


def _line_with(**changes: Any) -> bytes:
    values = json.loads(json.dumps({**dataclasses.asdict(make_line(1)), **changes}))
    return json.dumps({key: value for key, value in values.items() if value != "absent"}).encode()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (b"", "JSONDecodeError"),
        (b"\x00\x00", "JSONDecodeError"),
        (_line_with()[:-1], "JSONDecodeError"),
        (_line_with()[:20] + _line_with(), "JSONDecodeError"),
        (b'{"a": "\xff"}', "UnicodeDecodeError"),
        (b"[" * 100_000, "RecursionError"),
        (b"[1]", "TypeError"),
        (b"{}", "version"),
        (_line_with(answer="absent"), "answer"),
        (_line_with(doc_id="1"), "doc_id is '1', not an integer"),
        (_line_with(kind="vote"), "kind is 'vote'"),
        (_line_with(doc_id=10**30), "doc_id is 1000000000000000000000000000000, not an integer"),
        (_line_with(tokens=2**63), "tokens is 9223372036854775808, not an integer"),
        (_line_with(repeat=10**400), "repeat is 10000"),
        (_line_with(time=12345.0).replace(b"12345.0", b"1" * 4400), "4300 digits"),
        (_line_with(alpha="NaN"), "alpha is nan"),
        (_line_with(alpha=10**400), "OverflowError"),
        (_line_with(logprob="minus"), "minus"),
        (_line_with(logprob=math.nan), "NaN is not JSON"),
        (_line_with(kind="choices", response=None, scores=[[1.0]]), "ValueError"),
        (_line_with(settings=digest("other")), "no line above has its settings"),
        (json.dumps({"version": 2, "kind": "settings", "settings": SHA, "content": {}}).encode(), "digest"),
        (json.dumps({"version": 2, "kind": "settings", "settings": SHA, "content": []}).encode(), "digest"),
    ],
)
def test_a_broken_line_is_named(broken: bytes, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, make_line(0), make_line(1))
    header, first, second, _ = path.read_bytes().split(b"\n")
    for lines in ([header, first, broken, second, b""], [header, first, broken, b""]):
        path.write_bytes(b"\n".join(lines))
        before = path.read_bytes()
        for use in (lambda: Record(tmp_path), lambda: list(read_lines(tmp_path)), lambda: settings_of(tmp_path)):
            with pytest.raises(SteeringError) as caught:
                use()
            assert str(caught.value).startswith(f"{path}, line 3 is no whole line of a record (")
            assert told in str(caught.value)
            assert "\n" not in str(caught.value)
        assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 1, 3, "2", True, 2.0, None])
def test_another_version_is_named_with_both(version: Any, tmp_path: Path) -> None:
    path = write(tmp_path, make_line())
    path.write_bytes(path.read_bytes() + json.dumps({"version": version}).encode() + b"\n")
    with pytest.raises(SteeringError) as caught:
        Record(tmp_path)
    assert f"{path}, line 3 is of version {version!r}, but this lm_eval_steer reads version 2" in str(caught.value)


def test_a_missing_folder_and_a_file_in_its_place(tmp_path: Path) -> None:
    for read in (read_lines, settings_of):
        with pytest.raises(SteeringError, match="no such folder of records"):
            read(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(SteeringError, match="is a file: name a folder"):
        Record(tmp_path / "file")
    with pytest.raises(SteeringError, match="cannot be written"):
        Record(tmp_path / "file" / "folder")


def test_what_is_no_regular_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path / "whole", make_line())
    makers = {
        "pipe": lambda place: os.mkfifo(place),
        "folder": lambda place: place.mkdir(),
        "device": lambda place: place.symlink_to("/dev/zero"),
        "loop": lambda place: place.symlink_to(place),
        "gone": lambda place: place.symlink_to(tmp_path / "none"),
    }
    for name, make in makers.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name / path.name)
        for read in (lambda folder: list(read_lines(folder)), settings_of, Record):
            with pytest.raises(SteeringError, match=r"arith\.rank0\.jsonl (is no regular file|cannot be read)"):
                read(tmp_path / name)


def test_a_file_that_changes_under_a_run_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, make_line())
    record = Record(tmp_path)
    path.write_bytes(path.read_bytes()[1:])
    with pytest.raises(SteeringError, match="was changed while this run uses it"):
        record.get(make_line().fingerprint)
    with pytest.raises(SteeringError, match="other lines than when this run opened it"):
        record.append(make_line(1))
    path.unlink()
    with pytest.raises(SteeringError, match="was changed while this run uses it"):
        record.get(make_line().fingerprint)


# Room and disk


def test_a_full_disk_is_one_sentence_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = write(tmp_path, make_line(0))
    size = path.stat().st_size
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
record = Record(sys.argv[1])
for number in range(1, 9):
    try:
        record.append(make_line(number))
    except SteeringError as error:
        print(number, error)
"""
    for spare, room in ((0, 0), (100, 0), (size, 1)):
        path.write_bytes(path.read_bytes()[:size])
        out, _ = python(code, tmp_path, size + spare).communicate()
        assert out.count("cannot be written (") == out.count("\n") == 8 - room
        reason = os.strerror(errno.EFBIG) if spare == 0 else "bytes found room"
        assert reason in out
        assert [line.doc_id for line in read_lines(tmp_path)] == list(range(1 + room))
        assert path.read_bytes().endswith(b"\n")


def test_a_disk_that_loses_writes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    record = Record(tmp_path)
    record.declare(SETTINGS)
    record.append(make_line())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(SteeringError, match=r"arith.rank0.jsonl cannot be written \(Input/output error\)"):
            record.flush()
    record.close()


# Other processes

HOLD = """
with Record(sys.argv[1], int(sys.argv[2])) as record:
    record.claim("arith")
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_run_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    write(tmp_path, make_line())
    with python(HOLD, tmp_path, 0, stdin=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        record = Record(tmp_path)
        record.declare(SETTINGS)
        for use in (lambda: record.append(make_line(1)), lambda: record.claim("arith")):
            with pytest.raises(SteeringError, match=r"arith\.rank0\.jsonl is in use by another run") as caught:
                use()
            assert f"another run (process {holder.pid} on {platform.node()}): wait for its end" in str(caught.value)
        record.append(make_line(2, task="other"))  # another task and another rank are free
        write(tmp_path, make_line(3), rank=1)
        assert [line.doc_id for line in read_lines(tmp_path, "arith")] == [0, 3]
        assert record.get(make_line().fingerprint) == make_line()
        holder.kill()
    record.append(make_line(1))
    record.close()


def test_reading_does_not_let_go_of_the_lock(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        record.declare(SETTINGS)
        record.append(make_line())
        record.get(make_line().fingerprint)
        list(read_lines(tmp_path))
        out, _ = python(HOLD, tmp_path, 0, stdin=subprocess.DEVNULL).communicate()
        assert "is in use by another run" in out
    out, _ = python(HOLD, tmp_path, 0, stdin=subprocess.DEVNULL).communicate()
    assert out == "held\n"


def test_lines_that_another_run_wrote_in_the_meantime_are_noticed(tmp_path: Path) -> None:
    record = Record(tmp_path)
    write(tmp_path, make_line())
    record.declare(SETTINGS)
    with pytest.raises(SteeringError, match="another run wrote to it: start this run again"):
        record.append(make_line())
    assert list(read_lines(tmp_path)) == [make_line()]


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", fail)
    write(tmp_path, make_line())
    assert "cannot be locked (No locks available)" in caplog.text
    assert list(read_lines(tmp_path)) == [make_line()]


def test_an_interrupt_lets_go_of_the_file_and_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a notebook, between the write of a line and the note of it; then the cell is run again."""
    record = Record(tmp_path)

    def write_and_stop(path: Path, handle: int, raw: bytes) -> int:
        os.write(handle, raw)
        raise KeyboardInterrupt

    record.declare(SETTINGS)
    record.append(make_line(0))
    monkeypatch.setattr(record, "_write", write_and_stop)
    with pytest.raises(KeyboardInterrupt), record:
        record.append(make_line(1))
    monkeypatch.undo()
    with record:  # the same object goes on
        assert record.get(make_line(1).fingerprint) == make_line(1)
        record.append(make_line(2))
    write(tmp_path, make_line(3))  # and another one in this process
    assert [line.doc_id for line in read_lines(tmp_path)] == [0, 1, 2, 3]


@pytest.mark.parametrize("again", [False, True])
def test_a_record_that_vanishes_while_it_is_written_is_told(again: bool, tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    record.declare(SETTINGS)
    record.append(make_line(0))
    shutil.rmtree(tmp_path / "record")
    if again:
        write(tmp_path / "record", make_line(0), make_line(1))
    for use in (lambda: record.append(make_line(2)), record.close):
        with pytest.raises(SteeringError, match=r"arith\.rank0\.jsonl was removed or replaced while this run uses it"):
            use()
    write(tmp_path / "record", make_line(3))


WRITE = """
record = Record(sys.argv[1])
record.declare(SETTINGS)
number = 0
while True:
    line = make_line(number, response="ü" * (number * 977 % 60_000))
    if line.fingerprint not in record:
        record.append(line)
        record.flush()
        print(number, flush=True)
    number += 1
"""


def test_what_a_killed_writer_acknowledged_is_found(tmp_path: Path) -> None:
    moments = random.Random(0)
    acknowledged: set[int] = set()
    for _ in range(10):
        with python(WRITE, tmp_path) as writer:
            assert writer.stdout is not None
            acknowledged.add(int(writer.stdout.readline()))  # it is past its imports
            killer = threading.Timer(moments.uniform(0, 0.1), writer.kill)
            killer.start()
            acknowledged.update(int(text) for text in writer.stdout)
            killer.join()
        assert writer.returncode == -signal.SIGKILL
        found = [line.doc_id for line in read_lines(tmp_path)]
        assert found == list(range(len(found)))
        assert acknowledged <= set(found)
        assert len(found) - len(acknowledged) <= 10  # one at each kill may be written and not yet acknowledged
        assert all(
            line == make_line(line.doc_id, response="ü" * (line.doc_id * 977 % 60_000)) for line in read_lines(tmp_path)
        )
    assert len(acknowledged) > 10
