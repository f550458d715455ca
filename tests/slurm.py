"""A SLURM of one node on this machine, which scripts/slurm.sh starts as root, for tests of jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT

_SCRIPT = ROOT / "scripts" / "slurm.sh"
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def missing() -> str:
    """Why jobs cannot be tested here and what helps; nothing where they can."""
    absent = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"{', '.join(absent)} not found on PATH: `make slurm` installs what is missing"
    return "" if os.geteuid() == 0 else "only root can start a node of SLURM"


@contextmanager
def cluster() -> Iterator[Path]:
    """The folder of a SLURM that runs; its programs find it by SLURM_CONF, which is set."""
    before = os.environ.get("SLURM_CONF")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        subprocess.run(["bash", str(_SCRIPT), "up", folder], check=True)
        os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
        try:
            yield Path(folder)
        finally:
            subprocess.run(["bash", str(_SCRIPT), "down", folder], check=True)
            os.environ.pop("SLURM_CONF")
            if before is not None:
                os.environ["SLURM_CONF"] = before


def ask(*command: str) -> str:
    """What a program of SLURM says."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
