"""States of a model on texts: from the cache, or read and kept there."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from accelerate.utils.memory import clear_device_cache

from lm_eval_steer.axis.record import digest
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.capture import in_order, read_outputs
from lm_eval_steer.extraction.extract import require_last_token
from lm_eval_steer.locks import held
from lm_eval_steer.text import shortened
from lm_eval_steer.transfer import defaults
from lm_eval_steer.transfer.cache import VERSION, Meta, Places, States, Writer, default_folder, open_states
from lm_eval_steer.transfer.model import Model
from lm_eval_steer.transfer.texts import Texts
from lm_eval_steer.transfer.tokens import encode

BatchSize = int | Literal["auto"]


def read_states(
    model: Model,
    texts: Texts,
    *,
    tokens: str = "last",
    chat: bool = False,
    cache: str | Path | None = None,
    batch_size: BatchSize = "auto",
) -> States:
    """States of a model on texts, behind all of its blocks.

    The model is loaded only where the cache does not hold all of them, reads the texts that are missing, and is let go.
    What it reads is written a batch at a time, so memory beyond the model is one batch.

    Args:
        model: that reads.
        texts: that are read.
        tokens: which states of a text: `last`, `mean` or `all` (transfer/tokens.py).
        chat: each text is a turn in the model's chat template.
        cache: folder in which states are kept; None for lm_eval_steer/states in the user's cache folder.
        batch_size: texts per forward pass; `auto` for as many as make a pass worth its while. Batches are cut in two
            where memory does not hold them.

    Raises:
        SteeringError: for a model or a tokenizer that cannot give them, texts that do not fit, NaN or infinities in
            states, a cache that cannot be written or that another run is writing.
    """
    if tokens not in defaults.TOKEN_RULES:
        raise SteeringError(
            f"tokens={tokens} is no rule for the tokens to read: use one of {', '.join(defaults.TOKEN_RULES)}"
        )
    if batch_size != "auto" and batch_size < 1:
        raise SteeringError(f"batch_size={batch_size} is not positive")
    if not texts.texts:
        raise SteeringError("there are no texts to read")
    if model.digest is None:  # on the hub: loading brings it here, and then it has one
        with _let_go():
            model.load()
    folder = Path(cache).expanduser() if cache is not None else default_folder()
    folder /= _name(model, texts, tokens, chat)
    if found := open_states(folder):
        return found
    what = f"the states of {model.name} in {shortened(folder)}"
    with held(folder.with_name(f"{folder.name}.lock"), what, "wait until it has ended, or name another --cache"):
        if open_states(folder) is None:  # nor did another run make them whole since
            with _let_go():
                _read(model, texts, tokens, chat, folder, batch_size)
        found = open_states(folder)
    assert found is not None
    return found


@contextmanager
def _let_go() -> Iterator[None]:
    """Let go of the memory of a model that was loaded within: it is part of a cycle.

    Cycles are looked for among what came since, not among all that is imported, which would take a second.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        clear_device_cache()


def _name(model: Model, texts: Texts, tokens: str, chat: bool) -> str:
    """The name of a folder that no other states have."""
    checkpoint = model.digest or [model.name, model.revision]
    key = digest([VERSION, checkpoint, model.settings, texts.sha256, tokens, chat])
    readable = "".join(c if c.isalnum() or c in "-_." else "-" for c in model.name.rpartition("/")[2])[:80]
    return f"{readable}-{tokens}-{key[:32]}"


def _read(model: Model, texts: Texts, tokens: str, chat: bool, folder: Path, batch_size: BatchSize) -> None:
    """Read what a folder lacks."""
    lm = model.load()
    require_last_token(lm)
    encoded = encode(lm, texts.texts, tokens, chat)
    blocks = dict(enumerate(find_blocks(lm.model, lm.plan.blocks)))
    counts = [1 if tokens == "mean" else len(read) for read in encoded.places]
    order = in_order(encoded.ids)
    ends = encoded.ends or [[0] * count for count in counts]
    meta = Meta(model.description, texts.sha256, len(counts), sum(counts), tokens, chat)
    writer = Writer(folder, meta, Places.in_order(counts, ends, order))
    for numbers, outputs in read_outputs(
        lm.model, blocks, encoded.ids, encoded.places, batch_size, lm.device, mean=tokens == "mean", done=writer.done
    ):
        _refuse_broken(outputs, numbers, counts, texts, model)
        writer.add(len(numbers), outputs)


def _refuse_broken(
    outputs: np.ndarray, numbers: Sequence[int], counts: Sequence[int], texts: Texts, model: Model
) -> None:
    """Refuse states that are no numbers, naming the first text that has one."""
    fine = np.isfinite(outputs).all(axis=2)
    if fine.all():
        return
    row, block = np.argwhere(~fine)[0]
    number = np.repeat(numbers, [counts[number] for number in numbers])[row]
    raise SteeringError(
        f"{model.name} gives NaN or infinity behind block {block} on text {number} ({texts.texts[number][:40]!r}): "
        "load it in another dtype (dtype=bfloat16 or float32 in its arguments), or leave the text out"
    )
