"""The tables of README.md and docs/RESULTS.md, from the summaries of the study's sweeps. No number there is typed.

    python benchmarks/study/tables.py --from study  # first read the sweeps of the study anew, as far as they are whole
    python benchmarks/study/tables.py               # write what stands between the marks of both pages, and the figure
    python benchmarks/study/tables.py --check       # exit with 1 where a page says something else

A summary is what `lm-eval-steer leaderboard SWEEP --format json` prints, the row of `own` first, without paths and
notes, and what sweep.json has on validation.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from answers import answers
from cells import CELLS, MODELS, SHORT, Cell
from lines import Line, Summary, lines_of
from matrix import matrix
from picture import draw
from words import change, engine, name_of, number, percent, score

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SUMMARIES = HERE / "summaries"
PAGES = ("README.md", "docs/RESULTS.md")
FIGURE = "docs/figures/study.svg"
MARK = re.compile(r"(<!-- study: (?P<what>[\w ./@:-]+) -->\n).*?(<!-- end of study -->)", re.DOTALL)

Summaries = dict[str, Summary]


def read_summaries() -> Summaries:
    """Cell -> its summary, of all that are there, in the order of the cells."""
    found = {cell.name: SUMMARIES / f"{cell.file}.json" for cell in CELLS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}


def summarise(folder: Path) -> Iterator[str]:
    """Write the summary of every whole sweep of a study, and name it."""
    for cell in CELLS:
        sweep = folder / "sweeps" / cell.file
        if not (sweep / "sweep.json").exists():
            continue
        state = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))
        if not state["complete"]:
            continue
        words = [sys.executable, "-m", "lm_eval_steer.cli", "leaderboard", str(sweep), "--format", "json"]
        told = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
        rows = [{key: value for key, value in row.items() if key != "results"} for row in told["rows"]]
        rows.sort(key=lambda row: (not row["vector"].startswith("own:"), row["vector"].startswith("cut:")))
        kept: dict[str, Any] = {key: told[key] for key in ("version", "groups", "families")} | {"rows": rows}
        validation = state["tasks"][cell.task]["validation"]
        kept["validation"] = {key: validation[key] for key in ("task", "n", "scores")}
        text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
        (SUMMARIES / f"{cell.file}.json").write_text(text, encoding="utf-8")
        yield cell.name


def table(cell: Cell, summary: Summary) -> Iterator[str]:
    """All arms of a cell."""
    first, lines = summary["rows"][0], lines_of(summary)
    others = list(first["metrics"])
    costs = any(line.cost for line in lines.values())
    head = ["arm", "dose", "score", "change", "Holm p", "detectable", "verdict"]
    head += [f"`{metric.split(',')[0]}`" for metric in others] + ["of own"] * bool(others)
    head += ["cost, nats per token"] * costs + ["tokens"] * any(line.tokens for line in lines.values())
    tests = len(next(family for family in summary["families"])["tests"])
    at = f", all at dose {cell.dose:g}" if cell.dose else ""
    asked = f"{first['n']} documents{at}, {engine(summary)}"
    yield f"{MODELS[cell.child]}, `{cell.task}`, {asked}, Holm over {tests} tests:"
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for line in lines.values():
        mde = line.change.get("mde")
        cells = [name_of(line, cell), "" if line.alpha is None else f"{line.alpha:g}", score(line.score)]
        cells += [change(line), number(line.change.get("holm_p"))]
        cells += [percent(mde, "") if mde else "", line.change.get("verdict", "")]
        cells += [_metric(line, metric) for metric in others] + [_share(line, others) for _ in others[-1:]]
        cells += [f"{line.cost['value']:+.3f}" if line.cost else ""] * costs
        if "tokens" in head:
            cells.append("" if line.tokens is None else f"{line.tokens:,.0f}")
        yield f"| {' | '.join(cells)} |"


def doses(cell: Cell, summary: Summary) -> Iterator[str]:
    """The score of every contender at every dose, on the validation documents."""
    found = summary["validation"]
    yield f"| right, of {found['n']} documents of `{found['task']}`, at dose | {' | '.join(map(str, cell.doses))} |"
    yield f"|---|{'---|' * len(cell.doses)}"
    for name, scores in found["scores"].items():
        if name != "prompt":
            told = [percent(scores[f"{dose:g}"]) for dose in cell.doses]
            yield f"| {name} | {' | '.join(told)} |"


def _metric(line: Line, metric: str) -> str:
    value = line.metrics.get(metric)
    if value is None:
        return ""
    return percent(value) if "log_odds" not in metric else f"{value:+.2f}"


def _share(line: Line, others: list[str]) -> str:
    """Of own's effect on the last of the other metrics, which tells more than right and wrong."""
    found = line.share.get(others[-1], {})
    if found.get("share") is None:
        return ""
    return f"{percent(found['share'])} ({100 * found['low']:.0f} to {100 * found['high']:.0f})"


FIRST = "qwen2.5-coder-1.5b/gsm8k_direct_steer"
"""The cell of the first page."""

ALIKE = f"{FIRST}@0.1"
"""The same with one dose for all."""

REASONS = "reasons,working"

PAPER = "qwen2.5-coder-1.5b/gsm8k_steer"
"""The paper's setting: the same questions behind five worked examples, steered at every position."""

FIRST_LINES = ("baseline", "own best", "smollm2 best", "smollm2 map-shuffled best", "cut best", "random best", "prompt")


def first_lines(found: Summaries) -> tuple[Cell, list[Line]]:
    """That cell, and its lines on the first page."""
    lines = lines_of(found[FIRST])
    return next(cell for cell in CELLS if cell.name == FIRST), [lines[key] for key in FIRST_LINES if key in lines]


def first_page(found: Summaries) -> Iterator[str]:
    """README's table: one of each kind."""
    cell, lines = first_lines(found)
    alike = lines_of(found[ALIKE])
    yield "| added at the last prompt token | dose | works first | right | change, points | verdict | right at 0.1 |"
    yield "|---|---|---|---|---|---|---|"
    for line in lines:
        dose = "" if line.alpha is None else f"{line.alpha:g}"
        told = [name_of(line, cell), dose, _metric(line, REASONS), score(line.score), change(line)]
        told += [line.change.get("verdict", ""), percent(alike[line.key].score["score"]) if line.key in alike else ""]
        yield f"| {' | '.join(told)} |"
    there, paper = next(cell for cell in CELLS if cell.name == PAPER), lines_of(found[PAPER])
    line, without = paper[f"{SHORT[there.parents[0]]} best"], percent(paper["baseline"].score["score"])
    where = f"the paper's setting, the same questions behind five worked examples, every position: {without} without,"
    words = [f"{where} with {name_of(line, there)}", f"{line.alpha:g}", "", score(line.score), change(line)]
    yield f"| {' | '.join([*words, line.change['verdict'], ''])} |"


def render(text: str, found: Summaries) -> str:
    """A page with all that stands between its marks made anew.

    Raises:
        SystemExit: for a mark that nothing is known of, or whose cell has no summary.
    """
    cells = {cell.name: cell for cell in CELLS}
    blocks: dict[str, Callable[[], Iterator[str]]] = {
        "first page": lambda: first_page(found),
        "matrix": lambda: matrix(found),
        "answers": lambda: answers(found),
        **{f"table {name}": partial(table, cells[name], found[name]) for name in found},
        **{f"doses {name}": partial(doses, cells[name], found[name]) for name in found},
    }

    def fill(match: re.Match[str]) -> str:
        what = match["what"]
        if what not in blocks:
            raise SystemExit(f"a page asks for {what!r}: known are {', '.join(blocks)}")
        return match[1] + "\n".join(blocks[what]()) + "\n" + match[3]

    return MARK.sub(fill, text)


def _holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


def main() -> None:
    """Read sweeps, write pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, metavar="DIR", help="folder of the study")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the pages lie (default: this checkout)")
    args = parser.parse_args()
    if args.folder:
        print("Read", ", ".join(summarise(args.folder)) or "nothing that is whole")
    found = read_summaries()
    made = {page: render((args.root / page).read_text(encoding="utf-8"), found).encode() for page in PAGES}
    made[FIGURE] = draw(*first_lines(found), REASONS, lines_of(found[ALIKE]), 0.1)
    wrong = [name for name, content in made.items() if not _holds(args.root / name, content)]
    if not args.check:
        for name in wrong:
            (args.root / name).write_bytes(made[name])
    if args.check and wrong:
        sys.exit(f"{' and '.join(wrong)}: not what the summaries say; run python benchmarks/study/tables.py")


if __name__ == "__main__":
    main()
