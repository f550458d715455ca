"""Rows of a run on vLLM: what `steered-vllm` asks of it, each row under its own strength, all in the same batches.

The strength of a row travels in its sampling parameters to the worker (vllm_worker.py). `cache_salt` keeps the prefix
cache's keys and values of different steerings apart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from vllm import LLM, RequestOutput, SamplingParams, TokensPrompt

from lm_eval_steer.engines.doses import Sums
from lm_eval_steer.engines.vllm.spans import FOREVER
from lm_eval_steer.engines.vllm.versions import EngineDeadError, Requests, VLLMClientError
from lm_eval_steer.engines.vllm.worker import ARGUMENT
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.tokens import TOKENS


@dataclass(frozen=True)
class VllmRow:
    """One prompt, or one context with its continuation, at one strength.

    Attributes:
        tokens: token ids of the prompt, or of context and continuation.
        prompt: how many of them are the prompt, or the context.
        strength: number of the strength.
        params: of the generation; None for a row that is scored.
    """

    tokens: list[int]
    prompt: int
    strength: int
    params: SamplingParams | None = None


@dataclass(frozen=True)
class Finished:
    """A text that is done.

    Attributes:
        tokens: the new token ids, with those of a stop string and the one that ended it.
        logprob: sum of their log-probabilities.
        stop: `eos`, `stop` or `length`.
        text: as vLLM reads them.
    """

    tokens: list[int]
    logprob: float | None
    stop: str
    text: str


Steps = Generator[None, None, None]
"""A run in pieces: it begins when the first is asked for, and waits for vLLM once in each."""


class RowRunner:
    """Runs rows on one vLLM engine, under the steering that was loaded last.

    Args:
        llm: vLLM's engine, started with `vllm_worker.SteeringWorker`.
        lora: adapter of every request.
        compiled: the model was compiled.

    Attributes:
        llm, compiled: as given.
        tokens, salts: of the steering that was loaded last (`load`).
    """

    def __init__(self, llm: LLM, lora: Any = None, compiled: bool = False) -> None:
        self.llm, self.compiled = llm, compiled
        self._lora = lora
        self._steers = False
        self._stale: list[int] = []

    def load(self, settings: dict[str, Any], tokens: str, salts: Sequence[str | None]) -> None:
        """Steer from now on.

        Args:
            settings: for the worker (`vllm_worker.pack`).
            tokens: which positions (interventions/tokens.py).
            salts: of each row of the table of strengths; None for one that steers nothing.

        Raises:
            SteeringError: where the blocks of the model cannot be found.
        """
        for wrong in self.llm.collective_rpc("steer_load", args=(settings,)):
            if wrong:
                raise SteeringError(wrong)
        self.mark_stale(self._stale)
        self.tokens, self.salts = tokens, list(salts)
        self._strengths = np.asarray(settings["strengths"], dtype=np.float32).reshape(len(salts), -1)
        self._blocks = list(settings["blocks"])
        self._steers = True
        self._forget()

    def unload(self) -> None:
        """Steer nothing."""
        self.llm.collective_rpc("steer_unload")
        self._steers = False

    def load_strengths(self, strengths: np.ndarray, salts: Sequence[str | None]) -> None:
        """Take another table of strengths [rows, blocks], and begin to count anew."""
        self.llm.collective_rpc("steer_strengths", args=(strengths.tolist(),))
        self.salts, self._strengths = list(salts), strengths
        self._forget()

    def run_uncompiled(self, on: bool) -> None:
        """Begin or end to run a compiled model as it was before."""
        self.llm.collective_rpc("steer_uncompiled", args=(on,))

    def probe(self, on: bool) -> list[dict[int, dict[str, Any]]]:
        """Begin or end to look closely (`vllm_worker.SteeringWorker.steer_probe`), per worker."""
        return self.llm.collective_rpc("steer_probe", args=(on,))

    def begin_trial(self, move: str, blocks: Sequence[int]) -> None:
        """Look at what blocks give, steering nothing (`vllm_worker.SteeringWorker.steer_trial`)."""
        self.llm.collective_rpc("steer_trial", args=(move, list(blocks)))

    def end_trial(self, tokens: int) -> list[dict[str, Any]]:
        """Go on steering; gives what was seen of the first `tokens` tokens, per worker."""
        return self.llm.collective_rpc("steer_tried", args=(tokens,))

    def mark_stale(self, blocks: Sequence[int]) -> None:
        """Take the first of two tensors alone for the output of these blocks, also under what is loaded later."""
        self._stale = list(blocks)
        self.llm.collective_rpc("steer_stale", args=(list(blocks),))

    def doses(self) -> Sums:
        """What was measured; of pipeline stages each its blocks."""
        found: Sums = {}
        for worker in self.llm.collective_rpc("steer_doses"):
            found |= {int(block): sums for block, sums in worker.items()}
        return found

    def application(self) -> dict[str, dict[int, int]]:
        """Proof that the steering was applied: rows and positions per steered block.

        Returns:
            steered: block -> what its hook counted, of every row once: what vLLM ran again or without need is left
                out, what its cache held is added.
            implied: block -> what lengths of prompts and responses, and `tokens`, say.
        """
        steers = self._strengths != 0
        steered = {block: count + int(self._corrections @ steers[:, column]) for block, count, column in self._counts()}
        implied = {block: int(self._implied @ steers[:, column]) for block, _, column in self._counts()}
        return {"steered": steered, "implied": implied}

    # Rows

    def generate(self, rows: Sequence[VllmRow], finish: Callable[[int, Finished], None]) -> Steps:
        """Continue every row; `finish` is called with its number as soon as it is done."""
        needed = [0] * len(rows)

        def done(number: int, output: RequestOutput) -> None:
            row, came = rows[number], output.outputs[0]
            tokens = list(came.token_ids)
            needed[number] = row.prompt + len(tokens) - 1
            self._count(row, row.prompt, len(tokens), output)
            stop = (
                "length" if came.finish_reason == "length" else "stop" if isinstance(came.stop_reason, str) else "eos"
            )
            finish(number, Finished(tokens, came.cumulative_logprob, stop, came.text))

        params = [row.params or SamplingParams() for row in rows]
        return self._run(rows, params, [FOREVER] * len(rows), done, needed)

    def run_plainly(self, rows: Sequence[VllmRow], finish: Callable[[int, RequestOutput], None]) -> Steps:
        """Hand on what vLLM makes of every row, while nothing is steered."""
        params = [row.params or SamplingParams() for row in rows]
        return self._run(rows, params, [FOREVER] * len(rows), finish, [])

    def score(
        self, rows: Sequence[VllmRow], finish: Callable[[int, tuple[float, bool]], None], cached: bool = True
    ) -> Steps:
        """Log-probability of every continuation, and whether greedy decoding would have written it.

        The beginnings that contexts share are read from the prefix cache, which vLLM does not do by itself here, since
        it then lacks the log-probabilities of what it read. Only those of the continuation are wanted: a row of which
        vLLM read more than the context is run again without.

        Args:
            rows: with their continuations.
            finish: called with the number of each that is done.
            cached: whether the prefix cache may be read.
        """
        again = yield from self._score(rows, list(range(len(rows))), finish, cached)
        yield from self._score(rows, again, finish, cached=False)

    def _score(
        self,
        rows: Sequence[VllmRow],
        numbers: list[int],
        finish: Callable[[int, tuple[float, bool]], None],
        cached: bool,
    ) -> Generator[None, None, list[int]]:
        """Score some rows; gives those that have to be run again."""
        again: list[int] = []
        needed = [0] * len(numbers)

        def done(place: int, output: RequestOutput) -> None:
            row = rows[numbers[place]]
            if (output.num_cached_tokens or 0) >= row.prompt:
                again.append(numbers[place])
                return
            needed[place] = len(row.tokens) - 1
            self._count(row, row.prompt, len(row.tokens) - row.prompt, output)
            finish(numbers[place], _read_score(row, output))

        params = SamplingParams(
            temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False, skip_reading_prefix_cache=not cached
        )
        chosen = [rows[number] for number in numbers]
        # The last token predicts nothing that is asked for: no engine steers it.
        ends = [len(row.tokens) - 1 for row in chosen]
        yield from self._run(chosen, [params] * len(chosen), ends, done, needed)
        return again

    def _run(
        self,
        rows: Sequence[VllmRow],
        params: Sequence[SamplingParams],
        ends: Sequence[int],
        done: Callable[[int, RequestOutput], None],
        needed: list[int],
    ) -> Steps:
        """Run rows in their order: those of one strength follow each other (`vllm_replicas.deal`), to share beginnings.

        Args:
            rows: with their parameters.
            params: of each.
            ends: where the steering of each ends at the latest.
            done: called with each that is done.
            needed: filled by `done`: how many positions of each were needed.
        """
        if not rows:
            return
        if self._steers:
            self.llm.collective_rpc("steer_begin", args=(len(rows),))
        salts = self._row_salts(rows)
        prompts, asked = [], []
        for number, row in enumerate(rows):
            prompt = TokensPrompt(prompt_token_ids=row.tokens)
            one = copy(params[number])
            if salts[number] is not None:
                first, end = TOKENS[self.tokens].interval(row.prompt)
                end = ends[number] if end is None else min(end, ends[number])
                one.extra_args = {ARGUMENT: [number, row.strength, first, end]}
                prompt["cache_salt"] = str(salts[number])
            prompts.append(prompt)
            asked.append(one)
        requests = Requests(self.llm)
        try:
            names = requests.add(prompts, asked, self._lora)
        except VLLMClientError as error:
            raise SteeringError(f"vLLM refuses a row of this run: {error}") from None
        numbers = {name: number for number, name in enumerate(names)}
        try:
            while requests.under_way:
                yield
                for output in _step(requests):
                    if output.finished:
                        _refuse_failed(output)
                        done(numbers.pop(output.request_id), output)
            if numbers:
                raise SteeringError(
                    f"vLLM gave back {len(rows) - len(numbers)} of {len(rows)} rows: the results of this run are void; "
                    "start it again"
                )
        finally:
            if numbers:
                requests.abort(list(numbers))
        if self._steers:
            self._end(needed)

    def _row_salts(self, rows: Sequence[VllmRow]) -> list[str | None]:
        """The salt of each row; None where nothing is steered.

        Under `all` the keys and values of a text's beginning depend on the strength alone. Otherwise they depend on
        where the prompt ends, too, if the beginning reaches so far: a row whose prompt is the beginning of another
        one's gets a salt of its own length, and earlier calls are forgotten.
        """
        if not self._steers:
            return [None] * len(rows)
        salts = [self.salts[row.strength] for row in rows]
        if self.tokens == "all":
            return salts
        self.llm.reset_prefix_cache()
        prompts = sorted({tuple(row.tokens[: row.prompt]) for row in rows})
        inner = {short for short, longer in pairwise(prompts) if longer[: len(short)] == short}
        return [
            f"{salt}:{row.prompt}" if salt is not None and tuple(row.tokens[: row.prompt]) in inner else salt
            for salt, row in zip(salts, rows, strict=True)
        ]

    # Counting

    def _forget(self) -> None:
        self._implied = np.zeros(len(self.salts), dtype=np.int64)
        self._corrections = np.zeros(len(self.salts), dtype=np.int64)
        self._applied = dict.fromkeys(self._blocks, 0)

    def _counts(self) -> list[tuple[int, int, int]]:
        return [(block, self._applied[block], column) for column, block in enumerate(self._blocks)]

    def _count(self, row: VllmRow, prompt: int, new: int, output: RequestOutput) -> None:
        """Count what a row implies (the last of its new tokens is never run), and what the cache spared of it."""
        if not self._steers or self.salts[row.strength] is None:
            return
        positions = TOKENS[self.tokens].count(prompt, prompt + new - 1)
        self._implied[row.strength] += positions
        first, end = TOKENS[self.tokens].interval(prompt)
        cached = output.num_cached_tokens or 0
        self._corrections[row.strength] += max(0, min(cached, cached if end is None else end) - first)

    def _end(self, needed: list[int]) -> None:
        reports = self.llm.collective_rpc("steer_end", args=(needed,))
        self._corrections -= np.asarray(reports[0]["again"]) + np.asarray(reports[0]["beyond"])
        counts: dict[int, int] = {}
        for one in reports:
            for block, count in one["applied"].items():
                if counts.setdefault(int(block), count) != count:
                    raise SteeringError(
                        f"vLLM's workers steered different numbers of positions in block {block} ({counts[int(block)]} "
                        f"and {count}): the results of this run are void"
                    )
        self._applied.update(counts)


def _step(requests: Requests) -> list[RequestOutput]:
    try:
        return requests.step()
    except EngineDeadError:
        raise SteeringError("vLLM ended while it ran the model, for the reason that it gives above") from None


def _refuse_failed(output: RequestOutput) -> None:
    for came in output.outputs:
        if came.finish_reason in ("abort", "error"):
            raise SteeringError(
                f"vLLM gave up a row ({came.finish_reason}), for the reason that it gives above: start the run again"
            )


def _read_score(row: VllmRow, output: RequestOutput) -> tuple[float, bool]:
    """Sum of the continuation's log-probabilities, and whether each of its tokens was the likeliest."""
    total, greedy = 0.0, True
    assert output.prompt_logprobs is not None
    for token, found in zip(row.tokens[row.prompt :], output.prompt_logprobs[row.prompt :], strict=True):
        assert found is not None
        total += found[token].logprob
        greedy = greedy and max(found, key=lambda one: found[one].logprob) == token
    return total, greedy
