"""Saving a vector that took an hour: where its place cannot be written any more, it is kept somewhere else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import UnwritableError
from lm_eval_steer.vectors.several import AnyVector


def keep(vector: AnyVector, out: str | Path) -> None:
    """Save a vector as `out`.

    Raises:
        SteeringError: where that cannot be; says where it was kept instead, the working folder, that of temporary files
            and the home folder being tried.
    """
    try:
        vector.save(out)
        return
    except UnwritableError as error:
        refusal = error.refusal
    places = list(dict.fromkeys((Path.cwd(), Path(tempfile.gettempdir()), Path("~").expanduser())))
    for place in places:
        try:
            folder = Path(tempfile.mkdtemp(prefix="lm_eval_steer-", dir=place))
        except OSError:
            continue
        try:
            kept = vector.save(folder / Path(out).name)
        except SteeringError:
            os.rmdir(folder)
            continue
        raise SteeringError(f"{refusal}, so the vector was kept as {kept}: make room and move it there")
    tried = ", ".join(map(str, places))
    raise SteeringError(f"{refusal}, and the vector fits nowhere else ({tried}): make room and run again")
