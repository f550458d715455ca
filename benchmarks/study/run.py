"""The study of docs/RESULTS.md, by the product's own commands: vectors, maps, then a sweep per child and task.

    make test-vllm  # or any environment with steered-vllm
    .venv-vllm/bin/python benchmarks/study/run.py --print
    .venv-vllm/bin/python benchmarks/study/run.py --folder study

Every command is shown before it is run, and none is run twice: a vector that is shipped or lies there is taken as it
is (`--anew` makes those that are shipped again), and a sweep goes on where it stopped. `--only` takes parts of the
names of cells, `CHILD/TASK`, and runs these and what they need. On a lent GPU without vLLM:

    python benchmarks/study/run.py --folder study --engine steered-hf --device cuda
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cells import CELLS, REGIMES, SHORT, TEXTS, Cell, Regime

SHIPPED = Path("vectors")

ENGINES = {"steered-vllm": ("max_model_len=2048,block_size=32", ()), "steered-hf": ("", ("--batch_size", "512"))}
"""Arguments of the model, and of the sweep. vLLM: a question is asked at every strength, which differs in its last
token alone, and small blocks share all before it. steered-hf: a GPU takes as long for few rows as for many."""


class Study:
    """Where it lies, and what is still to be done."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder, self.models, self.show, self.anew = args.folder, args.models, args.print, args.anew
        self.engine, self.device = args.engine, args.device

    def run(self, cell: Cell) -> None:
        """All that a cell needs, then its sweep."""
        regime = REGIMES[cell.task]
        arms = {"own": self.vector(cell.child, regime)}
        for parent in cell.parents:
            arms[SHORT[parent]] = self.carried(parent, cell.child, regime, "procrustes")
            if parent in cell.ridge:
                arms[f"{SHORT[parent]}-ridge"] = self.carried(parent, cell.child, regime, "ridge")
        if cell.parents:
            first = cell.parents[0]
            arms["cut"] = self.vector(first, regime)
            for seed in range(1, cell.shuffled + 1):
                arms[f"{SHORT[first]}-shuffled-{seed}"] = self.carried(first, cell.child, regime, "procrustes", seed)
        of_model, of_sweep = ENGINES[self.engine]
        given = [f"pretrained={self.model(cell.child)}", "dtype=bfloat16", of_model, f"tokens={regime.tokens}"]
        self.command(
            *("sweep", "--model", self.engine, "--tasks", cell.task),
            *("--model_args", ",".join(filter(None, given)), *of_sweep),
            *(("--device", self.device) if self.device else ()),
            *("--arms", ",".join(f"{name}={file}" for name, file in arms.items()), *cell.others),
            *("--dose", json.dumps(cell.doses), "--votes", cell.votes),
            *(("--controls", cell.controls) if cell.controls else ()),
            *("--limit", str(cell.documents[0]), "--val_limit", str(cell.documents[1]), *regime.harness),
            *(("--cost",) if cell.cost else ()),
            *("--output_path", str(self.folder / "sweeps" / cell.file)),
        )

    def model(self, name: str) -> Path:
        """Its folder."""
        folder = self.models / name
        if not (folder / "config.json").exists():
            self.command("model", name, str(folder))
        return folder

    def vector(self, parent: str, regime: Regime) -> Path:
        """A parent's own."""
        out = self.place(f"{parent}_{regime.concept.removesuffix('_steer')}")
        if not out.exists():
            given = f"pretrained={self.model(parent)},dtype=bfloat16"
            task = ("--task", regime.concept, *regime.extract)
            self.command("extract", "--model_args", given, *task, "--out", str(out))
        return out

    def carried(self, parent: str, child: str, regime: Regime, width_map: str, seed: int | None = None) -> Path:
        """A parent's in the child's space; with a seed, by a map of texts paired at random."""
        vector = self.vector(parent, regime)
        control = "" if seed is None else f".map-shuffled-{seed}"
        way = "" if width_map == "procrustes" else f"_by_{width_map}"
        out = self.place(f"{vector.name.removesuffix('.safetensors')}_for_{child}{way}{control}")
        if not out.exists():
            self.command(
                *("transfer", str(vector), "--parent_args", f"pretrained={self.model(parent)},dtype=bfloat16"),
                *("--child_args", f"pretrained={self.model(child)},dtype=bfloat16", "--task", regime.texts),
                *("--n", str(TEXTS), "--width_map", width_map, "--cache", str(self.folder / "states")),
                *(() if seed is None else ("--shuffle_texts", str(seed))),
                *("--out", str(out)),
            )
        return out

    def place(self, name: str) -> Path:
        """Where a vector lies, or will."""
        shipped = SHIPPED / f"{name}.safetensors"
        return shipped if shipped.exists() and not self.anew else self.folder / "vectors" / shipped.name

    def command(self, *words: str) -> None:
        """Show a command of the product, and run it."""
        print(f"$ lm-eval-steer {shlex.join(words)}", flush=True)
        if not self.show:
            subprocess.run([sys.executable, "-m", "lm_eval_steer.cli", *words], check=True)


def wanted(only: list[str]) -> Iterator[Cell]:
    """The cells whose name holds one of the words."""
    for cell in CELLS:
        if not only or any(word in cell.name for word in only):
            yield cell


def main() -> None:
    """Run the study, or what is left of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("study"), help="where all of it goes (default: study)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="where models lie (default: models)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="cells whose CHILD/TASK holds one of these"
    )
    parser.add_argument("--print", action="store_true", help="show the commands, and run none")
    parser.add_argument("--anew", action="store_true", help="make vectors again that are shipped")
    parser.add_argument("--engine", choices=ENGINES, default="steered-vllm", help="of sweeps (default: steered-vllm)")
    parser.add_argument("--device", help="of sweeps, as for lm_eval")
    args = parser.parse_args()
    study = Study(args)
    for cell in wanted(args.only):
        study.run(cell)


if __name__ == "__main__":
    main()
