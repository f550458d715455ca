"""`tokens=match:`: positions whose token is one of some or completes a text, held to what texts decode to."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from lm_eval._cli.utils import key_val_to_dict
from lm_eval.utils import simple_parse_args_string
from tokenizers import Tokenizer, decoders, normalizers
from tokenizers import models as kinds

import lm_eval_steer
import models
from conftest import make_vector
from lm_eval_steer.engines.hf.causal import CausalEngine
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.encoder_decoder import EncoderDecoderEngine
from lm_eval_steer.engines.protocol import Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.engines.vllm.matches import Matches
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.interventions.tokens import canonical, token_rule, token_rules
from steerings import steering

V = make_vector().directions


def hits(rule: str, text: list[int], tokenizer: Any = None) -> list[int]:
    match = token_rule(rule, lambda: tokenizer).match
    assert match is not None
    return match.automaton.hits(text).nonzero()[0].tolist()


def completed(looked_for: str, text: list[int], tokenizer: Any) -> list[int]:
    """Places at which the decoded text first holds another end of what is looked for."""
    found, seen = [], ""
    for place in range(len(text)):
        whole = tokenizer.decode(text[: place + 1])
        if any(whole.endswith(looked_for, 0, end) for end in range(len(seen) + 1, len(whole) + 1)):
            found.append(place)
        seen = whole
    return found


TEXT = "So.\n\nWait,\n\n\n let me\n\n  see: a\nb\n\nWait. Wait\n\n\n\nthen waitWait"


@pytest.mark.parametrize("looked_for", ["\n\n", "\n", "Wait", " let me", "aitW", "\n\nWait", "t", " "])
def test_hits_are_the_tokens_that_complete_the_text(smollm2: Path, looked_for: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2)
    text = tokenizer.encode(TEXT)
    found = hits(canonical(f"match:{looked_for!r}".replace("'", '"')) or "", text, tokenizer)
    assert found == completed(looked_for, text, tokenizer) != []


def test_tokens_of_pieces_are_read() -> None:
    pieces = {"<unk>": 0, "▁": 1, "a": 2, "b": 3, "▁ab": 4, "<0x0A>": 5, "é": 6, "<0xC3>": 7, "<0xA9>": 8}
    one = Tokenizer(kinds.BPE(pieces, [("▁", "a")] if "▁a" in pieces else [], unk_token="<unk>", byte_fallback=True))
    one.normalizer = normalizers.Replace(" ", "▁")
    one.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=one, eos_token="</s>")
    assert hits('match:"\\n\\n"', [5, 2, 5, 5, 5], tokenizer) == [3, 4]
    assert hits('match:"b a"', [4, 1, 2, 3, 1, 2], tokenizer) == [2, 5]
    assert hits('match:"é"', [6, 7, 8, 7, 2, 8], tokenizer) == [0, 2]
    assert hits('match:"a</s>"', [2, 9, 3, 9], tokenizer) == [1]


def test_ids_match_wherever_they_stand() -> None:
    assert hits("match:[7,300]", [7, 8, 7, 301, 300, 2**31 - 1, -1]) == [0, 2, 4]
    rule = token_rule("generated:match:[7]")
    assert rule.count(3, 6, [7, 7, 7, 1, 7, 7, 7]) == 3
    assert token_rule("prompt:match:[7]").count(3, 6, [7, 1, 7, 7, 7, 7]) == 2


def test_any_beginning_of_a_text_is_judged_as_the_whole() -> None:
    """By the last tokens alone, however a text is cut: with a cache, in pieces of a prompt."""
    tokenizer = models.make_tokenizer()
    match = token_rule('match:"aabaa"', lambda: tokenizer).match
    assert match is not None
    text = tokenizer.encode("aabaabaaaabaaxaabaa")
    whole = match.automaton.hits(text).tolist()
    assert [place for place, hit in enumerate(whole) if hit] == completed("aabaa", text, tokenizer)
    for end, count in product(range(1, len(text) + 1), (1, 2, 5)):
        assert match.automaton.last_hits(text[:end], min(count, end)).tolist() == whole[max(0, end - count) : end]


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ('match:"\\n\\n"', 'match:"\\n\\n"'),
        ('match:"\n\n"', 'match:"\\n\\n"'),
        ("match:271", "match:[271]"),
        ("match:[3, 1,3]", "match:[1,3]"),
        ('all:match:"x"', 'match:"x"'),
        ("generated:match:[1]", "generated:match:[1]"),
        ("first:1:match:[1]", "last:match:[1]"),
        ('after:03:match:"a:match:b"', 'after:3:match:"a:match:b"'),
        ('match:"é"', 'match:"\\u00e9"'),
        *(
            (f"match:{said}", None)
            for said in ("", "\\n", "x", '""', "[]", "-1", "1.5", "true", '[1,"x"]', '"\\ud800"')
        ),
        (f'match:"{"x" * 65}"', None),
        ("nowhere:match:1", None),
    ],
)
def test_a_match_has_one_spelling(name: str, spelt: str | None) -> None:
    assert canonical(name) == spelt
    if spelt:
        assert canonical(spelt) == spelt


@pytest.mark.parametrize("said", ['match:"\\n\\n"', "match:[198,271]", 'generated:match:"a, b=c"'])
def test_a_match_travels_through_model_args(said: str) -> None:
    given = key_val_to_dict(f"pretrained=x,tokens={said},alpha=1")
    assert given == {"pretrained": "x", "tokens": said, "alpha": 1}
    plan = SteeringPlan.build(vectors=make_vector(), alpha=1, tokens=given["tokens"])
    assert plan.settings()["tokens"] == canonical(said)


def test_a_comma_travels_where_the_harness_cuts_at_every_one() -> None:
    given = simple_parse_args_string('tokens=match:"a\\u002c\\u0020b",alpha=1')
    plan = SteeringPlan.build(vectors=make_vector(), **given)
    assert plan.tokens == 'match:"a, b"'


def test_what_matches_nothing_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        SteeringError, match=r"match: takes token ids, as in match:\[198,271\], or a text of at most 64"
    ):
        SteeringPlan.build(vectors=make_vector(), alpha=1, tokens="match:\\n\\n")
    with pytest.raises(SteeringError, match="there is no tokenizer here that says which tokens make it"):
        token_rules(['match:"x"'])
    plain = Tokenizer(kinds.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain)
    with pytest.raises(SteeringError, match=r"is a text that the tokenizer .* does not write as it stands: give token"):
        token_rules(['match:"\\n"'], lambda: tokenizer)


# Engines: against the oracle, which decodes what it has written and keeps no cache

TOKENIZER = models.make_tokenizer()
SHARED = TOKENIZER.encode("the end.\n\nand the other, ab\n\n\n")
PROMPTS = [SHARED + TOKENIZER.encode(text) for text in ("\n\nthe", "a")]
RULES = (
    'match:"\\n\\n"',
    'match:"the"',
    "match:[5,31,60,77]",
    'generated:match:"a"',
    'prompt:match:"\\n"',
    "after:2:match:[1,2,3,4,40,50,60,70,80,90]",
)
WRITTEN = Generation((), 6, {"do_sample": False})


def matching() -> list[Intervention]:
    ones = [steering(V, 3.0 + place, tokens=rule) for place, rule in enumerate(RULES)]
    everywhere = [*range(0, 250, 2)]  # so that much of what is written matches
    return [*ones, steering(V, 2.0), steering(V, 0.0, "set", tokens=f"generated:match:{everywhere}".replace(" ", ""))]


def jobs(count: int) -> list[Job]:
    options = [TOKENIZER.encode(text) for text in ("\n\nab", " the a")]
    found = [Job(None, number, prompt, WRITTEN) for number, prompt in product(range(count), PROMPTS)]
    return found + [
        Job(None, number, pairs=tuple((prompt, option) for option in options))
        for number, prompt in product(range(count), PROMPTS[:1])
    ]


@pytest.mark.parametrize(
    ("family", "size"),
    [("llama", 16), ("falcon, alibi", 5), ("t5", 5)],  # our loop, that of transformers, an encoder
)
def test_engines_equal_the_oracle(family: str, size: int) -> None:
    model = models.make_model(family)
    kind = EncoderDecoderEngine if family in models.ENCODER_DECODERS else CausalEngine
    engine = kind(Child(model, TOKENIZER, torch.device("cpu"), 2048))
    engine.batch_size = size
    interventions = matching()
    engine.load(interventions)
    oracles = [Reference(model, one, tokenizer=TOKENIZER) for one in interventions]
    for done in engine.run(jobs(len(interventions))):
        oracle = oracles[done.job.intervention]
        if done.scores is None:
            assert oracle.generate(done.job.prompt, 6, [257]).agrees(done.tokens or []), done.job.intervention
            continue
        for found, pair in zip(done.scores, done.job.pairs, strict=True):
            wanted = oracle.score(*pair)
            assert found == (pytest.approx(wanted[0], abs=3e-4), wanted[1])
    measured = engine.measured()
    assert measured.steered == measured.implied
    assert min(measured.steered.values()) > 0


def test_beams_know_whose_tokens_they_are() -> None:
    """The loop of transformers reorders rows at every step; a text of two tokens hangs on the one before."""
    model = models.make_model("llama")
    engine = CausalEngine(Child(model, TOKENIZER, torch.device("cpu"), 2048))
    pairs = "match:" + "[" + ",".join(map(str, range(0, 256, 2))) + "]"
    told = Generation((), 6, {"do_sample": False, "num_beams": 3})
    seen: list[tuple[list[int], int]] = []
    engine.load([steering(V, 3.0, tokens=pairs)])
    original = engine._loaded.steerer.next_pass

    def spy(numbers: Any, mask: torch.Tensor) -> None:
        seen.append((mask.shape, int(mask.sum())))
        original(numbers, mask)

    engine._loaded.steerer.next_pass = spy  # type: ignore[method-assign]
    (done,) = engine.run([Job(None, 0, PROMPTS[0], told)])
    even = sum(token < 256 and token % 2 == 0 for token in PROMPTS[0])
    assert seen[0] == ((1, len(PROMPTS[0])), even) or seen[0] == ((3, len(PROMPTS[0])), 3 * even)
    assert done.tokens


def test_steer_matches_ids_and_asks_for_them() -> None:
    model = models.make_model("llama")
    prompts = torch.tensor([PROMPTS[0]])
    chosen = ",".join(map(str, range(0, 250, 2)))
    with lm_eval_steer.steer(model, make_vector(), alpha=3.0, tokens=f"match:[{chosen}]") as intervention:
        text = model.generate(prompts, max_new_tokens=8, do_sample=False)[0, len(PROMPTS[0]) :].tolist()
    assert Reference(model, intervention).generate(PROMPTS[0], 8, [257]).agrees(text)
    with (
        pytest.raises(SteeringError, match=r"give token ids, as in match:\[198,271\]"),
        lm_eval_steer.steer(model, make_vector(), alpha=3.0, tokens='match:"a"'),
    ):
        model.generate(prompts, max_new_tokens=1)


# What a worker of vLLM counts, however its passes are cut


def test_a_worker_counts_each_needed_position_once() -> None:
    finds = token_rule('match:"ab"', lambda: TOKENIZER).match
    assert finds is not None
    text = TOKENIZER.encode("abxabaab")
    whole = finds.automaton.hits(text)
    matches = Matches({1: finds.automaton}, 2)
    asked = np.array([[0, 1, 0, 2**31 - 1], [1, 0, 0, 9], [-1, -1, 0, 0]])
    assert matches.among(asked).tolist() == [True, False, False]
    steered = 0

    def run(start: int, stop: int, tokens: list[int]) -> None:
        nonlocal steered
        found = matches.see(asked[0], start, np.array(tokens[start:stop]), lambda: text[:4])
        steered += int(found.sum())
        if tokens is text:
            assert found.tolist() == whole[start:stop].tolist()

    run(1, 3, text)  # the first position was in the cache
    run(3, 4, text)
    wrong = [*text[:4], *TOKENIZER.encode("bab")]
    run(4, 7, wrong)  # drafted tokens, of which none was right
    run(4, 6, text)
    run(2, 7, text)  # after a preemption
    run(7, 8, text)  # one more than is needed
    assert steered - int(matches.needless([7, 0])[1]) == int(whole[1:7].sum())
    assert matches.needless([7, 0])[0] == 0
