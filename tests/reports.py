"""A sweep with its record, of outcomes that a test knows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from runs import write_record, write_sweep

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>\"'`{{ 7*7 }}<!--"
    "\u2028\u2029\u202e\x00\x1b]0;t\x07\ud800&lt;&#60;]]>"
)
WRITTEN = HOSTILE.replace("\ud800", "")
"""The harness cannot write a lone surrogate; a record can."""

ALPHAS = [0.25, 0.5, 1.0]
SCORES = {"0.25": 0.5, "0.5": 0.6, "1": 0.4}
"""On 20 validation rows."""


def is_right(arm: str, number: int) -> bool:
    """Which documents are right, by the arm's name or its strength."""
    every = {"baseline": 2, "0.25": 2, "0.5": 3, "1.0": 5, "vote": 4, "random": 2}[arm]
    return number % every == 0


def said(arm: str, number: int) -> tuple[str, str]:
    """Response and answer: the target of all documents is 2."""
    answer = "2" if is_right(arm, number) else "7"
    return f" Document {number} asks for a sum, says {arm}. The answer is {answer}.", answer


def write(folder: Path, n: int = 12, record: bool = True, **options: Any) -> Path:
    """Write a sweep of three strengths and one random vector."""
    arms: dict[str, tuple[Any, str]] = {"baseline": (0, "baseline"), "best": (0.5, "0.5"), "vote": (ALPHAS, "vote")}
    arms |= {"random:1 best": (0.25, "random"), "random:1 vote": (ALPHAS, "random")}
    scores = {arm: (alpha, [float(is_right(kind, i)) for i in range(n)]) for arm, (alpha, kind) in arms.items()}
    doses = {str(alpha): {"0": {"positions": 9, "dose": alpha / 50, "survival": 0.9}} for alpha in ALPHAS}
    found = {"n": 20, "scores": {"vector": {"0": 0.5} | SCORES, "random:1": SCORES}}
    state = {"tasks": {"toy": {"validation": found}}}
    path = write_sweep(folder, scores, state=state, **options)
    for name, (_, kind) in arms.items():
        _say(folder, name, [said(kind, i) for i in range(n)], doses)
    if record:
        lines = {("", 0.0): [said("baseline", i) for i in range(n)]}
        lines |= {("", alpha): [said(str(alpha), i) for i in range(n)] for alpha in ALPHAS}
        lines |= {("random:1", alpha): [said("random", i) for i in range(n)] for alpha in ALPHAS}
        write_record(folder / "record", lines)
    return path


def _say(folder: Path, arm: str, answers: list[tuple[str, str]], doses: dict[str, Any]) -> None:
    """Put responses and doses into the files of an arm."""
    place = folder / "arms" / "toy" / arm.replace(":", "-").replace(" ", "_")
    (samples,) = place.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    for row in rows:
        text, answer = answers[row["doc_id"]]
        row |= {"resps": [[text]], "filtered_resps": [answer]}
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (result,) = place.rglob("results_*.json")
    content = json.loads(result.read_text())
    if arm == "vote":
        content["config"]["steering"]["doses"] = doses
        result.write_text(json.dumps(content))


def write_large(folder: Path, n: int = 1000, strengths: int = 19, length: int = 500) -> None:
    """A sweep whose responses are random words, all different: the hardest to make small."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(2000)]
    alphas = [round(0.05 * (i + 1), 2) for i in range(strengths)]

    def text() -> str:
        return " ".join(draw.choices(vocabulary, k=length // 6))[:length]

    answers = {alpha: [(text(), draw.choice("27")) for _ in range(n)] for alpha in (0.0, *alphas)}
    scores = {alpha: [float(answer == "2") for _, answer in found] for alpha, found in answers.items()}
    best, last = alphas[3], alphas[-1]
    arms = {"baseline": (0, 0.0), "best": (best, best), "vote": (alphas, last)}
    write_sweep(folder, {arm: (alpha, scores[of]) for arm, (alpha, of) in arms.items()})
    for arm, (_, of) in arms.items():
        _say(folder, arm, answers[of], {})
    write_record(folder / "record", {("", alpha): found for alpha, found in answers.items()})


def write_hostile(folder: Path) -> Path:
    """A sweep in which every name and every text that others wrote is an attack."""
    n = 3
    child = "org/</title><script>hacked=3</script><img src=x onerror=hacked=4>"
    passport = {"name": "<b>" + WRITTEN, "blocks": [{"block": 0, "<i>": "<img src=x>"}]}
    patch = {"config": {"steering": {"passport": passport, "transfer": {"parent": "<u>parent</u>"}}}}
    arms: dict[str, Any] = {
        "baseline": (0, [0.0] * n),
        "best": (0.5, [1.0] * n),
        "vote": ([0.25, 0.5], [0.0, 1.0, 1.0]),
    }
    options: dict[str, Any] = {"child": child, "patch": patch, "docs": [{"question": WRITTEN, "<k>": WRITTEN}] * n}
    write_sweep(folder, arms, responses=[WRITTEN, "", "x" * 300_000], **options)
    write_record(
        folder / "record", {("", alpha): [(f"{HOSTILE} {alpha}", HOSTILE)] * n for alpha in (0.25, 0.5)}, child=child
    )
    return folder
