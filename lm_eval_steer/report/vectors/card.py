"""The page of a vector on the Hub: a header for its search, how the vector is used, and all that its passport says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from lm_eval_steer.interventions.meant import meant
from lm_eval_steer.report.tables.formats import mark
from lm_eval_steer.report.vectors.facts import UNSAID, concept_of, facts_of
from lm_eval_steer.text import printable
from lm_eval_steer.vectors.several import AnyVector
from lm_eval_steer.vectors.show import block_lines, flat_items, without_blocks

LIBRARY = "lm_eval_steer"
TAGS = ("steering-vector", "activation-steering", "lm-evaluation-harness")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_STRENGTHS = {"alpha", "dose", "alpha_per_layer"}


@dataclass(frozen=True)
class Card:
    """What a card is made of.

    Attributes:
        vector: that it is of.
        repo: where it will lie, `org/name`.
        file: as which.
        base_model: id on the Hub of the model that is steered; None where nobody knows one.
        licence: as the Hub names it; None where nobody said one.
        table: what a sweep found, as Markdown; None without one.
        figure: title and file of the figure beside it.
    """

    vector: AnyVector
    repo: str
    file: str
    base_model: str | None = None
    licence: str | None = None
    table: str | None = None
    figure: tuple[str, str] | None = None

    def text(self) -> str:
        """The card as Markdown behind its header."""
        head = yaml.safe_dump(self.header(), sort_keys=False, allow_unicode=True)
        return f"---\n{head}---\n" + "\n".join(self._lines()) + "\n"

    def header(self) -> dict[str, Any]:
        """What the Hub reads of it."""
        base = {"base_model": self.base_model, "base_model_relation": "adapter"} if self.base_model else {}
        licence = {"license": self.licence} if self.licence else {}
        return {"library_name": LIBRARY, **licence, **base, "tags": list(TAGS)}

    def _lines(self) -> Iterator[str]:
        vector, facts = self.vector, facts_of(self.vector)
        name = self.file.rpartition("/")[2].rpartition(".")[0]
        yield from ("", f"# {mark(printable(name))}", "")
        yield f"{_sentence(vector, facts)} Fingerprint `{vector.fingerprint}`."
        yield from ("", "## Use", "", "    pip install lm_eval_steer")
        yield f"    lm_eval --model steered-hf --model_args {self._arguments()} --tasks TASK"
        yield from ("", "In Python:", "", "```python")
        yield f'with lm_eval_steer.steer(model, "{self.repo}:{self.file}", alpha=...):'
        yield from ("    model.generate(**inputs)", "```", "")
        if acts := meant(vector.passport.get("steering")):
            told = ", ".join(f"`{key}={value}`" for key, value in acts.items())
            yield from (f"It is meant to act under {told}.", "")
        if self.table is not None and self.figure is not None:
            title, file = self.figure
            yield from ("## What it does", "", self.table.strip(), "", f"![{mark(title)}]({file})", "")
        yield from ("## Passport", "", "| | |", "|---|---|")
        for key, value in flat_items(without_blocks(vector.passport)):
            yield f"| {mark(printable(key))} | {mark(printable(value))} |"
        for one in map(vector.at, vector.sites):
            columns, lines = block_lines(one)
            yield from ("", f"## Directions at the site {one.site}", "")
            yield from (f"| {' | '.join(columns)} |", f"|{'---:|' * len(columns)}")
            for line in lines:
                yield f"| {' | '.join(map(mark, line))} |"

    def _arguments(self) -> str:
        acts: dict[str, Any] = dict(meant(self.vector.passport.get("steering")))
        strength = {} if _STRENGTHS & acts.keys() else {"alpha": "ALPHA"}
        named = {"pretrained": self.base_model or "CHILD", "vectors": f"{self.repo}:{self.file}", **acts, **strength}
        return printable(shlex.quote(",".join(f"{key}={value}" for key, value in named.items())))


def base_model_of(vector: AnyVector) -> str | None:
    """The id on the Hub of the model in whose space the directions lie; None where the passport names a folder."""
    name = str(vector.at(vector.sites[0]).space["name"])
    return name if _ID.fullmatch(name) else None


def _sentence(vector: AnyVector, facts: dict[str, str]) -> str:
    """What it is."""
    model = mark(printable(str(vector.at(vector.sites[0]).space["name"])))
    what = f"Directions in the residual stream of {model}, blocks {facts['blocks']}, width {facts['width']}"
    concept = concept_of(vector.passport)
    read = "" if concept == UNSAID else f", read from contrast pairs of {mark(printable(concept))}"
    if vector.transfer is None:
        return f"{what}{read}."
    return f"{what}{read} in {mark(facts['parent'])} and brought there by a map: {mark(facts['transferred to'])}."
