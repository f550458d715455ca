"""LlamaCppEngine: interventions as control vectors of llama.cpp, and jobs, one row at a time (engines/protocol.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter

import numpy as np

from lm_eval_steer.engines.hf.stops import Stops
from lm_eval_steer.engines.llama_cpp.context import Context
from lm_eval_steer.engines.llama_cpp.file import GgufFile
from lm_eval_steer.engines.llama_cpp.shifts import control_vector
from lm_eval_steer.engines.llama_cpp.tokenizer import Tokenizer
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.engines.protocol import Done, Job, Scores
from lm_eval_steer.engines.visible import Cut
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention

_PROBE = 10.0
"""Length of a shift that no model's answer is the same under, wherever it is added."""


class LlamaCppEngine:
    """Runs jobs of one GGUF file: under one intervention after the other, rows in an order in which they begin alike.

    Args:
        file: the model.
        tokenizer: of the model.
        positions: of the longest row.
        threads: that compute.
    """

    def __init__(self, file: GgufFile, tokenizer: Tokenizer, positions: int, threads: int) -> None:
        self._file, self._tokenizer, self._positions = file, tokenizer, positions
        self._context = Context(file, positions, threads)
        self._vectors: list[dict[int, np.ndarray]] = []
        self._steers_there = False  # nobody has seen it yet

    def load(self, interventions: Sequence[Intervention], blocks: str | None = None) -> None:
        """Take these from now on: all of them or, where one is refused, those before.

        Args:
            interventions: in the order of their numbers.
            blocks: None, since llama.cpp knows its blocks by number alone.

        Raises:
            SteeringError: for what a control vector cannot do, and for a model that llama.cpp does not steer.
        """
        if blocks is not None:
            raise SteeringError(
                f"blocks={blocks!r} names no place in a GGUF file, whose blocks have numbers: leave it out"
            )
        vectors = [control_vector(one, self._file.depth) for one in interventions]
        for vector in vectors:
            if vector and not self._steers_there:
                self._see(vector)
        self._vectors = vectors

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        """Do jobs, in any order; each comes back once, as soon as it is done.

        Raises:
            SteeringError: for a job that does not fit into the context, before any is done.
        """
        self._refuse_long(jobs)
        for number, vector in enumerate(self._vectors):
            those = [job for job in jobs if job.intervention == number]
            if those:
                self._context.steer(vector)
            for job in sorted(those, key=_beginning):
                start = perf_counter()
                yield self._write(job, start) if job.generation is not None else self._score(job, start)

    def measured(self) -> Measured:
        """Nothing: llama.cpp adds control vectors itself."""
        return Measured(not_compared="llama.cpp adds a control vector at every position and counts none")

    def _see(self, vector: Mapping[int, np.ndarray]) -> None:
        """Refuse a model of whose architecture llama.cpp leaves control vectors out, which it does silently."""
        text = self._tokenizer.encode("The sum of two and three is five.")
        found = []
        for shifts in ({}, {block: _PROBE * shift / np.linalg.norm(shift) for block, shift in vector.items()}):
            self._context.steer(shifts)
            found.append([row.copy() for row in self._context.read(text, len(text) - 1)])
        self._steers_there = not np.array_equal(found[0], found[1])
        if not self._steers_there:
            raise SteeringError(
                f"llama.cpp does not steer models of architecture {self._file.architecture}, where its control vector "
                "changes nothing: use steered-hf"
            )

    def _refuse_long(self, jobs: Sequence[Job]) -> None:
        """Refuse jobs of which one needs more positions than there are; says how many the longest needs."""
        needed, before, behind = max((_needed(job) for job in jobs), default=(0, 0, 0))
        if needed > self._positions:
            raise SteeringError(
                f"{before} tokens and {behind} behind them need {needed} positions, and the context has "
                f"{self._positions}: set max_length={needed} (the model was trained on {self._file.context})"
            )

    def _write(self, job: Job, start: float) -> Done:
        told = job.generation
        assert told is not None
        stops, cut = Stops(self._tokenizer, told.stop, None), Cut(self._tokenizer, told.visible)
        tokens: list[int] = []
        total, stop = 0.0, ""
        while not stop:
            (row,) = self._context.read(job.prompt + tokens, len(job.prompt) + len(tokens) - 1)
            token = int(row.argmax())
            total += _logprob(row, token)
            tokens.append(token)
            if self._file.ends(token):
                stop = "eos"
            elif stops(job.prompt, tokens):
                stop = "stop"
            elif len(tokens) >= told.new_tokens or cut(tokens) is not None:
                stop = "length"
        return Done(job, tokens=tokens, logprob=total, stop=stop, seconds=perf_counter() - start)

    def _score(self, job: Job, start: float) -> Done:
        scores: Scores = []
        for context, continuation in job.pairs:
            row = [*context, *continuation][:-1]
            read = zip(continuation, self._context.read(row, len(context) - 1), strict=True)
            each = [(_logprob(logits, token), int(logits.argmax()) == token) for token, logits in read]
            scores.append((sum(logprob for logprob, _ in each), all(best for _, best in each)))
        return Done(job, scores=scores, seconds=perf_counter() - start)


def _beginning(job: Job) -> list[int]:
    """What a job's first row begins with."""
    return job.prompt or job.pairs[0][0]


def _needed(job: Job) -> tuple[int, int, int]:
    """How many positions the longest row of a job needs, and the tokens before and behind the end of its prompt."""
    if job.generation is not None:
        new = job.generation.new_tokens
        return len(job.prompt) + new, len(job.prompt), new
    return max((len(before) + len(behind) - 1, len(before), len(behind)) for before, behind in job.pairs)


def _logprob(logits: np.ndarray, token: int) -> float:
    """Log-probability of a token [vocabulary]; the sum over the vocabulary is float64."""
    wide = logits.astype(np.float64)
    most = wide.max()
    return float(wide[token] - most - np.log(np.exp(wide - most).sum()))
