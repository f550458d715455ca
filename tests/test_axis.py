"""A set of strengths: its rows equal single runs, its vote equals one written here, its record gives it all back."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

import models
from conftest import make_vector
from lm_eval_steer.axis.axis import Axis
from lm_eval_steer.axis.record import Record, read_lines
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.protocol import Done, Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls import read_control
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.models.questions import Choices, make_texts, vote_keys
from lm_eval_steer.models.requests import Prepared
from steerings import steering
from test_hf import GREEDY, make
from test_vote_key import FIRST, REGEX, toy

ALPHAS = [0.5, 1.0, 1.5, -1.0, 3.0]
ORDER = [0.5, 1.0, -1.0, 1.5, 3.0]
CONTEXTS = [f"Q: What is {i} + {i * i}? Think.\nA:" for i in range(6)] + ["Hello", "ab"]


def first_letter(response: str) -> str | None:
    """What these tests vote on: a coarse answer, so that there are classes, ties and no answers."""
    return None if not response or response[0] in "0123456789" else str(ord(response[0]) % 3)


KEY = "test_axis:first_letter"


def requests(contexts: list[str] = CONTEXTS, **changes: Any) -> list[Instance]:
    return [
        Instance("generate_until", {"n": i}, (text, GREEDY | changes), 0, ("toy", i, 1))
        for i, text in enumerate(contexts)
    ]


def choices(docs: int = 5) -> list[Instance]:
    options = [" red", " blue and green", " 5", " the west of it"]
    return [
        Instance("loglikelihood", {"n": doc}, (f"Doc {doc} asks: which?", option), i, ("toy_mc", doc, 1))
        for doc in range(docs)
        for i, option in enumerate(options)
    ]


def a_set(tmp_path: Path, **arguments: Any) -> SteeredHF:
    given = {"vectors": make_vector(), "alpha": ALPHAS, "record": str(tmp_path / "record"), "vote_answer": KEY}
    return make(**(given | arguments))


def without_engine(lm: SteeredHF) -> None:
    """Let nothing be run any more."""
    lm.engine.run = None  # type: ignore[assignment,method-assign]


def by_alpha(tmp_path: Path) -> dict[float, list[str | None]]:
    """What the record says, per strength in order of documents."""
    found: dict[float, dict[int, str | None]] = {}
    for line in read_lines(tmp_path / "record", "toy"):
        found.setdefault(line.alpha, {})[line.doc_id] = line.response
    return {alpha: [docs[i] for i in sorted(docs)] for alpha, docs in found.items()}


def majority(answers: list[str | None]) -> int:
    """The vote, written another way: most frequent answer, ties to the earliest, its first response."""
    known = [answer for answer in answers if answer is not None]
    if not known:
        return 0
    most = max(known.count(answer) for answer in known)
    return next(i for i, answer in enumerate(answers) if answer is not None and known.count(answer) == most)


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral", "gpt2"])
def test_a_set_equals_single_runs_and_a_vote_written_apart(family: str, tmp_path: Path) -> None:
    lm = a_set(tmp_path, family=family, batch_size=7)
    voted = lm.generate_until(requests())
    singles = [make(family=family, vectors=make_vector(), alpha=a).generate_until(requests()) for a in ORDER]
    assert by_alpha(tmp_path) == dict(zip(ORDER, singles, strict=True))
    answers = [[first_letter(texts[i]) for texts in singles] for i in range(len(CONTEXTS))]
    assert voted == [singles[majority(row)][i] for i, row in enumerate(answers)]
    assert len({tuple(row) for row in answers}) > 2  # the strengths do disagree


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
def test_the_composition_of_batches_does_not_matter(tokens: str, tmp_path: Path) -> None:
    texts = []
    for size in (1, 3, 40):
        lm = a_set(tmp_path / str(size), batch_size=size, tokens=tokens)
        asked = requests()
        random.Random(size).shuffle(asked)
        lm.generate_until(asked)
        texts.append(by_alpha(tmp_path / str(size)))
    assert texts[0] == texts[1] == texts[2]


def test_multiple_choice_votes_for_an_option(tmp_path: Path) -> None:
    singles = [make(vectors=make_vector(), alpha=a).loglikelihood(choices()) for a in ORDER]
    for metric in ("acc", "acc_norm"):
        lm = a_set(tmp_path / metric, vote_metric=metric)
        voted = lm.loglikelihood(choices())
        for doc in range(5):
            rows = [[score for score, _ in scores[doc * 4 : doc * 4 + 4]] for scores in singles]
            lengths = [len(request.args[1].strip()) for request in choices()[:4]] if metric == "acc_norm" else [1] * 4
            options = [str(int(np.argmax(np.array(row) / lengths))) for row in rows]
            winner = rows[majority(options)]  # type: ignore[arg-type]
            assert [score for score, _ in voted[doc * 4 : doc * 4 + 4]] == pytest.approx(winner, abs=1e-4)
        assert lm.get_model_info()["steering"]["votes"]["keys"] == {"toy_mc": f"option chosen by {metric}"}


@pytest.mark.parametrize("early", [False, True])
def test_requests_that_fill_up_a_rank_are_no_documents(early: bool, tmp_path: Path) -> None:
    """With several ranks the harness repeats the last request of one that has fewer."""
    asked = choices(3)
    whole = a_set(tmp_path / "a", vote_early_stop=early).loglikelihood(asked)
    lm = a_set(tmp_path / "b", vote_early_stop=early)
    assert lm.loglikelihood([*asked, *asked[-1:] * 2]) == [*whole, *whole[-1:] * 2]
    assert lm.get_model_info()["steering"]["votes"]["requests"] == 3


def test_a_run_goes_on_from_its_record(tmp_path: Path) -> None:
    lm = a_set(tmp_path)
    first = lm.generate_until(requests())
    found = lm.loglikelihood(choices())
    lines = {line.fingerprint: line for line in read_lines(tmp_path / "record")}
    again = a_set(tmp_path, token="a secret", max_batch_size=2)  # neither changes a response
    without_engine(again)  # everything comes from the record
    assert again.generate_until(requests()) == first
    assert again.loglikelihood(choices()) == found
    assert {line.fingerprint: line for line in read_lines(tmp_path / "record")} == lines
    single = make(vectors=make_vector(), alpha=1.5, record=str(tmp_path / "record"))
    without_engine(single)  # a run of one strength, too
    assert single.generate_until(requests()) == by_alpha(tmp_path)[1.5]
    assert not any(b"a secret" in path.read_bytes() for path in (tmp_path / "record").iterdir())


def test_arms_share_a_pass_and_each_is_as_it_would_be_alone(tmp_path: Path) -> None:
    """Baseline, vector, controls and one strength of them: what several ask for is run once."""
    build = partial(SteeringPlan.build, vectors=make_vector(), vote_answer=KEY)
    given = [{"alpha": ALPHAS, "vote_early_stop": True}, {"alpha": ALPHAS, "control": "random:3"}, {"alpha": 1.5},
             {"alpha": 0}, {"alpha": ALPHAS, "control": "negated", "tokens": "last"}]  # fmt: skip
    alone = []
    for number, arguments in enumerate(given):
        lm = a_set(tmp_path / str(number), **arguments)
        texts, scored = lm.generate_until(requests()), scores(lm)
        alone.append((texts, scored, lm.get_model_info()["steering"]))
    lm = a_set(tmp_path)
    for first in range(len(given)):
        order = [*range(first, len(given)), *range(first)]
        lm.steer(*(build(**given[number], record=str(tmp_path / f"pass {first}")) for number in order))
        assert lm.generate_until(requests()) == alone[first][0]
        assert scores(lm) == pytest.approx(alone[first][1], abs=1e-4)
        for place, number in enumerate(order):
            found, expected = lm.arm_info(place), alone[number][2]
            assert found["votes"] == expected["votes"]
            assert found["settings"] == expected["settings"]
            assert found["fingerprint"] == expected["fingerprint"]
        recorded = list(read_lines(tmp_path / f"pass {first}", "toy"))
        assert lm.arm_info(order.index(1))["responses"] == {"run": 5 * (len(CONTEXTS) + 5), "from_record": 0}
        assert len(recorded) == len({line.fingerprint for line in recorded}) <= 16 * len(CONTEXTS)
    assert lm.get_model_info()["steering"]["application"]["implied"] is not None
    with pytest.raises(SteeringError, match=r"^arms of one pass share .* have seed=0 and seed=1: give them one"):
        lm.steer(build(alpha=1.0), build(alpha=2.0, seed=1))


def test_a_replay_has_only_the_record(tmp_path: Path) -> None:
    """Arms of a pass are told again as if each were run alone, and what was never run is refused."""
    lm = a_set(tmp_path)
    build = partial(SteeringPlan.build, vectors=make_vector(), vote_answer=KEY, record=str(tmp_path / "record"))
    plans = [build(alpha=ALPHAS), build(alpha=0), build(alpha=1.5, control="negated")]
    lm.steer(*plans)
    voted = lm.generate_until(requests()), lm.loglikelihood(choices())
    doses = lm.arm_info()["doses"]
    without_engine(lm)
    lm.engine.load = None  # type: ignore[assignment,method-assign]
    lm.replay(plans[0])
    assert (lm.generate_until(requests()), lm.loglikelihood(choices())) == voted
    assert lm.arm_info()["responses"] == {"run": 0, "from_record": 5 * (len(CONTEXTS) + 5)}
    assert lm.arm_info()["doses"] == doses
    lm.replay(plans[1])
    assert lm.generate_until(requests()) == make(HFLM).generate_until(requests())
    with pytest.raises(SteeringError, match=rf"^the record {tmp_path}/record lacks 8 of the responses that are asked"):
        lm.generate_until(requests(max_gen_toks=3))
    lm.replay(build(alpha=2.5))
    with pytest.raises(SteeringError, match="lacks 5 of the responses"):
        lm.loglikelihood(choices())


def test_a_plain_run_is_recorded_response_by_response(tmp_path: Path) -> None:
    lm = make(alpha=0, record=str(tmp_path / "record"), batch_size=2)
    heard: list[str | None] = []

    def interrupt(line: Any, new: bool) -> None:
        heard.append(line.response)
        if len(heard) == 4:
            raise KeyboardInterrupt

    lm.watch = interrupt
    with pytest.raises(KeyboardInterrupt):
        lm.generate_until(requests())
    assert len(list(read_lines(tmp_path / "record"))) == 3  # the fourth was being told
    again = make(alpha=0, record=str(tmp_path / "record"), batch_size=2)
    assert again.generate_until(requests()) == make(HFLM, batch_size=2).generate_until(requests())
    assert again.get_model_info()["steering"]["responses"] == {"run": 5, "from_record": 3}
    assert type(lm.cache_hook) is type(make(HFLM).cache_hook)  # as before


def test_a_seed_belongs_to_text_that_is_drawn(tmp_path: Path) -> None:
    record = str(tmp_path / "record")
    for seed, run in ((0, 8), (1, 0)):
        lm = make(vectors=make_vector(), alpha=1.5, record=record, seed=seed)
        lm.generate_until(requests())
        assert lm.get_model_info()["steering"]["responses"]["run"] == run
    texts = []
    for seed in (0, 1, 1):
        lm = make(vectors=make_vector(), alpha=1.5, record=record, seed=seed)
        texts.append(lm.generate_until(requests(do_sample=True, temperature=2.0)))
        info = lm.get_model_info()["steering"]
        lines = [line for line in read_lines(record) if line.settings in info["settings"]]
        assert len(lines) == 2 * len(CONTEXTS)  # greedy ones, and those of this seed
    assert texts[0] != texts[1] == texts[2]


KILLED = """
import os, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
import test_axis
from lm_eval_steer.axis.record import Record
append, left = Record.append, [{lines}]
def append_then_die(self, line):
    append(self, line)
    left[0] -= 1
    if not left[0]:
        os._exit(9)
Record.append = append_then_die
test_axis.a_set(Path({folder!r})).generate_until(test_axis.requests())
"""


@pytest.mark.parametrize("lines", [pytest.param(1, marks=pytest.mark.slow), 17])
def test_a_run_that_was_killed_goes_on(lines: int, tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), lines=lines, folder=str(tmp_path / "killed"))
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 9
    assert len(list(read_lines(tmp_path / "killed" / "record"))) == lines
    lm = a_set(tmp_path / "killed")
    assert lm.generate_until(requests()) == a_set(tmp_path / "whole").generate_until(requests())
    assert lm.get_model_info()["steering"]["responses"]["from_record"] == lines
    assert by_alpha(tmp_path / "killed") == by_alpha(tmp_path / "whole")


@pytest.mark.parametrize(
    "changes",
    [{"tokens": "last"}, {"layers": 1}, {"vectors": make_vector(seed=3)}, {"normalize": True}, {"dose": ALPHAS}],
)
def test_another_steering_takes_nothing_from_a_record(changes: dict[str, Any], tmp_path: Path) -> None:
    asked = requests(CONTEXTS[:3])
    a_set(tmp_path).generate_until(asked)
    count = len(list(read_lines(tmp_path / "record")))
    alpha = {"alpha": None} if "dose" in changes else {}
    other = a_set(tmp_path, **changes, **alpha)
    expected = a_set(tmp_path / "new", **changes, **alpha).generate_until(asked)
    assert other.generate_until(asked) == expected
    assert len(list(read_lines(tmp_path / "record"))) == 2 * count


def test_other_arguments_of_the_request_take_nothing_either(tmp_path: Path) -> None:
    lm = a_set(tmp_path)
    lm.generate_until(requests())
    assert lm.generate_until(requests(max_gen_toks=3)) != lm.generate_until(requests())


def test_alpha_0_is_recorded_and_shared_between_vectors(tmp_path: Path) -> None:
    plain = make(HFLM).generate_until(requests())
    record = str(tmp_path / "record")
    assert make(alpha=0, record=record).generate_until(requests()) == plain
    in_set = make(vectors=make_vector(seed=9), alpha=[0, 1.0], record=record, vote_answer=KEY)
    in_set.generate_until(requests())
    lines = list(read_lines(record))
    assert len(lines) == 2 * len(CONTEXTS)
    expected = make(HFLM).loglikelihood(choices())
    assert make(alpha=0, record=record).loglikelihood(choices()) == expected


def scores(lm: Any) -> list[float]:
    return [score for score, _ in lm.loglikelihood(choices())]


def test_early_stop_gives_the_same_responses_for_less(tmp_path: Path) -> None:
    for seed in range(4):
        vector = make_vector(seed=seed)
        full = a_set(tmp_path / f"full{seed}", vectors=vector)
        early = a_set(tmp_path / f"early{seed}", vectors=vector, vote_early_stop=True)
        assert early.generate_until(requests()) == full.generate_until(requests())
        votes = early.get_model_info()["steering"]["votes"]
        run = len(list(read_lines(tmp_path / f"early{seed}" / "record")))
        assert votes["skipped"] == 5 * len(CONTEXTS) - run > 0
        assert scores(early) == pytest.approx(scores(full), abs=1e-4)


def test_a_weighted_vote_takes_what_alpha_0_left_in_the_record_for_what_it_is(tmp_path: Path) -> None:
    """It has no log-probabilities: asked for again, it stands beside the old line, which stays as it is."""
    record = tmp_path / "record"
    make(alpha=0, record=str(record)).generate_until(requests())
    plain = {line.fingerprint: line for line in read_lines(record)}
    assert all(line.logprob is None for line in plain.values())
    expected = a_set(tmp_path / "alone", vote="weighted", alpha=[0, 1.0, 3.0])
    texts = expected.generate_until(requests())
    for run in (len(CONTEXTS) * 2 + sum(first_letter(line.response or "") is not None for line in plain.values()), 0):
        lm = a_set(tmp_path, vote="weighted", alpha=[0, 1.0, 3.0])
        assert lm.generate_until(requests()) == texts
        assert lm.get_model_info()["steering"]["votes"] == expected.get_model_info()["steering"]["votes"]
        assert lm.get_model_info()["steering"]["responses"]["run"] == run
    assert plain.items() <= {line.fingerprint: line for line in read_lines(record)}.items()
    assert make(alpha=0, record=str(record)).generate_until(requests()) == make(HFLM).generate_until(requests())


def test_weights_are_the_mean_token_probabilities(tmp_path: Path) -> None:
    lm = a_set(tmp_path, vote="weighted")
    voted = lm.generate_until(requests())
    lines = {(line.doc_id, line.alpha): line for line in read_lines(tmp_path / "record")}
    for doc in range(len(CONTEXTS)):
        weights: dict[str, float] = {}
        for alpha in ORDER:
            line = lines[doc, alpha]
            assert line.logprob is not None
            if line.answer is not None:
                weights[line.answer] = weights.get(line.answer, 0) + float(np.exp(line.logprob / (line.tokens or 0)))
        if weights:
            best = max(weights, key=lambda answer: weights[answer])
            assert first_letter(voted[doc]) == best


def test_the_log_probability_is_that_of_the_model() -> None:
    """A response scored as a continuation, under steering, has the log-probability that its generation recorded."""
    lm = make(vectors=make_vector(), alpha=1.5)
    prompt = lm.tok_encode("Q: 1")
    (text,) = lm.engine.run([Job(0, 0, prompt, Generation((), 12, {"do_sample": False}))])
    assert (len(text.tokens), text.stop) == (12, "length")
    (scored,) = lm.engine.run([Job(0, 0, pairs=((prompt, text.tokens),))])
    assert scored.scores == [(pytest.approx(text.logprob, abs=1e-3), True)]


# An engine that says what it is told


class Told:
    """Says something per intervention: a text, or the scores of a document's requests.

    Attributes:
        asked: what it was asked.
    """

    max_length = 100

    def __init__(self, *says: Any, lost: int = 0, waits: float = 0.0) -> None:
        self.says, self.lost, self.waits = says, lost, waits
        self.asked: list[Job] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        self.asked += jobs
        for job in jobs[: len(jobs) - self.lost]:
            time.sleep(self.waits)
            said = self.says[job.intervention]
            yield Done(job, scores=said) if job.pairs else Done(job, tokens=[ord(said), 0], logprob=-1.0)

    # What it is told, and reads

    def prepare(self, told: Any, intervention: Any, answers: bool) -> Prepared:
        return Prepared(Generation((), 1), [], draws=False)

    def read(self, done: Done, stop: list[str]) -> str:
        return chr((done.tokens or [])[0])

    def _encode(self, prompt: str, new_tokens: int) -> list[int]:
        return [1]

    def _encode_choice(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return [1], [1] * len(continuation)


def told(tmp_path: Path, engine: Told, asked: list[Instance], **arguments: Any) -> tuple[list[Any], Axis]:
    """What an axis makes of what the engine says, and the axis."""
    given = {"vectors": make_vector(), "alpha": ORDER, "record": str(tmp_path), "vote_answer": KEY}
    plan = SteeringPlan.build(**(given | arguments))  # type: ignore[arg-type]
    every = plan.interventions(models.DEPTH, plan.fit(models.DEPTH, models.WIDTH))
    axis = Axis([(plan, every)], Record(plan.record) if plan.record else None, {})
    lm: Any = engine
    questions: list[Any]
    if asked[0].request_type == "generate_until":
        questions = list(make_texts(asked, lm, vote_keys(asked, plan, axis.votes), axis.interventions))
    else:
        questions = [Choices(asked, lm, plan.vote_metric, plainly=False)]
    lines = axis.run(questions, lm, lambda question, line: None, asked[0].request_type, True)
    return [list(line.scores) if line.scores else line.response for line in lines], axis


def test_a_vote_is_the_same_with_a_record_as_without(tmp_path: Path) -> None:
    """Three equal answers decide among five; what a record holds beyond them is counted neither way."""
    says = Told("a", "a", "a", "b", "b")
    told(tmp_path / "full", says, requests(["x"]))
    assert len(list(read_lines(tmp_path / "full"))) == 5
    tallies = []
    for folder in ("full", "empty"):
        texts, axis = told(tmp_path / folder, says, requests(["x"]), vote_early_stop=True)
        assert texts == ["a"]
        tallies.append(axis.ballots[0].tally)
    assert tallies[0] == tallies[1]
    assert (tallies[0].unanimous, tallies[0].skipped) == (1, 2)


@pytest.mark.parametrize(("alpha", "lost"), [(ORDER, 1), (ORDER, 5), (1.0, 1)])
def test_an_engine_that_brings_fewer_back_is_an_error(tmp_path: Path, alpha: Any, lost: int) -> None:
    given = len(ORDER) if alpha is ORDER else 1
    with pytest.raises(SteeringError, match=f"^of {given} generate_until requests that .* brought {given - lost} back"):
        told(tmp_path, Told(*"aaabb", lost=lost), requests(["x"]), alpha=alpha)
    assert len(list(read_lines(tmp_path))) == given - lost  # what came is kept


@pytest.mark.parametrize("record", [True, False])
def test_an_engine_that_brings_one_back_twice_is_an_error(tmp_path: Path, record: bool) -> None:
    class Twice(Told):
        def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
            return super().run(list(jobs[:1]) * 2)

    changes = {} if record else {"record": None, "alpha": 1.0}
    with pytest.raises(SteeringError, match=r"^the engine brought two responses to one of \d generate_until requests"):
        told(tmp_path, Twice(*"aaabb"), requests(["x"]), **changes)


def test_the_seconds_of_a_response_are_its_own(tmp_path: Path) -> None:
    begun = time.perf_counter()
    told(tmp_path, Told(*"aaabb", waits=0.01), requests(["x", "y"]))
    seconds = [line.seconds for line in read_lines(tmp_path)]
    assert len(seconds) == 10
    assert min(seconds) >= 0.01
    assert sum(seconds) <= time.perf_counter() - begun


def test_a_text_has_its_share_of_the_passes_of_its_batch(tmp_path: Path) -> None:
    lm = a_set(tmp_path, batch_size=40)
    begun = time.perf_counter()
    lm.generate_until(requests())
    lines = list(read_lines(tmp_path / "record"))
    assert sum(line.seconds for line in lines) <= time.perf_counter() - begun
    parted = 0
    for line in lines:
        for other in lines:
            if line.doc_id == other.doc_id:  # their rows are of one batch
                assert (line.tokens == other.tokens) == (line.seconds == other.seconds)
                assert ((line.tokens or 0) < (other.tokens or 0)) == (line.seconds < other.seconds)
                parted += line.tokens != other.tokens
    assert parted


def test_the_weight_of_an_option_is_that_of_the_chosen_one_per_token(tmp_path: Path) -> None:
    """By acc_norm " a" is chosen twice, at -3 for two tokens, and " bcdefghi" twice, at -4.5 and -8.1 for nine.

    e^-0.5 + e^-0.9 = 1.01 stands against e^-1.5 + e^-1.5 = 0.45; by their totals it would lose.
    """
    options = [
        Instance("loglikelihood", {}, ("Q", text), i, ("mc", 0, 1)) for i, text in enumerate((" a", " bcdefghi"))
    ]
    a, b, other = [(-3.0, True), (-99.0, False)], [(-4.0, False), (-4.5, True)], [(-9.0, False), (-8.1, True)]
    chosen = {"vote_metric": "acc_norm", "vote": "weighted", "alpha": [1, 2, 3, 4]}
    (found,), _ = told(tmp_path, Told(a, a, b, other), options, **chosen)
    assert found == b


# Proof of application, doses


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
@pytest.mark.parametrize("shared", ["", "A long beginning that all of them share. "])
def test_counters_equal_what_the_requests_imply(tokens: str, shared: str, tmp_path: Path) -> None:
    lm = a_set(tmp_path, tokens=tokens, alpha=[0, 1.0, 2.0], batch_size=5)
    contexts = [shared + text for text in CONTEXTS]
    lm.generate_until(requests(contexts))
    expected = 0
    for line in read_lines(tmp_path / "record"):
        prompt = len(contexts[line.doc_id].encode())
        new = line.tokens or 0
        positions = {"all": prompt + new - 1, "prompt": prompt, "generated": new, "last": 1}[tokens]
        expected += positions * (line.alpha != 0)
    told = lm.get_model_info()["steering"]
    assert {line.settings for line in read_lines(tmp_path / "record")} == set(told["settings"])
    application = told["application"]
    assert application == {key: dict.fromkeys(range(models.DEPTH), expected) for key in ("steered", "implied")}
    lm.loglikelihood(choices())
    after = lm.get_model_info()["steering"]["application"]
    assert after["steered"] == after["implied"]
    assert after["steered"][0] > expected


def rolling(text: str = "abcd" * 9) -> list[Instance]:
    return [Instance("loglikelihood_rolling", {}, (text,), 0)]


@pytest.mark.parametrize(
    "run",
    [
        lambda lm: lm.generate_until(requests()),
        lambda lm: lm.loglikelihood(choices()),
        lambda lm: lm.loglikelihood_rolling(rolling()),
    ],
)
def test_positions_that_nobody_asked_to_steer_end_the_run(run: Any) -> None:
    lm = make(vectors=make_vector(), alpha=1.5)
    run(lm)
    steerer = lm.engine._loaded.steerer
    with steerer.attached():  # as by a hook that runs twice, somewhere in a model
        steerer.next_pass([0], torch.ones(1, 3, dtype=torch.bool))
        lm.model(torch.tensor([[1, 2, 3]]))
    with pytest.raises(
        SteeringError, match=r"^block 0 was steered at \d+ positions, where prompts and responses imply "
    ):
        run(lm)


def test_a_run_that_was_interrupted_does_not_void_the_next(tmp_path: Path) -> None:
    """As in a notebook: what the broken run steered is in the counts, and no response shows it."""
    lm = a_set(tmp_path, batch_size=3)
    handle = lm.model.register_forward_pre_hook(lambda *_: next(passes))
    passes = iter([None] * 5)
    with pytest.raises((StopIteration, RuntimeError)):
        lm.generate_until(requests())
    handle.remove()
    assert lm.generate_until(requests()) == a_set(tmp_path / "whole").generate_until(requests())
    application = lm.get_model_info()["steering"]["application"]
    assert (application["implied"], application["not_compared"][:5]) == (None, "a run")


def test_a_dose_is_the_share_of_the_norm(tmp_path: Path) -> None:
    lm = make(vectors=make_vector(), dose=0.25)
    lm.generate_until(requests())
    doses = lm.get_model_info()["steering"]["doses"]["0.25"]
    assert set(doses) == {"0", "1", "2"}
    for measured in doses.values():
        assert measured["dose"] == pytest.approx(0.25, rel=1e-5)
        assert measured["survival"] == pytest.approx(1.0, abs=1e-3)


def test_dose_and_survival_by_hand() -> None:
    """One pass in bfloat16: ‖α·v‖ / ‖h‖ and what rounding kept, computed here from the block's output."""
    model = models.make_model("llama").bfloat16()
    lm = SteeredHF(model, tokenizer=models.make_tokenizer(), vectors=make_vector(), alpha=0.02, batch_size=4)
    gave: list[torch.Tensor] = []
    find_blocks(lm.model)[0].register_forward_hook(lambda m, a, out: gave.append(out.detach().clone()))
    lm.loglikelihood([Instance("loglikelihood", {}, ("abcdefgh", "ij"), 0)])
    hidden = gave[-1]  # before it, probes ran the model
    v = torch.from_numpy(make_vector().directions[0])
    added = (hidden.float() + 0.02 * v).bfloat16().float() - hidden.float()
    measured = lm.get_model_info()["steering"]["doses"]["0.02"]["0"]
    assert measured["positions"] == hidden.shape[1]
    assert measured["dose"] == pytest.approx(float((0.02 / hidden.float().norm(dim=-1)).mean()), rel=1e-4)
    assert measured["survival"] == pytest.approx(float((added @ v).sum() / (0.02 * hidden.shape[1])), rel=1e-3)


def test_a_dose_that_rounding_loses_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import logging

    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)  # lm_eval's own logging switches it off
    model = models.make_model("llama").bfloat16()
    for parameter in model.model.embed_tokens.parameters():
        parameter.data *= 1000  # large block outputs
    lm = SteeredHF(model, tokenizer=models.make_tokenizer(), vectors=make_vector(), alpha=[0.001, 500.0],
                   vote_answer=KEY, record=str(tmp_path))  # fmt: skip
    lm.generate_until(requests())
    told = [message for message in caplog.messages if "survives" in message]
    assert len(told) == 1
    assert told[0].startswith("alpha=0.001: in 3 of 3 steered blocks less than half of the shift survives")
    assert told[0].endswith("dtype=float32 would keep it")


# Controls and profiles


def test_a_control_takes_the_vectors_place() -> None:
    vector = make_vector()
    for control in ("random:2", "shuffled", "negated"):
        wanted = read_control(control).apply(dict(enumerate(vector.directions)))  # type: ignore[arg-type]
        same = type(vector)(np.stack([wanted[b] for b in range(models.DEPTH)]), (0, 1, 2), vector.passport)
        texts = make(vectors=vector, alpha=1.5, control=control).generate_until(requests())
        assert texts == make(vectors=same, alpha=1.5).generate_until(requests())
        assert texts != make(vectors=vector, alpha=1.5).generate_until(requests())
    negated = make(vectors=vector, alpha=1.5, control="negated").generate_until(requests())
    assert negated == make(vectors=vector, alpha=-1.5).generate_until(requests())


def test_identity_is_alpha_0_at_another_batch_size() -> None:
    lm = make(control="identity", batch_size=4)
    sizes: list[int] = []
    lm.model.register_forward_pre_hook(lambda m, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True)
    texts = lm.generate_until(requests())
    assert max(sizes) == 2
    assert lm.batch_size == 4
    assert texts == make(HFLM).generate_until(requests())


def test_self_consistency_draws_samples_that_depend_on_nothing_but_their_seed(tmp_path: Path) -> None:
    def draw(name: str, **changes: Any) -> dict[tuple[int, str], str | None]:
        lm = a_set(tmp_path / name, control="self-consistency", **changes)
        lm.generate_until(requests())
        return {(line.doc_id, line.variant): line.response for line in read_lines(tmp_path / name / "record")}

    first = draw("a", batch_size=3)
    assert len(first) == 5 * len(CONTEXTS)
    assert draw("b", batch_size=40) == first
    assert draw("c", seed=1) != first
    assert len({first[0, f"self-consistency {i}"] for i in range(5)}) == 5


def test_samples_follow_the_distribution(tmp_path: Path) -> None:
    """The first token over many samples against the softmax at temperature 0.7, which 400 draws estimate within 0.1.

    It is drawn from all tokens: a generation config leaves none out.
    """
    lm = make(alpha=[0.001 * (i + 1) for i in range(400)], control="self-consistency", vote_answer=KEY,
              record=str(tmp_path / "record"), batch_size=400)  # fmt: skip
    lm.model.generation_config.update(top_k=2, top_p=0.2)
    lm.generate_until(requests(["ab"], max_gen_toks=1, until=[]))
    ids = torch.tensor([lm.tok_encode("ab")])
    with torch.no_grad():
        share = (lm.model(ids).logits[0, -1] / 0.7).softmax(-1)
    counts: dict[str | None, int] = {}
    for line in read_lines(tmp_path / "record"):
        counts[line.response] = counts.get(line.response, 0) + 1
    token = int(share.argmax())
    assert counts.get(lm.tok_decode([token]), 0) / 400 == pytest.approx(float(share[token]), abs=0.1)
    assert len(counts) > 20


@pytest.mark.parametrize(
    ("profile", "multipliers"),
    [([0.5, 0, 2], [0.5, 0, 2]), ("linear:0:2", [0, 1, 2]), ("peak:1:1000", [1, 1, 1])],
)
def test_alpha_per_layer_multiplies_alpha(profile: Any, multipliers: list[float]) -> None:
    vector = make_vector()
    scaled = vector.directions * np.array(multipliers, dtype=np.float32)[:, None]
    lm = make(vectors=vector, alpha=2.0, alpha_per_layer=profile)
    by_hand = make(vectors=vector, alpha=2.0)
    by_hand.engine.load([steering(scaled, 2.0)])
    assert lm.generate_until(requests()) == by_hand.generate_until(requests())


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vote": "none"}, "vote=none with 5 strengths leaves no single response per request"),
        ({"vote": None}, "vote=none with 5 strengths"),
        ({"vote": "most"}, "vote='most' is not understood: use one of mode, weighted, none"),
        ({"dose": 0.1}, r"alpha=\[.*\] and dose=0.1 are two strengths: give one of them"),
        ({"alpha": [1, 1]}, r"alpha=\[1, 1\] .*1.* twice"),
        ({"alpha": "papers"}, "alpha='papers' is not understood"),
        ({"alpha_per_layer": [1, 2]}, "2.*3"),
        ({"control": "randm"}, "control='randm'"),
        ({"layers": "0-1", "alpha_per_layer": [0, 0, 1]}, r"is 0 in every steered block \(0-1\)"),
        ({"vote_answer": None}, "a vote must know how toy reads answers"),
    ],
)
def test_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        a_set(tmp_path, **changes).generate_until(requests())


def test_choices_that_a_task_numbers_alike_are_told_apart() -> None:
    lm = make(vectors=make_vector(), alpha=1.5)
    alike = [Instance("loglikelihood", one.doc, one.args, 0, one.metadata) for one in choices()]
    assert lm.loglikelihood(alike) == lm.loglikelihood(choices())


def test_sets_are_refused_where_there_is_no_vote(tmp_path: Path) -> None:
    lm = a_set(tmp_path)
    with pytest.raises(SteeringError, match="toy_mc scores a single continuation per document"):
        lm.loglikelihood(choices(1)[:1])
    told_first = a_set(tmp_path / "b", vote_metric="acc_mutual_info")
    without_engine(told_first)  # before anything is run
    with pytest.raises(SteeringError, match="which toy_mc does not ask for"):
        told_first.loglikelihood(choices(1))
    with pytest.raises(SteeringError, match="loglikelihood_rolling has no answers"):
        lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("abc",), 0, ("toy", 0, 1))])
    drawn = make(control="self-consistency", alpha=1.0)
    with pytest.raises(SteeringError, match=r"^control=self-consistency draws texts, and loglikelihood_rolling has"):
        drawn.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("abc",), 0, ("toy", 0, 1))])


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("alpha", [0, 1.5])
def test_a_continuation_that_the_model_cannot_score_is_one_sentence(family: str, alpha: float) -> None:
    """At 16 tokens it is scored as by `hf`, which ends in an AssertionError beyond; rolling windows are no longer."""
    lm = make(family=family, vectors=make_vector(), alpha=alpha, max_length=16)
    fits, over = (Instance("loglikelihood", {}, ("abc", "x" * length), 0) for length in (16, 17))
    assert lm.loglikelihood([fits])[0][0] < 0
    with pytest.raises(
        SteeringError, match=r"^a continuation of 17 tokens cannot be scored, since the model takes 16 "
    ):
        lm.loglikelihood([fits, over])
    with pytest.raises(SteeringError, match=r"^a continuation of 0 tokens has no log-likelihood"):
        lm.loglikelihood([fits, Instance("loglikelihood", {}, ("abc", ""), 0)])
    assert lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("x" * 40,), 0)])[0] < 0


def test_scores_that_do_not_come_back_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(vectors=make_vector(), alpha=1.5)
    monkeypatch.setattr(lm.engine, "_score", lambda jobs: iter([Done(jobs[0], scores=[(-1.0, True)])]))
    for text, count in (("abc", 1), ("x" * 3000, 2)):
        rolling = Instance("loglikelihood_rolling", {}, (text,), 0)
        if count == 1:
            assert lm.loglikelihood_rolling([rolling]) == [-1.0]
        else:
            with pytest.raises(SteeringError, match=r"^of 2 windows of a text that the engine was given it scored 1"):
                lm.loglikelihood_rolling([rolling])


@pytest.mark.parametrize("changes", [{"alpha": 0, "record": None}, {"alpha": 0}, {"alpha": 1.0}, {}])
def test_a_wrong_vote_filter_is_told_whether_there_is_a_vote_or_not(changes: dict[str, Any], tmp_path: Path) -> None:
    task = toy(REGEX, FIRST, name="filtered", generation_kwargs={"until": ["\n"], "max_gen_toks": 3})
    lm = a_set(tmp_path, vote_answer=None, vote_filter="answr", **changes)
    with pytest.raises(SteeringError, match=r"^vote_filter='answr' is no filter of filtered: use one of answer$"):
        lm.generate_until(task.instances)
    right = a_set(tmp_path, vote_answer=None, vote_filter="answer", **changes)
    assert len(right.generate_until(task.instances)) == len(task.instances)


def test_two_runs_do_not_write_one_record(tmp_path: Path) -> None:
    first, second, third = a_set(tmp_path), a_set(tmp_path), a_set(tmp_path)
    first._record.claim("toy")  # type: ignore[union-attr]  # as while it runs
    with pytest.raises(SteeringError, match="in use by another run"):
        second.generate_until(requests())
    first.generate_until(requests()[:2])
    with pytest.raises(SteeringError, match="another run wrote to it"):
        third.generate_until(requests())
    assert a_set(tmp_path).generate_until(requests()[:2]) == first.generate_until(requests()[:2])


def test_a_run_that_was_interrupted_holds_nothing(tmp_path: Path) -> None:
    """Ctrl-C in a notebook, and the cell is run again while the first model is still there."""
    first, heard = a_set(tmp_path), 0

    def interrupt(line: Any, new: bool) -> None:
        nonlocal heard
        heard += 1
        if heard == 7:
            raise KeyboardInterrupt

    first.watch = interrupt
    with pytest.raises(KeyboardInterrupt):
        first.generate_until(requests())
    again = a_set(tmp_path)
    again.generate_until(requests())
    assert again.get_model_info()["steering"]["responses"]["from_record"] == 6
    first.watch = None
    with pytest.raises(SteeringError, match="another run wrote to it: start this run again"):
        first.generate_until(requests())


def test_weights_that_changed_take_nothing_from_a_record(tmp_path: Path) -> None:
    """A folder is named as before and holds another model: its responses are its own."""
    folder = models.save_model(tmp_path / "model", "llama")
    common = {"vectors": make_vector(), "alpha": ALPHAS, "record": str(tmp_path / "record"), "vote_answer": KEY}
    SteeredHF(str(folder), device="cpu", **common).generate_until(requests(CONTEXTS[:2]))
    models.make_model("llama", seed=1).save_pretrained(folder)
    again = SteeredHF(str(folder), device="cpu", **common)
    again.generate_until(requests(CONTEXTS[:2]))
    assert again.get_model_info()["steering"]["responses"] == {"run": 10, "from_record": 0}


# Work that is not done twice


def test_a_shared_beginning_is_run_once_per_strength_over_all_waves(tmp_path: Path) -> None:
    shared = "A long beginning that all of them share. "
    lm = a_set(tmp_path, vote_early_stop=True, batch_size=3)
    passes: list[tuple[int, int]] = []
    find_blocks(lm.model)[0].register_forward_pre_hook(lambda m, args: passes.append(tuple(args[0].shape[:2])))
    lm.generate_until(requests([shared + text for text in CONTEXTS]))
    whole = min(width for _, width in passes if width >= len(shared))
    run = len({line.alpha for line in read_lines(tmp_path / "record")})
    assert run > 3  # the first wave runs a majority
    assert sum(rows for rows, width in passes if width == whole) == run


def test_a_context_that_is_a_kept_beginning_is_scored_as_alone() -> None:
    shared = "A long beginning that all of them share"
    lm = make(vectors=make_vector(), alpha=1.5)
    for contexts in ([shared + text for text in (" 1", " 2")], [shared, shared + " 3"]):
        asked = [Instance("loglikelihood", {}, (text, end), 0) for text in contexts for end in (" a bc", " de")]
        alone = make(vectors=make_vector(), alpha=1.5)
        expected = [alone.loglikelihood([one])[0] for one in asked]
        for (score, greedy), (wanted, best) in zip(lm.loglikelihood(asked), expected, strict=True):
            assert (score, greedy) == (pytest.approx(wanted, abs=1e-4), best)


def count_caches(lm: SteeredHF) -> int:
    return len(lm.engine._beginnings.prefixes._caches)


def test_old_beginnings_are_dropped_before_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(vectors=make_vector(), alpha=1.5, batch_size="auto", max_batch_size=4)
    kept: list[int] = []
    monkeypatch.setattr(lm.engine.traits, "rows_that_fit", lambda *_, **__: kept.append(count_caches(lm)) or 4)
    for shared in ("A long beginning of one task. ", "Another one, of the next task. "):
        lm.generate_until(requests([shared + text for text in CONTEXTS]))
        lm.loglikelihood([Instance("loglikelihood", {}, (shared.upper() + end, " a"), 0) for end in "bc"])
    assert kept == [0] * 4
    assert count_caches(lm) == 1


def test_kept_beginnings_are_let_go_where_memory_is_short() -> None:
    asked = requests(["A long beginning that all of them share. " + text for text in CONTEXTS[:4]], max_gen_toks=3)
    lm = make(vectors=make_vector(), alpha=1.5)
    lm.generate_until(requests(["ab"]))  # what looks at the model once has run
    raised: list[int] = []

    def lack_once(*_: Any) -> None:
        raised.append(count_caches(lm))
        if len(raised) == 1:
            raise torch.OutOfMemoryError

    lm.model.model.register_forward_pre_hook(lambda *_: kept.append(count_caches(lm)))
    lm.model.register_forward_pre_hook(lack_once)
    kept: list[int] = []
    assert lm.generate_until(asked) == make(vectors=make_vector(), alpha=1.5).generate_until(asked)
    assert raised[0] == 1
    assert kept[:3] == [0, 0, 1]  # the beginning is run anew for the smaller batch


def test_rows_that_memory_does_not_hold_are_cut_in_two(tmp_path: Path) -> None:
    whole = a_set(tmp_path / "a")
    texts, scores_before = whole.generate_until(requests()), scores(whole)
    lm = a_set(tmp_path / "b", batch_size=16)
    sizes: list[int] = []

    def lack(module: Any, args: Any, kwargs: Any) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 5:
            raise torch.OutOfMemoryError("16 rows")

    handle = lm.model.register_forward_pre_hook(lack, with_kwargs=True)
    assert lm.generate_until(requests()) == texts
    assert scores(lm) == pytest.approx(scores_before, abs=1e-4)
    assert max(sizes) > 5 >= sizes[-1]
    application = lm.get_model_info()["steering"]["application"]
    assert application["implied"] is None  # some passes were run twice
    assert application["not_compared"] == "rows that memory did not hold were run again"
    handle.remove()
    lm.model.register_forward_pre_hook(
        lambda m, a, kw: (_ for _ in ()).throw(torch.OutOfMemoryError()), with_kwargs=True
    )
    with pytest.raises(SteeringError, match="memory does not hold a single row"):
        lm.generate_until(requests(max_gen_toks=5))


# A real model


@pytest.fixture(scope="module")
def real(smollm2: Path) -> dict[str, Any]:
    return {"pretrained": str(smollm2), "device": "cpu", "vectors": "smollm2_arith", "vote_answer": KEY}


def test_a_set_on_a_real_model_equals_the_oracle(real: dict[str, Any], tmp_path: Path) -> None:
    """Rows of one batch, with a shared beginning, against one strength and prompt at a time without a cache."""
    lm = SteeredHF(**real, alpha=[0, 0.5, 2.0], record=str(tmp_path / "record"), batch_size=16)
    prompts = [lm.tok_encode("Solve these problems, one at a time, and say how.\n" + text) for text in CONTEXTS[:2]]
    generation = Generation((), 4, {"do_sample": False})
    jobs = [Job(None, number, prompt, generation) for prompt in prompts for number in range(3)]
    lm.engine.batch_size = 16
    for done in lm.engine.run(jobs):
        one = steering(lm.plan.vector.directions, lm.plan.alphas[done.job.intervention])  # type: ignore[union-attr]
        expected = Reference(lm.model, one).generate(done.job.prompt, 4, [lm.eot_token_id])
        assert expected.agrees(done.tokens)
    asked = requests(CONTEXTS[:3], max_gen_toks=8)
    lm.generate_until(asked)
    info = lm.get_model_info()["steering"]
    json.dumps(info)
    assert info["application"]["steered"] == info["application"]["implied"]
