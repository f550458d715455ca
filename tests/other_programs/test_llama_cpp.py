"""steered-gguf against the oracle on a tiny model in float32, and against steered-hf on the real quantised SmolLM2."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from gguf import GGUFReader
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

import sweeps
from conftest import ROOT, make_vector
from gguf_files import write_gguf
from lm_eval_steer.engines.llama_cpp.context import Context
from lm_eval_steer.engines.llama_cpp.engine import LlamaCppEngine
from lm_eval_steer.engines.llama_cpp.file import GgufFile
from lm_eval_steer.engines.protocol import Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.gguf import SteeredGGUF
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.tasks.sentiment import task
from lm_eval_steer.vectors.embedded import bring_gguf
from lm_eval_steer.vectors.exports import EXPORTS, Export, write_export
from models import make_model, make_tokenizer, save_model
from steerings import steering

CONTEXTS = ["Q: What is 2 + 3?\nA:", "Hello", "The sun rises in the east, and it sets", "ab"]
CONTINUATIONS = [" 5", " 6", " world, how are you", " in the west"]
KEYS_IN_FLOAT16 = 0.01
"""llama.cpp keeps keys and values in float16: by so much a log-probability may differ (nats per token)."""
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_gguf(make_model("llama"), tmp_path_factory.mktemp("gguf") / "tiny.gguf", TEMPLATE))


@pytest.fixture(scope="module")
def vector(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("vector") / "v.safetensors"
    make_vector().save(path)
    return str(path)


@pytest.fixture(scope="module")
def real() -> str:
    """SmolLM2-135M-Instruct as it is published for llama.cpp (Q4_1)."""
    (ROOT / "models").mkdir(exist_ok=True)
    return str(bring_gguf("smollm2", ROOT / "models" / "smollm2.gguf"))


def scorings() -> list[Instance]:
    pairs = [(context, continuation) for context in CONTEXTS for continuation in CONTINUATIONS]
    return [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]


def generations(**changes: Any) -> list[Instance]:
    told = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False} | changes
    return [Instance("generate_until", {}, (text, told), i) for i, text in enumerate(CONTEXTS)]


# A tiny model in float32


@pytest.mark.parametrize("layers", [[1], [2], [1, 2]])
def test_a_block_is_steered_by_its_own_direction_at_its_own_output(tiny: str, vector: str, layers: list[int]) -> None:
    lm = SteeredGGUF(tiny, vectors=vector, alpha=20, layers=layers)
    encode, directions = make_tokenizer().encode, make_vector().directions
    expected = Reference(make_model("llama"), steering({block: directions[block] for block in layers}, 20))
    moved = 0.0
    for (score, best), one in zip(lm.loglikelihood(scorings()), scorings(), strict=True):
        context, continuation = map(encode, one.args)
        wanted = expected.score(context, continuation)
        assert score == pytest.approx(wanted[0], abs=KEYS_IN_FLOAT16 * len(continuation))
        assert best == wanted[1]
        moved += abs(score - Reference(make_model("llama"), steering({}, 0)).score(context, continuation)[0])
    assert moved > 10  # nats: a block beside it, or none, would be far away


def test_texts_and_whole_texts_are_those_of_the_oracle(tiny: str, vector: str) -> None:
    steered = {"vectors": vector, "alpha": 2.0, "layers": "1-2"}
    lm = SteeredGGUF(tiny, **steered)
    other = SteeredHF(make_model("llama"), tokenizer=make_tokenizer(), batch_size=1, dtype="float32", **steered)
    assert lm.generate_until(generations()) == other.generate_until(generations())
    (stop,) = {text[4] for text in lm.generate_until(generations()[:1])}
    cut = generations(until=[stop])
    assert lm.generate_until(cut) == other.generate_until(cut)
    whole = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(CONTEXTS)]
    for ours, theirs, text in zip(
        lm.loglikelihood_rolling(whole), other.loglikelihood_rolling(whole), CONTEXTS, strict=True
    ):
        assert ours == pytest.approx(theirs, abs=KEYS_IN_FLOAT16 * len(text))
    assert lm.get_model_info()["steering"]["application"]["implied"] is None


def test_strengths_take_turns_and_vote_as_on_transformers(tiny: str, vector: str, tmp_path: Path) -> None:
    """Keys and values of one strength are never read under another."""
    steered = {"vectors": vector, "alpha": [-3.0, 0.0, 3.0], "layers": "1-2", "vote_metric": "acc"}
    documents = [
        Instance("loglikelihood", {"n": doc}, (f"Doc {doc}: which?", option), i, ("toy", doc, 1))
        for doc in range(3)
        for i, option in enumerate((" red", " blue and green", " 5"))
    ]
    lm = SteeredGGUF(tiny, **steered, record=str(tmp_path / "a"))
    other = SteeredHF(
        make_model("llama"), tokenizer=make_tokenizer(), batch_size=1, **steered, record=str(tmp_path / "b")
    )
    for ours, theirs in zip(lm.loglikelihood(documents), other.loglikelihood(documents), strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=0.1)
    assert lm.get_model_info()["steering"]["votes"] == other.get_model_info()["steering"]["votes"]


def test_a_file_that_was_exported_is_what_the_engine_adds(tiny: str, tmp_path: Path) -> None:
    """As llama.cpp's loader reads it: tensor direction.N is row N-1 of what llama_set_adapter_cvec is given."""
    path = write_export(Export(make_vector(), 20.0, (1, 2)), EXPORTS["llama.cpp"], tmp_path / "v.gguf")
    table = np.zeros((2, 32), dtype=np.float32)
    for tensor in GGUFReader(path).tensors:
        table[int(tensor.name.split(".")[1]) - 1] += tensor.data
    file = GgufFile(tiny)
    context = Context(file, 64, 1)
    data = table.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    llama_cpp.llama_set_adapter_cvec(context._handle, data, table.size, 32, 1, 2)
    by_hand = [row.copy() for row in context.read([5, 6, 7, 8], 0)]
    engine = LlamaCppEngine(file, SteeredGGUF(tiny, alpha=0).tokenizer, 64, 1)
    directions = make_vector().directions
    engine.load([steering({1: directions[1], 2: directions[2]}, 20.0)])
    pairs = tuple(([5, 6, 7, 8][:n], [7]) for n in (1, 2, 3, 4))
    (done,) = engine.run([Job("", 0, pairs=pairs)])
    wide = [row.astype(np.float64) for row in by_hand]
    expected = [row[7] - np.log(np.exp(row).sum()) for row in wide]
    assert [score for score, _ in done.scores or ()] == pytest.approx(expected, abs=KEYS_IN_FLOAT16)


def test_tokens_are_those_of_the_tokenizer_and_templates_are_rendered_as_transformers_does(tiny: str) -> None:
    lm, tokenizer = SteeredGGUF(tiny, alpha=0), make_tokenizer(TEMPLATE)
    for text in ["Hello wörld\n 中 ", "</s> <s>x", ""]:
        assert lm.tok_encode(text) == tokenizer.encode(text)
        for skip in (True, False):
            ids = tokenizer.encode(text)
            assert lm.tokenizer.decode(ids, skip) == tokenizer.decode(ids, skip_special_tokens=skip)
    assert set(zip(lm.tokenizer.all_special_tokens, lm.tokenizer.all_special_ids, strict=True)) == {
        ("<s>", 256),
        ("</s>", 257),
        ("<pad>", 258),
    }
    chat = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert lm.apply_chat_template(chat) == tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"layers": "all"}, r"llama.cpp steers no block 0: leave it out with layers=1-2, and measure steered-hf with"),
        ({"tokens": "last"}, r"tokens=last is nothing that llama.cpp can do, which adds a control vector at every"),
        ({"alpha": 0, "dose": 0.1}, r"a dose hangs on the state that is steered, and llama.cpp adds the same every"),
        ({"operator": "ablate"}, r"llama.cpp adds vectors and cannot ablate: use operator=add, or steered-hf"),
        ({"control": "identity"}, r"control=identity forms other batches, and steered-gguf runs a row at a time"),
        ({"control": "self-consistency", "alpha": [0.1, 0.2]}, r"steered-gguf draws no texts, as control=self-consis"),
        ({"blocks": "model.layers"}, r"blocks='model.layers' names no place in a GGUF file"),
        ({"max_length": 0}, r"max_length=0 is no number of 1 or more"),
        ({"batchsize": 4}, r"steered-gguf has no argument batchsize: use pretrained, max_length, "),
    ],
)
def test_what_a_control_vector_cannot_do_is_refused(
    tiny: str, vector: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    if "dose" in changes:
        changes = {name: value for name, value in changes.items() if name != "alpha"}
    arguments = {"vectors": vector, "layers": "1-2", "record": str(tmp_path)} | changes
    if "dose" not in changes:
        arguments.setdefault("alpha", 1)
    with pytest.raises(SteeringError, match=sentence):
        SteeredGGUF(tiny, **arguments)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (
            lambda lm: lm.generate_until(generations(max_gen_toks=50)),
            r"38 tokens and 50 behind them need 88 positions, and the context has 60: set max_length=88",
        ),
        (
            lambda lm: lm.loglikelihood([Instance("loglikelihood", {}, ("a" * 40, "b" * 40), 0)]),
            r"40 tokens and 40 behind them need 79 positions, and the context has 60",
        ),
        (
            lambda lm: lm.generate_until(generations(do_sample=True, temperature=0.7)),
            r"steered-gguf writes greedy text, and temperature=0.7 with do_sample draws it: leave both out",
        ),
        (
            lambda lm: lm.generate_until(generations(repetition_penalty=1.2)),
            r"steered-gguf does not know the generation argument repetition_penalty=1.2: leave it out",
        ),
    ],
)
def test_what_does_not_fit_a_request_is_refused(tiny: str, ask: Callable[[Any], Any], sentence: str) -> None:
    with pytest.raises(SteeringError, match=sentence):
        ask(SteeredGGUF(tiny, alpha=0, max_length=60))


def test_a_model_that_llama_cpp_does_not_steer_is_refused(
    tiny: str, vector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves control vectors out of some architectures, and says nothing."""
    monkeypatch.setattr(llama_cpp, "llama_set_adapter_cvec", lambda *told: 0)
    with pytest.raises(
        SteeringError, match=r"llama.cpp does not steer models of architecture llama, where its control"
    ):
        SteeredGGUF(tiny, vectors=vector, alpha=0.001, layers=[2])


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"PK\x03\x04 a zip file")
    (tmp_path / "b.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    for name, sentence in {
        "missing.gguf": r"there is no file .*missing.gguf: name a model in GGUF",
        "": r"is a folder, and steered-gguf loads a file: name one, as in .*/model.gguf",
        "a.gguf": r"a.gguf is no GGUF file, which begins with b'GGUF' and not with b'PK",
        "b.gguf": r"llama.cpp cannot load .*b.gguf: \w",
    }.items():
        with pytest.raises(SteeringError, match=sentence):
            SteeredGGUF(str(tmp_path / name), alpha=0)


# The real one


@pytest.fixture(scope="module")
def evaluated(real: str, smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`sentiment_steer`, 20 documents, on both engines, unsteered and steered."""
    manager = TaskManager(include_path=str(task.HERE), include_defaults=False)
    steered = {"vectors": "smollm2_sentiment", "layers": "1-29"}
    found = {}
    for name, lm in {
        "gguf": SteeredGGUF(real, max_length=512, alpha=0.0, **steered),
        "hf": SteeredHF(str(smollm2), dtype="float32", device="cpu", batch_size=8, alpha=0.0, **steered),
    }.items():
        for alpha in (0.0, 2.0):
            lm.steer(lm.plan.with_changes(alphas=(alpha,)))
            found[name, alpha] = simple_evaluate(
                model=lm, tasks=["sentiment_steer"], task_manager=manager, limit=20, bootstrap_iters=0
            )
    return found


def log_odds(out: Any) -> np.ndarray:
    samples = sorted(out["samples"]["sentiment_steer"], key=lambda sample: sample["doc_id"])
    return np.array([sample["log_odds"] for sample in samples])


def test_log_probabilities_are_within_what_quantised_activations_change(evaluated: dict[str, Any]) -> None:
    """Weights are the same numbers; llama.cpp multiplies them with activations in 8 bits, transformers in float32."""
    for alpha in (0.0, 2.0):
        ours, theirs = (
            np.array([sample["resps"] for sample in evaluated[name, alpha]["samples"]["sentiment_steer"]], float)
            for name in ("gguf", "hf")
        )
        difference = np.abs(ours[..., 0] - theirs[..., 0])
        print(f"alpha {alpha}: {difference.mean():.3f} nats on average, {difference.max():.3f} at most")
        assert difference.size == 40
        assert difference.mean() < 0.2
        assert difference.max() < 0.6


def test_the_control_vector_shifts_log_odds_as_much_as_it_does_here(evaluated: dict[str, Any]) -> None:
    shifts = {
        name: float(np.mean(log_odds(evaluated[name, 2.0]) - log_odds(evaluated[name, 0.0]))) for name in ("gguf", "hf")
    }
    for (name, alpha), out in evaluated.items():
        print(f"{name}, alpha {alpha}: mean log-odds {log_odds(out).mean():.2f}")
    assert abs(shifts["hf"]) > 0.5
    assert shifts["gguf"] == pytest.approx(shifts["hf"], rel=0.05)


def test_the_result_file_says_what_steered_hf_says(evaluated: dict[str, Any]) -> None:
    ours, theirs = (evaluated[name, 2.0]["config"] for name in ("gguf", "hf"))
    ours, theirs = (json.loads(json.dumps(one, default=str))["steering"] for one in (ours, theirs))
    assert set(ours) == set(theirs)
    assert ours["passport"] == theirs["passport"]
    assert ours["fingerprint"] != theirs["fingerprint"]
    for name in ("alpha", "layers", "tokens", "operator", "transfer", "responses"):
        assert ours[name] == theirs[name], name


def test_the_result_file_names_the_quantisation(real: str) -> None:
    lm = SteeredGGUF(real, alpha=0, max_length=64)
    info = lm.get_model_info()
    assert (info["model_dtype"], info["model_num_parameters"]) == ("Q4_1", 134515008)


def test_a_sweep_on_the_edge_build_asks_and_finds_what_one_on_transformers_does(
    tiny: str, vector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps.hurry(monkeypatch)
    told = {"alpha": [1, 2], "limit": 2.0, "val_limit": 2.0, "controls": "random:1,negated"}
    for name, child in {"gguf": tiny, "hf": str(save_model(tmp_path / "m", "llama"))}.items():
        arguments = {"pretrained": child, "vectors": vector, "layers": "1-2", "max_length": 2048}
        sweeps.sweep(arguments, tmp_path / name, model=f"steered-{name}", **told)
    found = {name: tmp_path / name / "arms" / "parity_steer" for name in ("gguf", "hf")}
    arms = sorted(one.name for one in found["hf"].iterdir())
    assert sorted(one.name for one in found["gguf"].iterdir()) == arms
    assert len(arms) > 4
    for arm in [arm for arm in arms if "vote" not in arm]:  # a near-tie may part the texts later on, and so turn a vote
        ours, theirs = (sweeps.responses(tmp_path / name, arm) for name in found)
        assert [text[:4] for text in ours] == [text[:4] for text in theirs], arm
