"""Token rules that match tokens, in a worker: each pass's own tokens are read, beside those before them.

What is steered of such a request is no interval, so that its positions are counted here and not in spans.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lm_eval_steer.interventions.tokens.automaton import Automaton


@dataclass
class _Text:
    """A request under way.

    Attributes:
        number: of its intervention.
        tokens: ids, as far as they are known.
        hits: of each position, whether it was steered when it was last run.
        run: how many steered positions were run, those that were run again included.
    """

    number: int
    tokens: np.ndarray
    hits: np.ndarray
    run: int = 0


class Matches:
    """The requests of one call whose rules match tokens.

    Args:
        automata: number of an intervention -> what finds its tokens.
        interventions: how many are loaded.
    """

    def __init__(self, automata: Mapping[int, Automaton], interventions: int) -> None:
        self._automata, self._count = automata, interventions
        self._texts: dict[int, _Text] = {}

    def among(self, asked: np.ndarray) -> np.ndarray:
        """Which requests have such a rule, bool [requests].

        Args:
            asked: `spans.FIELDS` of each request [requests, 4].
        """
        return np.isin(asked[:, 1], list(self._automata)) & (asked[:, 0] >= 0)

    def see(
        self, asked: Sequence[int], start: int, tokens: np.ndarray, prompt: Callable[[], Sequence[int]]
    ) -> np.ndarray:
        """Take note of what a pass runs of a request; gives which of its positions are steered, bool [tokens].

        Args:
            asked: its `spans.FIELDS`.
            start: first position that the pass runs.
            tokens: ids that it runs.
            prompt: gives the ids of the request's prompt.
        """
        serial, number, first, end = map(int, asked)
        if serial not in self._texts:
            known = np.asarray(prompt(), dtype=np.int64)
            self._texts[serial] = _Text(number, known, np.zeros(len(known), dtype=bool))
        text, stop, finds = self._texts[serial], start + len(tokens), self._automata[number]
        if stop > len(text.tokens):
            more = max(stop, 2 * len(text.tokens)) - len(text.tokens)
            text.tokens = np.pad(text.tokens, (0, more), constant_values=-1)
            text.hits = np.pad(text.hits, (0, more))
        text.tokens[start:stop] = tokens
        place = np.arange(start, stop)
        hits = finds.last_hits(text.tokens[:stop], len(tokens)) & (place >= first) & (place < end)
        text.hits[start:stop] = hits
        text.run += int(hits.sum())
        return hits

    def needless(self, needed: Sequence[int]) -> np.ndarray:
        """How many steered positions were run again, or behind the last one that was needed, per intervention.

        Args:
            needed: of each request, how many positions from its first on.
        """
        found = np.zeros(self._count, dtype=np.int64)
        for serial, text in self._texts.items():
            found[text.number] += text.run - int(text.hits[: needed[serial]].sum())
        return found
