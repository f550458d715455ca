"""The lock of a stage: one process at a time, taken over from whoever is no more."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid import lock
from lm_eval_steer.grid.lock import OLD, HeldError, held, holder_of


def never() -> None:
    raise AssertionError("nobody took it over")


def write(folder: Path, number: int, seconds: float = 0.0, **changes: Any) -> Path:
    """The lock of a process on another machine, touched so many seconds ago."""
    path = folder / f"lock.{number}"
    path.write_text(json.dumps({"host": "elsewhere", "process": 7, "born": 1.0, "space": "", **changes}))
    touched = path.stat().st_mtime - seconds
    os.utime(path, (touched, touched))
    return path


def test_one_of_many_that_begin_at_once_holds_it(tmp_path: Path) -> None:
    start, tried = threading.Barrier(16), threading.Barrier(16)

    def contend(_: int) -> bool:
        start.wait()
        try:
            with held(tmp_path, never):
                tried.wait()
                return True
        except HeldError:
            tried.wait()
            return False

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(contend, range(16))) == [False] * 15 + [True]


def test_what_was_let_go_is_free_and_leaves_one_file(tmp_path: Path) -> None:
    for _ in range(3):
        assert holder_of(tmp_path) is None
        with held(tmp_path, never):
            found = holder_of(tmp_path)
            assert found is not None
            assert (found.process, found.live) == (os.getpid(), True)
            with pytest.raises(HeldError, match=f"process {os.getpid()} on "), held(tmp_path, never):
                pass
    assert [path.name for path in tmp_path.iterdir()] == ["lock.3"]


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from lm_eval_steer.grid.lock import held\n"
        "with held(pathlib.Path(sys.argv[1]), print): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        found = holder_of(tmp_path)
        assert found is not None
        assert (found.process, found.live) == (process.pid, True)
        process.kill()
    found = holder_of(tmp_path)
    assert found is not None
    assert (found.process, found.live) == (process.pid, False)
    with held(tmp_path, never):
        assert holder_of(tmp_path) != found


def test_a_number_that_another_process_has_now_is_not_the_holder(tmp_path: Path) -> None:
    with held(tmp_path, never):
        (path,) = tmp_path.glob("lock.*")
        mine = json.loads(path.read_text())
    write(tmp_path, 2, **mine | {"born": mine["born"] - 1000})
    found = holder_of(tmp_path)
    assert found is not None
    assert not found.live


@pytest.mark.parametrize(("seconds", "is_live"), [(OLD - 30, True), (OLD + 30, False)])
def test_of_another_machine_the_beat_tells(tmp_path: Path, seconds: float, is_live: bool) -> None:
    write(tmp_path, 4, seconds)
    found = holder_of(tmp_path)
    assert found is not None
    assert (found.host, found.live) == ("elsewhere", is_live)
    if is_live:
        with pytest.raises(HeldError, match="held by process 7 on elsewhere"), held(tmp_path, never):
            pass
    else:
        with held(tmp_path, never):
            assert [path.name for path in tmp_path.iterdir()] == ["lock.5"]


@pytest.mark.parametrize("text", ["", "{", '{"host": 3, "never": 1}'])
def test_a_file_that_says_nothing_is_held_until_it_is_old(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock.1"
    path.write_text(text)
    with pytest.raises(HeldError, match="held by another process"), held(tmp_path, never):
        pass
    os.utime(path, (1.0, 1.0))
    with held(tmp_path, never):
        pass


def test_who_was_taken_over_hears_it_and_lets_the_other_be(tmp_path: Path) -> None:
    lost = threading.Event()
    with held(tmp_path, lost.set, beat=0.01):
        write(tmp_path, 2)
        assert lost.wait(60)
    found = holder_of(tmp_path)
    assert found is not None
    assert found.host == "elsewhere"


def test_a_holder_is_touched_while_it_lasts(tmp_path: Path) -> None:
    with held(tmp_path, never, beat=0.01):
        (path,) = tmp_path.glob("lock.*")
        os.utime(path, (1.0, 1.0))
        while path.stat().st_mtime == 1.0:
            threading.Event().wait(0.01)
        assert holder_of(tmp_path) is not None


def test_whoever_saw_an_older_state_does_not_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look and the making of a file, others may have taken the lock, let go of it, and taken it again."""
    write(tmp_path, 1, OLD + 30)
    look = lock.holder_of

    def look_then_others(folder: Path) -> lock.Holder | None:
        found = look(folder)
        if (tmp_path / "lock.1").exists():
            (tmp_path / "lock.1").unlink()
            write(tmp_path, 3)
        return found

    numbers = iter([1])  # what was listed before the others came
    highest = lock._highest
    monkeypatch.setattr(lock, "holder_of", look_then_others)
    monkeypatch.setattr(lock, "_highest", lambda folder: next(numbers, None) or highest(folder))
    # The first listing is that of the look.
    numbers = iter([1, 1])
    with pytest.raises(HeldError, match="elsewhere"), held(tmp_path, never):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["lock.3"]


def test_a_disk_that_is_full_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lock.json, "dump", full)
        with pytest.raises(SteeringError, match="No space left on device"), held(tmp_path, never):
            pass
    assert list(tmp_path.glob("lock.*")) == []
    with held(tmp_path, never):
        pass
