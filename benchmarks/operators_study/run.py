"""The comparison of operators and sites in docs/RESULTS.md: what each does to a concept at one measured cost.

    python benchmarks/operators_study/run.py --folder operators

reads the child's own vector of each concept, as `lm-eval-steer extract --method mean --n 64` does, and
measures one cell after the other: the strengths from the least on, each twice the one before, until unrelated text is
0.1 nats per token less likely; between the last two lies the strength at that price, at which test rows are asked. So
no test row chooses a strength, and a random direction may be as strong as its own cost allows. Of the vector, a
quarter, half and twice of it are asked, too.

Every measurement is a line of `measured.jsonl`, and none is made twice: started again, it goes on. `--only` takes parts
of the names of cells, CHILD/CONCEPT/SITE/OPERATOR.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from plan import CELLS, CONCEPTS, COST, GENTLE, OWN, ROWS, SHARES, WAYS, Cell
from prices import one_that_costs, round_off
from summary import read_measured

from lm_eval_steer import plugin
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.extract import extract
from lm_eval_steer.extraction.source import load_source
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sweep.cost_texts import halve

TEXTS = Path(__file__).parent / "texts.jsonl"
Numbers = list[float]

HARDIER = 8
"""How much larger a random direction's first strength is."""

LEAST = 2
"""Strengths that are asked of an operator whose smallest one may cost more than larger ones."""

CLOSER, NEAR = 4, 0.1
"""How often a strength is sought between two others, unless it costs the price to this share of it."""


class Child:
    """A model, with the texts and the tasks that it is asked."""

    def __init__(self, folder: Path) -> None:
        self.lm = SteeredHF(pretrained=str(folder), dtype="float32", batch_size=64, alpha=0)
        texts = [json.loads(line)["text"] for line in TEXTS.read_text(encoding="utf-8").splitlines()]
        self.texts = [
            Instance("loglikelihood", {}, halve(text), 0, ("texts", number, 1)) for number, text in enumerate(texts)
        ]
        self.tokens = [self.lm.count_continuation(*one.args) for one in self.texts]

    @cached_property
    def manager(self) -> TaskManager:
        """Of the tasks."""
        return TaskManager(include_path=str(importlib.resources.files("lm_eval_steer.tasks")), include_defaults=False)

    def task(self, concept: str) -> Any:
        """The task of a concept, with its requests."""
        task = self.manager.load([CONCEPTS[concept]])["tasks"][CONCEPTS[concept]]
        task.build_all_requests(limit=ROWS[concept])
        return task

    def costs(self) -> Numbers:
        """Negative log-likelihood of each text, in nats per token."""
        scores = self.lm.loglikelihood(self.texts, disable_tqdm=True)
        return [-score / tokens for (score, _), tokens in zip(scores, self.tokens, strict=True)]

    def log_odds(self, task: Any) -> Numbers:
        """Of each document, in nats."""
        scores = self.lm.loglikelihood(task.instances, disable_tqdm=True)
        asked: dict[int, tuple[Any, list[tuple[float, bool]]]] = {}
        for request, score in zip(task.instances, scores, strict=True):
            asked.setdefault(request.doc_id, (request.doc, []))[1].append(score)
        return [task.process_results(*asked[number])["log_odds"] for number in sorted(asked)]


class Study:
    """What was measured, and what is still to be."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder, self.models = folder, models
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "measured.jsonl"
        self.known = {key_of(line): line for line in read_measured(self.file)}
        self._child: tuple[str, Child] | None = None
        self._task: tuple[tuple[str, str], Any] | None = None

    def run(self, cell: Cell, whose: str) -> None:
        """All of a cell and its vector, or one of its random directions."""
        way = WAYS[cell.way]
        middle = self.strength_at(COST, cell, whose)
        for share in (1.0, *SHARES) if whose == OWN else (1.0,):
            strength = round_off(share * middle)
            if way.most is None or strength <= way.most:
                self.measure(cell, whose, strength, "log_odds")

    def strength_at(self, price: float, cell: Cell, whose: str) -> float:
        """The strength at which text costs a price, or the nearest to it that there is.

        The cheapest where all that were asked cost more, the largest where all cost less.
        """
        way = WAYS[cell.way]
        least = way.least
        if way.most is None:
            least *= GENTLE.get(cell.child, 1.0) * (1 if whose == OWN else HARDIER)
        strength = round_off(least)
        paid: dict[float, float] = {}
        while way.most is None or strength <= way.most:
            paid[strength] = self.measure(cell, whose, strength, "cost")
            if paid[strength] > price and (not way.sets or len(paid) > LEAST):
                break
            strength = round_off(2 * strength)
        for _ in range(CLOSER):
            strength = one_that_costs(price, paid)
            if strength not in paid:
                paid[strength] = self.measure(cell, whose, strength, "cost")
            if abs(paid[strength] - price) < NEAR * price:
                break
        return strength

    def measure(self, cell: Cell, whose: str, strength: float, *wanted: str) -> float:
        """Have what is wanted in the file, `cost` always; returns the cost."""
        plain = self.ask(Cell(cell.child, cell.concept, "", ""), "", 0.0, wanted, {})
        given = {"vectors": str(self.vector(cell)), WAYS[cell.way].strength: strength, **WAYS[cell.way].arguments}
        given |= {} if whose == OWN else {"control": whose}
        given |= {} if cell.site == "block" else {"site": cell.site}
        line = self.ask(cell, whose, strength, wanted, given)
        rises = [after - before for before, after in zip(plain["cost"], line["cost"], strict=True)]
        return sum(rises) / len(rises)

    def ask(
        self, cell: Cell, whose: str, strength: float, wanted: tuple[str, ...], given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The line of a measurement, which is made where it is not known."""
        key = {"cell": cell.name, "whose": whose, "strength": strength}
        line = self.known.get(key_of(key), key)
        if "cost" in line and all(name in line for name in wanted):
            return line
        child, begin = self.child(cell.child), time.process_time()
        child.lm.steer(SteeringPlan.build(**(given or {"alpha": 0})))
        if "cost" not in line:
            line = line | {"cost": child.costs()}
        if "log_odds" in wanted:
            task = self.task(cell)
            docs = {one.doc_id: one.doc for one in task.instances}
            line = line | {"log_odds": child.log_odds(task), "words": [docs[one]["positive"] for one in sorted(docs)]}
        line = line | {"seconds": round(line.get("seconds", 0) + time.process_time() - begin, 2)}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.known[key_of(key)] = line
        told = f"{sum(line['log_odds']) / len(line['log_odds']):+.2f} nats" if "log_odds" in line else ""
        print(cell.name, whose, strength, f"{sum(line['cost']) / len(line['cost']):.3f}", told, flush=True)
        return line

    def child(self, name: str) -> Child:
        """A model, one at a time."""
        if self._child is None or self._child[0] != name:
            self._child = None
            self._child = name, Child(self.models / name)
        return self._child[1]

    def task(self, cell: Cell) -> Any:
        """A task, one at a time."""
        key = cell.child, cell.concept
        if self._task is None or self._task[0] != key:
            self._task = key, self.child(cell.child).task(cell.concept)
        return self._task[1]

    def vector(self, cell: Cell) -> Path:
        """The child's own."""
        out = self.folder / "vectors" / f"{cell.child}_{cell.concept}_{cell.read}.safetensors"
        if not out.exists():
            asked = ExtractionArgs(task=CONCEPTS[cell.concept], method="mean", n=64, site=cell.read)
            child = self.child(cell.child)
            child.lm.steer(SteeringPlan.build(alpha=0))
            extract(asked, load_source(asked), child.lm).save(out)
        return out


def key_of(line: Mapping[str, Any]) -> tuple[str, str, float]:
    """What a line is about."""
    return line["cell"], line["whose"], line["strength"]


def main() -> None:
    """Run the study, or what is left of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("operators"), help="where all goes (default: operators)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="where models lie (default: models)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="cells whose name holds one of these")
    args = parser.parse_args()
    plugin.install(force=True)
    study = Study(args.folder, args.models)
    cells = [cell for cell in CELLS if any(word in cell.name for word in args.only)]
    for cell in cells:
        study.run(cell, OWN)
    for cell in cells:
        for control in WAYS[cell.way].controls:
            study.run(cell, control)


if __name__ == "__main__":
    main()
