"""What does another version of lm_eval_steer/answers/ read in the same responses?

    lm_eval --model hf --model_args pretrained=models/smollm2 --tasks arith_steer --log_samples --output_path runs
    python benchmarks/answers.py runs/*/samples_*.jsonl --before v0.1.0

takes the sample files of the harness, reads
every response with the readers of the git revision `--before` and with those that are installed, and prints the scores
and every response whose answer differs. Responses are read alone, without their prompts.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

READ = """
import json, sys
from lm_eval_steer import answers
for line in sys.stdin:
    name, response, labels, texts = json.loads(line)
    arguments = (labels, texts) if name == "arc_answer" else ()
    print(json.dumps(getattr(answers, name)(response, *arguments)), flush=True)
"""


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="+", type=Path, help="samples_<task>_<date>.jsonl")
    parser.add_argument("--before", default="HEAD", help="a git revision of this repository")
    parser.add_argument("--tail", type=int, default=240, help="characters of a response's end that are shown")
    return parser.parse_args()


def question(sample: dict[str, Any]) -> list[Any]:
    """What a reader is asked: its name, the response, and the options where the document has some."""
    doc = sample["doc"]
    name = "arc_answer" if "labels" in doc else "math_answer" if "problem" in doc else "gsm8k_answer"
    return [name, sample["resps"][0][0], doc.get("labels"), doc.get("texts")]


def read(samples: list[dict[str, Any]], package: Path | None) -> list[str | None]:
    """The answers by the readers of `package`, a folder that holds lm_eval_steer; by the installed ones without it."""
    asked = "".join(json.dumps(question(sample)) + "\n" for sample in samples)
    environment = dict(os.environ) | ({"PYTHONPATH": str(package)} if package else {})
    out = subprocess.run(
        [sys.executable, "-c", READ], input=asked, capture_output=True, text=True, check=True, env=environment
    )
    return [json.loads(line) for line in out.stdout.splitlines()]


def main() -> None:
    """Print what changes."""
    args = read_arguments()
    archive = subprocess.run(["git", "archive", args.before, "lm_eval_steer"], capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        for path in args.samples:
            samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            before, after = read(samples, Path(folder)), read(samples, None)
            golds = [str(sample["target"]) for sample in samples]
            right = [sum(map(str.__eq__, golds, map(str, answers))) for answers in (before, after)]
            changed = [place for place in range(len(samples)) if before[place] != after[place]]
            print(
                f"{path.name}: {len(samples)} responses, right {right[0]} -> {right[1]}, {len(changed)} read otherwise"
            )
            for place in changed:
                tail = samples[place]["resps"][0][0][-args.tail :]
                doc = samples[place]["doc_id"]
                print(f"  doc {doc}: gold {golds[place]}, before {before[place]}, after {after[place]}\n    …{tail!r}")


if __name__ == "__main__":
    main()
