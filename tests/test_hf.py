"""steered-hf against plain hf, against the harness's own `steered`, and against a loop written by hand."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.hf_steered import SteeredModel
from lm_eval.models.huggingface import HFLM

import models
from conftest import make_vector
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF
from steerings import steering

CONTEXTS = ["Q: What is 2 + 3?\nA:", "Hello", "The sun rises in the east, and it sets", "ab"]
CONTINUATIONS = [" 5", " 6", " world, how are you", " in the west"]
GREEDY = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False}


def generations(contexts: list[str] = CONTEXTS, **changes: Any) -> list[Instance]:
    return [Instance("generate_until", {}, (text, GREEDY | changes), i) for i, text in enumerate(contexts)]


def scorings(contexts: list[str] = CONTEXTS) -> list[Instance]:
    pairs = [(context, continuation) for context in contexts for continuation in CONTINUATIONS]
    return [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]


def rollings() -> list[Instance]:
    return [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(CONTEXTS)]


def make(cls: type = SteeredHF, family: str = "llama", batch_size: Any = 4, **arguments: Any) -> Any:
    model = models.make_model(family)
    return cls(pretrained=model, tokenizer=models.make_tokenizer(), batch_size=batch_size, **arguments)


def all_answers(lm: Any) -> list[Any]:
    return [lm.generate_until(generations()), lm.loglikelihood(scorings()), lm.loglikelihood_rolling(rollings())]


# alpha = 0


@pytest.mark.parametrize("batch_size", [1, 4, "auto"])
def test_alpha_zero_is_hf_byte_for_byte(batch_size: Any) -> None:
    arguments = {"batch_size": batch_size, "max_batch_size": 4, "max_length": 128}
    steered = make(vectors=make_vector(), alpha=0, **arguments)
    assert all_answers(steered) == all_answers(make(HFLM, **arguments))


def test_alpha_zero_is_hf_on_a_real_model(smollm2: Path) -> None:
    arguments = {"pretrained": str(smollm2), "batch_size": 4, "device": "cpu"}
    plain, steered = HFLM(**arguments), SteeredHF(**arguments, vectors="smollm2_arith", alpha=0.0)
    assert steered.loglikelihood(scorings()) == plain.loglikelihood(scorings())
    assert steered.generate_until(generations()) == plain.generate_until(generations())


# alpha != 0


def export_for_harness(lm: SteeredHF, path: Path) -> str:
    """The same steering as a file of the harness's own `steered` model."""
    base = lm.model.base_model
    names = {id(module): name for name, module in base.named_modules()}
    assert lm.plan.vector is not None
    config = {
        names[id(block)]: {
            "steering_vector": torch.from_numpy(direction),
            "steering_coefficient": lm.plan.alphas[0],
            "action": "add",
            "bias": None,
            "head_index": None,
        }
        for block, direction in zip(find_blocks(lm.model), lm.plan.vector.directions, strict=True)
    }
    torch.save(config, path)
    return str(path)


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("alpha", [0.3, -2.0])
def test_equals_the_harness_own_steered_model_without_padding(family: str, alpha: float, tmp_path: Path) -> None:
    lm = make(family=family, batch_size=1, vectors=make_vector(), alpha=alpha)
    other = make(SteeredModel, family, 1, steer_path=export_for_harness(lm, tmp_path / "steered.pt"))
    assert lm.generate_until(generations()) == other.generate_until(generations())
    for ours, theirs in zip(lm.loglikelihood(scorings()), other.loglikelihood(scorings()), strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
        assert ours[1] == theirs[1]
    for ours, theirs in zip(lm.loglikelihood_rolling(rollings()), other.loglikelihood_rolling(rollings()), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)


def test_equals_the_harness_own_steered_model_on_a_real_model(smollm2: Path, tmp_path: Path) -> None:
    arguments = {"pretrained": str(smollm2), "batch_size": 1, "device": "cpu"}
    lm = SteeredHF(**arguments, vectors="smollm2_arith", alpha=2.0)
    other = SteeredModel(**arguments, steer_path=export_for_harness(lm, tmp_path / "steered.pt"))
    assert lm.generate_until(generations()) == other.generate_until(generations())
    requests = scorings()[:6]
    for ours, theirs in zip(lm.loglikelihood(requests), other.loglikelihood(requests), strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=1e-4)


class ByHand:
    """The oracle (engines/reference.py) for texts."""

    def __init__(self, lm: SteeredHF, tokens: str, **changes: Any) -> None:
        assert lm.plan.vector is not None
        self.lm = lm
        one = steering(lm.plan.vector.directions, lm.plan.alphas[0], tokens=tokens, **changes)
        self.reference = Reference(lm.model, one)

    def generate(self, context: str, new: int) -> str:
        text = self.reference.generate(self.lm.tok_encode(context), new, [self.lm.eot_token_id])
        return self.lm.tok_decode(text.tokens).split("\n\n")[0]

    def score(self, context: str, continuation: str) -> float:
        return self.reference.score(self.lm.tok_encode(context), self.lm.tok_encode(continuation))[0]


@pytest.mark.parametrize("changes", [{"normalize": True}, {"dose": 0.5}])
@pytest.mark.parametrize("tokens", ["all", "generated"])
def test_other_operators_equal_the_oracle(tokens: str, changes: dict[str, Any]) -> None:
    alpha = {} if "dose" in changes else {"alpha": 1.5}
    lm = make(vectors=make_vector(), tokens=tokens, **alpha, **changes)
    kind = {"operator": "add_keep_norm"} if "normalize" in changes else {"unit": "dose"}
    by_hand = ByHand(lm, tokens, **kind)
    assert lm.generate_until(generations()) == [by_hand.generate(text, 12) for text in CONTEXTS]
    for request, (score, _) in zip(scorings(), lm.loglikelihood(scorings()), strict=True):
        assert score == pytest.approx(by_hand.score(*request.args), abs=1e-3)


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox", "mistral"])
def test_padded_batches_equal_a_loop_by_hand(family: str, tokens: str) -> None:
    lm = make(family=family, vectors=make_vector(), alpha=1.5, tokens=tokens)
    by_hand = ByHand(lm, tokens)
    assert lm.generate_until(generations()) == [by_hand.generate(text, 12) for text in CONTEXTS]
    for request, (score, _) in zip(scorings(), lm.loglikelihood(scorings()), strict=True):
        assert score == pytest.approx(by_hand.score(*request.args), abs=1e-3)


@pytest.mark.parametrize(
    ("tokens", "rows"),
    [
        # Contexts of 4 and 2 tokens, continuations of 3 and 2: 6 and 3 positions are run.
        ("all", [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]),
        ("prompt", [[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]),
        ("generated", [[0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0]]),
        ("last", [[0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]),
    ],
)
def test_scoring_steers_the_positions_of_the_table(tokens: str, rows: list[list[int]]) -> None:
    """Measured: what the next block receives, minus what this block gave."""
    lm = make(vectors=make_vector(), alpha=2.0, tokens=tokens)
    gave, received = record(lm)
    lm.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in (("abcd", "efg"), ("ab", "cd"))])
    for block in range(models.DEPTH - 1):
        shift = (received[block + 1] - gave[block]) @ torch.from_numpy(lm.plan.vector.directions[block])
        assert torch.allclose(shift, 2.0 * torch.tensor(rows).float(), atol=1e-4)


def test_rolling_steers_every_position_but_padding() -> None:
    lm = make(vectors=make_vector(), alpha=2.0)
    gave, received = record(lm)
    lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0) for text in ("abcdef", "abc")])
    shift = (received[1] - gave[0]) @ torch.from_numpy(lm.plan.vector.directions[0])
    assert torch.allclose(shift, 2.0 * torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]).float(), atol=1e-4)


def record(lm: SteeredHF) -> tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]]:
    """Of the last pass: what each block gives (before steering, whose hooks come later) and receives."""
    gave: dict[int, torch.Tensor] = {}
    received: dict[int, torch.Tensor] = {}
    for i, block in enumerate(find_blocks(lm.model)):
        block.register_forward_hook(lambda m, a, out, i=i: gave.update({i: out[0] if isinstance(out, tuple) else out}))
        block.register_forward_pre_hook(lambda m, args, i=i: received.update({i: args[0]}))
    return gave, received


SHARED = "You solve problems. Think first. "


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
@pytest.mark.parametrize("family", models.FAMILIES)
def test_a_shared_beginning_is_run_once_and_changes_nothing(family: str, tokens: str) -> None:
    lm = make(family=family, vectors=make_vector(), alpha=1.5, tokens=tokens)
    by_hand = ByHand(lm, tokens)
    contexts = [SHARED + text for text in CONTEXTS]
    seen: list[int] = []
    lm.generate_until(generations()[:1])  # what the model does with padding is tried before the first text
    find_blocks(lm.model)[0].register_forward_pre_hook(lambda m, args: seen.append(args[0].numel() // models.WIDTH))
    texts = lm.generate_until(generations(contexts))
    shares = family not in ("gemma2", "mistral")  # their tiny window of 16 is shorter than the prompts
    assert seen[0] == (len(SHARED) if shares else 4 * max(map(len, contexts)))
    assert texts == [by_hand.generate(text, 12) for text in contexts]
    pairs = [(context, continuation) for context in contexts for continuation in CONTINUATIONS]
    seen.clear()
    scores = lm.loglikelihood(scorings(contexts))
    if shares:  # the generations have left the beginning in its cache; four rows, each with all its choices
        *trial, own = seen  # a small tree is tried first
        tails = sum(map(len, {continuation[:-1] for continuation in CONTINUATIONS}))
        assert own == 4 * (max(map(len, contexts)) + tails - len(SHARED))
        assert sum(trial) < len(SHARED)
    else:
        assert seen[0] == len(SHARED)
    for pair, (score, _) in zip(pairs, scores, strict=True):
        assert score == pytest.approx(by_hand.score(*pair), abs=1e-3)


@pytest.mark.parametrize("window", [50, 75, 90])
@pytest.mark.parametrize(("family", "name"), [("mistral", "sliding_window"), ("gpt_neo", "window_size")])
def test_a_window_that_ends_within_the_answer(family: str, name: str, window: int) -> None:
    """Prompts of up to 71 tokens and answers of 12: shared or not, the window sees what it should."""
    model = models.make_model(family, **{name: window})
    lm = SteeredHF(model, tokenizer=models.make_tokenizer(), batch_size=4, vectors=make_vector(), alpha=1.5)
    contexts, by_hand = [SHARED + text for text in CONTEXTS], ByHand(lm, "all")
    assert lm.generate_until(generations(contexts)) == [by_hand.generate(text, 12) for text in contexts]
    pairs = [(context, continuation) for context in contexts for continuation in CONTINUATIONS]
    for pair, (score, _) in zip(pairs, lm.loglikelihood(scorings(contexts)), strict=True):
        assert score == pytest.approx(by_hand.score(*pair), abs=1e-3)


def test_a_beginning_is_not_carried_over_to_another_run() -> None:
    lm = make(vectors=make_vector(), alpha=1.5)
    other = [SHARED[::-1] + text for text in CONTEXTS]
    lm.generate_until(generations([SHARED + text for text in CONTEXTS]))
    again = lm.generate_until(generations(other))
    assert again == make(vectors=make_vector(), alpha=1.5).generate_until(generations(other))


def test_another_plan_frees_the_caches_of_the_one_before() -> None:
    lm = make(vectors=make_vector(), alpha=1.5)
    requests = generations([SHARED + text for text in CONTEXTS])
    gc.collect()
    gc.disable()  # a sweep's passes would hold each other's caches until Python looks for cycles
    try:
        lm.generate_until(requests)
        lm.loglikelihood(scorings([SHARED + text for text in CONTEXTS]))
        caches = [weakref.ref(kept.cache) for kept in lm.engine._beginnings.prefixes._caches.values()]
        assert len(caches) == 1
        lm.steer(SteeringPlan.build(vectors=make_vector(), alpha=2))
        assert [cache() for cache in caches] == [None]
    finally:
        gc.enable()


def test_a_plan_that_is_refused_leaves_the_one_before_whole(tmp_path: Path) -> None:
    lm = make(vectors=make_vector(), alpha=1.5, record=str(tmp_path / "record"))
    texts, info = lm.generate_until(generations()), lm.get_model_info()["steering"]
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "toy.rank0.jsonl").write_text("no record\n")
    other = make_vector(seed=1)
    changes: list[dict[str, Any]] = [
        {"layers": "7"},
        {"blocks": "no.such.list"},
        {"alpha_per_layer": [1.0]},
        {"alpha": 1e308},
        {"record": str(tmp_path / "damaged")},
        {"record": str(tmp_path / "damaged" / "toy.rank0.jsonl")},
    ]
    for changed in changes:
        with pytest.raises(SteeringError):
            lm.steer(SteeringPlan.build(**({"vectors": other, "alpha": 3.0} | changed)))
        assert lm.generate_until(generations()) == texts
        after = lm.get_model_info()["steering"]
        assert {**after, "responses": None} == {**info, "responses": None}
    lm.steer(lm.plan.with_changes(record=None))  # not from the record: what is steered is the same, too
    assert lm.generate_until(generations()) == texts


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("falcon, alibi", "counts positions itself"),
        ("mamba", "counts positions itself"),
        ("qwen3_next", "keeps more than keys and values"),
        ("lfm2", "keeps more than keys and values"),
        ("openai-gpt", "keeps more than keys and values"),
        ("rwkv", "padding changes what"),
        ("recurrent_gemma", "padding changes what"),
        ("minimax", "padding changes what"),
    ],
)
def test_other_models_are_left_to_transformers_and_steered_alike(
    name: str, reason: str, tokens: str, caplog: pytest.LogCaptureFixture
) -> None:
    lm = make(family=name, vectors=make_vector(), alpha=1.5, tokens=tokens)
    by_hand = ByHand(lm, tokens)
    with caplog.at_level("INFO", logger="lm_eval"):
        assert lm.generate_until(generations()) == [by_hand.generate(text, 12) for text in CONTEXTS]
    assert reason in caplog.text
    for request, (score, _) in zip(scorings(), lm.loglikelihood(scorings()), strict=True):
        assert score == pytest.approx(by_hand.score(*request.args), abs=1e-3)


def test_attention_that_refuses_a_mask_leaves_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA, fused attention raises where MiniMax's mask of padded rows does not fit; on a CPU it is stretched."""
    real = torch.nn.functional.scaled_dot_product_attention

    def strict(query: Any, key: Any, value: Any, attn_mask: Any = None, **more: Any) -> Any:
        if attn_mask is not None and attn_mask.shape[-1] != key.shape[-2]:
            raise RuntimeError("(*bias): last dimension must be contiguous")
        return real(query, key, value, attn_mask=attn_mask, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", strict)
    lm = make(family="minimax", vectors=make_vector(), alpha=1.5)
    assert lm.generate_until(generations()) == [ByHand(lm, "all").generate(text, 12) for text in CONTEXTS]


def test_a_model_that_looks_ahead_is_refused() -> None:
    config = models.COMMON | {"intermediate_size": 48}
    encoder, tokenizer = transformers.BertLMHeadModel(transformers.BertConfig(**config)), models.make_tokenizer()
    with pytest.raises(SteeringError, match="BertLMHeadModel looks at the tokens to come"):
        SteeredHF(encoder, tokenizer=tokenizer, vectors=make_vector(), alpha=1.5)
    decoder = transformers.BertLMHeadModel(transformers.BertConfig(**config, is_decoder=True))
    lm = SteeredHF(decoder, tokenizer=tokenizer, batch_size=4, vectors=make_vector(), alpha=1.5)
    assert lm.generate_until(generations()) == [ByHand(lm, "all").generate(text, 12) for text in CONTEXTS]


def test_beams_are_steered_without_sharing(caplog: pytest.LogCaptureFixture) -> None:
    lm = make(vectors=make_vector(), alpha=1.5)
    contexts = [SHARED + text for text in CONTEXTS]
    with caplog.at_level("INFO", logger="lm_eval"):
        lm.generate_until(generations(contexts))
        assert "run whole" not in caplog.text
        beams = lm.generate_until(generations(contexts, num_beams=2))
        lm.generate_until(generations(contexts[:1], num_beams=2))
    assert (
        caplog.text.count("Prompts are run whole, and a batch until its last row has finished: {'num_beams': 2}") == 1
    )
    assert beams == [lm.generate_until(generations([text], num_beams=2))[0] for text in contexts]


def test_the_token_scopes_differ() -> None:
    texts = {t: tuple(make(vectors=make_vector(), alpha=1.5, tokens=t).generate_until(generations()))
             for t in ("all", "prompt", "generated", "last")}  # fmt: skip
    assert len(set(texts.values())) == 4


def test_a_row_of_a_batch_equals_the_row_alone() -> None:
    lm = make(vectors=make_vector(), alpha=1.5)
    together = lm.generate_until(generations())
    assert together == [lm.generate_until(generations([text]))[0] for text in CONTEXTS]
    scores = lm.loglikelihood(scorings())
    for request, (score, greedy) in zip(scorings(), scores, strict=True):
        alone = lm.loglikelihood([request])[0]
        assert score == pytest.approx(alone[0], abs=1e-4)
        assert greedy == alone[1]


def test_an_automatic_batch_size_changes_nothing() -> None:
    arguments = {"vectors": make_vector(), "alpha": 1.5, "max_length": 128}
    assert all_answers(make(batch_size="auto", max_batch_size=4, **arguments)) == all_answers(make(**arguments))


def test_greedy_flag_and_shared_rows() -> None:
    """Continuations that differ in the last token are one row; each is judged by its own token."""
    lm = make(vectors=make_vector(), alpha=1.5)
    context = CONTEXTS[0]
    first = lm.generate_until(generations([context], max_gen_toks=1, until=[]))[0]
    answers = lm.loglikelihood([Instance("loglikelihood", {}, (context, c), 0) for c in (first, "~", first)])
    assert [greedy for _, greedy in answers] == [True, first == "~", True]
    assert answers[0] == answers[2]
    assert answers[0][0] > answers[1][0]


def test_layers_and_normalize_change_what_is_steered() -> None:
    variants = [{}, {"layers": 1}, {"layers": "1-2"}, {"layers": [0, 2]}, {"normalize": True}]
    texts = [tuple(make(vectors=make_vector(), alpha=4.0, **v).generate_until(generations())) for v in variants]
    assert len(set(texts)) == len(texts)
    one = make(vectors=make_vector(), alpha=4.0, layers=1).get_model_info()["steering"]
    assert one["transfer"]["steered_blocks"] == [1]


def test_a_wider_and_deeper_parent_is_cut() -> None:
    parent = make_vector(blocks=5, width=50)
    lm = make(vectors=parent, alpha=1.0)
    report = lm.get_model_info()["steering"]["transfer"]
    assert report["steered_blocks"] == [0, 1, 2]
    assert (report["parent_hidden_size"], report["child_hidden_size"]) == (50, models.WIDTH)
    cut = parent.directions[:3, : models.WIDTH]
    cut = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    same = make_vector()
    same = type(same)(cut.astype(np.float32), (0, 1, 2), same.passport)
    assert lm.generate_until(generations()) == make(vectors=same, alpha=1.0).generate_until(generations())


def test_rolling_refuses_token_scopes_without_meaning() -> None:
    lm = make(vectors=make_vector(), alpha=1.0, tokens="generated")
    with pytest.raises(SteeringError, match="tokens='generated' has no meaning for loglikelihood_rolling"):
        lm.loglikelihood_rolling(rollings())


def test_peft_dtype_and_thinking_arguments_of_hf_work(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    folder = models.save_model(tmp_path / "model", "llama")
    adapted = get_peft_model(
        models.make_model("llama"), LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "lora")
    arguments = {"pretrained": str(folder), "peft": str(tmp_path / "lora"), "device": "cpu", "batch_size": 4}
    plain, zero = HFLM(**arguments), SteeredHF(**arguments, vectors=make_vector(), alpha=0)
    assert zero.generate_until(generations()) == plain.generate_until(generations())
    steered = SteeredHF(**arguments, vectors=make_vector(), alpha=3.0)
    assert steered.generate_until(generations()) != plain.generate_until(generations())
    arguments.pop("peft")
    half = SteeredHF(**arguments, dtype="bfloat16", think_end_token="1", vectors=make_vector(), alpha=3.0)
    assert half.model.dtype == torch.bfloat16
    assert all("1" not in text for text in half.generate_until(generations()))


def test_parallelize_follows_blocks_to_their_devices(tmp_path: Path) -> None:
    """device_map puts accelerate's own hooks on the blocks; steering has to work beside them."""
    folder = models.save_model(tmp_path / "model", "llama")
    arguments = {"pretrained": str(folder), "device": "cpu", "batch_size": 4, "vectors": make_vector(), "alpha": 1.5}
    expected = SteeredHF(**arguments).generate_until(generations())
    spread = {"model.embed_tokens": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu", "model.layers.2": "cpu",
              "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}  # fmt: skip
    lm = SteeredHF(**arguments, device_map=spread, offload_folder=str(tmp_path / "offload"))
    assert lm.generate_until(generations()) == expected


# What the result file says, and what is refused


def test_model_info_holds_passport_and_settings() -> None:
    vector = make_vector()
    info = make(vectors=vector, alpha=0.25, tokens="generated").get_model_info()["steering"]
    json.dumps(info)
    assert info["passport"] == vector.passport
    assert (info["vector"], info["alpha"], info["tokens"]) == (vector.fingerprint, 0.25, "generated")
    assert (info["layers"], info["width_map"], info["layer_map"], info["normalize"]) == ("all", "cut", "greedy", False)
    assert info["system_role"] == "merge"


def test_a_response_cache_of_another_steering_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")
    first = CachingLM(make(vectors=make_vector(), alpha=1.0), path)
    texts = first.generate_until(generations())
    first.dbdict.close()
    again = CachingLM(make(vectors=make_vector(), alpha=1.0), path)
    again.lm._model_generate = None  # everything comes from the cache
    assert again.generate_until(generations()) == texts
    again.dbdict.close()
    for other in ({"alpha": 2.0}, {"alpha": 1.0, "tokens": "last"}, {"alpha": 1.0, "layers": 1}):
        with pytest.raises(SteeringError, match="another steering or another model"):
            CachingLM(make(vectors=make_vector(), **other), path)
    plain = str(tmp_path / "plain.db")
    hf = CachingLM(make(HFLM), plain)
    hf.generate_until(generations())
    hf.dbdict.close()
    with pytest.raises(SteeringError, match="a model without steering"):
        CachingLM(make(vectors=make_vector(), alpha=0), plain)


REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def with_template(template: str, **arguments: Any) -> SteeredHF:
    return SteeredHF(
        pretrained=models.make_model("gemma2"), tokenizer=models.make_tokenizer(template), alpha=0, **arguments
    )


def test_a_refused_system_role_is_merged_or_dropped() -> None:
    merged, dropped = with_template(REFUSES_SYSTEM), with_template(REFUSES_SYSTEM, system_role="drop")
    assert merged.apply_chat_template(TURNS) == "<user>Be brief.\n\nHi<model>"
    assert dropped.apply_chat_template(TURNS) == "<user>Hi<model>"
    assert merged.tokenizer_name != dropped.tokenizer_name == make(HFLM).tokenizer_name
    assert "merged" in merged.get_model_info()["steering"]["system_prompt"]


def test_a_template_with_a_system_role_is_left_alone() -> None:
    template = REFUSES_SYSTEM.split("{% endif %}", 1)[1]
    lm = with_template(template)
    assert lm.apply_chat_template(TURNS) == "<system>Be brief.<user>Hi<model>"


def test_errors_come_before_the_model_is_loaded(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-such-model")
    with pytest.raises(SteeringError, match=r"no steering vector 'phi4_gsm8k\.pt'"):
        SteeredHF(nowhere, vectors="phi4_gsm8k.pt", alpha=0.04)
    with pytest.raises(SteeringError, match="alpha is missing"):
        SteeredHF(nowhere, vectors=make_vector())


def test_what_is_not_there_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    gone, hub = str(tmp_path / "gone"), "there is no folder 'models/gone' here, and the hub gives none: "
    for model, arguments, sentence in (
        (gone, {}, rf"there is no folder '{gone}'$"),
        ("models/gone", {}, rf"{hub}[^\n]*$"),
        (tiny_folder, {"peft": gone}, rf"there is no folder '{gone}'$"),
        (
            tiny_folder,
            {"peft": str(tmp_path / "empty")},
            "peft='.*/empty' is no adapter, as the folder has no adapter_c",
        ),
        (tiny_folder, {"peft": "models/gone"}, hub),
        (tiny_folder, {"delta": "./gone"}, r"there is no folder './gone'$"),
        (tiny_folder, {"gguf_file": "gone.gguf"}, r"the folder has no file 'gone.gguf' \(gguf_file\)$"),
    ):
        with pytest.raises(SteeringError, match=rf"^the model '{model}' cannot be loaded: {sentence}"):
            SteeredHF(str(model), alpha=0, device="cpu", **arguments)


def test_prompt_learning_is_refused() -> None:
    from peft import PromptTuningConfig, get_peft_model

    tuned = get_peft_model(models.make_model("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(SteeringError, match="prompt learning"):
        SteeredHF(tuned, tokenizer=models.make_tokenizer(), alpha=0)


def documents(rows: list[str | None]) -> list[Instance]:
    """Requests whose documents carry row hashes, as those of the project's tasks do."""
    metadata = ("arith_steer", 0, 1)
    return [
        Instance("generate_until", {"row": row} if row else {}, ("ab", GREEDY), i, metadata)
        for i, row in enumerate(rows)
    ]


def test_rows_that_the_vector_saw_are_refused_with_their_count() -> None:
    vector = make_vector()
    seen = type(vector)(vector.directions, vector.layers, vector.passport | {"data": {"rows": ["r1", "r2", "r3"]}})
    lm = make(vectors=seen, alpha=1.0)
    with pytest.raises(SteeringError, match="2 of the 4 documents of arith_steer are among the 3 rows"):
        lm.generate_until(documents(["r1", "x", "r3", None]))
    assert len(lm.generate_until(documents(["x", "y", None]))) == 3
    scored = Instance("loglikelihood", {"row": "r2"}, ("a", "b"), 0, ("arith_steer", 0, 1))
    with pytest.raises(SteeringError, match="1 of the 1 documents"):
        lm.loglikelihood([scored])
    with pytest.raises(SteeringError, match="1 of the 1 documents"):
        lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {"row": "r2"}, ("a",), 0, ("t", 0, 1))])
    allowed = make(vectors=seen, alpha=1.0, allow_leak=True)
    assert len(allowed.generate_until(documents(["r1"]))) == 1
    assert allowed.get_model_info()["steering"]["allow_leak"] is True
    assert len(make(vectors=seen, alpha=0).generate_until(documents(["r1"]))) == 1  # nothing is steered, nothing leaks


@pytest.mark.parametrize("length", ["x.json", "4096", 0, True, 1.5])
def test_a_max_length_that_is_no_number_of_tokens_is_told_before_the_model_is_loaded(length: object) -> None:
    with pytest.raises(SteeringError, match="is no number of tokens: use one, as in max_length=2048"):
        SteeredHF("no-such-model", alpha=0, max_length=length)
