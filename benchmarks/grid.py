"""What leaderboard and report take on a simulated grid: time, memory and the size of the page, as the grid grows.

Sweeps are written as a real one leaves them (sweep.json, arms with samples, a record of all strengths), around answers
that are drawn: each strength of each pair of parent and child has an accuracy of its own, prompts are as long as five
shots of gsm8k, and responses as long as its answers. No model is run.

python benchmarks/grid.py FOLDER [--parents 3] [--children 7] [--tasks 3] [--documents 1319] [--sizes 1,2,4]

Sizes multiply the children. Seconds are those of the processors, which other work on the machine does not lengthen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.axis.record import Line, digest
from lm_eval_steer.axis.record.line import VERSION as RECORD
from lm_eval_steer.axis.record.line import encode, to_json
from lm_eval_steer.compare.sweep_file import VERSION
from lm_eval_steer.interventions.alphas import alpha_name

WORDS = (
    "the",
    "of",
    "then",
    "she",
    "has",
    "each",
    "so",
    "12",
    "7",
    "5",
    "left",
    "eggs",
    "dollars",
    "buys",
    "half",
    "day",
)
PROMPT, RESPONSE = 2600, 280
"""Characters of five shots, and of an answer."""


@dataclass(frozen=True)
class Size:
    """How large a grid is."""

    parents: int
    children: int
    tasks: int
    documents: int
    strengths: int


def write_grid(folder: Path, size: Size) -> int:
    """A sweep for every parent, child and task; returns how many responses the records hold."""
    written = 0
    for child in range(size.children):
        for task in range(size.tasks):
            for parent in range(size.parents):
                place = folder / f"c{child}-p{parent}-t{task}"
                if not (place / "sweep.json").exists():
                    _Sweep(place, f"org/child-{child}", f"org/parent-{parent}", f"task{task}", size).write()
                written += size.documents * (size.strengths + 1)
    return written


class _Sweep:
    def __init__(self, folder: Path, child: str, parent: str, task: str, size: Size) -> None:
        self.folder, self.child, self.parent, self.task, self.size = folder, child, parent, task, size
        self.draw = random.Random(f"{child} {parent} {task}")
        self.alphas = [round(0.05 * (number + 1), 2) for number in range(size.strengths)]
        shots = random.Random(task)
        self.shots = " ".join(shots.choices(WORDS, k=PROMPT // 4))[:PROMPT]
        self.prompts = [f"{self.shots}\nQuestion {number}: how many are left?" for number in range(size.documents)]
        self.asked = [digest([prompt]) for prompt in self.prompts]

    def write(self) -> None:
        known = [self.draw.random() for _ in self.prompts]  # how hard a document is
        answers = {0.0: self._answers(random.Random(f"{self.child} {self.task}"), known, 0.5)}
        answers |= {alpha: self._answers(self.draw, known, self.draw.uniform(0.3, 0.55)) for alpha in self.alphas}
        best = max(self.alphas, key=lambda alpha: sum(right for right, _ in answers[alpha]))
        arms: dict[str, tuple[Any, float]] = {
            "baseline": (0, 0.0), "best": (best, best), "vote": (self.alphas, self.alphas[0])
        }  # fmt: skip
        test = {name: self._arm(name, alpha, answers[of]) for name, (alpha, of) in arms.items()}
        self._record(answers)
        scores = {alpha_name(alpha): sum(right for right, _ in told) / len(told) for alpha, told in answers.items()}
        validation: dict[str, Any] = {"task": f"{self.task}_val", "kind": "twin", "n": self.size.documents}
        validation |= {"metric": "exact_match,strict", "higher_is_better": True}
        validation |= {"scores": {"vector": scores}, "best": {"vector": best}}
        share = {"alphas": self.alphas, "seconds": 60.0, "new": len(self.prompts) * len(answers), "doses": {}}
        log = {"seconds": 60.0, "new": share["new"], "contenders": {"vector": share}}
        passes = {name: {"task": name} | log for name in (f"{self.task}_val", self.task)}
        found = {"validation": validation, "test": test, "refused": {}, "passes": passes}
        content = {"version": VERSION, "complete": True, "settings": {}, "tasks": {self.task: found}}
        (self.folder / "sweep.json").write_text(json.dumps(content))

    def _answers(self, draw: random.Random, known: list[float], accuracy: float) -> list[tuple[bool, str]]:
        found = []
        for hard in known:
            right = (draw.random() + hard) / 2 < accuracy
            text = " ".join(draw.choices(WORDS, k=RESPONSE // 4))[:RESPONSE]
            found.append((right, f" {text}. The answer is {2 if right else 7}."))
        return found

    def _arm(self, name: str, alpha: Any, answers: list[tuple[bool, str]]) -> dict[str, Any]:
        place = self.folder / "arms" / self.task / name / "child"
        place.mkdir(parents=True, exist_ok=True)
        steering = {"alpha": alpha, "unit": "alpha", "vector": digest([self.parent]), "weights": digest([self.child])}
        steering |= {"transfer": {"parent": self.parent}, "control": None, "settings": self._settings(alpha)}
        arguments = {"pretrained": self.child, "vectors": f"{Path(self.parent).name}.pt", "alpha": alpha}
        score = sum(right for right, _ in answers) / len(answers)
        content = {
            "config": {"model": "steered-hf", "model_args": arguments, "model_dtype": "float32", "steering": steering},
            "configs": {self.task: {"task": self.task, "metric_list": [{"metric": "exact_match"}]}},
            "results": {self.task: {"alias": self.task, "exact_match,strict": score}},
            "n-samples": {self.task: {"original": len(answers), "effective": len(answers)}},
            "n-shot": {self.task: 5},
            "versions": {self.task: 1},
            "higher_is_better": {self.task: {"exact_match": True}},
            "model_name": self.child,
        }
        stamp = "2026-01-01T00-00-00.000000"
        result = place / f"results_{stamp}.json"
        result.write_text(json.dumps(content))
        with (place / f"samples_{self.task}_{stamp}.jsonl").open("w") as file:
            for number, (right, text) in enumerate(answers):
                file.write(json.dumps(self._sample(number, right, text)) + "\n")
        size = len(alpha) if isinstance(alpha, list) else 1
        return {
            **{"role": name, "control": None, "seed": None, "alpha": alpha, "metric": "exact_match,strict"},
            **{"result": result.relative_to(self.folder).as_posix(), "n": len(answers), "tokens": 70 * len(answers)},
            **{"responses": size * len(answers), "skipped": 0},
        }

    def _sample(self, number: int, right: bool, text: str) -> dict[str, Any]:
        return {
            "doc_id": number, "doc": {"question": f"Question {number}: how many are left?", "answer": "2"},
            "target": "2", "arguments": {"gen_args_0": {"arg_0": self.prompts[number], "arg_1": {"until": ["\n"]}}},
            "resps": [[text]], "filtered_resps": ["2" if right else "7"], "filter": "strict",
            "metrics": ["exact_match"], "doc_hash": hashlib.sha256(f"{self.task} {number}".encode()).hexdigest(),
            "prompt_hash": self.asked[number], "target_hash": digest(["2"]), "exact_match": float(right),
        }  # fmt: skip

    def _settings(self, alpha: Any) -> list[str]:
        return [digest(self._content(one)) for one in (alpha if isinstance(alpha, list) else [alpha])]

    def _content(self, alpha: float) -> dict[str, Any]:
        return {"model": self.child, "vector": self.parent if alpha else "", "alpha": float(alpha)}

    def _record(self, answers: dict[float, list[tuple[bool, str]]]) -> None:
        place = self.folder / "record"
        place.mkdir(exist_ok=True)
        with (place / f"{self.task}.rank0.jsonl").open("wb") as file:
            for alpha in answers:
                header = {"version": RECORD, "kind": "settings", "settings": self._settings(alpha)[0]}
                file.write(encode(header | {"content": self._content(alpha)}))
            file.writelines(encode(to_json(line)) for line in self._lines(answers))

    def _lines(self, answers: dict[float, list[tuple[bool, str]]]) -> Iterator[Line]:
        for alpha, told in answers.items():
            (settings,) = self._settings(alpha)
            for number, (right, text) in enumerate(told):
                yield Line(
                    fingerprint=digest([settings, self.task, number]), settings=settings, kind="generation",
                    task=self.task, doc_id=number, repeat=0, prompt=self.asked[number], alpha=float(alpha), variant="",
                    response=text, scores=None, answer="2" if right else "7", tokens=70, logprob=-1.0, stop="eos",
                    time=0.0, seconds=0.0,
                )  # fmt: skip


def measure(*command: str) -> tuple[float, float, float]:
    """Seconds of the processors, of the clock, and GiB that the command takes at most."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lm_eval_steer.cli", *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"lm-eval-steer {' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("parents", 3), ("children", 7), ("tasks", 3), ("documents", 1319), ("strengths", 18)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--sizes", default="1,2,4")
    args = parser.parse_args()
    for factor in map(int, args.sizes.split(",")):
        size = Size(args.parents, args.children * factor, args.tasks, args.documents, args.strengths)
        folder = args.folder / f"x{factor}"
        responses = write_grid(folder, size)
        sweeps = size.parents * size.children * size.tasks
        print(f"{sweeps} sweeps, {responses:,} responses", flush=True)
        page = args.folder / f"x{factor}.html"
        for name, command in (
            ("leaderboard", ("leaderboard", str(folder), "--format", "json")),
            ("report", ("report", str(folder), "--out", str(page))),
        ):
            processors, clock, memory = measure(*command)
            print(f"  {name}: {processors:.1f} s of the processors, {clock:.1f} s, {memory:.2f} GiB", flush=True)
        print(f"  page: {page.stat().st_size / 2**20:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
