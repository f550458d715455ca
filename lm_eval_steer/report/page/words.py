"""Verdicts as sentences, for a reader who reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.compare.rows import BEST, BETTER_THAN_RIVAL, PER_LAYER, VOTE, WORSE_THAN_RIVAL, Row
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.stats import (
    BETTER,
    BETTER_THAN_SHUFFLED,
    HELPS,
    HURTS,
    NO_EVIDENCE,
    WORSE_THAN_SHUFFLED,
)
from lm_eval_steer.compare.text_costs import show_text_cost
from lm_eval_steer.report.tables.beside import tell_beside
from lm_eval_steer.report.tables.entries import bounds, word
from lm_eval_steer.report.tables.flat import is_share, points, show, strength

MARKS = {
    **dict.fromkeys((HELPS, BETTER, BETTER_THAN_SHUFFLED, BETTER_THAN_RIVAL), ("▲", "good")),
    **dict.fromkeys((HURTS, WORSE_THAN_SHUFFLED, WORSE_THAN_RIVAL), ("▼", "bad")),
    NO_EVIDENCE: ("○", "none"),
}
"""Verdict -> a sign beside it, so that colour is not all that tells them apart, and its class in the style sheet."""


_SHUFFLED = {BETTER_THAN_SHUFFLED: "scores better than", WORSE_THAN_SHUFFLED: "scores worse than"}


@dataclass(frozen=True)
class Told:
    """A row in words.

    Attributes:
        word: the verdict: `helps`, `hurts`, `no evidence at this n`, or why there is none; empty where nothing steers.
        head: the sentence that matters.
        more: the sentences that hold it up.
    """

    word: str
    head: str
    more: list[str]


def name_row(row: Row, names: Mapping[str, str]) -> list[str]:
    """What tells a row from the others."""
    parts = [row.group.name, names[row.child], *([row.vector] if row.vector != "-" else [])]
    if row.is_sweep or row.main is None:
        return parts
    run = row.runs[row.main]
    return [*parts, row.main.name if len(run.alphas) > 1 else strength(run)]


def tell(row: Row, names: Mapping[str, str]) -> Told:
    """What a row says."""
    place = f"{names[row.child]} on {row.group.name}"
    arm = row.main
    if arm is None:
        return Told("", f"{place} without steering: {_score(row.any_run, row)}.", [])
    if arm.other is not None:
        others = [sentence for one in row.runs for sentence in (_arm(row, one), *tell_beside(row, one))]
        return Told("", f"{place} without steering, by prompts, shots or models: {_score(row.any_run, row)}.", others)
    said = word(row, arm)
    head = {
        HELPS: f"Steering helps {place}.",
        HURTS: f"Steering hurts {place}.",
        NO_EVIDENCE: f"No evidence that steering changes {place}.",
    }.get(said, f"No verdict on {place}: {said}.")
    told = dict.fromkeys([arm, *(a for a in (VOTE, PER_LAYER) if a in row.runs), *(a for a in row.runs if a.other)])
    more = [sentence for one in told for sentence in (_arm(row, one), *tell_beside(row, one), *_cost(row, one))]
    for one, found in row.random.items():
        better = "scores better than" if found.word == BETTER else "cannot be told from"
        more.append(f"{_vector(one)} {better} random directions of the same length.")
    for one, against in row.shuffled.items():
        as_known = _SHUFFLED.get(against.word, "cannot be told from")
        ends = (
            ""
            if against.word in _SHUFFLED
            else (": it carries nothing of the concept that these documents could show, whatever it does to the score")
        )
        more.append(f"{_vector(one)} {as_known} what a map of texts paired at random makes of the same concept{ends}.")
    more += [sentence for one in row.rivals for sentence in _rivals(row, one)]
    if row.vector != "-":
        more.append(f"Vector {row.vector} from {names[row.parent]}.")
    return Told(said, head, more)


def _rivals(row: Row, arm: Arm) -> list[str]:
    """What an arm scores better and worse than, and what it cannot be told from: a sentence for each that there is."""
    by_word: dict[str, list[str]] = {}
    for name, found in row.rivals[arm].items():
        low, high = (points(end, row) for end in bounds(row, found.verdict))
        called = "its best strength" if name == BEST.name else name
        by_word.setdefault(found.word, []).append(f"{called} (95 % interval {low} to {high})")
    ways = {
        BETTER_THAN_RIVAL: "scores better than",
        WORSE_THAN_RIVAL: "scores worse than",
        NO_EVIDENCE: "cannot be told from",
    }
    return [f"{_vector(arm)} {way} {', '.join(by_word[one])}." for one, way in ways.items() if one in by_word]


def sum_up(told: list[Told]) -> str:
    """All rows in one sentence; empty where one row says it all."""
    judged = [one for one in told if one.word]
    if len(judged) < 2:
        return ""
    counts = {one: sum(told.word == one for told in judged) for one in (HELPS, HURTS, NO_EVIDENCE)}
    rest = len(judged) - sum(counts.values())
    parts = [f"helps in {counts[HELPS]}", f"hurts in {counts[HURTS]}", f"leaves no evidence in {counts[NO_EVIDENCE]}"]
    open_ones = f" ({rest} without a verdict)" if rest else ""
    return f"Of {len(judged)} comparisons with the unsteered model, steering {', '.join(parts)}{open_ones}."


def _vector(arm: Arm) -> str:
    """The vector in one of its arms, as a sentence begins."""
    return {BEST: "At its best strength, the vector", VOTE: "Voted, the vector"}.get(arm, f"The vector {arm.name}")


def _arm(row: Row, arm: Arm) -> str:
    run, change = row.runs[arm], row.changes.get(arm)
    name = {
        BEST: f"With the strength chosen on validation rows ({strength(run)})",
        VOTE: f"The vote over {len(run.alphas)} strengths",
        PER_LAYER: "With a strength per block",
    }.get(arm, f"With {strength(run)}" if len(run.alphas) == 1 else arm.name)
    if arm.other is not None:
        name = f"In place of steering, {arm.name}"
    score = f"{name}: {_score(run, row)}"
    if row.baseline is None or change is None:
        return f"{score}."
    score += f", without steering {show(row.baseline.score, row)}"
    found = change.verdict
    if found is None:
        return f"{score} (not paired by document)."
    low, high = (points(end, row) for end in bounds(row, found))
    ends = f"95 % interval {low} to {high}"
    holm = f"; Holm p {found.holm_p:.2g}" if change.judged else ""
    score += f": {points(change.change, row)} ({ends}{holm})"
    if change.gained is not None:
        score += f"; {change.gained} gained, {change.lost} lost"
    if found.word != NO_EVIDENCE or not change.judged:
        return f"{score}."
    if found.mde is None:
        return f"{score}. So few documents changed that no change could have been detected."
    return f"{score}. Only a change of {points(found.mde, row, False)} or more could have been detected."


def _cost(row: Row, arm: Arm) -> list[str]:
    """What an arm does to unrelated text, where that was measured."""
    cost = row.text_costs.get(arm)
    if cost is None:
        return []
    if cost.value is None:
        return ["It makes some unrelated text impossible: its log-likelihood is no finite number."]
    return [
        f"It makes unrelated text {'less' if cost.value > 0 else 'more'} likely: {show_text_cost(cost)} nats per token."
    ]


def _score(run: Run, row: Row) -> str:
    return f"{show(run.score, row)} {'of' if is_share(row) else 'over'} {run.n} documents"
