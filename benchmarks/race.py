"""What `sweep --search race` saves, and what it costs in the choice: simulated on the responses that sweeps recorded.

For every contender of every task, documents are drawn anew from those that were asked at all strengths (validation, and
test where a vote asked for all strengths there), as many as the sweep had for validation, and both searches choose on
them. The true score of a strength is that on all its documents. With --strengths, as many are put evenly between those
that were recorded: such a one answers each document as one of its two neighbours did, drawn anew each time, the nearer
one more often.

python benchmarks/race.py SWEEP... [--strengths N] [--documents N] [--resamples 1000] [--error 0.05] [--seed 0]

SWEEP is what `lm-eval-steer sweep --output_path` named, of a full search on validation twins.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from lm_eval.tasks import TaskManager

from lm_eval_steer import plugin
from lm_eval_steer.axis.record import Line, read_lines
from lm_eval_steer.compare.stats.race import ERROR, Race
from lm_eval_steer.compare.sweep_file import read_sweep
from lm_eval_steer.sweep.score import Scorer
from lm_eval_steer.sweep.tasks import build

NEAR = 0.005
"""How far below the full search's choice that of a race may be: half a point."""


@dataclass(frozen=True)
class Recorded:
    """What a contender reached.

    Attributes:
        name: sweep, task and contender.
        scores: [strengths, documents], the higher the better.
        tokens: [strengths, documents], generated; 1 where options are scored.
        documents: of a validation.
    """

    name: str
    scores: np.ndarray
    tokens: np.ndarray
    documents: int


@dataclass(frozen=True)
class Outcome:
    """What a simulation came to.

    Attributes:
        near: share of the resamplings in which the race's choice is at most `NEAR` below the full search's.
        same: share in which both choose the same strength.
        responses: mean share of the responses that a race leaves out.
        tokens: mean share of the new tokens, likewise.
    """

    near: float
    same: float
    responses: float
    tokens: float


def simulate(one: Recorded, strengths: int, resamples: int, error: float, seed: int) -> Outcome:
    """Race the strengths of a contender on documents that are drawn with replacement."""
    recorded, documents = one.scores.shape
    places = np.linspace(0, recorded - 1, strengths)
    below = np.minimum(places.astype(int), recorded - 2)
    share = (places - below)[:, None]
    rng, means = np.random.default_rng(seed), one.scores.mean(axis=1)
    truth = means[below] + share[:, 0] * (means[below + 1] - means[below])
    found = []
    for _ in range(resamples):
        drawn = rng.integers(0, documents, one.documents)
        told = (below[:, None] + (rng.random((strengths, one.documents)) < share), drawn)
        scores, tokens = one.scores[told], one.tokens[told]
        race = Race(len(scores), one.documents, error)
        for size in race.rounds:
            if race.is_open:
                race.judge(scores[race.left, :size])
        full = int(scores.mean(axis=1).argmax())
        raced = race.left[int(scores[race.left, : max(race.documents)].mean(axis=1).argmax())]
        read = sum(row[:n].sum() for row, n in zip(tokens, race.documents, strict=True))
        left_out = 1 - sum(race.documents) / scores.size, 1 - read / tokens.sum()
        found.append((truth[raced] >= truth[full] - NEAR, raced == full, *left_out))
    return Outcome(*map(float, np.mean(found, axis=0)))


def read(folder: Path) -> Iterator[Recorded]:
    """What the contenders of a sweep reached."""
    state = read_sweep(folder / "sweep.json")
    manager = TaskManager(include_path=state["settings"]["include_path"])
    for name, task in state["tasks"].items():
        validation = task["validation"]
        if validation["task"] not in manager.all_subtasks or "documents" in validation:
            print(f"{folder}: {name} had no full search on a twin, and is left out")
            continue
        sign = 1 if validation["higher_is_better"] else -1
        parts = [
            Part(part, validation["metric"], list(read_lines(folder / "record", part)), manager)
            for part in (validation["task"], name)
        ]
        for contender, scores in validation["scores"].items():
            alphas = {float(alpha): score for alpha, score in scores.items() if float(alpha)}
            settings = parts[0].find(alphas, contender) if contender in validation["best"] else []
            whole = [part for part in parts if len(settings) > 1 and part.has(settings)]
            if whole:
                values = np.hstack([part.table(part.scores, settings) for part in whole])
                tokens = np.hstack([part.table(part.tokens, settings) for part in whole])
                yield Recorded(f"{folder.name}, {name}, {contender}", sign * values, tokens, validation["n"])


class Part:
    """What was answered to a task, scored by document; of templates, which change prompts, nothing need be known."""

    def __init__(self, task: str, metric: str, lines: list[Line], manager: TaskManager) -> None:
        scorer = Scorer(build(task, manager, None, None, False), metric)
        prompts = {document: prompt for document, prompt, _ in scorer._places}
        self.first: dict[str, Line] = {}
        self.tokens: dict[str, dict[int, float]] = {}
        for line in lines:
            scorer.add(replace(line, prompt=prompts[line.doc_id]))
            self.first.setdefault(line.settings, line)
            self.tokens.setdefault(line.settings, {})[line.doc_id] = 1 if line.tokens is None else line.tokens
        scorer.settle()
        self.scores = {
            settings: {document: float(found[metric]) for document, found in answers.metrics.items()}
            for settings, answers in scorer.variants.items()
        }

    def find(self, alphas: Mapping[float, float | None], contender: str) -> list[str]:
        """The settings of a contender's strengths: those of its control that have the score which the sweep found."""
        control = contender.split()[-1] if ":" in contender or contender.split()[-1] in ("negated", "shuffled") else ""
        found = []
        for alpha, score in alphas.items():
            found += [
                settings
                for settings, line in self.first.items()
                if (line.alpha, line.variant) == (alpha, control)
                and abs(float(np.mean(list(self.scores[settings].values()))) - (score or 0)) < 1e-9
            ][:1]
        return found if len(found) == len(alphas) else []

    def has(self, settings: list[str]) -> bool:
        """Whether all of these answered the same documents."""
        return len({tuple(sorted(self.scores.get(one, ()))) for one in settings}) == 1 and settings[0] in self.scores

    def table(self, of: Mapping[str, Mapping[int, float]], settings: list[str]) -> np.ndarray:
        """[settings, documents]."""
        return np.array([[of[one][document] for document in sorted(self.scores[one])] for one in settings])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP")
    parser.add_argument("--strengths", type=int, help="between those that were recorded (default: these)")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--error", type=float, default=ERROR)
    parser.add_argument("--documents", type=int, help="of a validation (default: as many as the sweep had)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    plugin.install(force=True)
    columns = ("strengths", "documents", "at most half a point below", "same choice", "responses", "tokens left out")
    print("sweep, task, contender", *columns, sep=" | ")
    for folder in args.sweeps:
        for one in read(folder):
            one = replace(one, documents=args.documents or one.documents)
            strengths = args.strengths or len(one.scores)
            found = simulate(one, strengths, args.resamples, args.error, args.seed)
            shares = " | ".join(f"{share:.1%}" for share in (found.near, found.same, found.responses, found.tokens))
            print(f"{one.name} | {strengths} | {one.documents} of {one.scores.shape[1]} | {shares}", flush=True)


if __name__ == "__main__":
    main()
