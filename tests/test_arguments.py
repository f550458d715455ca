"""Generation arguments, the user's and the checkpoint's: as `hf` takes them row by row, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lm_eval.models.hf_steered import SteeredModel

from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from test_hf import CONTEXTS, SHARED, export_for_harness, generations, make

LONG = [SHARED + text for text in CONTEXTS]


@pytest.fixture(scope="module")
def lm() -> SteeredHF:
    return make(vectors=make_vector(), alpha=1.5)


@pytest.fixture(scope="module")
def hf(lm: SteeredHF, tmp_path_factory: pytest.TempPathFactory) -> SteeredModel:
    """The harness's own class, which steers the same model, one row at a time."""
    path = export_for_harness(lm, tmp_path_factory.mktemp("harness") / "steered.pt")
    return make(SteeredModel, batch_size=1, steer_path=path)


@pytest.fixture
def checkpoint(lm: SteeredHF, hf: SteeredModel) -> Iterator[Any]:
    """Sets what the generation config of both models says."""
    configs = [one.model.generation_config for one in (lm, hf)]
    before = [config.to_dict() for config in configs]

    def change(**changes: Any) -> None:
        for config in configs:
            for name, value in changes.items():
                setattr(config, name, value)

    yield change
    for config, values in zip(configs, before, strict=True):
        config.update(**values)


def test_a_row_is_penalised_as_if_it_were_alone(lm: SteeredHF, hf: SteeredModel, checkpoint: Any) -> None:
    plain = lm.generate_until(generations(LONG))
    checkpoint(repetition_penalty=1.3)
    penalised = lm.generate_until(generations(LONG))
    assert penalised == hf.generate_until(generations(LONG))
    requests = generations(
        LONG,
        **{"no_repeat_ngram_size": 2, "min_new_tokens": 3, "eos_token_id": list(range(99, 200))},
        **{"encoder_repetition_penalty": 1.2, "sequence_bias": [[[20], 3.0]]},
    )
    ruled = lm.generate_until(requests)
    assert ruled == hf.generate_until(requests)
    assert plain != penalised != ruled


def test_limits_of_arguments_and_checkpoint_are_those_of_hf(lm: SteeredHF, hf: SteeredModel, checkpoint: Any) -> None:
    whole = generations(LONG, max_length=max(map(len, LONG)) + 3)
    assert lm.generate_until(whole) == hf.generate_until(whole)
    checkpoint(max_new_tokens=5)
    texts = lm.generate_until(generations(LONG))
    assert texts == hf.generate_until(generations(LONG))
    assert max(map(len, texts)) == 5


@pytest.mark.parametrize("alpha", [0, 1.5])
def test_stop_strings_of_transformers_end_a_text_and_stay_in_it(alpha: float, lm: SteeredHF) -> None:
    lm = lm if alpha else make(alpha=0)
    whole = lm.generate_until(generations())
    words = [next(c for c in text[2:] if c.isascii() and c not in "<pad></s>") for text in whole[::2]]
    texts = lm.generate_until(generations(stop_strings=words))
    ends = [min((text.index(word) + len(word) for word in words if word in text), default=None) for text in whole]
    assert texts == [text[:end] for text, end in zip(whole, ends, strict=True)]
    assert texts != whole


def test_time_is_a_limit(lm: SteeredHF) -> None:
    assert [len(text) for text in lm.generate_until(generations(max_time=0.0, until=[]))] == [1] * len(CONTEXTS)


def test_what_only_stores_or_guesses_changes_no_text(lm: SteeredHF, checkpoint: Any) -> None:
    plain = lm.generate_until(generations(LONG))
    assert lm.generate_until(generations(LONG, prompt_lookup_num_tokens=3, output_scores=True)) == plain
    for kind in ("static", "offloaded"):
        checkpoint(cache_implementation=kind, return_dict_in_generate=True)
        assert lm.generate_until(generations(LONG)) == plain
    assert lm.generate_until(generations(LONG, num_beams=2)) != plain


def test_beams_are_searched_row_by_row(lm: SteeredHF, hf: SteeredModel) -> None:
    requests = generations(num_beams=2, until=["\x0b", "f", "6"])
    assert lm.generate_until(requests) == hf.generate_until(requests)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_return_sequences": 2, "num_beams": 2}, "num_return_sequences=2 gives 2 texts of a prompt"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "ask for contrastive_search"),
        ({"guidance_scale": 1.5}, "guidance_scale=1.5 runs the model on a second text"),
        ({"cache_implementation": "paged"}, "cache_implementation='paged' is another engine"),
        ({"use_cache": False}, "use_cache in the generation arguments is set by steered-hf itself"),
        ({"token_healing": True}, "transformers refuses the generation arguments {.*token_healing.*tokenizer"),
        ({"repetition_penalty": -1.0}, "transformers refuses the generation arguments {.*strictly positive float"),
        ({"top_q": 3}, r"transformers refuses the generation arguments {.*\['top_q'\]"),
        ({"max_gen_toks": 0}, "max_gen_toks=0 lets nothing be written"),
        ({"max_gen_toks": None, "max_tokens": "few"}, "max_tokens='few' in the generation arguments is not understood"),
        ({"max_gen_toks": float("inf")}, "max_gen_toks=inf in the generation arguments is not understood"),
        ({"temperature": "hot"}, "temperature='hot' in the generation arguments is not understood: give a number"),
        ({"until": 3}, "until=3 in the generation arguments is not understood: give a text or a list of texts"),
        ({"max_time": "1h"}, "max_time='1h' in the generation arguments is no number of 0 or more"),
        ({"max_length": 20.5}, "max_length=20.5 in the generation arguments is no number of 1 or more"),
        ({"max_length": 4}, "max_length=4 leaves nothing to be written after a prompt of 20 tokens"),
    ],
)
def test_what_has_no_meaning_is_one_sentence(lm: SteeredHF, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SteeringError, match=sentence) as caught:
        lm.generate_until(generations(CONTEXTS[:1]) + generations(CONTEXTS[:1], **arguments))
    assert "\n" not in str(caught.value)


def test_several_texts_are_refused_without_steering_too() -> None:
    with pytest.raises(SteeringError, match="num_return_sequences=3 gives 3 texts of a prompt"):
        make(alpha=0).generate_until(generations(num_return_sequences=3, do_sample=True, temperature=1.0))
