"""What the study answers: a sentence per question, its numbers from the summaries of the cells that were run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from cells import CELLS, MODELS, REGIMES, SHORT, Cell
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


def _told(cells: Iterable[tuple[Cell, Lines, Summary]], key: str) -> str:
    """What came of one arm in some children: those with evidence by name, of the others the range."""
    found = [(cell, lines[key], lines["baseline"]) for cell, lines, _ in cells if key in lines]
    parts, rest = [], []
    for cell, line, base in found:
        if line.change["verdict"] in ("helps", "hurts"):
            scores = f"{percent(base.score['score'], '')} to {percent(line.score['score'])}"
            parts.append(f"{line.change['verdict']} {MODELS[cell.child]} ({scores}, {change(line)})")
        else:
            rest.append(100 * line.change["change"])
    if rest:
        of = f" of {len(found)}" if parts else ""
        points = f"{min(rest):+.1f} to {max(rest):+.1f}" if len(rest) > 1 else f"{rest[0]:+.1f}"
        parts.append(f"no evidence in {len(rest)}{of} children, {points} points")
    return ", ".join(parts)


def _by_task(cells: Cells) -> Iterator[tuple[str, list[tuple[Cell, Lines, Summary]]]]:
    """The cells of each task, smallest child first, the main ones."""
    for task in REGIMES:
        its = [each for each in cells.values() if each[0].task == task and each[0].is_main]
        if its:
            yield task, sorted(its, key=lambda each: list(MODELS).index(each[0].child))


def _own(cells: Cells) -> Iterator[str]:
    for task, its in _by_task(cells):
        works = [
            f"{MODELS[cell.child]} {percent(lines['own best'].metrics[REASONS])}"
            for cell, lines, _ in its
            if lines["own best"].metrics.get(REASONS, 0) >= 0.01
        ]
        first = f". Of responses that work before they answer it makes, from none, {', '.join(works)}" if works else ""
        yield f"`{task}`: {_told(its, 'own best')}{first}."


def _maps(cells: Cells) -> Iterator[str]:
    for cell, lines, _ in cells.values():
        if lines["own best"].metrics.get(REASONS, 1) < _LEAST_SHARE:
            continue
        parts = []
        for line in lines.values():
            found = next((line.share[metric] for metric in (REASONS, LOG_ODDS) if metric in line.share), {})
            carried = line.role == "best" and not line.control and line.arm not in ("own", "random")
            if carried and found.get("share") is not None:
                low, high = 100 * found["low"], 100 * found["high"]
                parts.append(f"{name_of(line, cell)} {percent(found['share'])} ({low:.0f} to {high:.0f})")
        if parts:
            what = "working first" if "direct" in cell.task else "log-odds"
            yield f"{_where(cell)}, of what own does to {what}: {'; '.join(parts)}."


def _chance(cells: Cells) -> Iterator[str]:
    for cell, lines, summary in cells.values():
        if not any(line.change.get("verdict") in ("helps", "hurts") for line in lines.values()):
            continue
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
    for task, its in _by_task(cells):
        for parent in MODELS:
            larger = [
                each for each in its if parent in each[0].parents and sizes.index(parent) < sizes.index(each[0].child)
            ]
            if larger:
                yield f"`{task}`, from {MODELS[parent]}: {_told(larger, f'{SHORT[parent]} best')}."


def _votes(cells: Cells) -> Iterator[str]:
    for cell, lines, summary in cells.values():
        parts = [
            f"{label} {_difference(numbers)}"
            for rival, label in (("best", "the best strength"), ("self-consistency", "self-consistency"))
            if (numbers := summary["rows"][0].get("rivals", {}).get("vote", {}).get(rival))
        ]
        if parts and "own vote" in lines:
            yield f"{_where(cell)}: vote of own minus {', minus '.join(parts)}."


def _by_first(cell: Cell, lines: Lines) -> Lines:
    """Its lines, with its first parent's under the name of none."""
    return {key.replace(SHORT[cell.parents[0]], "first"): line for key, line in lines.items()}


def _paper(cells: Cells) -> Iterator[str]:
    for task, its in _by_task(cells):
        if task in ("arith_steer", "gsm8k_steer", "arc_challenge_steer_mc"):
            rotated = _told([(cell, _by_first(cell, lines), summary) for cell, lines, summary in its], "first best")
            own, cut = _told(its, "own best"), _told(its, "cut best")
            yield f"`{task}`: own {own}; another family's, by a rotation, {rotated}; the paper's cut {cut}."


def _prompts(cells: Cells) -> Iterator[str]:
    for cell, lines, summary in cells.values():
        numbers = summary["rows"][0].get("rivals", {}).get("best", {}).get("prompt")
        if numbers:
            yield (
                f"{_where(cell)}: the prompt {change(lines['prompt'])} points, own minus prompt {_difference(numbers)}."
            )
        worked = cells.get(f"{cell.child}/{cell.task.replace('_direct', '')}")
        if "direct" in cell.task and worked and cell.is_main:
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

_LEAST_SHARE = 0.1
"""Of responses that work first under own, below which there is nothing to take a share of."""

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
