"""What tests of `lm-eval-steer transfer` share: a child, models that are twins of it, texts, the command."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

import models
from lm_eval_steer.cli.main import main
from lm_eval_steer.vectors.vector import SteeringVector

WIDTH, DEPTH = 128, 4
_WORDS = ("red", "sea", "wind", "stone", "apples", "bridge", "walks", "under", "quiet", "lamps", "sings", "slow", "two")


def save_llama(model: LlamaForCausalLM, folder: Path) -> Path:
    """A model with the tokenizer of tiny models as a Hugging Face folder."""
    model.save_pretrained(folder)
    models.make_tokenizer().save_pretrained(folder)
    return folder


def make_child(seed: int = 0) -> LlamaForCausalLM:
    """A small Llama whose norms scale every component differently, as those of trained models do."""
    model = models.make_model(
        "llama", seed, hidden_size=WIDTH, num_hidden_layers=DEPTH, intermediate_size=96, tie_word_embeddings=False
    )
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.5) if parameter.dim() == 1 else parameter.data.mul_(0.5)
    return model


def sentences(n: int, seed: int) -> list[str]:
    """Sentences of words that are drawn, each another one."""
    draw = random.Random(seed)
    return [f"{i}: {' '.join(draw.choices(_WORDS, k=draw.randint(3, 6)))}" for i in range(n)]


def write_jsonl(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def extract(model: Path, pairs: Path, out: Path) -> Path:
    """The vector of a model from pairs, by the command."""
    told = ["--model_args", f"pretrained={model}", "--device", "cpu", "--method", "mean", "--pairs", str(pairs)]
    assert main(["extract", *told, "--out", str(out)]) == 0
    return out


def cosines(one: Path | SteeringVector, other: Path | SteeringVector) -> np.ndarray:
    """Of the directions of two vectors, at the blocks that both have."""
    first, second = (SteeringVector.load(v) if isinstance(v, Path) else v for v in (one, other))
    rows = [dict(zip(vector.layers, vector.directions, strict=True)) for vector in (first, second)]
    return np.array([float(rows[0][block] @ rows[1][block]) for block in sorted(set(rows[0]) & set(rows[1]))])
