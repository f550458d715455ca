"""The self-check of `steered-vllm`: before the first request, steering is shown to act, and to act as defined."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from vllm import SamplingParams

from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.engines.vllm.rows import RowRunner, VllmRow
from lm_eval_steer.engines.vllm.states import Settled, confirm_states, settle_states
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import NOTHING, Edit, Intervention
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.sites import DEFAULT, Place, in_order, split, told

TOKENS, CONTEXT, WRITTEN = 12, 8, 3
"""Of the text that is run, of its context, and of what is written: less than a block of the prefix cache, so nothing of
it is kept."""
STEPS = {True: 1.0, False: 16.0}
"""How many rounding steps of the dtype a block may be off, by whether its operator is a shift; a norm over the hidden
size adds some."""
SAME = 1e-3
"""Log-probabilities that differ by less are the same."""
NEAR = 0.25
"""Compiled and not, a log-probability differs by less than this share of what the shift changes; bfloat16 rounds."""
LARGE = {"share": 1.0, "angle": 90.0}
"""Strengths that change much, where they are no lengths."""

ADDED, BESIDE = ("attention", "mlp", "heads"), 8.0
"""What is added to the stream is small beside it: it is shifted by so many times its own length."""

States = dict[int, np.ndarray]
"""Block -> its state [tokens, hidden]."""


class Checks:
    """What was shown of one model, so that it is shown once.

    Args:
        tokens: of any text.
        compare: is given the tokens that were run, and the states of the first blocks without steering; says which it
            compared with others. Called once.
    """

    def __init__(self, tokens: Sequence[int], compare: Callable[[list[int], States], Collection[int]]) -> None:
        self._text = (list(tokens) * TOKENS)[:TOKENS]
        self._compare: Callable[[list[int], States], Collection[int]] | None = compare
        self._shown: dict[str | None, set[tuple[str, str, Place]]] = {}

    def run(self, runners: Sequence[RowRunner], interventions: Sequence[Intervention], path: str | None) -> None:
        """Check every place under every operator and unit that is new; afterwards nothing useful is loaded.

        Args:
            runners: engines of the model.
            interventions: what is to be loaded.
            path: of the list of blocks, where they cannot be found by shape.

        Raises:
            SteeringError: one sentence, for the first thing that is not as it should be.
        """
        shown = self._shown.setdefault(path, set())
        new: dict[tuple[str, str], dict[Place, np.ndarray]] = {}
        for one in interventions:
            for edit in one.edits:
                if (one.unit, edit.operator, edit.place) not in shown:
                    new.setdefault((one.unit, edit.operator), {}).setdefault(edit.place, edit.direction)
        for (unit, operator), directions in new.items():
            for runner in runners:
                found = check_steering(runner, directions, operator, unit, self._text, path)
            if self._compare is not None:
                confirm_states(found, self._compare(self._text, found.states))
                self._compare = None
            shown |= {(unit, operator, place) for place in directions}


def check_steering(
    runner: RowRunner,
    directions: Mapping[Place, np.ndarray],
    operator: str,
    unit: str,
    text: list[int],
    path: str | None = None,
) -> Settled:
    """Run a few tokens without steering, with strength 0, and with one as large as the hidden state; go on writing.

    A strength that is no length is 1, or 90 degrees, and must change what is there; what becomes of the
    log-probabilities is not judged then, since h may have had little along the direction.

    First it is found out what the blocks' outputs are (`states.settle_states`), and that what attention and MLP add to
    the stream is what is read where they are steered. Every steered place must change as the operator says, within one
    rounding step of the dtype, on the tokens that are steered, leave the others as they are bit for bit, and, if it is
    a block's output, be handed to the next block; strength 0 must leave the log-probabilities as they are, the large
    one must change them. While text is written, each position must be steered once. A compiled model is run uncompiled,
    too: hand-over is looked at there, and the log-probabilities must agree.

    Args:
        runner: what is loaded in it is replaced.
        directions: place -> of an operator there, as an `Edit` has them.
        operator: name in `OPERATORS`.
        unit: of strengths.
        text: token ids.
        path: of the list of blocks, where they cannot be found by shape.

    Returns:
        what was found of the blocks without steering.

    Raises:
        SteeringError: one sentence, for the first thing that is not so.
    """
    places = in_order(directions)
    lengths = {place: float(np.linalg.norm(directions[place], axis=-1).mean()) for place in places}
    found: list[tuple[float, bool]] = []

    def run(number: int) -> None:
        for came in runner.score([VllmRow(text, CONTEXT, number)]):
            found.extend(score for _, score in came)

    def under(strengths: Mapping[Place, float], name: str) -> Intervention:
        sites = {place: split(place) for place in places}
        given = directions
        if OPERATORS[name].directions == 1 and OPERATORS[operator].directions > 1:
            given = {place: several[..., 0, :] for place, several in directions.items()}
        edits = (Edit(sites[one][1], name, given[one], strengths[one], sites[one][0]) for one in places)
        return Intervention(tuple(edits), unit)

    # Masked everywhere, as strength 0 is for operators that it switches off.
    off = "add" if OPERATORS[operator].acts(0.0) else operator
    runner.load([NOTHING, under(dict.fromkeys(places, 0.0), off)], path)
    settled = settle_states(runner, _read(places), 1, text)
    _refuse_contributions(places, settled)
    run(0)
    runner.probe(True)
    run(1)
    still = _worst(runner.probe(True))
    norms = {place: still[place]["norm"] if place in still else 0.0 for place in places}
    kind, sign = OPERATORS[operator].strength, OPERATORS[operator].strong
    times = {place: BESIDE if split(place)[0] in ADDED else 1.0 for place in places}
    whole = {place: 1.0 if unit == "dose" else norms[place] / (lengths[place] or 1.0) for place in places}
    sizes = {place: times[place] * whole[place] for place in places}
    large = {place: sign * LARGE.get(kind, sizes[place]) if lengths[place] else 0.0 for place in places}
    runner.load([under(large, operator)], path)
    runner.probe(True)
    run(0)
    handed = moved = _worst(runner.probe(runner.compiled))
    if runner.compiled:
        runner.run_uncompiled(True)
        run(0)
        runner.run_uncompiled(False)
        handed = _worst(runner.probe(False))
    counts = _write(runner, text)
    for place in places:
        acts = large[place] != 0
        wrong = ""
        if place not in still or place not in moved:
            wrong = "its output was never seen although the model ran"
        elif not still[place]["untouched"] or still[place]["shift"]:
            wrong = "strength 0 changes its output"
        elif not moved[place]["untouched"]:
            wrong = "tokens that are not to be steered were changed"
        elif acts and not moved[place]["shift"]:
            wrong = "nothing was added"
        elif moved[place]["error"] > STEPS[OPERATORS[operator].is_shift]:
            wrong = f"what was added is off by {moved[place]['error']:.1f} rounding steps"
        elif place not in handed or handed[place]["passed_on"] is False:
            wrong = "the next block did not receive what was added"
        elif counts.steered[place] != counts.implied[place]:
            wrong = f"{counts.steered[place]} positions were steered, and {counts.implied[place]} should have been"
        if wrong:
            raise SteeringError(f"the self-check of steered-vllm failed in {told(place)}: {wrong}")
    plain, zero, large_score, again = (found[min(number, len(found) - 1)][0] for number in range(4))
    if abs(plain - zero) > SAME:
        raise SteeringError(
            f"the self-check of steered-vllm failed: strength 0 moves a log-probability from {plain:.4f} to {zero:.4f}"
        )
    if kind != "length":
        return settled
    if any(large.values()) and abs(plain - large_score) <= SAME:
        raise SteeringError(
            f"the self-check of steered-vllm failed: a shift as large as the hidden state leaves a log-probability at "
            f"{plain:.4f}"
        )
    if abs(large_score - again) > max(SAME, NEAR * abs(large_score - plain)):
        raise SteeringError(
            f"the self-check of steered-vllm failed: under a shift the compiled model gives a log-probability of "
            f"{large_score:.4f} and the same model uncompiled {again:.4f}; leave out enforce_eager=False"
        )
    return settled


def _write(runner: RowRunner, text: list[int]) -> Measured:
    """Write a few tokens; gives how many positions were steered, and how many should have been."""
    params = SamplingParams(temperature=0, max_tokens=WRITTEN, ignore_eos=True, detokenize=False)
    for _ in runner.generate([VllmRow(text[:CONTEXT], CONTEXT, 0, params)]):
        pass
    return runner.measured()


def _read(places: Sequence[Place]) -> list[int]:
    """The blocks whose output must be known to steer some places: that before a block is its input."""
    found = [(site, block) for site, block in map(split, places)]
    return [block - (site == "block_input") for site, block in found if site in (DEFAULT, "block_input")]


def _refuse_contributions(places: Sequence[Place], settled: Settled) -> None:
    """Refuse to steer what attention or MLP add where the stream does not gain it.

    Raises:
        SteeringError: names the first place.
    """
    for place in places:
        site, block = split(place)
        if site in ("attention", "mlp") and (block not in settled.sums or block in settled.apart):
            raise SteeringError(
                f"what block {block} gives more than it takes in vLLM is not what its attention and its MLP add as far "
                f"as they are known there, so that site={site} cannot be steered: steer site=block, or use --model "
                "steered-hf"
            )


def _worst(workers: list[dict[Place, dict[str, float]]]) -> dict[Place, dict[str, float]]:
    """What the workers saw, the worst of each place."""
    found: dict[Place, dict[str, float]] = {}
    for worker in workers:
        for place, seen in worker.items():
            if place not in found or seen["error"] > found[place]["error"]:
                found[place] = seen
    return found
