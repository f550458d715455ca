"""What the study answers: a sentence per question, its numbers from the summaries of the cells that were run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from cells import CELLS, MODELS, SHORT, Cell
from lines import Line, Summary, lines_of
from words import change, name_of, percent

Lines = dict[str, Line]
Cells = Mapping[str, tuple[Cell, Lines, Summary]]


def answers(found: Mapping[str, Summary]) -> Iterator[str]:
    """The questions and their answers."""
    cells = {cell.name: (cell, lines_of(found[cell.name]), found[cell.name]) for cell in CELLS if cell.name in found}
    for question, answer in QUESTIONS.items():
        told = list(answer(cells))
        if told:
            yield f"**{question}**"
            yield ""
            yield from (f"- {one}" for one in told)
            yield ""


def _where(cell: Cell) -> str:
    return f"{MODELS[cell.child]}, `{cell.task}`" + (f" at dose {cell.dose:g}" if cell.dose else "")


def _own(cells: Cells) -> Iterator[str]:
    for cell, lines, _ in cells.values():
        own, base = lines["own best"], lines["baseline"]
        works = ""
        if REASONS in own.metrics:
            works = f", {percent(base.metrics[REASONS])} and {percent(own.metrics[REASONS])} work before they answer"
        yield (
            f"{_where(cell)}: {percent(base.score['score'])} right without, "
            f"{percent(own.score['score'])} with its own vector ({change(own)}; {own.change['verdict']}){works}."
        )


def _maps(cells: Cells) -> Iterator[str]:
    for cell, lines, _ in cells.values():
        parts = []
        for key, line in lines.items():
            share = next((line.share[metric] for metric in (REASONS, LOG_ODDS) if metric in line.share), None)
            if line.role == "best" and not line.control and line.arm not in ("own", "random") and share:
                if share["share"] is not None:
                    low, high = 100 * share["low"], 100 * share["high"]
                    parts.append(f"{name_of(line, cell)} {percent(share['share'])} ({low:.0f} to {high:.0f})")
                assert key
        if parts:
            what = "working first" if "direct" in cell.task else "log-odds"
            yield f"{_where(cell)}, of what own does to {what}: {'; '.join(parts)}."


def _chance(cells: Cells) -> Iterator[str]:
    for cell, lines, summary in cells.values():
        parts = []
        for row in summary["rows"]:
            line = lines.get(f"{row['vector'].split(':')[0]} best")
            if line is None:
                continue
            random, shuffled = row["random"].get("best", {}), row["map_shuffled"].get("best", {})
            told = []
            if line.arm in ("own", "cut") and "difference" in random:
                low, high = 100 * random["low"], 100 * random["high"]
                points = f"{100 * random['difference']:+.1f} ({low:+.1f} to {high:+.1f}, 90 %)"
                told.append(f"minus {random['seeds']} random directions {points}, one-sided p {random['p']:.2g}")
            for control, numbers in shuffled.get("against", {}).items():
                told.append(f"minus its {control.removesuffix(' best')} {_difference(numbers)}")
            if told:
                parts.append(f"{name_of(line, cell)} {', '.join(told)}")
        if parts:
            yield f"{_where(cell)}: {'; '.join(parts)}."


def _smaller(cells: Cells) -> Iterator[str]:
    sizes = list(MODELS)
    for cell, lines, _ in cells.values():
        for parent in cell.parents:
            line = lines.get(f"{SHORT[parent]} best")
            if line and sizes.index(parent) < sizes.index(cell.child):
                works = f"; {percent(line.metrics[REASONS])} work first" if REASONS in line.metrics else ""
                yield (
                    f"{_where(cell)}, from {MODELS[parent]}: {change(line)} points, {line.change['verdict']}{works}."
                )


def _votes(cells: Cells) -> Iterator[str]:
    for cell, lines, summary in cells.values():
        parts = [
            f"{label} {_difference(numbers)}"
            for rival, label in (("best", "the best strength"), ("self-consistency", "self-consistency"))
            if (numbers := summary["rows"][0].get("rivals", {}).get("vote", {}).get(rival))
        ]
        if parts and "own vote" in lines:
            yield f"{_where(cell)}: vote of own minus {', minus '.join(parts)}."


def _paper(cells: Cells) -> Iterator[str]:
    for cell, lines, _ in cells.values():
        if cell.task in ("arith_steer", "gsm8k_steer", "arc_challenge_steer_mc"):
            parts = [
                f"{name_of(line, cell)} {change(line)}, {line.change['verdict']}"
                for line in lines.values()
                if line.role == "best" and not line.control and line.arm != "random"
            ]
            yield f"{_where(cell)}: {'; '.join(parts)}."


def _prompts(cells: Cells) -> Iterator[str]:
    for cell, lines, summary in cells.values():
        numbers = summary["rows"][0].get("rivals", {}).get("best", {}).get("prompt")
        if numbers:
            yield (
                f"{_where(cell)}: the prompt {change(lines['prompt'])} points, own minus prompt {_difference(numbers)}."
            )
        worked = cells.get(f"{cell.child}/{cell.task.replace('_direct', '')}")
        if "direct" in cell.task and worked and not cell.dose:
            yield (
                f"{_where(cell)}, the same questions behind five worked examples: "
                f"{percent(worked[1]['baseline'].score['score'])} right without any steering, "
                f"{percent(lines['own best'].score['score'])} with its own vector behind five bare ones."
            )


def _costs(cells: Cells) -> Iterator[str]:
    for cell, lines, _ in cells.values():
        parts = [
            f"{name_of(line, cell)} {line.cost['value']:+.3f} ({line.cost['low']:+.3f} to {line.cost['high']:+.3f})"
            for line in lines.values()
            if line.cost and line.cost["value"] is not None and line.arm != "baseline"
        ]
        if parts:
            yield f"{_where(cell)}, in nats per token: {'; '.join(parts)}."


def _difference(numbers: Mapping[str, float]) -> str:
    points = [100 * numbers[key] for key in ("difference", "low", "high")]
    return f"{points[0]:+.1f} ({points[1]:+.1f} to {points[2]:+.1f}) points, Holm p {numbers['holm_p']:.2g}"


REASONS, LOG_ODDS = "reasons,working", "log_odds,none"

QUESTIONS: dict[str, Callable[[Cells], Iterator[str]]] = {
    "Does a model's own vector help?": _own,
    "What share of it crosses families, and by which map?": _maps,
    "Is it the concept, or any push?": _chance,
    "From a smaller parent?": _smaller,
    "Does the vote over strengths add anything?": _votes,
    "Does the paper's setting, five worked shots and all positions, show an effect once the map is a real one?": _paper,
    "Does prompting do as well?": _prompts,
    "What does steering cost on unrelated text?": _costs,
}
