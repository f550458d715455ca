"""States of models on texts: what is read, how it is kept, and that a run which was killed goes on."""

from __future__ import annotations

import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import models
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.locks import held
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.transfer import states as states_module
from lm_eval_steer.transfer.cache import States, default_folder, open_states, to_half
from lm_eval_steer.transfer.model import Model
from lm_eval_steer.transfer.states import read_states
from lm_eval_steer.transfer.texts import Texts

SENTENCES = (
    "The sky is blue, and so is the sea.",
    "No.",
    "Grace has 12 red buttons and 7 blue buttons",
    "Über 3 Äpfel 🍎 und Nüsse",
    "xy",
    "No.",
    "A text that is much longer than the others, so that it is read first and alone in its batch if batches are small",
)
SYSTEM = "<|system|>\nRead what follows.<end>\n"
TEMPLATE = (
    SYSTEM + "{% for turn in messages %}<|{{ turn.role }}|>\n{{ turn.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def make_texts(*texts: str) -> Texts:
    return Texts(texts or SENTENCES, tuple(f"{number:016x}" for number in range(len(texts or SENTENCES))), {})


def folder_of(path: Path, family: str = "llama", **changes: Any) -> Path:
    return models.save_model(path / family, family, TEMPLATE, **changes)


def model_of(folder: Path, **arguments: Any) -> Model:
    return Model({"pretrained": str(folder), "dtype": "float32", **arguments}, "cpu")


@torch.no_grad()
def one_by_one(lm: SteeredHF, prompts: list[str]) -> list[np.ndarray]:
    """Block outputs [blocks, tokens, width] of each text alone: transformers' own hidden states, and of the last block,
    whose hidden state has gone through the final norm, what a hook sees."""
    blocks = find_blocks(lm.model)
    last: list[torch.Tensor] = []
    hook = blocks[-1].register_forward_hook(lambda m, a, out: last.append(out if torch.is_tensor(out) else out[0]))
    found = []
    for prompt in prompts:
        ids = torch.tensor([lm.tok_encode(prompt)])
        hidden = lm.model(ids, output_hidden_states=True).hidden_states
        found.append(torch.cat([*hidden[1 : len(blocks)], last[-1]]).float().numpy())
    hook.remove()
    return found


def near(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal up to float16's rounding of each row, and that of batches."""
    return bool(np.all(np.abs(found - wanted) <= 2e-3 * np.abs(wanted).max(axis=-1, keepdims=True)))


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen2", "gpt2"])
def test_states_are_those_of_one_text_at_a_time(family: str, chat: bool, tmp_path: Path) -> None:
    model = model_of(folder_of(tmp_path, family))
    lm = model.load()
    prompts = [f"{SYSTEM}<|user|>\n{text}<end>\n<|assistant|>\n" if chat else text for text in SENTENCES]
    wanted = one_by_one(lm, prompts)
    begin = len(f"{SYSTEM}<|user|>\n") if chat else 0
    for rule in ("last", "mean", "all"):
        found = read_states(model, make_texts(), tokens=rule, chat=chat, cache=tmp_path / "cache", batch_size=3)
        assert (found.blocks, found.width, found.n) == (models.DEPTH, models.WIDTH, len(SENTENCES))
        for number, (text, whole) in enumerate(zip(SENTENCES, wanted, strict=True)):
            own = whole[:, begin : begin + len(text.encode())]  # a token is a byte
            ends = [len(text[:end].encode()) - 1 for end in range(1, len(text) + 1)]
            each = own[:, [end for end in ends if end > 0]]  # of the bytes of a character, the last; without the first
            want = {"last": whole[:, -1:], "mean": own[:, 1:].mean(axis=1, keepdims=True), "all": each}[rule]
            rows = found.places.first[number] + np.arange(found.places.count[number])
            assert len(rows) == want.shape[1]
            for block in range(models.DEPTH):
                assert near(found.rows(block, rows), want[block])


def test_special_tokens_are_not_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    plain = read_states(model_of(folder), make_texts(), tokens="all", cache=tmp_path / "cache")
    begun = read_states(model_of(folder, add_bos_token=True), make_texts(), tokens="all", cache=tmp_path / "cache")
    assert begun.folder != plain.folder
    assert begun.places.same(plain.places)
    last = one_by_one(model_of(folder, add_bos_token=True).load(), [SENTENCES[1]])[0]
    assert last.shape[1] == len(SENTENCES[1]) + 1
    rows = begun.places.first[1] + np.arange(begun.places.count[1])
    assert near(begun.rows(0, rows), last[0, 2:])  # nor the first of the text


def test_states_of_the_real_model(smollm2: Path, tmp_path: Path) -> None:
    model = model_of(smollm2)
    wanted = one_by_one(model.load(), [*SENTENCES[:4]])
    found = read_states(model, make_texts(*SENTENCES[:4]), cache=tmp_path)
    assert found.model | {"digest": None} == {
        **{"name": "smollm2", "revision": "main", "architecture": "llama", "num_blocks": 30, "hidden_size": 576},
        **{"dtype": "float32", "digest": None},
    }
    assert found.model["digest"] == model.description["digest"]
    for number, whole in enumerate(wanted):
        for block in range(30):
            assert near(found.rows(block, found.places.first[[number]]), whole[block, -1:])


class Killed(BaseException):
    """As a signal would be."""


def kill_after(passes: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a run be killed in a pass; gives the number of texts in each pass."""
    whole, sizes = states_module.read_outputs, []

    def read(*args: Any, **kwargs: Any) -> Any:
        for numbers, outputs in whole(*args, **kwargs):
            if len(sizes) == passes:
                raise Killed
            sizes.append(len(numbers))
            yield numbers, outputs

    monkeypatch.setattr(states_module, "read_outputs", read)
    return sizes


@pytest.mark.parametrize("rule", ["last", "all"])
def test_a_run_that_was_killed_goes_on(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(folder_of(tmp_path))
    whole = read_states(model, make_texts(), tokens=rule, cache=tmp_path / "whole", batch_size=2)
    with monkeypatch.context() as patch:
        kill_after(2, patch)
        with pytest.raises(Killed):
            read_states(model, make_texts(), tokens=rule, cache=tmp_path / "killed", batch_size=2)
    folder = tmp_path / "killed" / whole.folder.name
    assert open_states(folder) is None
    with open(folder / "done.txt", "a") as file:
        file.write("7")  # half a line: "70" was on its way
    sizes = kill_after(99, monkeypatch)
    found = read_states(model, make_texts(), tokens=rule, cache=tmp_path / "killed", batch_size=2)
    assert sizes == [2, 1]
    for name in ("states.f16", "scales.f32", "meta.json"):
        assert (found.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert np.array_equal(found.rows(1), whole.rows(1))  # whose checksums are those of both runs' texts
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [whole.folder.name]  # no lock is left


def test_whole_states_need_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(folder_of(tmp_path))
    first = read_states(model, make_texts(), cache=tmp_path / "cache")
    monkeypatch.setattr(Model, "load", lambda self: pytest.fail("it was loaded"))
    again = read_states(model_of(tmp_path / "llama", batch_size=7), make_texts(), cache=tmp_path / "cache")
    assert np.array_equal(first.rows(1), again.rows(1))


def test_states_of_anything_else_are_not_taken(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    told = {"dtype": "float32"}
    runs: list[tuple[dict[str, Any], Texts, str, bool]] = [
        (told, make_texts(), "last", False),
        ({"dtype": "bfloat16"}, make_texts(), "last", False),
        ({**told, "add_bos_token": True}, make_texts(), "last", False),
        (told, make_texts(*SENTENCES[::-1]), "last", False),
        (told, make_texts(*SENTENCES[1:]), "last", False),
        (told, make_texts(), "mean", False),
        (told, make_texts(), "last", True),
    ]

    def read(told: dict[str, Any], texts: Texts, rule: str, chat: bool) -> States:
        model = Model({"pretrained": str(folder), **told}, "cpu")
        return read_states(model, texts, tokens=rule, chat=chat, cache=tmp_path / "cache")

    found = [read(*run) for run in runs]
    models.make_tokenizer(TEMPLATE.replace("<end>", "<stop>")).save_pretrained(folder)
    found.append(read(told, make_texts(), "last", True))
    models.make_model("llama", seed=1).save_pretrained(folder)
    found.append(read(told, make_texts(), "last", False))
    assert len({one.folder for one in found}) == len(found)
    assert not np.allclose(found[0].rows(0), found[-1].rows(0), atol=0.1)
    assert not np.allclose(found[6].rows(0), found[7].rows(0), atol=0.1)


def test_another_revision_of_a_model_that_has_no_digest_is_not_taken() -> None:
    one, other = (Model({"pretrained": "some/where", "revision": name}) for name in ("main", "v2"))
    assert one.digest is None
    names = {states_module._name(model, make_texts(), "last", False) for model in (one, other)}
    assert len(names) == 2


def test_values_beyond_float16_are_held() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3, 64)).astype(np.float32)
    rows[0, :, 3] = 3.4e7
    rows[1] *= 1e-20
    rows[2] = 0
    rows[3] *= 1e30
    halves, scales = to_half(rows)
    assert halves.dtype == np.float16
    assert np.isfinite(halves).all()
    assert np.all(np.log2(scales) % 1 == 0)
    back = halves.astype(np.float32) * scales[..., None]
    assert np.all(np.abs(back - rows) <= 2**-11 * np.abs(rows) + 2e-9 * np.abs(rows).max(axis=-1, keepdims=True))
    exact = torch.from_numpy(rows[[1, 4]]).bfloat16().float().numpy()
    halves, scales = to_half(exact)
    assert np.array_equal(halves.astype(np.float32) * scales[..., None], exact)


def broken_by(text: str, lm: SteeredHF) -> None:
    """Let the second block give NaN at the token of a letter."""
    letter = lm.tok_encode(text)[0]
    ids: list[torch.Tensor] = []
    lm.model.model.register_forward_pre_hook(lambda m, a, k: ids.append(k["input_ids"]), with_kwargs=True)

    def spoil(module: torch.nn.Module, args: Any, output: Any) -> Any:
        return torch.where((ids[-1] == letter)[..., None], torch.nan, output)

    lm.model.model.layers[1].register_forward_hook(spoil)


@pytest.mark.parametrize("rule", ["last", "mean", "all"])
def test_states_that_are_no_numbers_name_model_and_text(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = model_of(folder_of(tmp_path)).load()
    broken_by("x", lm)
    monkeypatch.setattr(Model, "load", lambda self: lm)
    texts = make_texts("one", "two", "ax", "three")
    with pytest.raises(
        SteeringError, match=r"llama gives NaN or infinity behind block 1 on text 2 \('ax'\): load it in"
    ):
        read_states(model_of(tmp_path / "llama"), texts, tokens=rule, cache=tmp_path / "cache")


def test_a_model_that_cannot_give_them_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path)
    with pytest.raises(SteeringError, match=r"tokens=first is no rule .*use one of last, mean, all"):
        read_states(model_of(folder), make_texts(), tokens="first", cache=tmp_path / "cache")
    with pytest.raises(SteeringError, match="there are no texts to read"):
        read_states(model_of(folder), Texts((), (), {}), cache=tmp_path / "cache")
    with pytest.raises(SteeringError, match=r"text 6 has 112 tokens, and .* takes 60: shorten it"):
        read_states(model_of(folder, max_length=60), make_texts(), cache=tmp_path / "cache")
    for rule in ("mean", "all"):
        with pytest.raises(
            SteeringError, match=rf"text 1 \('x'\) has no token for .* behind its first, .*tokens {rule}"
        ):
            read_states(model_of(folder), make_texts("ab", "x"), tokens=rule, cache=tmp_path / "cache")
    changed = TEMPLATE.replace("turn.content", "turn.content | trim")
    models.make_tokenizer(changed).save_pretrained(folder)
    with pytest.raises(SteeringError, match=r"does not hold text 1 \(' b'\) as it stands"):
        read_states(model_of(folder), make_texts("a", " b"), chat=True, tokens="all", cache=tmp_path / "cache")
    lm = model_of(folder).load()
    lm.tokenizer = Slow()
    monkeypatch.setattr(Model, "load", lambda self: lm)
    with pytest.raises(SteeringError, match=r"\(Slow\) does not tell which characters .*use --tokens last"):
        read_states(model_of(folder), make_texts(), tokens="all", cache=tmp_path / "cache")


class Slow:
    """A tokenizer of Python alone, which knows no offsets."""

    is_fast = False
    bos_token_id = pad_token_id = 0

    def encode(self, text: str, **_: Any) -> list[int]:
        return [*text.encode()]

    def decode(self, *_: Any) -> str:
        return "<s>"


def test_two_runs_do_not_write_the_same_states(tmp_path: Path) -> None:
    model = model_of(folder_of(tmp_path))
    folder = tmp_path / "cache" / states_module._name(model, make_texts(), "last", False)
    with (
        held(folder.with_name(f"{folder.name}.lock"), "it", "wait"),
        pytest.raises(SteeringError, match=r"the states of llama in .* is in use by another run .*another --cache"),
    ):
        read_states(model, make_texts(), cache=tmp_path / "cache")
    assert read_states(model, make_texts(), cache=tmp_path / "cache").n == len(SENTENCES)


@pytest.mark.parametrize("spoil", ["meta.json", "states.f16", "places.npz", "done.txt"])
def test_a_cache_that_is_not_whole_is_read_anew(spoil: str, tmp_path: Path) -> None:
    model = model_of(folder_of(tmp_path))
    found = read_states(model, make_texts(), cache=tmp_path / "cache")
    before = found.rows(2)
    (found.folder / spoil).write_bytes(b"{")
    again = read_states(model, make_texts(), cache=tmp_path / "cache")
    assert np.array_equal(again.rows(2), before)


@pytest.mark.parametrize("spoil", ["states.f16", "scales.f32"])
def test_states_that_somebody_overwrote_are_noticed(spoil: str, tmp_path: Path) -> None:
    """At the size that they have, in one block of three."""
    model = model_of(folder_of(tmp_path))
    found = read_states(model, make_texts(), cache=tmp_path / "cache", batch_size=2)
    raw = bytearray((found.folder / spoil).read_bytes())
    raw[len(raw) // 2] ^= 1
    (found.folder / spoil).write_bytes(raw)
    again = read_states(model, make_texts(), cache=tmp_path / "cache")
    whole = range(0, found.blocks, found.blocks - 1)
    assert [again.rows(block).shape for block in whole] == [found.rows(block).shape for block in whole]
    with pytest.raises(SteeringError, match=r"the states of llama behind block 1 are not as they .*remove the folder "):
        again.rows(1, slice(2))


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SteeringError, match="cannot be written"):
        read_states(model_of(folder_of(tmp_path)), make_texts(), cache=tmp_path / "file" / "cache")


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/lm_eval_steer/states")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "lm_eval_steer" / "states"


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    """What numpy holds at its peak, with ten times the states."""
    model = model_of(folder_of(tmp_path))
    peaks = []
    for count in (30, 300):
        texts = make_texts(*(f"{'word ' * 8}{number:04}" for number in range(count)))
        tracemalloc.start()
        states = read_states(model, texts, tokens="all", cache=tmp_path / "cache", batch_size=10)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert states.meta.rows == 43 * count
    assert (states.folder / "states.f16").stat().st_size > 2.4e6
    assert peaks[1] - peaks[0] < 1.2e6


def test_the_model_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parent and child are never in memory together."""
    loaded: list[weakref.ref[Any]] = []
    load = Model.load

    def remember(self: Model) -> SteeredHF:
        lm = load(self)
        loaded.append(weakref.ref(lm.model))
        return lm

    monkeypatch.setattr(Model, "load", remember)
    read_states(model_of(folder_of(tmp_path)), make_texts(), cache=tmp_path / "cache")
    assert [one() for one in loaded] == [None]
