"""How long a sweep takes in one checkout and in another, run in turns, and whether all their responses are equal.

Beside seconds of the clock it tells those of the processors, which other work on the machine does not lengthen as much.

python benchmarks/sweep.py BEFORE AFTER [--times 2] [--limit 40] [--folder DIR]

BEFORE and AFTER are folders of checkouts with `.venv` and `models/smollm2`, as `make demo` leaves them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ARGUMENTS = (
    "sweep --model_args pretrained=models/smollm2,vectors=smollm2_arith --tasks arith_steer --alpha [0.5,1,2,4,8] "
    "--controls random:5,shuffled,negated --device cpu"
)


def sweep(checkout: Path, folder: Path, limit: int) -> tuple[float, float]:
    """Seconds of the clock and of the processors that the command takes, loading included, with results in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [str(checkout / ".venv" / "bin" / "lm-eval-steer"), *ARGUMENTS.split()]
    command += ["--limit", str(limit), "--val_limit", str(limit), "--output_path", str(folder)]
    begun, spent = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{checkout}: {done.stderr[-2000:]}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    processors = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    return time.perf_counter() - begun, processors


def responses(folder: Path) -> dict[tuple[str, int], str]:
    """Arm and document -> response."""
    found = {}
    for path in folder.glob("arms/*/*/*/samples_*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            found[path.parts[-3], sample["doc_id"]] = sample["resps"][0][0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs=2, type=Path, metavar="CHECKOUT")
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "sweeps")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    seconds: dict[str, list[tuple[float, float]]] = {"before": [], "after": []}
    for turn in range(args.times):
        for name, checkout in zip(seconds, args.checkouts, strict=True):
            seconds[name].append(sweep(checkout.resolve(), args.folder / name, args.limit))
            clock, processors = seconds[name][-1]
            print(f"{name} {turn + 1}: {clock:.1f} s, {processors:.1f} s of the processors", flush=True)
    before, after = (responses(args.folder / name) for name in seconds)
    unequal = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    print(f"{len(before)} responses of the arms, {len(unequal)} unequal{': ' if unequal else ''}{unequal[:10] or ''}")
    for place, what in enumerate(("clock", "processors")):
        old, new = (median(one[place] for one in seconds[name]) for name in seconds)
        print(f"after / before, {what}: {new / old:.2f}")


if __name__ == "__main__":
    main()
