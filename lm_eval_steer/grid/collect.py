"""Joins folders of studies: what is done in any of them is done in the joined one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import said_by_the_system, unwritable
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.stage import KINDS, Stage

_OF_ALL = ("leaderboard", "report")
"""Kinds that are about one study as a whole, and are made anew of a joined one."""
_LEFT = ("states",)
"""Kinds that leave what is large and can be read anew."""


def collect(sources: Sequence[Grid], out: Grid) -> tuple[int, list[Stage]]:
    """Copy all stages that are done into one folder, which may be there already and then keeps what it has.

    Args:
        sources: folders of studies.
        out: the joined one.

    Returns:
        how many were copied, and those that are done in none of them.

    Raises:
        SteeringError: for a folder that is none of a study, and where the joined one cannot be written.
    """
    known: dict[str, Stage] = {}
    copied = 0
    for grid in [*([out] if (out.root / "grid.json").exists() else []), *sources]:
        for stage in grid.stages():
            if stage.kind in (*_OF_ALL, *_LEFT):
                continue
            known.setdefault(stage.folder, stage)
            is_new = out.state(stage.folder).word != "done" and grid.state(stage.folder).word == "done"
            if is_new:
                _copy(grid.place(stage.folder), out.place(stage.folder))
                copied += 1
    stages = sorted(known.values(), key=lambda stage: KINDS.index(stage.kind))
    out.enter(stages)
    return copied, [stage for stage in stages if out.state(stage.folder).word != "done"]


def _copy(source: Path, target: Path) -> None:
    """Copy the folder of a stage, whole or not at all."""
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part, ignore=shutil.ignore_patterns("lock.*", ".*"))
        if target.exists():  # begun there, and not done
            shutil.rmtree(target)
        part.rename(target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise unwritable(target, said_by_the_system(error) or error) from None
    except shutil.Error as error:
        shutil.rmtree(part, ignore_errors=True)
        raise SteeringError(f"{source} cannot be copied ({error.args[0][0][2]}): make room and run again") from None
