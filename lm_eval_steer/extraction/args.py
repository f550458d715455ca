"""What `lm-eval-steer extract` takes, and what contradicts itself in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.contrasts import CONTRASTS, SHOTS, SYSTEM
from lm_eval_steer.extraction.methods import METHODS
from lm_eval_steer.interventions import checks
from lm_eval_steer.interventions.layers import read_layers
from lm_eval_steer.sites import DEFAULT, SITES

DEFAULT_PAIRS = 128

_OF_TEMPLATES = ("rationales", "pair_template")
_OF_TASKS = ("apply_chat_template", "contrast", "split", "num_fewshot", "positive", "negative", "include_path")
"""Options that have no meaning for pairs of a file, nor have those of templates."""


@dataclass(frozen=True)
class ExtractionArgs:
    """What `lm-eval-steer extract` was asked for; recorded in the passport.

    Attributes:
        task: the task whose documents make the pairs.
        pairs: a JSONL file of pairs instead.
        n: number of pairs; None takes 128 of a task's rows, and all pairs of a file.
        method: how a direction is found, a name in `METHODS`.
        normalize_differences: unit differences before the fit.
        site: where to read, a name in `SITES` or several as in `attention+mlp`.
        heads: of the site with heads, how many to keep of all blocks: those that tell most held-out pairs apart; None
            for all.
        layers: the parent's blocks to read.
        batch_size: texts per forward pass.
        seed: chooses rows and the order inside pairs.
        apply_chat_template: ask the parent through its chat template.
        rationales: JSONL of reasoning, for a task that has none (rationales.py).
        pair_template: YAML file of pair templates, instead of the package's.
        contrast: what tells the sides of a pair apart, a name in `CONTRASTS`; None takes the package's pair template of
            a task that has one, else what the task declares, else `wrong` where it has options and `target` otherwise.
        split: of the task's documents, `share` for a part of those that it is tested on; None for its training split.
        num_fewshot: examples before every prompt; None for none, and for `shots` the task's own number, or 5.
        positive: system prompt of the positive side, for `system`.
        negative: system prompt of the negative side, for `system`.
        include_path: folder of tasks of one's own.
    """

    task: str | None = None
    pairs: str | None = None
    n: int | None = None
    method: str = "pca"
    normalize_differences: bool = False
    site: Any = DEFAULT
    heads: int | None = None
    layers: Any = "all"
    batch_size: int = 8
    seed: int = 0
    apply_chat_template: bool = False
    rationales: str | None = None
    pair_template: str | None = None
    contrast: str | None = None
    split: str | None = None
    num_fewshot: int | None = None
    positive: str | None = None
    negative: str | None = None
    include_path: str | None = None

    def __post_init__(self) -> None:
        if self.task is None and self.pairs is None:
            raise SteeringError("nothing to extract from: name a --task or a file of --pairs")
        METHODS[self.method]  # refuses a name that is not there
        for name in ("n", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SteeringError(f"{name}={value} is not positive")
        refuse_few(self.n)
        if self.seed < 0:
            raise SteeringError(f"seed={self.seed} is negative: use a whole number from 0 on")
        read_layers(self.layers)
        self._check_sites()
        for name in (*_OF_TEMPLATES, *_OF_TASKS):
            given = getattr(self, name)
            if self.pairs is not None and given is not None and given is not False:
                raise SteeringError(f"--pairs are complete texts: --{name} has no meaning for them")
        self._check_contrast()
        if self.include_path and not Path(self.include_path).is_dir():
            raise SteeringError(f"--include_path {self.include_path} is no folder: name the folder of your tasks")

    @property
    def sites(self) -> tuple[str, ...]:
        """Where to read, in the order of `SITES`."""
        return checks.sites("site", self.site) or (DEFAULT,)

    def _check_sites(self) -> None:
        if self.layers != "all" and not any(SITES[site].in_blocks for site in self.sites):
            raise SteeringError(f"--layers {self.layers} names blocks, and {self.sites[0]} is behind all: leave it out")
        if self.heads is not None and not any(SITES[site].by_head for site in self.sites):
            raise SteeringError(f"--heads {self.heads} keeps heads, and --site {self.site} has none: leave it out")
        if self.heads is not None and self.heads < 1:
            raise SteeringError(f"--heads {self.heads} keeps none: use 1 or more")

    def _check_contrast(self) -> None:
        if self.contrast is not None and self.contrast not in CONTRASTS:
            raise SteeringError(f"there is no contrast {self.contrast!r}: use one of {', '.join(CONTRASTS)}")
        for name in _OF_TEMPLATES:
            if self.contrast is not None and getattr(self, name):
                raise SteeringError(f"--contrast {self.contrast} makes pairs without a template: leave out --{name}")
        texts = [name for name in ("positive", "negative") if getattr(self, name) is not None]
        if self.contrast != SYSTEM and texts:
            raise SteeringError(f"--{texts[0]} is a system prompt of --contrast system: add that, or leave it out")
        if self.contrast == SYSTEM and not (self.positive and self.negative):
            raise SteeringError("--contrast system needs two system prompts: give --positive TEXT and --negative TEXT")
        if self.contrast == SYSTEM and self.positive == self.negative:
            raise SteeringError(f"--positive and --negative are the same text {self.positive!r}: give two")
        if self.num_fewshot is not None and self.num_fewshot < (1 if self.contrast == SHOTS else 0):
            least = "1 or more" if self.contrast == SHOTS else "0 or more"
            raise SteeringError(f"num_fewshot={self.num_fewshot} is no number of examples: use {least}")


def refuse_few(n: int | None, where: str = "") -> None:
    """Refuse fewer pairs than a direction takes."""
    if n is not None and n < 2:
        raise SteeringError(f"{n} pair{where} is not enough to find a direction: use at least 2")
