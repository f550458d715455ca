"""Locks: one holder at a time, told by name, and none where the file system has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.locks import held, take


def test_a_lock_has_one_holder_which_the_sentence_names(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / ".lock"
    release = take(path, "the sweep", "wait")
    for text in ("", "\n", "process x on y", "\nprocess 1 on other.host\n", "\n\xff" * 300):
        known = "another run (process 1 on other.host)" if "other" in text else "another run"
        if not text:
            known = f"another run of this process ({os.getpid()})"
        else:
            path.write_text(text)
        with pytest.raises(SteeringError) as caught:
            take(path, "the sweep", "wait")
        assert str(caught.value) == f"the sweep is in use by {known}: wait"
    release()
    with pytest.raises(KeyboardInterrupt), held(path, "the sweep", "wait"):
        raise KeyboardInterrupt
    with held(path, "the sweep", "wait"):
        assert path.exists()
    assert list(path.parent.iterdir()) == []  # nothing stays behind


def test_where_nothing_can_be_locked_that_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "lock", tmp_path):
        with held(path, "the sweep", "wait"):
            pass
        assert "the sweep cannot be locked (" in caplog.text
        caplog.clear()
