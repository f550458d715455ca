"""Texts as tokens of a model, and which of them are read.

`last`: the last token of what the model reads, behind a chat template that of the rendering. `mean`: the mean over the
tokens of the text behind its first. `all`: each of those.

Many models leave at the first position what attention has nowhere else to put, in states a hundred times as long as
others: such rows alone would decide what a map is, and how well it seems to fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.prompts import ParentTemplate
from lm_eval_steer.models.hf import SteeredHF

_MARK = "the text stands here 4f1c"


@dataclass(frozen=True)
class Encoded:
    """Texts as a model reads them.

    Attributes:
        ids: token ids of each text, behind a chat template those of the whole rendering.
        places: positions that are read of each text.
        ends: for `all`, the number of characters of the text up to the end of each such token; else None.
    """

    ids: list[list[int]]
    places: list[list[int]]
    ends: list[list[int]] | None


def encode(lm: SteeredHF, texts: Sequence[str], rule: str, chat: bool) -> Encoded:
    """Texts as the tokens of a model, special tokens as it adds them to a prompt.

    Where several tokens end behind the same character (the bytes of an emoji), `all` reads the last of them. Special
    tokens, those of a chat template around the text and the first token of the text are not read by `mean` and `all`.

    Args:
        lm: the model.
        texts: not empty.
        rule: `last`, `mean` or `all`.
        chat: each text is the user's turn in the model's chat template, up to where its answer begins.

    Raises:
        SteeringError: names model and text: longer than the window, changed by the template, or without a token to
            read; a tokenizer that does not tell which characters a token stands for.
    """
    prompts, start = _rendered(lm, texts) if chat else (list(texts), 0)
    ids, places, ends = [], [], []
    for number, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        tokens = lm.tok_encode(prompt)
        if len(tokens) > lm.max_length:
            raise SteeringError(
                f"text {number} has {len(tokens)} tokens, and {lm.pretrained} takes {lm.max_length}: shorten it"
            )
        behind = {} if rule == "last" else _behind(lm, prompt, tokens, start, len(text))
        read = [len(tokens) - 1] if rule == "last" else _last_of(behind) if rule == "all" else [*behind]
        if not tokens or not read:
            first = "" if rule == "last" else f" behind its first, from which --tokens {rule} reads on"
            raise SteeringError(
                f"text {number} ({text[:40]!r}) has no token for {lm.pretrained}{first}: leave the text out"
            )
        ids.append(tokens)
        places.append(read)
        ends.append([behind.get(place, 0) for place in read])
    return Encoded(ids, places, ends if rule == "all" else None)


def _rendered(lm: SteeredHF, texts: Sequence[str]) -> tuple[list[str], int]:
    """Renderings of texts, and the number of characters in front of the text in each."""
    template = ParentTemplate(lm)

    def render(text: str) -> str:
        return template([{"role": "user", "content": text}])

    head, mark, tail = render(_MARK).partition(_MARK)
    prompts = [render(text) for text in texts]
    for number, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        if not mark or prompt != f"{head}{text}{tail}":
            raise SteeringError(
                f"the chat template of {lm.pretrained} does not hold text {number} ({text[:40]!r}) as it stands: "
                "leave out --apply_chat_template, or white space around the text"
            )
    return prompts, len(head)


def _behind(lm: SteeredHF, prompt: str, tokens: list[int], start: int, length: int) -> dict[int, int]:
    """Position -> characters of the text up to the end of its token, for the tokens that end within the text, in order
    and without the first."""
    spans = enumerate(_spans(lm, prompt, tokens))
    within = [(place, end - start) for place, (begin, end) in spans if begin < end and 0 < end - start <= length]
    return dict(within[1:])


def _spans(lm: SteeredHF, prompt: str, tokens: list[int]) -> list[tuple[int, int]]:
    """Begin and end of each token in a prompt."""
    tokenizer: Any = lm.tokenizer
    if getattr(tokenizer, "is_fast", False):
        for special in (False, True):  # as the harness chose for this model
            found = tokenizer(prompt, add_special_tokens=special, return_offsets_mapping=True)
            if found["input_ids"] == tokens:
                return [tuple(span) for span in found["offset_mapping"]]
    raise SteeringError(
        f"the tokenizer of {lm.pretrained} ({type(tokenizer).__name__}) does not tell which characters a token stands "
        "for, which --tokens mean and all go by: use --tokens last"
    )


def _last_of(behind: dict[int, int]) -> list[int]:
    """Of positions whose tokens end behind the same character, the last."""
    return list({end: place for place, end in behind.items()}.values())
