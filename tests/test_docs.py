"""What the pages of docs/ say of the repository is there."""

from __future__ import annotations

import re

from conftest import ROOT


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
