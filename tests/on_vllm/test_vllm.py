"""steered-vllm against steered-hf: same arguments, same responses, scores, votes, records and counts.

Runs where vLLM is installed (`make test-vllm`). Tiny models, whose attention heads are as wide as vLLM's CPU kernels
want them, in float32.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import fields
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook, CachingLM
from lm_eval.models.huggingface import HFLM
from sited import SITED, WIDTH, check_sites
from transformers import GenerationConfig
from vllm import LLM
from vllm.engine.arg_utils import EngineArgs

import models
import templates
from conftest import make_vector
from lm_eval_steer.axis.record import Line, read_lines
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.engines.vllm import check as vllm_check
from lm_eval_steer.engines.vllm.rows import Steps
from lm_eval_steer.engines.vllm.start import auto_dtype
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models import vllm
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.models.vllm import VLLM, SteeredVLLM
from steerings import steering

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
# Tiny models gain nothing from several cores: each process of the tests runs its engines on one.
CORES = sorted(os.sched_getaffinity(0))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw1").removeprefix("gw"))
os.environ["VLLM_CPU_OMP_THREADS_BIND"] = str(CORES[WORKER % len(CORES)])
torch.set_num_threads(1)
SHAPE = {"hidden_size": WIDTH, "num_attention_heads": 2}
OWN = {"gpt2": {}, "gpt_neox": {}, "gemma2": {"num_key_value_heads": 1, "head_dim": 32, "sliding_window": 16}}
ALPHAS = [0.0, 0.5, 1.0, -1.0, 3.0]
CONTEXTS = [f"Q: What is {i} + {i * i}? Think.\nA:" for i in range(6)] + ["Hello", "ab"]
SHARED = "A long beginning that all of them share, and that fills more than a block of the cache of keys. " * 4
TOKENS = ["all", "prompt", "generated", "last"]


def first_letter(response: str) -> str | None:
    return None if not response or response[0] in "0123456789" else str(ord(response[0]) % 3)


KEY = "test_vllm:first_letter"


def requests(contexts: list[str] = CONTEXTS, **changes: Any) -> list[Instance]:
    arguments = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False} | changes
    return [
        Instance("generate_until", {"n": i}, (text, arguments), 0, ("toy", i, 1)) for i, text in enumerate(contexts)
    ]


def choices(beginning: str = "", docs: int = 5) -> list[Instance]:
    options = [" red", " blue and green", " 5", " the west of it"]
    return [
        Instance("loglikelihood", {"n": doc}, (f"{beginning}Doc {doc} asks: which?", option), i, ("toy_mc", doc, 1))
        for doc in range(docs)
        for i, option in enumerate(options)
    ]


def save(folder: Path, family: str, **changes: Any) -> str:
    return str(models.save_model(folder, family, **SHAPE, **OWN.get(family, {"num_key_value_heads": 1}), **changes))


def start(folder: str, **arguments: Any) -> SteeredVLLM:
    given = {"alpha": 0, "max_length": 1024, "batch_size": "auto"}  # as for the other, dtype is the checkpoint's
    return SteeredVLLM(folder, **(given | arguments))


def stop(lm: SteeredVLLM) -> None:
    for engine in lm.engine.runners:
        engine.llm.llm_engine.engine_core.shutdown()


def start_hf(folder: str, **arguments: Any) -> SteeredHF:
    given = {"alpha": 0, "max_length": 1024, "batch_size": 8, "device": "cpu"}
    # sdpa leaves out gemma2's soft-capping of the attention.
    return SteeredHF(folder, **(given | arguments), attn_implementation="eager")


def plan(**arguments: Any) -> SteeringPlan:
    return SteeringPlan.build(**({"vectors": make_vector(width=WIDTH), "vote_answer": KEY} | arguments))


def lines_of(record: Path) -> dict[tuple[str, int, float, str], Line]:
    return {(line.task, line.doc_id, line.alpha, line.variant): line for line in read_lines(record)}


def agree(hf: SteeredHF, line: Line, other: Line, context: str, chosen: SteeringPlan) -> bool:
    """Whether two responses are one, or part at a step whose two best logits nearly tie."""
    if line.response == other.response:
        return True
    child = chosen.fit(models.DEPTH, WIDTH, hf.model_identity)
    assert child is not None
    operator = "add_keep_norm" if chosen.normalize else "add"
    reference = Reference(hf.model, steering(child.directions, line.alpha, operator, tokens=chosen.tokens))
    ours = reference.generate(hf.tok_encode(context), 12, [hf.eot_token_id])
    return min(ours.gaps) < 1e-3


def compare(
    lm: SteeredVLLM, hf: SteeredHF, folder: Path, chosen: dict[str, Any], contexts: list[str], beginning: str = ""
) -> None:
    """Run both engines under one plan, each into a record of its own, and hold the records side by side."""
    results = []
    for name, one in (("vllm", lm), ("hf", hf)):
        one.steer(plan(**chosen, record=str(folder / name)))
        results.append((one.generate_until(requests(contexts)), one.loglikelihood(choices(beginning))))
    ours, theirs = lines_of(folder / "vllm"), lines_of(folder / "hf")
    assert ours.keys() == theirs.keys()
    parted = 0
    for key, line in ours.items():
        other = theirs[key]
        if line.scores is not None:
            assert other.scores is not None
            for (score, greedy), (wanted, also), request in zip(
                line.scores, other.scores, choices(beginning)[:4], strict=True
            ):
                assert score == pytest.approx(wanted, abs=1e-4 * len(request.args[1]))
                assert greedy == also
            assert line.answer == other.answer
            continue
        parted += line.response != other.response
        assert agree(hf, line, other, contexts[line.doc_id], lm.plan), (key, line.response, other.response)
        if line.response == other.response:
            assert (line.answer, line.tokens, line.stop) == (other.answer, other.tokens, other.stop)
            assert line.logprob == pytest.approx(other.logprob, abs=2e-3)
    if parted:
        print(f"{parted} of {len(ours)} lines part at a near-tie")
    else:
        assert results[0][0] == results[1][0]
    infos = [one.get_model_info()["steering"] for one in (lm, hf)]
    assert infos[0]["application"]["steered"] == infos[0]["application"]["implied"]
    if not parted:
        assert infos[0]["application"] == infos[1]["application"]
        assert infos[0]["votes"] == infos[1]["votes"]


@pytest.fixture(scope="module", params=["llama", "qwen2", "gemma2", "gpt2", "gpt_neox", "llama compiled"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    name, *compiled = request.param.split()
    folder = save(tmp_path_factory.mktemp(name), name)
    lm = start(folder, enforce_eager=not compiled)
    yield lm, start_hf(folder)
    stop(lm)


@pytest.mark.parametrize("tokens", TOKENS)
def test_a_set_equals_that_of_steered_hf(family: Any, tokens: str, tmp_path: Path) -> None:
    compare(*family, tmp_path, {"alpha": ALPHAS, "tokens": tokens}, CONTEXTS)


@pytest.mark.parametrize("changes", [{"normalize": True}, {"layers": 1}, {"control": "random:3"}])
def test_a_loaded_model_goes_on_under_other_arguments(family: Any, changes: dict[str, Any], tmp_path: Path) -> None:
    compare(*family, tmp_path, {"alpha": [0.5, 2.0]} | changes, CONTEXTS)


def test_every_site_equals_the_oracle(family: Any) -> None:
    """Of families that add behind norms or side by side, too, or whose modules are those of transformers."""
    lm, hf = family
    if lm.engine.runners[0].compiled:
        with pytest.raises(
            SteeringError, match=r"compiled .* run steers attention of block 0: leave out enforce_eager"
        ):
            lm.engine.load(SITED)
        return
    check_sites(lm, hf, CONTEXTS[:2])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = save(tmp_path_factory.mktemp("llama"), "llama")
    lm = start(folder)
    yield lm, start_hf(folder)
    stop(lm)


@pytest.mark.parametrize("tokens", TOKENS)
def test_shared_beginnings_come_from_the_cache(pair: Any, tokens: str, tmp_path: Path) -> None:
    """Also where a prompt is the beginning of another one, whose steering ends or begins elsewhere."""
    contexts = [SHARED + text for text in CONTEXTS] + [SHARED, SHARED + SHARED]
    compare(*pair, tmp_path, {"alpha": ALPHAS, "tokens": tokens}, contexts, SHARED)
    assert pair[0].engine.runners[0]._corrections.sum() > 0 or tokens in ("generated", "last")


def test_nothing_is_shared_between_steerings(pair: Any) -> None:
    lm, hf = pair
    asked = requests([SHARED + text for text in CONTEXTS])
    texts = {}
    for alpha, seed in [(0.0, 0), (3.0, 0), (3.0, 1), (0.5, 0), (3.0, 0)]:
        chosen = plan(alpha=alpha, vectors=make_vector(width=WIDTH, seed=seed))
        lm.steer(chosen)
        texts[alpha, seed] = lm.generate_until(asked)
        lm.model.reset_prefix_cache()
        assert lm.generate_until(asked) == texts[alpha, seed]
        if alpha:  # alpha=0 alone is VLLM's own path, which leaves out a character that is cut off
            hf.steer(chosen)
            assert hf.generate_until(asked) == texts[alpha, seed]
    assert len({tuple(found) for found in texts.values()}) == len(texts)


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": [0.5, 2.0], "normalize": True},
        {"dose": [0.1, 0.5]},
        {"dose": [0.1, 0.5], "normalize": True},
        {"alpha": [1.0, 2.0], "layers": 1},
        {"alpha": [1.0, 2.0], "alpha_per_layer": "linear:0:2"},
        {"alpha": [1.0, 2.0], "control": "random:3"},
        {"alpha": [1.0, 2.0], "vote": "weighted"},
        {"alpha": [0.5, 1.0, 1.5], "vote_early_stop": True},
    ],
)
def test_every_argument_means_the_same(pair: Any, changes: dict[str, Any], tmp_path: Path) -> None:
    compare(*pair, tmp_path, changes, CONTEXTS)


def test_doses_are_measured(pair: Any) -> None:
    lm, hf = pair
    chosen = plan(dose=0.25)
    for one in (lm, hf):
        one.steer(chosen)
        one.generate_until(requests())
        for measured in one.get_model_info()["steering"]["doses"]["0.25"].values():
            assert measured["dose"] == pytest.approx(0.25, rel=1e-4)
            assert measured["survival"] == pytest.approx(1.0, abs=1e-3)


def test_alpha_0_alone_is_the_harness_own_vllm(pair: Any, tmp_path: Path) -> None:
    lm, _ = pair
    lm.steer(plan(alpha=0))
    lm.model.reset_prefix_cache()
    assert lm.generate_until(requests()) == VLLM.generate_until(lm, requests())
    assert lm.loglikelihood(choices()) == VLLM.loglikelihood(lm, choices())
    assert lm.get_model_info()["steering"]["application"] is None
    asked = requests() + requests(["Hi <pad>"], until=["e", "<pad>"], max_gen_toks=100)
    lm.steer(plan(alpha=0, record=str(tmp_path)))
    lm.model.reset_prefix_cache()
    assert lm.generate_until(asked) == VLLM.generate_until(lm, asked)
    assert lm.loglikelihood(choices(SHARED)) == VLLM.loglikelihood(lm, choices(SHARED))
    lm.steer(plan(control="identity", alpha=1.0))
    assert lm.generate_until(requests()) == VLLM.generate_until(lm, requests())
    assert lm.batch_size == "auto"


def test_log_probabilities_are_asked_for_in_bounded_batches(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, _ = pair
    asked: list[int] = []

    def listen(name: str) -> Any:
        call = getattr(LLM, name)

        def heard(self: LLM, prompts: Any, *args: Any, **kwargs: Any) -> Any:
            asked.append(sum(len(prompt["prompt_token_ids"]) for prompt in prompts))
            return call(self, prompts, *args, **kwargs)

        return heard

    rolling = [Instance("loglikelihood_rolling", {}, (text,), i, ("toy", i, 1)) for i, text in enumerate(CONTEXTS)]
    for alpha, name in ((0, "generate"), (1.5, "enqueue")):
        lm.steer(plan(alpha=alpha))
        whole = [score for score, _ in lm.loglikelihood(choices())] + lm.loglikelihood_rolling(rolling)
        with monkeypatch.context() as patch:
            patch.setattr(LLM, name, listen(name))
            patch.setattr(vllm, "SCORED", 120 * lm._bytes)
            parts = [score for score, _ in lm.loglikelihood(choices())] + lm.loglikelihood_rolling(rolling)
        assert parts == pytest.approx(whole, abs=1e-3)
        assert len(asked) > 3
        assert max(asked) <= 120
        asked.clear()


def test_a_repetition_penalty_of_the_model_is_followed_as_hf_does(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "llama")
    GenerationConfig(repetition_penalty=1.8, eos_token_id=257, pad_token_id=258).save_pretrained(folder)
    lm, hf = start(folder), start_hf(folder)
    try:
        compare(lm, hf, tmp_path, {"alpha": ALPHAS}, CONTEXTS)
        lm.steer(plan(alpha=0))  # VLLM's own path
        assert lm.generate_until(requests()) == lm.generate_until(requests(repetition_penalty=1.8))
        assert lm.generate_until(requests()) != lm.generate_until(requests(repetition_penalty=1.0))
        assert lm._model_settings["repetition_penalty"] == 1.8  # so a record tells it from another
    finally:
        stop(lm)


def test_rolling_loglikelihoods_equal_those_of_steered_hf(pair: Any, tmp_path: Path) -> None:
    asked = [Instance("loglikelihood_rolling", {}, (text,), i, ("toy", i, 1)) for i, text in enumerate(CONTEXTS)]
    for one in pair:
        one.steer(plan(alpha=1.5))
    ours, theirs = (one.loglikelihood_rolling(asked) for one in pair)
    assert ours == pytest.approx(theirs, abs=1e-3)
    pair[0].steer(*(plan(alpha=alpha, record=str(tmp_path)) for alpha in (1.5, 0, -1.0)))  # in one pass, on the disk
    assert pair[0].loglikelihood_rolling(asked) == pytest.approx(ours, abs=1e-3)
    pair[0].steer(plan(alpha=0))  # VLLM's own path, with a record and without
    plain = pair[0].loglikelihood_rolling(asked)
    pair[0].steer(plan(alpha=0, record=str(tmp_path / "plain")))
    assert pair[0].loglikelihood_rolling(asked) == pytest.approx(plain, abs=1e-5)
    told = sorted(read_lines(tmp_path), key=lambda line: line.doc_id)
    assert [line.logprob for line in told if not line.alpha] == pytest.approx(plain, abs=1e-3)
    pair[0].replay(plan(alpha=1.5, record=str(tmp_path)))
    assert pair[0].loglikelihood_rolling(asked) == [line.logprob for line in told if line.alpha == 1.5]
    pair[0].steer(plan(alpha=1.5, tokens="last"))
    with pytest.raises(SteeringError, match="has no meaning for loglikelihood_rolling"):
        pair[0].loglikelihood_rolling(asked)


@pytest.mark.parametrize("alpha", [0, 1.5])
def test_a_continuation_that_vllm_cannot_score_is_one_sentence(pair: Any, alpha: float) -> None:
    """Of 1024 tokens it needs one before the continuation, and one behind it; the harness's `vllm` scores a part."""
    pair[0].steer(plan(alpha=alpha))
    fits, over = (Instance("loglikelihood", {}, ("abc", "x" * length), 0) for length in (1022, 1023))
    assert pair[0].loglikelihood([fits])[0][0] < 0
    with pytest.raises(SteeringError, match="a continuation of 1023 tokens cannot be scored"):
        pair[0].loglikelihood([fits, over])


def test_positions_that_nobody_asked_to_steer_end_the_run(pair: Any) -> None:
    pair[0].steer(plan(alpha=1.5))
    pair[0].generate_until(requests(CONTEXTS[:1]))
    pair[0].engine.runners[0]._implied += 1
    with pytest.raises(
        SteeringError, match=r"block 0 was steered at \d+ positions, where prompts and responses imply "
    ):
        pair[0].generate_until(requests(CONTEXTS[:1]))


def test_a_run_goes_on_from_its_record(pair: Any, tmp_path: Path) -> None:
    lm, _ = pair
    chosen = plan(alpha=ALPHAS, record=str(tmp_path))
    lm.steer(chosen)
    first = lm.generate_until(requests())
    lm.steer(chosen)
    assert lm.generate_until(requests()) == first
    assert lm.get_model_info()["steering"]["responses"] == {"run": 0, "from_record": len(ALPHAS) * len(CONTEXTS)}


def test_samples_depend_on_nothing_but_their_seed(pair: Any, tmp_path: Path) -> None:
    lm, _ = pair
    draws = []
    for name, contexts, seed in [("a", CONTEXTS, 0), ("b", CONTEXTS[:3], 0), ("c", CONTEXTS[:3], 1)]:
        lm.steer(plan(alpha=ALPHAS, control="self-consistency", record=str(tmp_path / name), seed=seed))
        lm.generate_until(requests(contexts))
        draws.append({key: line.response for key, line in lines_of(tmp_path / name).items() if key[1] < 3})
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert len(set(draws[0].values())) > 3


def test_more_drawn_texts_than_one_step_takes(pair: Any) -> None:
    """What does not fit into a step waits for the next one as a whole."""
    lm, _ = pair
    lm.steer(plan(alpha=ALPHAS, control="self-consistency"))
    contexts = [f"{i} {SHARED}" for i in range(9000 // len(SHARED) + 1)]
    assert len(lm.generate_until(requests(contexts, max_gen_toks=2))) == len(contexts)


def test_a_system_prompt_is_merged_where_the_template_refuses_one(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    rendered = []
    for one in pair:
        monkeypatch.setattr(one.tokenizer, "chat_template", templates.GEMMA2)
        monkeypatch.setattr(one, "hf_chat_template", templates.GEMMA2, raising=False)
        for role in ("merge", "drop"):
            one.steer(plan(alpha=1.0, system_role=role))
            rendered.append((one.apply_chat_template(messages), one.tokenizer_name.endswith("__system_merged")))
    assert rendered[:2] == rendered[2:]
    assert "Be brief.\n\nHello" in rendered[0][0]
    assert [merged for _, merged in rendered[:2]] == [True, False]
    monkeypatch.undo()
    pair[0].steer(plan(alpha=1.0))
    assert not pair[0].tokenizer_name.endswith("__system_merged")


def test_a_response_cache_of_another_steering_is_refused(pair: Any, tmp_path: Path) -> None:
    lm, _ = pair
    lm.steer(plan(alpha=1.0))
    asked = requests()
    cached = CachingLM(lm, str(tmp_path / "cache.db"))
    first = cached.generate_until(asked)
    again = CachingLM(lm, str(tmp_path / "cache.db"))
    assert again.generate_until(asked) == first
    lm.steer(plan(alpha=2.0))
    with pytest.raises(SteeringError, match="holds the responses of another steering"):
        CachingLM(lm, str(tmp_path / "cache.db"))
    lm.set_cache_hook(CacheHook(None))


def test_stop_strings_and_limits(pair: Any, tmp_path: Path) -> None:
    lm, hf = pair
    lm.steer(plan(alpha=1.5))
    text = lm.generate_until(requests(max_gen_toks=30, until=[]))[0]
    word = next(pair for pair in map("".join, pairwise(text[3:])) if "\ufffd" not in pair)  # of whole characters
    stops = []
    for name, one in (("vllm", lm), ("hf", hf)):
        one.steer(plan(alpha=1.5, record=str(tmp_path / name)))
        texts = one.generate_until(requests(max_gen_toks=30, until=[word]))
        assert word not in texts[0]
        lines = lines_of(tmp_path / name)
        stops.append([(texts[i], lines["toy", i, 1.5, ""].stop) for i in range(len(CONTEXTS))])
    assert stops[0] == stops[1]
    assert stops[0][0][1] == "stop"
    with pytest.raises(SteeringError, match="max_gen_toks=2000 leaves no room"):
        lm.generate_until(requests(max_gen_toks=2000))
    with pytest.raises(SteeringError, match="num_beams"):
        lm.generate_until(requests(num_beams=3))


def test_preemption_and_chunks_change_nothing(pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few blocks of the cache and few tokens a step: prompts come in pieces, and rows are thrown out and run again."""
    _, hf = pair
    again = []
    rpc = LLM.collective_rpc

    def listen(self: LLM, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        found = rpc(self, method, *args, **kwargs)
        again.extend(sum(one["again"]) for one in found if method == "steer_end")
        return found

    monkeypatch.setattr(LLM, "collective_rpc", listen)
    small = start(str(hf.pretrained), num_gpu_blocks_override=9, max_num_batched_tokens=96, max_num_seqs=16)
    try:
        contexts = [text + SHARED[: 90 + 3 * i] for i, text in enumerate(CONTEXTS)]
        for tokens in (*TOKENS, 'match:"th"'):
            for name, one in (("vllm", small), ("hf", hf)):
                one.steer(plan(alpha=[1.0, 2.0], tokens=tokens, record=str(tmp_path / tokens / name)))
                one.generate_until(requests(contexts, max_gen_toks=100))
            ours, theirs = lines_of(tmp_path / tokens / "vllm"), lines_of(tmp_path / tokens / "hf")
            assert {key: line.response for key, line in ours.items()} == {
                key: line.response for key, line in theirs.items()
            }
            application = small.get_model_info()["steering"]["application"]
            assert application["steered"] == application["implied"]
        assert sum(again) > 0  # rows were thrown out
        check_sites(small, hf, [contexts[0] + SHARED[:150]])
        with pytest.raises(SteeringError, match="leave out max_num_batched_tokens"):
            small.steer(plan(alpha=[1.0, 2.0], control="self-consistency"))
    finally:
        stop(small)


def test_tensor_parallel_ranks_steer_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", f"{CORES[0]}|{CORES[-1]}")
    folder = str(models.save_model(tmp_path / "model", "llama", **SHAPE, num_key_value_heads=2))
    lm = start(folder, tensor_parallel_size=2)
    try:
        hf = start_hf(folder)
        compare(lm, hf, tmp_path, {"alpha": ALPHAS}, CONTEXTS)
        check_sites(lm, hf, CONTEXTS[:2])  # a head on each rank
    finally:
        stop(lm)


def test_dtype_is_that_of_the_checkpoint(pair: Any, tmp_path: Path) -> None:
    assert [one.get_model_info()["model_dtype"] for one in pair] == ["float32", torch.float32]
    half = str(tmp_path / "half")
    models.make_model("llama", **SHAPE, num_key_value_heads=1).bfloat16().save_pretrained(half)
    silent = Path(save(tmp_path / "silent", "gpt2"))
    written = json.loads((silent / "config.json").read_text())
    assert written.pop("dtype") == "float32"
    (silent / "config.json").write_text(json.dumps(written))
    found = [auto_dtype(folder, {}) for folder in (str(pair[1].pretrained), half, str(silent))]
    assert found == ["float32", "auto", "float32"]
    assert auto_dtype(str(silent), {"quantization": "fp8"}) == "auto"


def test_what_changes_no_response_is_known_to_the_harness_or_to_what_it_calls() -> None:
    known = {field.name for field in fields(EngineArgs)} | {"device_map", "cache_dir", "token"}  # transformers' own
    known |= {"n_threads", "n_gpu_layers"}  # of steered-gguf, whose program is not here
    for model in (HFLM, VLLM):
        known |= set(signature(model.__init__).parameters)
    assert known >= NEUTRAL


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_parallel_size": "two"}, "data_parallel_size=two is no number of engines: give 1 or more"),
        ({"data_parallel_size": 0}, "data_parallel_size=0 is no number of engines"),
        ({"data_parallel_size": 2, "enable_expert_parallel": True}, "give tensor_parallel_size instead"),
        ({"distributed_executor_backend": "external_launcher"}, "leave out distributed_executor_backend"),
        ({"worker_extension_cls": "a.b"}, "for itself"),
        ({"alpha": "papers"}, "alpha='papers' is not understood"),
    ],
)
def test_refused_before_the_model_is_loaded(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        start("nowhere", **changes)


def test_an_engine_that_does_not_start_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "9999")
    with pytest.raises(SteeringError, match=r"reason that it gives above; .* VLLM_CPU_KVCACHE_SPACE, now 9999 GiB"):
        start(save(tmp_path / "model", "llama"))


def test_blocks_that_are_not_there_are_refused_and_the_plan_before_stays(pair: Any) -> None:
    lm = pair[0]
    lm.steer(plan(alpha=1.5))
    texts, before = lm.generate_until(requests()), lm.plan
    with pytest.raises(SteeringError, match=r"0 lists fit; set blocks= to one of: model\.layers"):
        lm.steer(plan(alpha=1.0, blocks="model.nothing"))
    assert lm.plan is before
    assert lm.generate_until(requests()) == texts
    lm.steer(plan(alpha=1.0, blocks="model.layers"))
    assert lm.generate_until(requests()) != texts


GOOD = {"norm": 1.0, "shift": 1.0, "error": 0.5, "untouched": True, "passed_on": True}


class Faulty:
    """Stands for a `RowRunner` whose worker sees something else than it should."""

    def __init__(self, scores: list[float], steered: int = 10, **seen: Any) -> None:
        self.compiled = len(scores) > 3
        self._scores, self._seen = iter(scores), GOOD | seen
        self._steered = steered
        self._probes = 0
        self._tries = False

    def load(self, interventions: Any, path: Any) -> None: ...

    def score(self, rows: Any) -> Steps[tuple[float, bool]]:
        yield [] if self._tries else [(0, (next(self._scores), True))]

    def generate(self, rows: Any) -> Steps[Any]:
        yield []

    def run_uncompiled(self, on: bool) -> None: ...

    def begin_trial(self, move: str, blocks: list[int]) -> None:
        self._tries = True

    def end_trial(self, tokens: int) -> list[dict[str, Any]]:
        self._tries = False
        return [
            {"pairs": [], "odd": {}, "states": {}, "sums": {}, "final": np.ones(tokens, dtype=np.float32).tobytes()}
        ]

    def mark_stale(self, blocks: list[int]) -> None: ...

    def measured(self) -> Measured:
        return Measured({}, {0: self._steered}, {0: 10})

    def probe(self, on: bool) -> list[dict[int, dict[str, Any]]]:
        self._probes += 1
        return [{0: GOOD | {"shift": 0.0} if self._probes == 2 else self._seen}]


@pytest.mark.parametrize(
    ("scores", "seen", "words"),
    [
        ([-1.0, -1.0, -5.0], {"shift": 0.0}, "nothing was added"),
        ([-1.0, -1.0, -5.0], {"error": 7.0}, "off by 7.0 rounding steps"),
        ([-1.0, -1.0, -5.0], {"untouched": False}, "tokens that are not to be steered were changed"),
        ([-1.0, -1.0, -5.0], {"passed_on": False}, "the next block did not receive"),
        ([-1.0, -2.0, -5.0], {}, "strength 0 moves a log-probability from -1.0000 to -2.0000"),
        ([-1.0, -1.0, -1.0], {}, "leaves a log-probability at -1.0000"),
        ([-1.0, -1.0, -5.0, -5.0], {"passed_on": False}, "the next block did not receive"),
        ([-1.0, -1.0, -5.0, -7.0], {}, "gives a log-probability of -5.0000 and the same model uncompiled -7.0000"),
        ([-1.0, -1.0, -5.0], {"steered": 8}, "8 positions were steered, and 10 should have been"),
    ],
)
def test_the_self_check_refuses(scores: list[float], seen: dict[str, Any], words: str) -> None:
    rows: Any = Faulty(scores, **seen)
    with pytest.raises(SteeringError, match=words):
        vllm_check.check_steering(rows, {0: np.ones(4, dtype=np.float32)}, "add", "length", list(range(12)))
