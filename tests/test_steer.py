"""`lm_eval_steer.steer` in a user's own program, against the oracle."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lm_eval_steer
from conftest import ROOT, make_vector
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Edit, intervene
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.vector import SteeringVector
from models import make_model

PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [14]]
NEW = 5
PAD = 258
END = 2  # of SmolLM2


def batch(texts: list[list[int]], left: bool = True) -> dict[str, torch.Tensor]:
    longest = max(map(len, texts))
    rows = [([PAD] * (longest - len(t)) + t, [0] * (longest - len(t)) + [1] * len(t)) for t in texts]
    if not left:
        rows = [(t + [PAD] * (longest - len(t)), [1] * len(t) + [0] * (longest - len(t))) for t in texts]
    return {"input_ids": torch.tensor([r[0] for r in rows]), "attention_mask": torch.tensor([r[1] for r in rows])}


def generate(model: Any, texts: list[list[int]] = PROMPTS, **more: Any) -> list[list[int]]:
    told = batch(texts)
    settings = {
        "max_new_tokens": NEW,
        "min_new_tokens": NEW,
        "do_sample": False,
        "pad_token_id": PAD,
        "eos_token_id": None,
    }
    return model.generate(**told, **(settings | more))[:, told["input_ids"].shape[1] :].tolist()


def oracle(model: Any, tokens: str = "all") -> Reference:
    edits = [Edit(block, "add", v, 3.0) for block, v in enumerate(make_vector().directions)]
    return Reference(model, intervene(edits, tokens=tokens))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "mamba"])
@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
def test_batches_generate_what_the_oracle_generates(family: str, tokens: str) -> None:
    model = make_model(family)
    plain = generate(model)
    with lm_eval_steer.steer(model, make_vector(), alpha=3, tokens=tokens):
        found = generate(model)
        alone = generate(model, PROMPTS[1:2])
        without_cache = generate(model, use_cache=False)
        again = generate(model)
    reference = oracle(model, tokens)
    for prompt, text in zip(PROMPTS, found, strict=True):
        assert reference.generate(prompt, NEW).agrees(text)
    assert reference.generate(PROMPTS[1], NEW).agrees(alone[0])
    assert without_cache == again == found != plain
    assert generate(model) == plain


@pytest.mark.parametrize("left", [True, False])
def test_a_plain_call_of_a_padded_batch_has_the_logits_of_the_oracle(left: bool) -> None:
    """Its texts are prompts, each as long as it is without padding."""
    model = make_model("llama")
    told = batch(PROMPTS, left)
    real = told["attention_mask"].bool()
    if left:  # positions are the caller's business
        told["position_ids"] = (told["attention_mask"].cumsum(1) - 1).clamp_min(0)
    for tokens in ("all", "last"):
        with torch.no_grad(), lm_eval_steer.steer(model, make_vector(), alpha=3, tokens=tokens):
            found = model(told["input_ids"], **{k: v for k, v in told.items() if k != "input_ids"}).logits
        for row, prompt in enumerate(PROMPTS):
            expected = oracle(model, tokens).logits(prompt, len(prompt))
            torch.testing.assert_close(found[row][real[row]], expected, atol=1e-4, rtol=1e-4)


def test_a_call_that_goes_on_from_a_cache_generates_and_another_begins_anew() -> None:
    model, text = make_model("llama"), torch.tensor([[5, 6, 7, 8, 9]])
    expected = oracle(model, "prompt").logits(text[0].tolist(), 3)
    with torch.no_grad(), lm_eval_steer.steer(model, make_vector(), alpha=3, tokens="prompt"):
        for _ in range(2):
            first = model(text[:, :3], use_cache=True)
            second = model(text[:, 3:], past_key_values=first.past_key_values)
            found = torch.cat([first.logits, second.logits], dim=1)[0]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        whole = model(text).logits[0]
    torch.testing.assert_close(whole, oracle(model, "prompt").logits(text[0].tolist(), 5), atol=1e-4, rtol=1e-4)


def test_beams_and_the_decoder_of_an_encoder_decoder_are_steered() -> None:
    model = make_model("llama")
    with lm_eval_steer.steer(model, make_vector(), alpha=3, tokens="prompt"):
        batched = generate(model, num_beams=3)
        assert [generate(model, [prompt], num_beams=3)[0] for prompt in PROMPTS] == batched
        assert generate(model, num_beams=3, use_cache=False) == batched
    assert generate(model, num_beams=3) != batched
    model = make_model("t5")
    edits = [Edit(block, "add", v, 3.0) for block, v in enumerate(make_vector().directions[: len(find_blocks(model))])]
    with lm_eval_steer.steer(model, make_vector(), alpha=3, tokens="generated"):
        text = model.generate(torch.tensor([PROMPTS[0]]), max_new_tokens=NEW, min_new_tokens=NEW, eos_token_id=None)
    assert Reference(model, intervene(edits, tokens="generated")).generate(PROMPTS[0], NEW).agrees(text[0, 1:].tolist())


def test_arguments_mean_what_they_mean_to_steered_hf() -> None:
    model, vector = make_model("llama"), make_vector()
    with lm_eval_steer.steer(model, vector, alpha=2, layers="1-2", alpha_per_layer=[1, 1, 0.5], normalize=True) as done:
        found = generate(model)
    edits = [Edit(1, "add_keep_norm", vector.directions[1], 2.0), Edit(2, "add_keep_norm", vector.directions[2], 1.0)]
    assert done == intervene(edits)
    assert Reference(model, done).generate(PROMPTS[0], NEW).agrees(found[0])
    with lm_eval_steer.steer(model, vector, dose=0.1, control="negated") as done:
        np.testing.assert_allclose(done.edits[0].direction, -vector.directions[0])
        assert done.unit == "dose"
    with lm_eval_steer.steer(model, vector, alpha=0) as done:
        assert not done.acts


def test_nothing_stays_behind_whatever_happens_inside() -> None:
    model = make_model("llama")
    plain = generate(model)
    before = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()}

    def fail() -> None:
        with lm_eval_steer.steer(model, make_vector(), alpha=3):
            assert generate(model) != plain
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with lm_eval_steer.steer(model, make_vector(), alpha=3):
        pass
    assert {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()} == before
    assert generate(model) == plain


def test_two_vectors_at_once_add_up() -> None:
    model, one, other = make_model("llama"), make_vector(seed=0), make_vector(seed=1)
    both = [Edit(block, "add", v, 2.0) for block, v in enumerate(one.directions + other.directions)]
    with lm_eval_steer.steer(model, one, alpha=2), lm_eval_steer.steer(model, other, alpha=2):
        found = generate(model)
    assert Reference(model, intervene(both)).generate(PROMPTS[0], NEW).agrees(found[0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"alpha": [1, 2]}, "steer takes one strength, and here are 2: take them one by one"),
        ({"alpha": 1e39}, "the largest number in float32"),
        ({"alpha": 1, "control": "self-consistency"}, "steer takes one strength"),
        ({"alpha": 1, "layers": "7"}, "layers"),
        ({}, "alpha"),
    ],
)
def test_what_steer_does_not_take_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with (
        pytest.raises(SteeringError, match=sentence),
        lm_eval_steer.steer(make_model("llama"), make_vector(), **arguments),
    ):
        pass


def test_its_arguments_are_those_of_the_plan_that_change_a_response() -> None:
    recorded = lm_eval_steer.steer(make_model("llama"), make_vector(), alpha=1, vote="mode", record="x")
    with pytest.raises(TypeError, match=r"steer takes no record, vote: use alpha, dose, .*operator"), recorded:
        pass
    ours = inspect.signature(lm_eval_steer.steer).parameters
    theirs = inspect.signature(SteeringPlan.build).parameters
    assert list(ours)[:4] == ["model", "vectors", "alpha", "dose"]
    assert {"layers", "tokens", "operator", "layer_map", "width_map", "control"} <= set(ours)
    assert all(theirs[name].default == ours[name].default for name in list(ours)[2:])
    assert "width_map: `cut`: first components" in str(lm_eval_steer.steer.__doc__)


def test_a_mask_of_another_kind_is_refused() -> None:
    model = make_model("llama")
    told = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 1, 2, 2, dtype=torch.bool)}
    refused = pytest.raises(SteeringError, match=r"the attention mask is \[1, 1, 2, 2\], and where padding is")
    with refused, lm_eval_steer.steer(model, make_vector(), alpha=3):
        model(**told)


def test_the_lines_of_the_first_page_run_as_they_stand(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each prompt of its batch gets the text that the oracle writes for it alone."""
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "START.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block.count("\n") <= 10
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(block, names)
    model, vector = names["model"], SteeringVector.load(find_vector("smollm2_arith"))
    edits = [Edit(number, "add", v, 1.0) for number, v in zip(vector.layers, vector.directions, strict=True)]
    reference, prompts = Reference(model, intervene(edits)), names["prompts"]
    for ids, mask, text in zip(prompts["input_ids"], prompts["attention_mask"], names["tokens"], strict=True):
        new = text[len(ids) :].tolist()
        new = new[: new.index(END) + 1] if END in new else new  # behind it is padding
        assert reference.generate(ids[mask.bool()].tolist(), 16, ends=[END]).agrees(new)
    assert {int(mask.sum()) for mask in prompts["attention_mask"]} != {prompts["input_ids"].shape[1]}
    assert smollm2 == ROOT / "models" / "smollm2"


def test_the_package_names_what_it_has() -> None:
    assert lm_eval_steer.SteeringVector is type(make_vector())
    with pytest.raises(AttributeError, match="no attribute 'ster'"):
        _ = lm_eval_steer.ster
