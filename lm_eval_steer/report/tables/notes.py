"""What a reader must know to read the table: families, caveats, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from lm_eval_steer.compare.arms import BASELINE, ONE
from lm_eval_steer.compare.families import STUDY, Family
from lm_eval_steer.compare.lengths import tell_cuts
from lm_eval_steer.compare.pairs import pair_runs
from lm_eval_steer.compare.rows import BEST, VOTE, Row
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.stats import RESAMPLES
from lm_eval_steer.compare.validation import tell_validation
from lm_eval_steer.report.tables.beside import label
from lm_eval_steer.report.tables.entries import UNPAIRED, word

_CHANGES = (
    "change: points where the score is a share; %: of the baseline. Its 95 % interval is a bootstrap of the paired "
    "documents and is not adjusted for the family, so it may exclude 0 where the verdict sees no evidence. Without a "
    "sign, it is the interval of the score itself: Wilson's for right and wrong, else that of a mean or a bootstrap."
)
_TESTS = (
    "p: exact McNemar where every document occurs once and is right or wrong, else sign flips of the documents' "
    "changes. Verdicts are from Holm p at 5 %."
)
_TOGETHER = (
    "{metric} is a score of documents together, no mean of a number per document: intervals are a bootstrap of the "
    "score itself over documents, and p is that of swapping the two arms of documents at random, {resamples:,} times."
)
_OTHER_CHOICE = (
    "The sweep in {folder} chose its strengths by {chosen}, and is judged by {metric} here: "
    "best is the best by {chosen}."
)
_DETECTABLE = (
    "detectable: the smallest change found with 80 % power at 5 % divided by the tests of the family, from the share "
    'of documents that changed; "not detectable": with so few that changed, not even changes in one direction would do.'
)
_RANDOM = (
    "best - random, vote - random: the vector against the mean of the random vectors, which were searched and tested "
    "like it. The interval (90 %) is of how much better than one more random vector it is, p is one-sided, and neither "
    "is adjusted for several vectors; it leans on random vectors' true scores being about normal."
)
_SHUFFLED = (
    "best - map-shuffled, vote - map-shuffled: the vector against what a map of texts paired at random made of the "
    "same concept, searched and tested like it; of several seeds, the one that is hardest to tell from it. It is "
    "tested as a change is, with a family of its own. A vector that cannot be told from each of them carries nothing "
    "of the concept that these documents could show, whatever it does to the score."
)
_RIVALS = (
    "best - prompt, vote - self-consistency and the like: the vector against what competes with it, paired by document "
    "and tested as a change is, with a family of their own. better and worse are from Holm p at 5 %. Their tokens are "
    "those of the test documents, the vector's first; what a search on validation documents took is in neither."
)
_OTHER_BLOCKS = (
    "The random vectors beside {vector} steer {randoms} blocks and it steers {own}: they were drawn for another vector "
    "of its sweep."
)
_METRICS = (
    "Other metrics are in no family and have no verdict. Their changes are paired by document: the 95 % interval and p "
    "are those of the paired t test, of right and wrong those of a verdict, of documents together (F1, perplexity) the "
    "bootstrap and the random swaps of the score itself; none is adjusted. Without a sign, it is the interval of the "
    "score itself."
)
_SHARES = (
    "share of own: effect of the arm divided by that of own in the same role, on the same documents, with a 95 % "
    "bootstrap interval of documents, which are drawn for the baseline and both arms together."
)
_ALONE = (
    "Controls that steer nothing (identity, self-consistency) are in no family: they are tested alone, their p is in "
    "brackets."
)
_MEMBERS = (
    "Members of a group have intervals and no verdict: the family is of the group's score. With --members tested, they "
    "are tested, all of a group in one family."
)
_TOKENS = (
    "tokens: per document, those of its prompts + those that were written; a vote asks several times, and what stands "
    "before the documents of a task is read once whatever it says here."
)
_COST = (
    "cost: by how much the strength raises the negative log-likelihood of texts that have nothing to do with the task, "
    "in nats per token, with the 95 % t interval over texts; a vote is no single model and has none."
)
_LENGTHS = (
    "length: new tokens of a response, on average, and the share of the responses that the limit of new tokens cut; of "
    "a vote, of all that it asked for."
)
_OTHERS = (
    "Baselines of another kind (prompt, shots, model) stand in place of steering, on the same documents: they are "
    "paired by document, whatever their prompts, and belong to the family."
)
_BEST = "best: the strength with the best score on the validation rows; it has not seen these documents."
_SINGLE = (
    "A strength without the word best was tested as given. Picking the best of several would be a choice on the test "
    "set: lm-eval-steer sweep chooses on validation rows."
)
_UNPAIRED = (
    "not paired: one of the two runs has no samples, so only each score's own interval is known; run both with "
    "--log_samples (and --output_path) to have them paired by document."
)
_REPEATS = (
    "Some documents occur more than once: their tests and intervals are by document, not by item, but the Wilson "
    "interval of a score takes its items for independent."
)
_ONE_SEED = (
    "One random vector has no spread: sweep with --controls random:5 to ask whether the vector is better than random."
)


def notes(rows: list[Row], families: list[Family], runs: list[Run], names: Mapping[str, str]) -> list[str]:
    """Sentences under the table, only those that it calls for."""
    changes = [change for row in rows for change in row.changes.values()]
    tested = [change for change in changes if change.verdict and change.judged]
    shown = {(row.child, row.group.task) for row in rows}
    shown |= {(row.child, f"members of {row.of_group}") for row in rows if row.of_group}
    found = [_family(one, names) for one in families if (one.child, one.task) in shown | {STUDY}]
    found += [_CHANGES, _TESTS, _DETECTABLE] if tested else []
    together = {run.metric: run.aggregate for row in rows for run in row.all_runs.values() if run.aggregate}
    found += [_TOGETHER.format(metric=metric.split(",")[0], resamples=RESAMPLES) for metric in together]
    found += [_RANDOM] if any(row.random for row in rows) else []
    found += [_SHUFFLED] if any(row.shuffled for row in rows) else []
    found += [_RIVALS] if any(row.rivals for row in rows) else []
    found += [_METRICS] if any(row.metrics for row in rows) else []
    found += [_SHARES, *_without_effect(rows, names)] if any(row.shares for row in rows) else []
    found += [_ALONE] if any(not change.in_family for change in tested) else []
    found += [_MEMBERS] if any(not change.judged for change in changes) else []
    found += [_TOKENS] if any(count is not None for row in rows for count in row.prompt_tokens.values()) else []
    found += [_COST] if any(row.text_costs for row in rows) else []
    found += [_LENGTHS, *_cuts(rows)] if any(one for row in rows for one in row.lengths.values()) else []
    found += [_OTHERS, *_given(rows)] if any(arm.other for row in rows for arm in row.runs) else []
    found += [_BEST] if any(BEST in row.runs for row in rows) else []
    found += [_SINGLE] if any(arm.role == ONE for row in rows for arm in row.runs) else []
    found += [_REPEATS] if any(change.repeats for change in changes) else []
    found += [_UNPAIRED] if any(word(row, arm) == UNPAIRED for row in rows for arm in row.changes) else []
    searched = [(row, arm) for row in rows for arm in (BEST, VOTE) if arm in row.runs]
    found += [_ONE_SEED] if any(len(row.randoms(arm)) == 1 for row, arm in searched) else []
    return [*found, *_other_blocks(rows), *_baselines(rows, names), *_sweeps(rows), *_versions(runs)]


def _family(family: Family, names: Mapping[str, str]) -> str:
    """What a family is of; the tests of a whole study are too many to be named."""
    count = f"Holm over {len(family.tests)} {'test' if len(family.tests) == 1 else 'tests'}"
    if (family.child, family.task) == STUDY:
        return f"Family of all children and tasks that were read ({count}); JSON names its tests."
    return f"Family of {names[family.child]} x {family.task} ({count}): {'; '.join(family.tests)}."


def _other_blocks(rows: list[Row]) -> list[str]:
    """Random vectors that a row shares with one that steers other blocks, so that they are no shift of its size."""
    found: dict[str, None] = {}
    for row in rows:
        told = [
            (run.steering.get("transfer") or {}).get("steered_blocks")
            for run in (*row.runs.values(), *row.controls.values())
        ]
        own, randoms = told[0] if row.runs else None, told[-1] if row.controls else None
        if isinstance(own, list) and isinstance(randoms, list) and own != randoms:
            found[_OTHER_BLOCKS.format(vector=row.vector, randoms=len(randoms), own=len(own))] = None
    return list(found)


def _cuts(rows: list[Row]) -> list[str]:
    """The arms whose responses are cut much more often than those of their baseline."""
    found = []
    for row in rows:
        of = row.group.task if row.vector == "-" else f"{row.vector} on {row.group.task}"
        arms = {arm.name: one for arm, one in row.lengths.items() if arm != BASELINE}
        found += tell_cuts(of, arms, row.lengths.get(BASELINE))
    return found


def _given(rows: list[Row]) -> list[str]:
    """Which system instruction and which models these are."""
    told = {
        (part.folder, row.group.task, part.arm.name): part
        for row in rows
        for part in row.parts.values()
        if part.given is not None
    }
    found = []
    for (folder, task, arm), part in told.items():
        several = len(part.validation["scores"].get(arm) or ())
        best = f", the best of {several} on validation documents" if several > 1 else ""
        found.append(f"In the sweep in {folder}, {arm} of {task} is {part.given!r}{best}.")
    return found


def _without_effect(rows: list[Row], names: Mapping[str, str]) -> list[str]:
    """Metrics in which own has no effect that the others could have a share of."""
    open_ones: dict[tuple[str, str, str], None] = {}
    for row in rows:
        for arm, shares in row.shares.items():
            for metric, share in shares.items():
                if share.note:
                    open_ones[row.child, row.group.task, f"{arm.role} ({label(metric, shares)})"] = None
    found: dict[tuple[str, str], list[str]] = {}
    for child, task, what in open_ones:
        found.setdefault((child, task), []).append(what)
    return [
        f"{names[child]} x {task} has no share of own for {', '.join(what)}: the interval of own's effect holds 0."
        for (child, task), what in found.items()
    ]


def _baselines(rows: list[Row], names: Mapping[str, str]) -> list[str]:
    """Baselines of the same thing that came out different: run-to-run noise, which no paired test knows of."""
    found = []
    by_place: dict[tuple[str, int], dict[int, Run]] = {}
    for row in rows:
        if row.baseline:
            by_place.setdefault((row.child, id(row.group)), {})[id(row.baseline)] = row.baseline
    for runs in by_place.values():
        for one, other in pairwise(runs.values()):
            paired = pair_runs(one, other)
            if paired and paired.texts_changed:
                found.append(
                    f"Two baselines of {names[one.child]} x {one.task} differ in {paired.texts_changed} of "
                    f"{len(paired.before)} responses ({one.path.parent}, {other.path.parent}): every row is held "
                    "against its own."
                )
    return found


def _among(most: float | None) -> str:
    """Which strengths were chosen from, where a sweep bounds what they may cost."""
    return "" if most is None else f"; strengths that cost more than {most:g} nats per token were left out"


def _sweeps(rows: list[Row]) -> list[str]:
    told = {
        (part.folder, row.group.task): tell_validation(
            part.validation["task"], part.documents, (part.validation["n"], row.any_run.n)
        )
        + _among(part.validation.get("most_cost"))
        for row in rows
        for part in row.parts.values()
        if part.documents
    }
    others = dict.fromkeys(
        (part.folder, *(one.split(",")[0] for one in (part.validation["metric"], row.any_run.metric)))
        for row in rows
        for part in row.parts.values()
        if part.validation.get("metric") not in (None, row.any_run.metric)
    )
    open_ones = dict.fromkeys(part.folder for row in rows for part in row.parts.values() if not part.complete)
    found = [f"In the sweep in {folder}, {words} ({task})." for (folder, task), words in told.items()]
    refused = {
        (part.folder, row.group.task, arm): reason
        for row in rows
        for part in row.parts.values()
        for arm, reason in part.refused.items()
    }
    found += [f"In the sweep in {folder}, {task} has no {arm}: {why}." for (folder, task, arm), why in refused.items()]
    found += [_OTHER_CHOICE.format(folder=folder, chosen=chosen, metric=metric) for folder, chosen, metric in others]
    return found + [
        f"The sweep in {folder} is not finished: start its command again, it goes on. Its families will grow."
        for folder in open_ones
    ]


def _versions(runs: list[Run]) -> list[str]:
    versions = sorted({run.lm_eval_version for run in runs if run.lm_eval_version})
    if len(versions) < 2:
        return []
    return [f"These results are from several versions of lm_eval: {', '.join(versions)}."]
