"""A campaign against the commands: damaged files, wrong arguments, kills and full disks, drawn by a seed.

    python scripts/campaign.py --seed 1 --minutes 10 [--only results,kills]

Every try runs in a process of its own, on tiny models and made results, and ends in one of five ways: it worked, it
ended in one sentence, or, each a fault, in a raw exception (or a signal), in no end, or in another outcome than an
undisturbed run. Prints a table by kind, then every fault with the seed that draws it again. The exit code is 1 where
there is a fault. docs/CAMPAIGN.md says what each kind tries.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import pytest
import torch

import models
import reports
import sweeps
from conftest import make_vector
from lm_eval_steer.axis.record import VOLATILE, read_lines
from lm_eval_steer.cli.main import main as command
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid import __main__ as stage_process
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.stages import make_stages
from lm_eval_steer.grid.study import make_study
from lm_eval_steer.sweep.state import without_volatile
from lm_eval_steer.vectors.vector import SteeringVector
from runs import write_record, write_run

WORKED, SENTENCE, RAW, HANG, OTHER = "worked", "sentence", "raw exception", "hang", "other outcome"
FAULTS = (RAW, HANG, OTHER)
LIMIT = 600.0
"""Seconds that a try may take; the machine may be busy."""

ODD: list[Any] = [
    *(None, True, "", "x", "\ud800", "\x1b]0;t\x07", "=cmd()", "NaN", -1, 0, 7, 1e308, 10**400, float("nan")),
    *(float("inf"), [], [[]], [1, "x"], {}, {"a": {}}, "x" * 5000, "../..", "random:x", "<img src=x>"),
]
WORDS = [
    *("", "x", "-1", "0", "nan", "1e400", "[]", "[1,'x']", "[[1]]", "{}", "{'a':1}", "None", "True", "9" * 400, "é\n"),
    *("1:0:1", "0:1:1e-9", "~", "~nobody/x", "/dev/full", "/dev/null", "/dev/zero", "/proc/self/mem", "x" * 5000),
    *("FOLDER", "FILE", "PIPE", "LOOP", "BINARY", "FILE/x", "x.pt", "x.json", "*", "../../../../../../x\x1b[31m"),
]


@dataclass
class End:
    """How a try ended: one of the five ways, with the last words of a fault."""

    way: str
    words: str = ""


@dataclass
class Bench:
    """A folder with what all tries begin from, made once where it is needed."""

    folder: Path

    @cached_property
    def child(self) -> Path:
        return models.save_model(self.folder / "child", "llama")

    @cached_property
    def vector(self) -> Path:
        return make_vector().save(self.folder / "v.safetensors")

    @cached_property
    def study(self) -> dict[str, Any]:
        """A parent, a child, a fitted map with a control, and a task: all kinds of stages."""
        texts = self.folder / "texts.jsonl"
        texts.write_text("".join(json.dumps({"text": f"a text about the number {n}"}) + "\n" for n in range(12)))
        parent = models.save_model(self.folder / "parent", "llama", seed=1)
        return {
            "parents": {"big": {"model_args": {"pretrained": str(parent)}}},
            "children": {"one": {"model_args": {"pretrained": str(self.child)}}},
            "tasks": ["parity_steer"],
            "maps": ["procrustes"],
            "extract": {"task": "arith_steer", "n": 8},
            "transfer": {"texts": str(texts), "tokens": "all"},
            "model_args": {"max_length": 4096},
            "controls": "map-shuffled:1",
            "alpha": [1],
            **{"limit": 3, "val_limit": 2, "batch_size": 8, "device": "cpu"},
            "include_path": str(sweeps.PARITY),
        }

    @cached_property
    def results(self) -> Path:
        """A sweep with its record, and plain runs of a set with theirs."""
        place = self.folder / "results"
        reports.write(place / "sweep", n=4)
        write_run(place / "a", [0.0, 1.0])
        steering = {"vector": "5ha", "unit": "alpha", "control": None}
        write_run(place / "b", [1.0, 0.0], alpha=[0.25, 0.5], record="record", steering=steering)
        write_record(place / "record", {("", alpha): [("a", "2"), ("b", "3")] for alpha in (0.25, 0.5)})
        return place

    @cached_property
    def oddities(self) -> Path:
        """What a name may lead to that is no file."""
        place = self.folder / "oddities"
        (place / "FOLDER").mkdir(parents=True)
        (place / "FILE").write_text("x\n")
        os.mkfifo(place / "PIPE")
        (place / "LOOP").symlink_to(place / "LOOP")
        (place / "BINARY").write_bytes(bytes(range(256)))
        return place


@dataclass
class Tally:
    """What a kind came to."""

    ways: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    skipped: str = ""


def attempt(run: Callable[[], object], limit: float = LIMIT, kill: float | None = None) -> End:
    """Run something in a fork of this process; `kill` ends it by SIGKILL after so many seconds, which is no fault."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            torch.set_num_threads(1)  # those of this process did not come along, and would be waited for
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os._exit(_code(run))
        code = _wait(child, limit if kill is None else kill)
        output.seek(0)
        said = output.read().decode(errors="replace").strip().splitlines()
    if code is None:
        return End(WORKED if kill is not None else HANG, f"no end after {limit:.0f} s")
    if code in (0, 141):
        return End(WORKED)
    if code == 2 and not any(line.startswith("Traceback") for line in said):
        return End(SENTENCE, said[-1] if said else "")
    return End(RAW, f"exit code {code}: {' | '.join(line.strip() for line in said[-3:])[-400:]}")


def _code(run: Callable[[], object]) -> int:
    code: object = 99
    try:
        code = run()
        sys.stdout.flush()
    except SystemExit as stopped:  # argparse refuses with code 2
        code = stopped.code
    except SteeringError as error:
        code = print(error, file=sys.stderr) or 2
    except BaseException:
        traceback.print_exc()
        code = 99
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    return code if isinstance(code, int) else 0


def _wait(child: int, limit: float) -> int | None:
    """The exit code; None for a process that had to be killed."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


# Damage


def damage(file: Path, draw: random.Random) -> str:
    """Do something to a file; says what."""
    ways = [cut, flip, insert, replace_place]
    if file.suffix in (".json", ".jsonl"):
        ways += [change_json] * 8
    return f"{file.name}: {draw.choice(ways)(file, draw)}"


def cut(file: Path, draw: random.Random) -> str:
    raw = file.read_bytes()
    end = draw.randrange(len(raw) + 1)
    file.write_bytes(raw[:end])
    return f"cut at byte {end}"


def flip(file: Path, draw: random.Random) -> str:
    raw = bytearray(file.read_bytes())
    places = [draw.randrange(len(raw)) for _ in range(draw.choice((1, 1, 8)))] if raw else []
    for place in places:
        raw[place] = draw.randrange(256)
    file.write_bytes(raw)
    return f"bytes {places} changed"


def insert(file: Path, draw: random.Random) -> str:
    raw = file.read_bytes()
    what = draw.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0" * 9, b"\n", b"[" * 200_000, b"\x1b[31m", raw))
    place = draw.choice((0, len(raw), draw.randrange(len(raw) + 1)))
    file.write_bytes(raw[:place] + what + raw[place:])
    return f"{what[:9]!r} ({len(what)} bytes) at byte {place}"


def replace_place(file: Path, draw: random.Random) -> str:
    file.unlink()
    what = draw.choice(("nothing", "empty", "folder", "pipe", "loop", "endless", "utf-16"))
    make: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "empty": file.touch,
        "folder": file.mkdir,
        "pipe": lambda: os.mkfifo(file),
        "loop": lambda: file.symlink_to(file),
        "endless": lambda: file.symlink_to("/dev/zero"),
        "utf-16": lambda: file.write_text("{}", encoding="utf-16"),
    }
    make[what]()
    return f"{what} in its place"


def change_json(file: Path, draw: random.Random) -> str:
    """One value, or key, of a JSON file, or of one line of it."""
    lines = file.read_text(encoding="utf-8").split("\n") if file.suffix == ".jsonl" else [file.read_text()]
    number = draw.choice([place for place, line in enumerate(lines) if line.strip()])
    content = json.loads(lines[number])
    spots = list(_spots(content))
    place, key, name = draw.choice(spots)
    what = draw.choice(("set", "set", "set", "remove", "rename", "twice"))
    value = draw.choice(ODD)
    if what == "remove":
        del place[key]
    elif what == "rename" and isinstance(place, dict):
        place[str(value)[:99]] = place.pop(key)
    elif what == "twice" and isinstance(place, list):
        place.append(place[key])
    else:
        what = f"set to {value!r:.40}"
        place[key] = value
    lines[number] = json.dumps(content)
    file.write_text("\n".join(lines), encoding="utf-8")
    return f"{name} {what}" + (f" in line {number + 1}" if len(lines) > 1 else "")


def _spots(content: Any, name: str = "") -> Iterator[tuple[Any, Any, str]]:
    keys = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in keys:
        yield content, key, f"{name}.{key}"
        yield from _spots(value, f"{name}.{key}")


# Kinds


def vectors(bench: Bench, draw: random.Random, place: Path) -> tuple[End, str]:
    """A damaged vector file, shown or compared."""
    file = SteeringVector.load(bench.vector).save(place / f"v{draw.choice(('.pt', '.safetensors'))}")
    what = damage(file, draw)
    argv = draw.choice((["vectors", "show", str(file)], ["vectors", "compare", str(bench.vector), str(file)]))
    return attempt(lambda: command(argv)), f"{what}; {argv[1]}"


def results(bench: Bench, draw: random.Random, place: Path) -> tuple[End, str]:
    """Damaged results, samples, records or sweep.json, as a board, a page or figures."""
    folder = shutil.copytree(bench.results, place / "results")
    files = [path for path in folder.rglob("*.json*") if path.suffix in (".json", ".jsonl")]
    kinds = sorted({path.name.split("_")[0].split(".")[0] for path in files})
    told = []
    for _ in range(draw.choice((1, 1, 2))):
        kind = draw.choice(kinds)
        found = sorted(path for path in files if path.name.startswith(kind) and path.is_file())
        if found:
            file = draw.choice(found)
            files.remove(file)
            told.append(damage(file, draw))
    form = draw.choice(("rich", "markdown", "csv", "json", "latex"))
    argv = [
        "leaderboard",
        str(folder),
        "--format",
        form,
        "--layout",
        draw.choice(("flat", "flat", "table1", "best_alpha")),
    ]
    if draw.random() < 0.4:
        argv = ["report", str(folder), "--out", str(place / "r.html")]
    if draw.random() < 0.1:
        argv = ["figures", str(folder), "--out", str(place / "figures")]
    return attempt(lambda: command(argv)), f"{'; '.join(told)}; {argv[0]}"


def arguments(bench: Bench, draw: random.Random, place: Path) -> tuple[End, str]:
    """A command with one argument that is wrong."""
    os.chdir(shutil.copytree(bench.oddities, place / "here", symlinks=True, copy_function=_copy_odd))
    model = {"pretrained": str(bench.child), "max_length": "4096", "device": "cpu"}
    steered = model | {"vectors": str(bench.vector)}
    made = {
        "leaderboard": {
            "": str(bench.results),
            "--format": "csv",
            "--layout": "flat",
            "--sort": "best",
            "--child": "c",
        },
        "report": {"": str(bench.results), "--out": "r.html", "--task": "toy"},
        "figures": {"": str(bench.results), "--out": "figures", "--parent": "p"},
        "vectors show": {"": str(bench.vector)},
        "vectors compare": {"": str(bench.vector), " ": str(bench.vector), "--out": "c.svg"},
        "extract": {"--task": "arith_steer", "--n": "8", "--out": "v.pt", "--seed": "0", "--method": "pca"}
        | {"--layers": "all", "--batch_size": "8", "--pairs": None, "--rationales": None, "--pair_template": None},
        "rationales": {"--task": "arith_steer", "--n": "2", "--out": "r.jsonl", "--max_gen_toks": "4", "--seed": "0"}
        | {"--batch_size": "2", "--model": "hf"},
        "sweep": {
            "--tasks": "parity_steer",
            "--alpha": "[1,2]",
            "--limit": "2",
            "--val_limit": "2",
            "--controls": "negated",
        }
        | {"--output_path": "sweep", "--batch_size": "8", "--seed": "0", "--per_layer": None, "--val_task": None},
        "lm_eval": {},
    }
    name = draw.choice(list(made))
    options: dict[str, str | None] = dict(made[name])
    given = dict(steered if name in ("sweep", "lm_eval") else model)
    if name == "lm_eval":
        given |= {"alpha": "[1,2]", "record": "record"}
    word = draw.choice(WORDS)
    if name == "lm_eval" or (name in ("extract", "rationales", "sweep") and draw.random() < 0.5):
        ours = ("vectors", "record", "blocks", "layers", "tokens", "dose", "control", "alpha", "vote", "seed")
        ours += ("width_map", "normalize", "vote_filter", "alpha_per_layer")
        key = draw.choice(ours if name == "lm_eval" else (*given, *ours, "dtype"))  # the rest is the harness's own
        given[key], told = word, f"{name} --model_args {key}={word!r:.60}"
    else:
        key = draw.choice(list(options))
        if name == "extract" and key in ("--pairs", "--rationales"):
            options["--task"] = None if key == "--pairs" else options["--task"]
        options[key], told = word, f"{name} {key} {word!r:.60}"
    if name == "lm_eval":
        return attempt(lambda: _evaluate(given)), told
    argv = name.split()
    if name in ("extract", "rationales", "sweep"):
        argv += ["--model_args", ",".join(f"{key}={value}" for key, value in given.items())]
    argv += [value for key, value in options.items() if not key.strip() and value is not None]
    argv += [f"{key}={value}" for key, value in options.items() if key.strip() and value is not None]
    return attempt(lambda: command(argv)), told


def _copy_odd(source: str, target: str) -> str:
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _evaluate(given: dict[str, Any]) -> int:
    """`lm_eval` with these arguments, read as its command line reads them."""
    import lm_eval
    from lm_eval.utils import handle_arg_string

    read: dict[str, Any] = {}
    for key, value in given.items():
        try:
            read[key] = json.loads(value)
        except ValueError:
            read[key] = handle_arg_string(value)
    lm_eval.simple_evaluate(
        model="steered-hf",
        model_args=read,
        tasks=["parity_steer"],
        limit=2,
        task_manager=sweeps.manager(),
        bootstrap_iters=0,
    )
    return 0


@dataclass
class Job:
    """Work that is killed: how to start it in a folder, and what it left there."""

    start: Callable[[Path], object]
    outcome: Callable[[Path], Any]


def jobs(bench: Bench) -> dict[str, Job]:
    model = f"pretrained={bench.child},max_length=4096"

    def sweep(folder: Path) -> int:
        argv = [
            "sweep",
            "--model_args",
            f"{model},vectors={bench.vector}",
            "--tasks",
            "parity_steer",
            "--alpha",
            "[1,2]",
        ]
        argv += ["--limit", "3", "--val_limit", "2", "--controls", "negated", "--batch_size", "8", "--device", "cpu"]
        return command([*argv, "--output_path", str(folder / "sweep")])

    def extract(folder: Path) -> int:
        argv = ["extract", "--model_args", model, "--task", "arith_steer", "--n", "32", "--device", "cpu"]
        return command([*argv, "--out", str(folder / "v.safetensors")])

    def rationales(folder: Path) -> int:
        argv = ["rationales", "--model_args", model, "--task", "arith_steer", "--n", "8", "--batch_size", "2"]
        return command([*argv, "--max_gen_toks", "16", "--device", "cpu", "--out", str(folder / "r.jsonl")])

    def evaluate(folder: Path) -> int:
        given = {"pretrained": bench.child, "max_length": 4096, "vectors": bench.vector, "device": "cpu"}
        given["record"] = folder / "record"
        return _evaluate({key: str(value) for key, value in given.items()} | {"alpha": "[1,2]"})

    def grid(folder: Path) -> int:
        """A study, stage by stage in this process; `grid run` gives each a process of its own, and does no more."""
        study = Grid(folder / "study")
        stages = make_stages(make_study(bench.study))
        study.enter(stages)
        for stage in stages:
            if stage_process.main(str(study.root), stage.folder):
                why = study.state(stage.folder).why
                print(why, file=sys.stderr)
                return 99 if "traceback" in why else 2
        return 0

    return {
        "grid": Job(grid, _left_by_a_grid),
        "sweep": Job(sweep, lambda f: without_volatile(json.loads((f / "sweep" / "sweep.json").read_text()))),
        "extract": Job(extract, lambda f: [SteeringVector.load(f / "v.safetensors").fingerprint, *_parts(f)]),
        "rationales": Job(rationales, lambda f: (f / "r.jsonl").read_text()),
        "lm_eval": Job(evaluate, lambda f: sorted(map(_line, read_lines(f / "record")), key=str)),
    }


def _left_by_a_grid(folder: Path) -> list[Any]:
    """Kind by kind what stages left, without times; the page by its size, for it tells when it was made."""
    found: list[Any] = _parts(folder)
    for place in sorted((folder / "study" / "stages").iterdir()):
        vectors = sorted(place.glob("*.safetensors"))
        found += [[place.name, path.name, SteeringVector.load(path).fingerprint] for path in vectors]
        states = place.glob("sweep/sweep.json")
        found += [[place.name, without_volatile(json.loads(path.read_text()))] for path in states]
        found += [[place.name, (place / "done.json").exists()]]
    return found


def _parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.part"))


def _line(line: Any) -> dict[str, Any]:
    """A line without what other batches change."""
    return {key: value for key, value in vars(line).items() if key not in (*VOLATILE, "logprob")}


def kills(bench: Bench, draw: random.Random, place: Path) -> tuple[End, str]:
    """SIGKILL at a random moment, once or twice; the next start must end as a run that nobody disturbed."""
    name = draw.choice(["sweep", "grid", "extract", "rationales", "lm_eval"])
    job, expected, seconds = _undisturbed(bench, name)
    moments = [draw.uniform(0, 1.1) * seconds for _ in range(draw.choice((1, 1, 2)))]
    told = f"{name} killed after {', '.join(f'{moment:.2f}' for moment in moments)} of {seconds:.2f} s"
    for moment in moments:
        end = attempt(lambda: job.start(place), kill=moment)
        if end.way in FAULTS:
            return end, told
    return _judge(job, place, expected), told


def _judge(job: Job, place: Path, expected: Any) -> End:
    end = attempt(lambda: job.start(place))
    if end.way == SENTENCE:
        return End(OTHER, f"the next start was refused: {end.words}")
    if end.way == WORKED and (found := job.outcome(place)) != expected:
        return End(OTHER, f"{found!r:.150} in place of {expected!r:.150}")
    return end


_known: dict[str, tuple[Job, Any, float]] = {}


def _undisturbed(bench: Bench, name: str) -> tuple[Job, Any, float]:
    if name not in _known:
        job, place = jobs(bench)[name], bench.folder / f"undisturbed-{name}"
        place.mkdir()
        begun = time.monotonic()
        end = attempt(lambda: job.start(place), limit=600)
        if end.way != WORKED:
            raise RuntimeError(f"{name} fails undisturbed: {end.words}")
        _known[name] = (job, job.outcome(place), time.monotonic() - begun)
    return _known[name]


def disks(bench: Bench, draw: random.Random, place: Path) -> tuple[End, str]:
    """A disk that is full or read-only; where there is room again, the next start must end as an undisturbed run."""
    name = draw.choice(["sweep", "grid", "extract", "rationales", "lm_eval", "report", "figures", "leaderboard"])
    size = draw.choice((4, 16, 64, 128, 256))
    read_only = draw.random() < 0.2
    told = f"{name} on a disk of {size} KiB{', read-only' if read_only else ''}"
    if name == "leaderboard":
        return attempt(lambda: _on_a_full_output(bench)), "leaderboard > /dev/full"
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(disk)], check=True)
    try:
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        if name in ("report", "figures"):
            out = str(disk / ("r.html" if name == "report" else "figures"))
            return attempt(lambda: command([name, str(bench.results), "--out", out])), told
        job, expected, _ = _undisturbed(bench, name)
        end = attempt(lambda: job.start(disk))
        if end.way in FAULTS:
            return end, told
        subprocess.run(["mount", "-o", "remount,rw,size=64m", str(disk)], check=True)
        return _judge(job, disk, expected), told
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _on_a_full_output(bench: Bench) -> int:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    code = command(["leaderboard", str(bench.results)])
    return code if code == 2 else 98


def no_disks() -> str:
    """Why no disk can be made; empty where one can."""
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", place], check=True)
        return done.stderr.strip()


KINDS: dict[str, Callable[[Bench, random.Random, Path], tuple[End, str]]] = {
    one.__name__: one for one in (vectors, results, arguments, kills, disks)
}


def campaign(kinds: list[str], seed: int, seconds: float, most: int = sys.maxsize) -> dict[str, Tally]:
    """Try kinds in turn, each for its share of the seconds and `most` times at most."""
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        sweeps.manager()
        return _campaign(kinds, seed, seconds, most)


def _campaign(kinds: list[str], seed: int, seconds: float, most: int) -> dict[str, Tally]:

    import lm_eval_steer.models.hf
    import lm_eval_steer.sweep.run  # noqa: F401

    found = {kind: Tally() for kind in kinds}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        with contextlib.redirect_stdout(io.StringIO()):  # whatever is imported here, no fork needs to import again
            command(["leaderboard", str(bench.results)])
        for kind in kinds:
            if kind == "disks" and (why := no_disks()):
                found[kind].skipped = why
                continue
            number, end = 0, time.monotonic() + seconds / len(kinds)
            while number < most and (not number or time.monotonic() < end):
                place = Path(folder, "try")
                place.mkdir()
                draw = random.Random(f"{seed} {kind} {number}")
                ended, told = KINDS[kind](bench, draw, place)
                os.chdir(before)
                found[kind].ways[ended.way] += 1
                if ended.way in FAULTS:
                    found[kind].faults.append(f"{kind} {number}: {told}: {ended.way}: {ended.words}")
                shutil.rmtree(place)
                number += 1
    return found


def show(found: dict[str, Tally], seed: int) -> None:
    """The table, then the faults."""
    print(f"{'kind':<10} {'tried':>6} {'worked':>7} {'sentences':>10} {'raw':>5} {'hangs':>6} {'other outcome':>14}")
    for kind, tally in found.items():
        ways = tally.ways
        if tally.skipped:
            print(f"{kind:<10} skipped: {tally.skipped}")
            continue
        print(
            f"{kind:<10} {sum(ways.values()):>6} {ways[WORKED]:>7} {ways[SENTENCE]:>10} {ways[RAW]:>5} {ways[HANG]:>6} "
            f"{ways[OTHER]:>14}"
        )
    for fault in (fault for tally in found.values() for fault in tally.faults):
        print(f"- seed {seed}, {fault.encode('unicode_escape').decode()}")


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="draws every try (default: 0)")
    parser.add_argument("--minutes", type=float, default=10, help="for all kinds together (default: 10)")
    parser.add_argument("--only", default=",".join(KINDS), metavar="KIND,...", help="(default: all kinds)")
    args = parser.parse_args(argv)
    kinds = args.only.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"there is no kind {unknown[0]!r}: use {', '.join(KINDS)}")
    found = campaign(kinds, args.seed, 60 * args.minutes)
    show(found, args.seed)
    return int(any(tally.faults for tally in found.values()))


if __name__ == "__main__":
    sys.exit(main())
