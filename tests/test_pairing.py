"""Rows of two models that belong together."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as token_models

import models
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps import moments
from lm_eval_steer.transfer.cache import Meta, Places, States, Writer, open_states
from lm_eval_steer.transfer.model import Model
from lm_eval_steer.transfer.pairing import Aligned, align, split
from lm_eval_steer.transfer.states import read_states
from lm_eval_steer.transfer.texts import Texts

BLOCKS = 2


def make_states(
    folder: Path, width: int, ends: Sequence[Sequence[int]], order: Sequence[int], tokens: str = "all", sha: str = "s"
) -> States:
    """States whose numbers say what they are of: text, end, block, and 0 to the width."""
    model = {"name": folder.name, "num_blocks": BLOCKS, "hidden_size": width}
    counts = [len(one) for one in ends]
    meta = Meta(model, sha, len(ends), sum(counts), tokens, False)
    writer = Writer(folder, meta, Places.in_order(counts, ends, order))
    for text in order:
        rows = [[[text, end, block, *range(width - 3)] for block in range(BLOCKS)] for end in ends[text]]
        writer.add(1, np.array(rows, dtype=np.float32))
    states = open_states(folder)
    assert states is not None
    return states


def make_aligned(folder: Path) -> Aligned:
    parent = make_states(folder / "parent", 5, [[2, 4, 7], [1, 3], [5], [2, 6]], [2, 0, 3, 1])
    child = make_states(folder / "child", 4, [[4, 7], [3, 4, 5], [1, 2, 5], [7]], [1, 0, 2, 3])
    return align(parent, child)


def test_rows_whose_tokens_end_behind_the_same_character_are_paired(tmp_path: Path) -> None:
    aligned = make_aligned(tmp_path)
    assert aligned.texts.tolist() == [0, 0, 1, 2]
    pairing = aligned.pairing(1, 0, [2, 0])
    assert pairing.n == 3
    assert pairing.widths == (5, 4)
    ((ours, theirs),) = pairing.chunks()
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.tolist() == [[0, 4, 1, 0, 1], [0, 7, 1, 0, 1], [2, 5, 1, 0, 1]]
    assert theirs.tolist() == [[0, 4, 0, 0], [0, 7, 0, 0], [2, 5, 0, 0]]
    ours, theirs = pairing.rows([2, 0])
    assert ours[:, :2].tolist() == theirs[:, :2].tolist() == [[2, 5], [0, 4]]
    assert aligned.parent_rows(0, [1]).tolist() == [[1, 3, 0, 0, 1]]
    assert aligned.child_rows(1, [1]).tolist() == [[1, 3, 1, 0]]


def test_chunks_hold_all_rows_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums of a map's fit over chunks are those of the rows at once."""
    monkeypatch.setattr("lm_eval_steer.transfer.pairing._CHUNK", 3)
    ends = [list(range(1, 2 + text % 4)) for text in range(9)]
    aligned = align(
        make_states(tmp_path / "parent", 5, ends, range(9)), make_states(tmp_path / "child", 4, ends, range(8, -1, -1))
    )
    pairing = aligned.pairing(0, 1, range(9))
    ours, theirs = pairing.rows(range(pairing.n))
    chunks = list(pairing.chunks())
    assert [len(one) for one, _ in chunks] == [3] * 7
    assert np.array_equal(np.concatenate([one for one, _ in chunks]), ours)
    assert np.array_equal(np.concatenate([two for _, two in chunks]), theirs)
    assert np.allclose(moments(pairing).xy, ours.astype(np.float64).T @ theirs)


def test_shuffled_texts_are_paired_with_others(tmp_path: Path) -> None:
    ends = [list(range(1, 3 + text % 3)) for text in range(12)]
    aligned = align(
        make_states(tmp_path / "parent", 5, ends, range(12)), make_states(tmp_path / "child", 4, ends, range(12))
    )
    texts = [0, 1, 2, 3, 5, 8, 9, 11]
    ((ours, theirs),) = aligned.pairing(0, 0, texts, shuffle_seed=1).chunks()
    assert np.array_equal(ours[:, 1], theirs[:, 1])  # the first token with the first
    partner = {int(one): int(two) for one, two in zip(ours[:, 0], theirs[:, 0], strict=True)}
    assert set(partner) == set(partner.values()) == set(texts)
    assert all(one != two for one, two in partner.items())
    for one, two in partner.items():
        assert (ours[:, 0] == one).sum() == min(len(ends[one]), len(ends[two]))
    others = [aligned.pairing(1, 1, texts, shuffle_seed=seed).rows([0, 1])[1][:, 0].tolist() for seed in range(6)]
    assert len({tuple(one) for one in others}) > 1
    again = aligned.pairing(0, 0, texts, shuffle_seed=1).rows(range(len(theirs)))
    assert np.array_equal(again[1], theirs)
    with pytest.raises(SteeringError, match="1 text cannot be paired with another one: give more texts"):
        aligned.pairing(0, 0, [3], shuffle_seed=1)  # whose rows would meet themselves


@pytest.mark.parametrize(("n", "held"), [(1400, 140), (15, 2), (3, 1), (2, 1), (1, 0)])
def test_split(n: int, held: int) -> None:
    fit, out = split(n, 3, 0.1)
    assert sorted([*fit, *out]) == list(range(n))
    assert len(out) == held
    assert n < 10 or out.tolist() != split(n, 4, 0.1)[1].tolist()
    assert out.tolist() == split(n, 3, 0.1)[1].tolist()


def test_states_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one = make_states(tmp_path / "one", 4, [[1], [2]], [0, 1])
    for name, told, what in (
        ("texts", {"sha": "t"}, r"same texts \(s and t\)"),
        ("rule", {"tokens": "last"}, r"same tokens \(all and last\)"),
    ):
        other = make_states(tmp_path / name, 4, [[1], [2]], [0, 1], **told)
        with pytest.raises(SteeringError, match=rf"the states of one and {name} are not of the {what}: read both"):
            align(one, other)
    apart = make_states(tmp_path / "apart", 4, [[2], [1]], [0, 1])
    with pytest.raises(
        SteeringError, match="the tokenizers of one and apart end no token of the texts behind the same"
    ):
        align(one, apart)


def save_pieces(folder: Path, kind: str) -> Path:
    """A tiny model whose tokens are pieces of words, marked as GPT-2 (bytes) or SentencePiece (metaspace) mark them."""
    models.save_model(folder, "llama", vocab_size=300)
    space = "Ġ" if kind == "bytes" else "▁"
    merges = [("r", "e"), ("re", "d"), (space, "red"), (space, "b"), ("o", "x"), (space, "A")]
    pieces = pre_tokenizers.ByteLevel.alphabet() if kind == "bytes" else [*"▁Aredbox!"]
    vocabulary = {piece: i for i, piece in enumerate([*sorted(set(pieces)), *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(token_models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = (
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        if kind == "bytes"
        else pre_tokenizers.Metaspace(prepend_scheme="first")
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(folder)
    return folder


def save_with_tokens_of(real: Path, folder: Path) -> Path:
    """A tiny model with a real tokenizer."""
    models.save_model(folder, "llama", vocab_size=49152)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(real / name, folder / name)
    return folder


@pytest.mark.parametrize("kind", ["bytes", "metaspace"])
def test_the_tokens_of_two_tokenizers(kind: str, smollm2: Path, tmp_path: Path) -> None:
    """By hand: SmolLM2 reads `A| red| box|!`, the other model `A| red| b|ox|!`; both end `A red`, `A red box` and the
    whole text. The first token of each text is left out."""
    texts = Texts(("A red box!", "box red"), ("0", "1"), {})
    told = {"dtype": "float32"}
    parent, child = (
        read_states(Model({"pretrained": str(folder), **told}, "cpu"), texts, tokens="all", cache=tmp_path / "cache")
        for folder in (save_with_tokens_of(smollm2, tmp_path / "real"), save_pieces(tmp_path / "pieces", kind))
    )
    assert parent.places.count.tolist() == [3, 1]  # `box| red`
    assert child.places.count.tolist() == [4, 2]  # `b|ox| red`
    aligned = align(parent, child)
    assert aligned.texts.tolist() == [0, 0, 0, 1]
    assert parent.places.ends[aligned.ours].tolist() == [5, 9, 10, 7]
    assert child.places.ends[aligned.theirs].tolist() == [5, 9, 10, 7]
    assert (aligned.ours - parent.places.first[aligned.texts]).tolist() == [0, 1, 2, 0]
    assert (aligned.theirs - child.places.first[aligned.texts]).tolist() == [0, 2, 3, 1]
