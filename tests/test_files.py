"""Files: the old one or the new one, never half of one; a place or a source that is none is told in one sentence."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import (
    decode,
    is_file,
    is_folder,
    parse_json,
    read_json,
    read_text,
    refuse_unwritable,
    unwritable,
    write_whole,
)


def test_writes_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    assert write_whole(path, lambda part: part.write_text("new")) == path
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("ne")
        raise error

    with pytest.raises(error):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from lm_eval_steer.files import write_whole\n"
        "write_whole(sys.argv[1], lambda part: (part.write_text('ne'), os.kill(os.getpid(), signal.SIGKILL)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -9
    assert path.read_text() == "old"
    (half,) = set(tmp_path.iterdir()) - {path}
    assert half.name.startswith(".file.txt.")  # hidden, and named after what it would have become
    old_form, of_another = tmp_path / ".file.txt.s7nt408i.part", tmp_path / half.name.replace("file.txt", "file.txt.x")
    for path_of_another in (old_form, of_another):
        path_of_another.write_text("ne")
    live = []

    def write_meanwhile(part: Path) -> None:
        part.write_text("slow")
        write_whole(path, lambda other: live.append(part.exists() and other.write_text("quick")))

    write_whole(path, write_meanwhile)  # both writers of one file live: neither takes the other's away
    assert live
    assert live[0]
    assert path.read_text() == "slow"
    assert set(tmp_path.iterdir()) == {path, of_another}


def test_a_reader_never_meets_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    seen = []

    def write(part: Path) -> None:
        with part.open("w") as file:
            for word in ("new", "er"):
                file.write(word)
                file.flush()
                seen.append(path.read_text())

    write_whole(path, write)
    assert seen == ["old", "old"]
    assert path.read_text() == "newer"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        path = write_whole(tmp_path / "file.txt", lambda part: part.write_text("new"))
        assert os.umask(umask) == umask  # not changed by the call
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_place_is_checked_without_being_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    refuse_unwritable(tmp_path / "a" / "b" / "new.txt")
    with pytest.raises(SteeringError, match=r"new.txt cannot be written \(Not a directory\)"):
        refuse_unwritable(tmp_path / "file" / "new.txt")
    with pytest.raises(SteeringError, match="is a folder: name a file"):
        refuse_unwritable(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for place, reason in [
        ("", "the name of a file to write is empty"),
        ("/proc/self/no/v.pt", r"cannot be written \(.*\): name another place"),
        ("/dev/null", "is a device, a pipe or a socket: name a file"),
        (pipe, "is a device, a pipe or a socket: name a file"),
        (loop / "v.pt", r"cannot be written \(Too many levels"),
        (tmp_path / ("x" * 300), r"cannot be written \(File name too long\): name another place"),
        (tmp_path / "new" / ("x" * 300) / "v.pt", r"cannot be written \(File name too long"),
        ("x/" * 5000 + "v.pt", r"x/x/\[...\].*v.pt cannot be written \(File name too long"),
        ("a\0b", r"a\\x00b cannot be written \(.*null"),
    ]:
        with pytest.raises(SteeringError, match=reason):
            refuse_unwritable(place)
    refuse_unwritable(write_whole(tmp_path / ("y" * 250), lambda part: part.write_text("fits")))
    assert (tmp_path / ("y" * 250)).read_text() == "fits"


def _save_safetensors(part: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(4096)}, part)


def _save_torch(part: Path) -> None:
    import torch

    with part.open("wb") as file:
        torch.save({"a": torch.zeros(4096)}, file)


@pytest.mark.parametrize(
    "write", [lambda part: part.write_bytes(bytes(9000)), _save_safetensors, _save_torch], ids=["own", "rust", "torch"]
)
def test_a_disk_without_room_is_one_sentence(write: Callable[[Path], Any], tmp_path: Path) -> None:
    path, limits = tmp_path / "file.pt", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_text("old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(
            SteeringError, match=r"file.pt cannot be written \(File too large\): make room and run again"
        ):
            write_whole(path, write)
        with pytest.raises(
            SteeringError, match=r"file.pt cannot be written \(File too large\): make room and run again"
        ):
            refuse_unwritable(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.pt"]


def test_every_refusal_of_the_system_is_a_sentence_and_no_other_error_is(tmp_path: Path) -> None:
    def fail(number: int) -> Callable[[Path], None]:
        def write(part: Path) -> None:
            raise OSError(number, os.strerror(number))

        return write

    for number, advice in [(errno.EDQUOT, "make room"), (errno.ENOSPC, "make room"), (errno.EIO, "name another place")]:
        with pytest.raises(SteeringError, match=rf"f cannot be written \(.*\): {advice}"):
            write_whole(tmp_path / "f", fail(number))
    (tmp_path / "file").write_text("")
    with pytest.raises(SteeringError, match=r"cannot be written \(.*\): name another place"):
        write_whole(tmp_path / "file" / "f", lambda part: None)
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "f", lambda part: 1 / 0)
    error = unwritable("f", OSError(errno.EIO, "broken"))
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "f cannot be written (broken): name another place"


def test_only_regular_files_in_utf8_are_read(tmp_path: Path) -> None:
    path, pipe, loop = tmp_path / "f", tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for raw in (b"\xef\xbb\xbf\xc3\xa9\r\n", b"\xc3\xa9\r\n"):
        path.write_bytes(raw)
        assert read_text(path, "pairs") == "é\r\n"
    for place, reason in [
        (tmp_path / "no", "no: no such file of pairs"),
        (path / "below", "below: no such file of pairs"),
        (tmp_path, "this is a folder, expected a file of pairs"),
        (pipe, "this is a device, a pipe or a socket, expected a file of pairs"),
        ("/dev/zero", "this is a device, a pipe or a socket, expected a file of pairs"),
        (loop, r"this file of pairs cannot be read \(Too many levels"),
        (tmp_path / ("x" * 300), r"this file of pairs cannot be read \(File name too long"),
        ("a\0b", r"this file of pairs cannot be read \(.*null"),
    ]:
        with pytest.raises(SteeringError, match=reason):
            read_text(place, "pairs")
        assert not is_file(place)
        assert is_folder(place) == (place == tmp_path)
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        with pytest.raises(SteeringError, match=r"looks like UTF-16\): save it as UTF-8"):
            decode('{"a": 1}'.encode(encoding), "f")
    with pytest.raises(SteeringError, match="f, line 2: byte 0xe9 is no UTF-8 text"):
        decode(b"abc\n\xe9t\xe9", "f")
    with path.open("wb") as file:
        file.truncate(2**43)  # a hole that takes no room
    with pytest.raises(SteeringError, match=r"f: 8192\.0 GiB of pairs do not fit into the free memory"):
        read_text(path, "pairs")


def test_json_is_read_whole_or_told(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    for text, reason in [
        ("", "Expecting value"),
        ('{"a": 1', "Expecting"),
        ("[" * 200_000, "more than 100 levels"),
        ("[" * 101 + "]" * 101, "more than 100 levels"),
        ("1" + "0" * 400, "a whole number of 401 digits"),
        ("1" * 5000, "a whole number of 5000 digits"),
    ]:
        path.write_text(text)
        with pytest.raises(SteeringError, match=f"f.json: not a whole JSON file of results .*{reason}"):
            read_json(path, "results")
    path.write_text(
        '\ufeff{"a": [1, -2.5, NaN, true, "\\ud83d\\ude00 \\ud800x"], "\\udc00": "\\\\ud800"}', encoding="utf-8"
    )
    value = read_json(path, "results")
    assert value["a"][2] != value["a"][2]
    del value["a"][2]
    assert value == {"a": [1, -2.5, True, "\U0001f600 \ufffdx"], "\ufffd": "\\ud800"}
    assert parse_json("[" * 100 + "]" * 100) == json.loads("[" * 100 + "]" * 100)


def test_a_sentence_is_one_line_without_control_characters() -> None:
    assert str(SteeringError("é\n: \x1b[31m\u202e\ud800 is no name")) == r"é\n: \x1b[31m\u202e\ud800 is no name"
    assert str(SteeringError(SteeringError("a\nb"))) == r"a\nb"
