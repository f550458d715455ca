"""The vote: its rules by table, the early stop against all completions, and the whole against a second way to count.

Answers are written as text, one character each, in alpha order: `.` is no answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_eval_steer.answers import math_equal
from lm_eval_steer.axis.voting import Tally, Vote, count, is_decided, needed, weigh
from lm_eval_steer.errors import SteeringError


def read(text: str) -> list[str | None]:
    return [None if character == "." else character for character in text]


def equal_pairs(*pairs: str) -> Callable[[str, str], bool]:
    """Equality that holds for these (first member, answer) and for nothing else."""
    return lambda first, answer: first + answer in pairs


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        ("a", 0),
        ("aab", 0),
        ("abb", 1),
        ("abcbc", 1),  # b and c have two: b was first
        ("abcc", 2),
        ("cabba", 1),  # a and b have two: a holds the earliest alpha of the two
        # Ties: the class that holds the earliest alpha, not the one that was complete first
        ("ab", 0),
        ("abba", 0),
        ("abbccaa", 0),
        ("ba", 0),
        # No answer loses to any answer, and is no class of its own
        (".", 0),
        ("...", 0),
        (".a", 1),
        ("...a", 3),
        ("a....", 0),
        ("..ab", 2),
        (".b.a.a", 3),
    ],
)
def test_mode(answers: str, winner: int) -> None:
    vote = count(read(answers))
    assert (vote.winner, vote.answer) == (winner, read(answers)[winner])


def test_counts() -> None:
    assert count(read(".abca.a")) == Vote(1, "a", (Tally("a", 3, (1, 4, 6)), Tally("b", 1, (2,)), Tally("c", 1, (3,))))
    assert count(read("..")) == Vote(0, None, ())


def test_an_empty_answer_is_an_answer() -> None:
    assert count([None, ""]) == Vote(1, "", (Tally("", 1, (1,)),))


@pytest.mark.parametrize(
    ("answers", "weights", "winner"),
    [
        ("abb", [1, 0.4, 0.4], 0),
        ("abb", [0.75, 0.5, 0.5], 1),
        ("ab", [0.25, 0.5], 1),
        ("ab", [0.5, 0.5], 0),
        ("abb", [1, 0.5, 0.5], 0),
        ("baa", [1, 0.5, 0.5], 0),
        (".b", [1, 1e-9], 1),
        ("..", [1, 1], 0),
        # A tie in any order of adding: in floating point, 0.3 + 0.2 + 0.1 < 0.1 + 0.2 + 0.3.
        ("ababab", [0.3, 0.1, 0.2, 0.2, 0.1, 0.3], 0),
        # Rounded, both sums are 1.
        ("abb", [1, 1, 1e-30], 1),
        ("abaa", [1, 1, 1e-30, 1e-30], 0),
    ],
)
def test_weighted(answers: str, weights: list[float], winner: int) -> None:
    assert count(read(answers), weights).winner == winner


def test_weights_are_summed() -> None:
    vote = count(read("a.ba"), [0.5, 1, 0.125, 0.25])
    assert vote.counts == (Tally("a", 0.75, (0, 3)), Tally("b", 0.125, (2,)))


@pytest.mark.parametrize("weight", [float("nan"), 5.0, -1.0])
def test_the_weight_of_no_answer_is_not_looked_at(weight: float) -> None:
    assert count([None, "a"], [weight, 0.5]).winner == 1


@pytest.mark.parametrize(
    ("answers", "pairs", "members"),
    [
        # b equals a and c, which differ: b joins a, and c stays alone.
        ("abc", ("ab", "bc"), [(0, 1), (2,)]),
        ("bac", ("ba", "bc"), [(0, 1, 2)]),
        # An answer is compared with first members only.
        ("acb", ("ab", "cb"), [(0, 2), (1,)]),
        ("cab", ("ab", "cb"), [(0, 2), (1,)]),
        # Not symmetric: the first member is asked about the answer.
        ("ab", ("ab",), [(0, 1)]),
        ("ba", ("ab",), [(0,), (1,)]),
        # Identical answers are equal unasked.
        ("aa", (), [(0, 1)]),
        # b joins a, though it would have been equal to the later b.
        ("abcb", ("ab",), [(0, 1, 3), (2,)]),
        ("a.b", ("ab",), [(0, 2)]),
    ],
)
def test_joining(answers: str, pairs: tuple[str, ...], members: list[tuple[int, ...]]) -> None:
    vote = count(read(answers), equal=equal_pairs(*pairs))
    assert [tally.members for tally in vote.counts] == members
    assert [tally.answer for tally in vote.counts] == [answers[who[0]] for who in members]


def test_the_equality_of_math_answers() -> None:
    answers = ["5", "x=5", "y=5", "6", "6", None]
    assert [tally.members for tally in count(answers, equal=math_equal).counts] == [(0, 1, 2), (3, 4)]
    turned = ["x=5", "y=5", "6", "6", None]
    assert [tally.members for tally in count(turned, equal=math_equal).counts] == [(0,), (1,), (2, 3)]
    assert count(turned, equal=math_equal).answer == "6"


@pytest.mark.parametrize(
    ("answers", "total", "least"),
    [
        # Nothing seen
        ("", 0, 0),
        ("", 1, 1),
        ("", 2, 1),  # the first answer wins a tie
        ("", 3, 2),
        ("", 18, 9),
        (".", 1, 0),
        (".", 2, 1),
        ("..", 5, 2),
        # One class: against one that is not open yet, which loses a tie
        ("a", 2, 0),
        ("a", 3, 1),
        ("a", 4, 1),
        ("a", 5, 2),
        ("aa", 4, 0),
        ("aa", 5, 1),
        ("a.", 3, 0),
        ("a.", 4, 1),
        # Who is behind and was opened later would have to pass
        ("aab", 4, 0),
        ("aab", 5, 1),
        ("aaab", 6, 0),
        ("aaab", 7, 1),
        # Who is behind and was opened earlier needs the tie only
        ("abb", 4, 1),
        ("abbb", 5, 0),
        ("abbb", 6, 1),
        ("abbbb", 7, 0),
        # A tie
        ("ab", 2, 0),
        ("ab", 3, 1),
        ("ab", 4, 1),
        ("abba", 5, 1),
        # Nothing left
        ("abc", 3, 0),
        ("...", 3, 0),
    ],
)
def test_needed_and_decided(answers: str, total: int, least: int) -> None:
    assert needed(read(answers), total) == least
    assert is_decided(read(answers), total) == (least == 0)


@pytest.mark.parametrize(
    ("answers", "weights", "total", "least"),
    [
        ("a", [1], 2, 0),
        ("a", [0.5], 2, 1),  # a new answer may weigh 1
        ("aa", [0.5, 0.5], 3, 0),
        ("aab", [1, 0.5, 0.5], 4, 0),
        ("aab", [1, 0.5, 0.625], 4, 1),
        ("abb", [0.25, 0.75, 0.5], 4, 1),  # a may draw level, and was opened earlier
        ("abb", [0.125, 0.75, 0.5], 4, 0),
        ("a", [1e-9], 10, 5),
    ],
)
def test_needed_and_decided_with_weights(answers: str, weights: list[float], total: int, least: int) -> None:
    assert needed(read(answers), total, weights) == least
    assert is_decided(read(answers), total, weights) == (least == 0)


def test_equality_decides_early() -> None:
    assert not is_decided(["a", "b"], 3)
    assert is_decided(["a", "b"], 3, equal=equal_pairs("ab"))
    assert not is_decided(["a", "b"], 3, equal=equal_pairs("ba"))


# A second way to count, in which the classes are peeled off one after another.

Equal = Callable[[str, str], bool]
Answers = Sequence[str | None]


def peel(rest: list[int], answers: Answers, equal: Equal) -> list[list[int]]:
    if not rest:
        return []
    first = answers[rest[0]]
    assert first is not None
    same = [i for i in rest if answers[i] == first or equal(first, answers[i] or "")]
    return [same, *peel([i for i in rest if i not in same], answers, equal)]


def second_count(answers: Answers, weights: Sequence[float] | None, equal: Equal) -> tuple[int, str | None]:
    """Index of the representative, and its answer."""
    classes = peel([i for i, answer in enumerate(answers) if answer is not None], answers, equal)
    totals = [(sum(Fraction(weights[i] if weights else 1) for i in who), -who[0]) for who in classes]
    winner = -max(totals)[1] if totals else 0
    return winner, answers[winner] if answers else None


def mode(answers: Answers) -> int:
    """Index of the representative, for answers that are equal as strings only."""
    given = [answer for answer in answers if answer is not None]
    return min((-given.count(answer), answers.index(answer)) for answer in given)[1] if given else 0


def completions(answers: Answers, weights: Sequence[float] | None, left: int) -> Iterator[tuple[Answers, list[float]]]:
    """What `left` more alphas may give: any answer of the alphabet, two new ones, none; light and full weights."""
    light = [] if weights is None else [(answer, 2.0**-40) for answer in "abcNM"]
    ballots = [*light, *((answer, 1.0) for answer in "abcNM"), (None, 1.0)]
    for more in product(ballots, repeat=left):
        yield [*answers, *(answer for answer, _ in more)], [*(weights or [1.0] * len(answers)), *(w for _, w in more)]


def brute_decided(answers: Answers, total: int, weights: Sequence[float] | None, equal: Equal) -> bool:
    full = completions(answers, weights, total - len(answers))
    return len({second_count(every, votes, equal) for every, votes in full}) == 1


def brute_needed(answers: Answers, total: int, weights: Sequence[float] | None, equal: Equal) -> int:
    def can(step: int) -> bool:
        return any(
            brute_decided(every, total, None if weights is None else votes, equal)
            for every, votes in completions(answers, weights, step)
        )

    return next(step for step in range(total - len(answers) + 1) if can(step))


ANSWERS = st.sampled_from(["a", "b", "c", None])
WEIGHTS = st.one_of(st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.floats(1e-6, 1.0))
EQUALS = st.sets(st.sampled_from(["ab", "ba", "ac", "ca", "bc", "cb"])).map(lambda pairs: equal_pairs(*pairs))
STRINGS = equal_pairs()


@given(st.lists(ANSWERS, min_size=1, max_size=12))
def test_mode_by_another_way(answers: list[str | None]) -> None:
    vote = count(answers)
    assert vote.winner == mode(answers)
    assert (vote.winner, vote.answer) == second_count(answers, None, STRINGS)


@given(st.lists(st.tuples(ANSWERS, WEIGHTS), min_size=1, max_size=12), st.booleans(), EQUALS)
def test_count_by_another_way(votes: list[tuple[str | None, float]], weighted: bool, equal: Equal) -> None:
    answers, weights = [answer for answer, _ in votes], [weight for _, weight in votes] if weighted else None
    vote = count(answers, weights, equal)
    assert (vote.winner, vote.answer) == second_count(answers, weights, equal)
    members = peel([i for i, answer in enumerate(answers) if answer is not None], answers, equal)
    assert [list(tally.members) for tally in vote.counts] == members
    for tally in vote.counts:
        assert tally.weight == (math.fsum(weights[i] for i in tally.members) if weights else len(tally.members))


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5])
def test_decided_and_needed_in_every_state(total: int) -> None:
    letters = ("a", "b", "c", "d", "e", None)  # with five answers, one is always new
    outcomes: dict[Answers, set[tuple[int, str | None]]] = {}
    least: dict[Answers, int] = {}
    for known in range(total, -1, -1):
        for state in product(letters, repeat=known):
            after = [(*state, answer) for answer in letters] if known < total else []
            outcomes[state] = set().union(*(outcomes[more] for more in after)) or {second_count(state, None, STRINGS)}
            decided = len(outcomes[state]) == 1
            least[state] = 0 if decided else 1 + min(least[more] for more in after)
            assert is_decided(state, total) == decided
            assert needed(state, total) == least[state]


@given(st.lists(ANSWERS, max_size=6), st.integers(0, 4), EQUALS)
@settings(max_examples=300)
def test_decided_exactly_where_no_completion_differs(answers: list[str | None], left: int, equal: Equal) -> None:
    total = min(6, len(answers) + left)
    assert is_decided(answers, total, equal=equal) == brute_decided(answers, total, None, equal)


@given(st.lists(st.tuples(ANSWERS, WEIGHTS), max_size=6), st.integers(0, 3), EQUALS)
@settings(max_examples=300)
def test_decided_exactly_with_weights(votes: list[tuple[str | None, float]], left: int, equal: Equal) -> None:
    answers, weights = [answer for answer, _ in votes], [weight for _, weight in votes]
    total = len(answers) + left
    assert is_decided(answers, total, weights, equal) == brute_decided(answers, total, weights, equal)


@given(st.lists(ANSWERS, max_size=6), st.integers(0, 3), EQUALS)
@settings(max_examples=200)
def test_needed_is_the_best_case(answers: list[str | None], left: int, equal: Equal) -> None:
    total = min(6, len(answers) + left)
    assert needed(answers, total, equal=equal) == brute_needed(answers, total, None, equal)


@given(st.lists(st.tuples(ANSWERS, WEIGHTS), max_size=4), st.integers(0, 2), EQUALS)
@settings(max_examples=150)
def test_needed_is_the_best_case_with_weights(votes: list[tuple[str | None, float]], left: int, equal: Equal) -> None:
    answers, weights = [answer for answer, _ in votes], [weight for _, weight in votes]
    total = len(answers) + left
    assert needed(answers, total, weights, equal) == brute_needed(answers, total, weights, equal)


@given(st.lists(st.tuples(ANSWERS, WEIGHTS), min_size=1, max_size=18), st.booleans(), EQUALS)
def test_a_vote_in_waves_is_the_whole_vote(votes: list[tuple[str | None, float]], weighted: bool, equal: Equal) -> None:
    answers, weights = [answer for answer, _ in votes], [weight for _, weight in votes]
    total, done, waves = len(answers), 0, []
    while wave := needed(answers[:done], total, weights[:done] if weighted else None, equal):
        waves.append(wave)
        done += wave
    assert done <= total
    assert waves[0] == (total + 1) // 2
    early = count(answers[:done], weights[:done] if weighted else None, equal)
    whole = count(answers, weights if weighted else None, equal)
    assert (early.winner, early.answer) == (whole.winner, whole.answer)


def test_the_early_stop_saves() -> None:
    answers = read("a" * 18)
    assert next(done for done in range(19) if is_decided(answers[:done], 18)) == 9


# The weight of a response


@pytest.mark.parametrize(
    ("mean", "weight"),
    [(0, 1.0), (-0.0, 1.0), (math.log(0.5), 0.5), (-math.log(8), 0.125), (1e-4, 1.0), (-1, math.exp(-1))],
)
def test_weigh(mean: float, weight: float) -> None:
    assert weigh(mean) == pytest.approx(weight, rel=1e-12)


@given(st.floats(-1e9, 1e-3))
def test_every_response_has_a_weight_that_a_vote_takes(mean: float) -> None:
    assert 0 < weigh(mean) <= 1
    assert count(["a"], [weigh(mean)]).counts[0].weight == weigh(mean)


def test_agreement_is_rewarded() -> None:
    sure, doubtful = weigh(-0.1), weigh(-0.4)
    assert count(read("baaa"), [sure, doubtful, doubtful, doubtful]).answer == "a"


# Refusals


@pytest.mark.parametrize("mean", [float("nan"), float("inf"), float("-inf"), 0.01])
def test_no_weight(mean: float) -> None:
    with pytest.raises(SteeringError) as caught:
        weigh(mean)
    assert str(caught.value) == (
        f"a mean token log-probability of {mean!r} is no weight: it must be finite and at most 0; use vote=mode, "
        "or a dtype in which the model's logits are finite"
    )


def test_no_response_no_vote() -> None:
    with pytest.raises(SteeringError) as caught:
        count([])
    assert str(caught.value) == "a vote over 0 responses has no winner: give at least 1"


def test_more_answers_than_strengths() -> None:
    for ask in (needed, is_decided):
        with pytest.raises(SteeringError) as caught:
            ask(["a", "b"], 1)
        assert str(caught.value) == "a vote over 1 strengths has 2 answers: give one per strength at most"


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0]])
def test_one_weight_per_answer(weights: list[float]) -> None:
    words = f"a vote has 2 answers and {len(weights)} weights: give one weight per answer"
    with pytest.raises(SteeringError) as caught:
        count(["a", "b"], weights)
    assert str(caught.value) == words
    with pytest.raises(SteeringError) as caught:
        is_decided(["a", "b"], 3, weights)
    assert str(caught.value) == words


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.5, float("nan"), float("inf")])
def test_weights_out_of_range(weight: float) -> None:
    with pytest.raises(SteeringError) as caught:
        count(["a", "b"], [1.0, weight])
    assert str(caught.value) == f"answer 1 of a vote weighs {weight!r}: use weights above 0 and up to 1"


def test_early_stop_equals_the_full_vote_on_recorded_responses() -> None:
    """SmolLM2 on arith_steer at 5 strengths (or samples) per document: answer, log-probability and tokens of each."""
    text = (Path(__file__).parent / "fixtures" / "recorded_votes.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.split("\n") if line]
    skipped = {"mode": 0, "weighted": 0}
    for row in rows:
        answers = [answer for answer, _, _ in row]
        for rule in skipped:
            weights = [weigh(logprob / tokens) for _, logprob, tokens in row] if rule == "weighted" else None
            whole, known = count(answers, weights), 0
            while more := needed(answers[:known], 5, weights and weights[:known]):
                known += more
            early = count(answers[:known], weights and weights[:known])
            assert (early.winner, early.answer) == (whole.winner, whole.answer)
            skipped[rule] += 5 - known
    assert len(rows) == 360
    assert skipped["mode"] > skipped["weighted"] > 0
