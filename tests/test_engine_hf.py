"""HFEngine: interventions of any kind side by side, each as if it were alone; jobs come back as they are done."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

import models
from lm_eval_steer.engines.hf.causal import CausalEngine
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.protocol import Done, Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import NOTHING, Intervention
from lm_eval_steer.interventions.operators import OPERATORS, Operator
from lm_eval_steer.interventions.operators.low_rank import as_rows
from steerings import steering

CPU = torch.device("cpu")
GREEDY = Generation((), 6, {"do_sample": False})
SHARED = list(range(60, 90))
PROMPTS = [[*SHARED, 5], [*SHARED, 9, 8, 7], [*SHARED, 40, 41]]
CHOICES = [[7, 8, 9], [9, 9], [6]]
EVEN = str(list(range(0, 250, 2))).replace(" ", "")


def directions(seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(models.DEPTH, models.WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def low_rank_maps(rank: int) -> np.ndarray:
    """A map of each block [blocks, 1 + 2 rank, hidden]."""
    draw = np.random.default_rng(rank)
    sizes = [(models.WIDTH, rank), (rank,), (models.WIDTH, rank)]
    return np.stack([as_rows(*(draw.normal(size=size) / 4 for size in sizes)) for _ in range(models.DEPTH)])


def make_engine(family: str = "llama") -> CausalEngine:
    engine = CausalEngine(Child(models.make_model(family), models.make_tokenizer(), CPU, 2048))
    engine.batch_size = 5
    return engine


def mixed() -> list[Intervention]:
    """Two vectors, all operators, both units, all token rules; one steers a block alone."""
    kinds = product((1.0, -2.0), ("add", "add_keep_norm"), ("length", "dose"))
    tokens = ("all", "prompt", "generated", "last")
    found = [NOTHING, steering({1: directions(0)[1]}, 3.0)]
    for place, (strength, operator, unit) in enumerate(kinds):
        scaled = strength / 2 if unit == "dose" else strength
        found.append(steering(directions(place % 2), scaled, operator, unit=unit, tokens=tokens[place % 4]))
        found.append(steering(directions(1 - place % 2), scaled, operator, unit=unit, tokens=tokens[(place + 1) % 4]))
    others = (("ablate", 1.0), ("set", 0.0), ("set_at_least", 2.0), ("set_at_most", -1.0), ("turn", 30), ("slerp", 0.4))
    for place, (operator, strength) in enumerate(others):
        found.append(steering(directions(place % 2), strength, operator, tokens=tokens[place % 4]))
    planes = np.stack([directions(0), directions(1)], axis=1)  # [blocks, 2, hidden]
    found += [steering(planes, 35.0, "rotate"), steering(planes[:, ::-1].copy(), 50.0, "rotate", tokens="generated")]
    found += [steering(planes, 120.0, "rotate_to", tokens="prompt"), steering(planes, 0.6, "swap")]
    found += [steering(directions(1), 2.0, "icv"), steering(directions(0), 0.5, "icv", unit="dose", tokens="generated")]
    found += [steering(low_rank_maps(rank), 0.7, "low_rank", tokens=t) for rank, t in ((3, "all"), (1, "generated"))]
    found += [steering(directions(1), 3.0, tokens=t) for t in ("match:[5,61,70,75]", f"generated:match:{EVEN}")]
    windows = ("first:2", "after:1", "after:3", "last:-2", "last:-9")
    found += [steering(directions(place % 2), 3.0, tokens=window) for place, window in enumerate(windows)]
    return [*found, steering(directions(0), 0.5, "set", unit="dose", tokens="generated")]


@pytest.mark.parametrize("family", ["llama", "gemma2"])  # the first shares beginnings, the second has a tiny window
def test_a_mixed_batch_equals_the_oracle_one_by_one(family: str) -> None:
    engine, interventions = make_engine(family), mixed()
    assert len(set(interventions)) == 40
    engine.load(interventions)
    engine.batch_size = 16
    pairs = tuple((PROMPTS[0], choice) for choice in CHOICES)
    jobs = [Job(None, number, prompt, GREEDY) for number, prompt in product(range(len(interventions)), PROMPTS[:2])]
    jobs += [Job(None, number, pairs=pairs) for number in range(len(interventions))]
    texts = set()
    for done in engine.run(jobs):
        oracle = Reference(engine.child.model, interventions[done.job.intervention])
        if done.scores is not None:
            for found, pair in zip(done.scores, pairs, strict=True):
                wanted = oracle.score(*pair)
                assert found == (pytest.approx(wanted[0], abs=3e-4), wanted[1])
            continue
        assert done.tokens is not None
        text = oracle.generate(done.job.prompt, 6, [257])
        assert text.agrees(done.tokens), done.job.intervention
        assert done.logprob == pytest.approx(oracle.score(done.job.prompt, done.tokens)[0], abs=1e-3)
        texts.add(tuple(done.tokens))
    assert len(texts) > 12
    measured = engine.measured()
    assert measured.steered == measured.implied
    assert not measured.not_compared
    seldom = {one.fingerprint for one in interventions if one.tokens == "after:3"}  # in passes that are not measured
    assert set(measured.doses) | seldom == {one.fingerprint for one in interventions if one.acts}


def test_what_leaves_beginnings_alone_shares_one() -> None:
    engine = make_engine()
    leaving = [NOTHING, *(steering(directions(seed), 1.0, tokens=t) for seed, t in ((0, "last"), (1, "generated")))]
    engine.load([*leaving, *(steering(directions(seed), 1.0) for seed in range(2))])
    passes = widths(engine)
    list(engine.run([Job(None, number, prompt, GREEDY) for number, prompt in product(range(5), PROMPTS)]))
    assert sum(rows for rows, width in passes if width == len(SHARED)) == 3
    assert len(engine._beginnings.prefixes._caches) == 3


def test_a_beginning_is_not_run_again_under_what_is_loaded_again() -> None:
    """As where a sweep goes from validation to test documents; what is done otherwise, or elsewhere, is run anew."""
    engine = make_engine()
    first, second, third = (steering(directions(seed), 1.0) for seed in range(3))
    passes = widths(engine)

    def run(*interventions: Intervention, blocks: str | None = None) -> tuple[int, list[list[int] | None]]:
        passes.clear()
        engine.load(interventions, blocks)
        jobs = [Job((n, i), n, prompt, GREEDY) for n in range(len(interventions)) for i, prompt in enumerate(PROMPTS)]
        found = {done.job.key: done.tokens for done in engine.run(jobs)}
        measured = engine.measured()
        assert measured.steered == measured.implied
        return sum(rows for rows, width in passes if width == len(SHARED)), [found[job.key] for job in jobs]

    ran, texts = run(NOTHING, first, second)
    assert ran == 3
    ran, again = run(second, NOTHING, first)
    assert ran == 0
    each = len(PROMPTS)
    assert again == texts[2 * each :] + texts[: 2 * each]
    assert run(first, third)[0] == 1
    assert run(second)[0] == 1  # let go when it was loaded no more
    assert run(second, blocks="model.layers")[0] == 1


def widths(engine: CausalEngine) -> list[tuple[int, int]]:
    """Rows and positions of every pass to come."""
    found: list[tuple[int, int]] = []
    engine.child.model.model.layers[0].register_forward_pre_hook(lambda m, args: found.append(tuple(args[0].shape[:2])))
    return found


@pytest.mark.parametrize(("kept", "batches"), [(6, [5, 5, 5, 3]), (2, [3, 3, 3, 3, 3, 3]), (3, [5, 4, 5, 4])])
def test_no_beginning_is_run_twice_where_memory_keeps_few(
    kept: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six interventions, three prompts. Where the caches of all fit, the order is that of the prompts' lengths."""
    engine = make_engine()
    engine.load([steering(directions(seed), 1.0) for seed in range(6)])
    prompts = [[*prompt, 50] for prompt in PROMPTS]
    room = int(kept * len(SHARED) * engine.traits.bytes_per_position)
    jobs = [Job(None, number, prompt, GREEDY) for prompt, number in product(prompts, range(6))]
    expected = {(id(d.job.prompt), d.job.intervention): d.tokens for d in engine.run(jobs)}
    engine.load([steering(directions(seed), 1.0) for seed in range(6)])
    engine._beginnings.prefixes.drop()
    monkeypatch.setattr(engine._beginnings.prefixes, "_limit", lambda held: room)
    passes = widths(engine)
    found = {(id(d.job.prompt), d.job.intervention): d.tokens for d in engine.run(jobs)}
    assert sum(rows for rows, width in passes if width == len(SHARED)) == 6
    assert [rows for rows, width in passes if 1 < width < len(SHARED)] == batches
    assert found == expected


def test_rows_come_back_before_their_batch_has_ended() -> None:
    engine = make_engine()
    engine.load([NOTHING, steering(directions(0), 1.0)])
    passes = widths(engine)
    hooks = {id(m): len(m._forward_hooks) for m in engine.child.model.modules()}
    plain = engine.child.model(torch.tensor([PROMPTS[0]])).logits
    # All texts end at position 36, the longest prompt's first.
    generation = Generation((), 99, {"do_sample": False, "eos_token_id": 258, "max_length": 36})
    run, at = engine.run([Job(len(prompt), 1, prompt, generation) for prompt in PROMPTS]), []
    for done in run:
        at.append((done.job.key, len(passes)))
        assert {id(m): len(m._forward_hooks) for m in engine.child.model.modules()} == hooks
        assert torch.equal(engine.child.model(torch.tensor([PROMPTS[0]])).logits, plain)
        assert torch.is_grad_enabled()
        passes.pop()
    assert [key for key, _ in at] == [33, 32, 31]
    assert at[0][1] < at[1][1] < at[2][1] == len(passes)


def test_a_run_that_is_left_early_leaves_no_hooks_and_says_so() -> None:
    engine = make_engine()
    engine.load([steering(directions(0), 1.0)])
    hooks = {id(m): (len(m._forward_hooks), len(m._forward_pre_hooks)) for m in engine.child.model.modules()}
    run = engine.run([Job(None, 0, prompt, GREEDY) for prompt in PROMPTS])
    next(run)
    run.close()
    assert {id(m): (len(m._forward_hooks), len(m._forward_pre_hooks)) for m in engine.child.model.modules()} == hooks
    assert engine.measured().not_compared == "a run under this steering did not come to its end"
    engine.load([steering(directions(0), 1.0)])
    assert not engine.measured().not_compared


def test_load_takes_all_or_nothing() -> None:
    engine, good = make_engine(), steering(directions(0), 2.0)
    engine.load([good])
    job = Job(None, 0, PROMPTS[0], GREEDY)
    (before,) = engine.run([job])
    bad = {
        "steers block 7, and the model has blocks 0 to 2": steering({7: directions(1)[0]}, 1.0),
        "the directions of block 0 are 16 and 32 wide": steering({0: directions(1)[0][:16]}, 1.0),
    }
    for sentence, one in bad.items():
        with pytest.raises(SteeringError, match=sentence):
            engine.load([steering(directions(1), 3.0), one])
        (after,) = engine.run([job])
        assert after.tokens == before.tokens
    with pytest.raises(SteeringError, match=r"blocks='no\.such' is not a list"):
        engine.load([steering(directions(1), 3.0)], blocks="no.such")
    (after,) = engine.run([job])
    assert after.tokens == before.tokens
    assert engine.measured().steered == {
        block: 4 * (len(PROMPTS[0]) + len(before.tokens or []) - 1) for block in range(3)
    }
    with pytest.raises(SteeringError, match="a job names intervention 1, and 1 are loaded"):
        next(engine.run([Job(None, 1, PROMPTS[0], GREEDY)]))


def test_jobs_that_do_not_come_back_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()

    def lose(jobs: list[Job], generation: Generation) -> Iterator[Done]:
        yield Done(jobs[0], [1])

    monkeypatch.setattr(engine, "_write", lose)
    engine.load([NOTHING])
    with pytest.raises(SteeringError, match=r"^of 2 jobs that the engine was given it brought 1 back"):
        list(engine.run([Job(None, 0, prompt, GREEDY) for prompt in PROMPTS[:2]]))


def clamp(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """The state's component along v becomes the strength."""
    wide = hidden.float()
    along = (wide * direction).sum(dim=-1, keepdim=True)
    return (wide + (strength - along) * direction).to(hidden.dtype)


@pytest.fixture
def clamps() -> Iterator[None]:
    OPERATORS.add("clamp", Operator(clamp, lambda strength: True, is_shift=False))
    yield
    OPERATORS.remove("clamp")


@pytest.mark.usefixtures("clamps")
def test_an_operator_that_acts_at_strength_0_is_applied_and_counted() -> None:
    engine, v = make_engine(), directions(0)
    ones = [
        steering(v, 0.0, "clamp", tokens="generated"),
        steering(v, 1.0),
        steering(v, 0.0),
        steering(v, 2.0, "clamp"),
    ]
    assert [one.acts for one in ones] == [True, True, False, True]
    engine.load(ones)
    seen: list[Tensor] = []
    engine.child.model.model.layers[1].register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()))
    prompt = [*range(5, 12)]
    done = list(engine.run([Job(None, number, pairs=((prompt, [3, 4, 5]),)) for number in range(4)]))
    assert len(done) == 4
    order = [d.job.intervention for d in done]
    along = seen[-1] @ torch.from_numpy(v[0])  # [rows, positions]
    rows = {number: along[place] for place, number in enumerate(order)}
    assert torch.allclose(rows[0][6:], torch.zeros(3), atol=1e-4)
    assert torch.equal(rows[0][:6], rows[2][:6])  # outside of the mask bit for bit
    assert torch.allclose(rows[3], torch.full((9,), 2.0), atol=1e-4)
    assert torch.allclose(rows[1], rows[2] + 1.0, atol=1e-4)
    measured = engine.measured()
    assert measured.steered == measured.implied == dict.fromkeys(range(3), 3 + 9 + 9)
    counts = {number: measured.doses[one.fingerprint][0][0] for number, one in enumerate(ones) if one.acts}
    assert counts == {0: 3, 1: 9, 3: 9}


def test_traits_are_found_out_once_per_model() -> None:
    engine = make_engine()
    engine.load([steering(directions(0), 1.0)])
    jobs = [Job(None, 0, prompt, GREEDY) for prompt in PROMPTS] + [Job(None, 0, pairs=((PROMPTS[0], [4, 5]),))]
    list(engine.run(jobs))
    passes: list[int] = []
    engine.child.model.register_forward_pre_hook(lambda *_: passes.append(1))
    list(engine.run(jobs))
    again = len(passes)
    engine.load([steering(directions(1), 1.0)])
    list(engine.run(jobs))
    assert len(passes) - again <= again + 1  # the beginning, run without the head, and no probes
