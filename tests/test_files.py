"""write_whole: the old file or the new one, never half of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import refuse_unwritable, write_whole


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
