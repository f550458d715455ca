"""What a limit of the visible part has to come to, told from long responses without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from lm_eval_steer.engines.protocol import Done

Texts = Mapping[str, Sequence[int]]
"""Prompt -> new tokens."""


def spy(lm: Any) -> dict[str, list[int]]:
    """The new tokens of every response that a model reads from now on, by prompt."""
    found: dict[str, list[int]] = {}
    read = lm.read

    def keep(done: Done, stop: list[str]) -> str:
        found[lm.tokenizer.decode(done.job.prompt)] = list(done.tokens or [])
        return str(read(done, stop))

    lm.read = keep
    return found


def common_ends(tokenizer: Any, texts: Texts) -> dict[str, str]:
    """Ends of thoughts that these texts have: a token's number, a character, and two characters."""
    shown = {token for token in range(256) if "!" <= tokenizer.decode([token]) <= "~"}
    shown -= {token for token in shown if tokenizer.decode([token]).isdigit()}
    single = Counter(token for text in texts.values() for token in set(text[:-8]) & shown)
    pairs = Counter(pair for text in texts.values() for pair in set(pairwise(text[:-7])))
    pair = next(pair for pair, _ in pairs.most_common() if shown >= set(pair))
    (first, _), (second, _), *_ = single.most_common(2)
    return {"number": str(first), "character": tokenizer.decode([second]), "two": tokenizer.decode(list(pair))}


def cut_by_hand(tokenizer: Any, tokens: Sequence[int], end: str, limit: int) -> list[int]:
    """The shortest beginning of a text with so many tokens behind the last end of a thought in it; else the text."""
    for length in range(1, len(tokens) + 1):
        if _behind(tokenizer, tokens[:length], end) == limit:
            return list(tokens[:length])
    return list(tokens)


def read_by_hand(tokenizer: Any, tokens: Sequence[int], end: str) -> str:
    """The visible part of a text without stop strings, as the harness reads it."""
    if end.isdigit():
        behind = _behind(tokenizer, tokens, end)
        tokens, end = tokens if behind is None else tokens[len(tokens) - behind :], "\n" * 99
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True).split(end)[-1].lstrip())


def _behind(tokenizer: Any, tokens: Sequence[int], end: str) -> int | None:
    """How many tokens stand behind the last end of a thought; None without one."""
    if end.isdigit():
        return list(reversed(tokens)).index(int(end)) if int(end) in tokens else None
    counts = [tokenizer.decode(list(tokens[:length])).count(end) for length in range(len(tokens) + 1)]
    return len(tokens) - counts.index(counts[-1]) if counts[-1] else None
