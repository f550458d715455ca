"""Rows of a run on one vLLM engine: each under an intervention of its own, all in the same batches.

The number of a row's intervention travels in its sampling parameters to the worker (worker.py). `cache_salt` keeps the
prefix cache's keys and values of different interventions apart.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from vllm import LLM, RequestOutput, SamplingParams, TokensPrompt

from lm_eval_steer.engines.doses import Sums, by_fingerprint
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.engines.protocol import Visible
from lm_eval_steer.engines.visible import Cut
from lm_eval_steer.engines.vllm.spans import FOREVER
from lm_eval_steer.engines.vllm.versions import EngineDeadError, Requests, VLLMClientError, config_of
from lm_eval_steer.engines.vllm.worker import ARGUMENT, by_place, pack
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.tokens import TokenRule, token_rules
from lm_eval_steer.sites import Place, in_order, told

T = TypeVar("T")


@dataclass(frozen=True)
class VllmRow:
    """One prompt, or one context with its continuation, under one intervention.

    Attributes:
        tokens: token ids of the prompt, or of context and continuation.
        prompt: how many of them are the prompt, or the context.
        intervention: its number.
        params: of the generation; None for a row that is scored.
        visible: limit of the visible part of its text; None for none.
    """

    tokens: list[int]
    prompt: int
    intervention: int
    params: SamplingParams | None = None
    visible: Visible | None = None


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


Steps = Iterator[list[tuple[int, T]]]
"""A run in pieces: it begins when the first is asked for, and waits for vLLM once in each; rows that got done, and what
came of them."""


class RowRunner:
    """Runs rows on one vLLM engine, under the interventions that were loaded last.

    Args:
        llm: vLLM's engine, started with `worker.SteeringWorker`.
        lora: adapter of every request.
        compiled: the model was compiled.

    Attributes:
        llm, compiled: as given.
        interventions: that are loaded.
    """

    def __init__(self, llm: LLM, lora: Any = None, compiled: bool = False) -> None:
        self.llm, self.compiled = llm, compiled
        self.interventions: tuple[Intervention, ...] = ()
        self._rules: list[TokenRule] = []
        self._lora = lora
        self._stale: list[int] = []
        self._places: tuple[Place, ...] = ()
        self._forget()

    @property
    def _steers(self) -> bool:
        return bool(self._places)

    def load(self, interventions: Sequence[Intervention], path: str | None = None) -> None:
        """Take these from now on, and count from nothing.

        Args:
            interventions: in the order of their numbers.
            path: of the list of blocks, where they cannot be found by shape.

        Raises:
            SteeringError: where they do not fit the model.
        """
        rules = token_rules((one.tokens for one in interventions), lambda: self.llm.get_tokenizer())
        if any(one.acts for one in interventions):
            depth = int(config_of(self.llm).model_config.hf_text_config.num_hidden_layers)
            for wrong in self.llm.collective_rpc("steer_load", args=(pack(interventions, depth, path, rules),)):
                if wrong:
                    raise SteeringError(wrong)
            self._places = tuple(in_order({place for one in interventions for place in one.places}))
            self.mark_stale(self._stale)
        elif self._places:
            self.llm.collective_rpc("steer_unload")
            self._places = ()
        self.interventions, self._rules = tuple(interventions), rules
        self._forget()

    def run_uncompiled(self, on: bool) -> None:
        """Begin or end to run a compiled model as it was before."""
        self.llm.collective_rpc("steer_uncompiled", args=(on,))

    def probe(self, on: bool) -> list[dict[Place, dict[str, Any]]]:
        """Begin or end to look closely (`worker.SteeringWorker.steer_probe`), per worker."""
        return [by_place(worker) for worker in self.llm.collective_rpc("steer_probe", args=(on,))]

    def begin_trial(self, move: str, blocks: Sequence[int]) -> None:
        """Look at what blocks give, steering nothing (`worker.SteeringWorker.steer_trial`)."""
        self.llm.collective_rpc("steer_trial", args=(move, list(blocks)))

    def end_trial(self, tokens: int) -> list[dict[str, Any]]:
        """Go on steering; gives what was seen of the first `tokens` tokens, per worker."""
        return self.llm.collective_rpc("steer_tried", args=(tokens,))

    def mark_stale(self, blocks: Sequence[int]) -> None:
        """Take the first of two tensors alone for the output of these blocks, also under what is loaded later."""
        self._stale = list(blocks)
        self.llm.collective_rpc("steer_stale", args=(list(blocks),))

    def measured(self) -> Measured:
        """What was measured since `load`.

        `steered` is what hooks counted, of every row once: what vLLM ran again or without need is left out, what its
        cache held is added. Doses are those of the rows that were run; of pipeline stages each has its places, and of
        tensor-parallel ranks, of which each has its heads, the mean is taken.
        """
        if not self._steers:
            return Measured()
        found: dict[Place, list[Any]] = {}
        for worker in self.llm.collective_rpc("steer_doses"):
            for place, sums in by_place(worker).items():
                found.setdefault(place, []).append(sums)
        steered, implied = {}, {}
        for column, place in enumerate(self._places):
            acts = self._acts[:, column]
            steered[place] = self._applied[place] + int(self._corrections @ acts)
            implied[place] = int(self._implied @ acts)
        means: Sums = {place: np.mean(sums, axis=0).tolist() for place, sums in found.items()}
        return Measured(by_fingerprint(means, self.interventions), steered, implied)

    # Rows

    def generate(self, rows: Sequence[VllmRow]) -> Steps[Finished]:
        """Continue every row."""
        needed = [0] * len(rows)
        params = [row.params or SamplingParams() for row in rows]
        for outputs in self._run(rows, params, needed):
            finished = []
            for number, output in outputs:
                row, came = rows[number], output.outputs[0]
                tokens = list(came.token_ids)
                needed[number] = row.prompt + len(tokens) - 1
                self._count(row, row.prompt + len(tokens) - 1, [*row.tokens, *tokens], output)
                stop = (
                    "length"
                    if came.finish_reason == "length"
                    else "stop"
                    if isinstance(came.stop_reason, str)
                    else "eos"
                )
                written = Finished(tokens, came.cumulative_logprob, stop, came.text)
                finished.append((number, self._cut(written, came.logprobs, row.visible)))
            yield finished

    def _cut(self, written: Finished, logprobs: Any, limit: Visible | None) -> Finished:
        """A text as far as the limit of its visible part lets it be; vLLM has run it to its end.

        Args:
            written: the text.
            logprobs: vLLM's, of each token.
            limit: None for none.
        """
        place = Cut(self.llm.get_tokenizer(), limit)(written.tokens) if limit else None
        if place is None or (place == len(written.tokens) and written.stop != "length"):
            return written
        tokens = written.tokens[:place]
        logprob = sum(found[token].logprob for token, found in zip(tokens, logprobs or (), strict=False))
        return Finished(tokens, logprob if logprobs else None, "length", written.text)

    def run_plainly(self, rows: Sequence[VllmRow]) -> Steps[RequestOutput]:
        """Hand on what vLLM makes of every row, while nothing is steered."""
        params = [row.params or SamplingParams() for row in rows]
        yield from self._run(rows, params, [])

    def score(self, rows: Sequence[VllmRow], cached: bool = True) -> Steps[tuple[float, bool]]:
        """Log-probability of every continuation, and whether greedy decoding would have written it.

        The beginnings that contexts share are read from the prefix cache, which vLLM does not do by itself here, since
        it then lacks the log-probabilities of what it read. Only those of the continuation are wanted: a row of which
        vLLM read more than the context is run again without.

        Args:
            rows: with their continuations.
            cached: whether the prefix cache may be read.
        """
        again = yield from self._score(rows, list(range(len(rows))), cached)
        yield from self._score(rows, again, cached=False)

    def _score(
        self, rows: Sequence[VllmRow], numbers: list[int], cached: bool
    ) -> Generator[list[tuple[int, tuple[float, bool]]], None, list[int]]:
        """Score some rows; gives those that have to be run again."""
        again: list[int] = []
        needed = [0] * len(numbers)
        params = SamplingParams(
            temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False, skip_reading_prefix_cache=not cached
        )
        chosen = [rows[number] for number in numbers]
        for outputs in self._run(chosen, [params] * len(chosen), needed):
            scores = []
            for place, output in outputs:
                row = chosen[place]
                needed[place] = output.num_cached_tokens or 0  # which were not run
                if needed[place] >= row.prompt:
                    again.append(numbers[place])
                    continue
                # The last token predicts nothing that is asked for, and is steered, since its keys and values are kept.
                needed[place] = len(row.tokens) - 1
                self._count(row, len(row.tokens) - 1, row.tokens, output)
                scores.append((numbers[place], _read_score(row, output)))
            yield scores
        return again

    def _run(
        self, rows: Sequence[VllmRow], params: Sequence[SamplingParams], needed: list[int]
    ) -> Steps[RequestOutput]:
        """Run rows in their order: those of one intervention follow each other, to share beginnings (`replicas.deal`).

        Args:
            rows: with their parameters.
            params: of each.
            needed: how many positions of each were needed, filled by the caller as rows get done.
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
            salt = salts[number]
            if salt is not None:
                first, end = self._rule(row).interval(row.prompt)
                one.extra_args = {ARGUMENT: [number, row.intervention, first, FOREVER if end is None else end]}
                prompt["cache_salt"] = salt
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
                yield []
                finished = [output for output in _step(requests) if output.finished]
                for output in finished:
                    _refuse_failed(output)
                yield [(numbers.pop(output.request_id), output) for output in finished]
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

    def _rule(self, row: VllmRow) -> TokenRule:
        return self._rules[row.intervention]

    def _row_salts(self, rows: Sequence[VllmRow]) -> list[str | None]:
        """The salt of each row; None where nothing is steered.

        Where a rule steers everything, the keys and values of a text's beginning depend on the intervention alone.
        Otherwise they depend on where the prompt ends, too, if the beginning reaches so far: a row whose prompt is the
        beginning of another one's gets a salt of its own length, and earlier calls are forgotten. So does each row
        whose rule counts farther than the last token from the end of the prompt. Interventions that
        leave beginnings alone have salts of their own, too: vLLM keeps whole pages of keys and values by their tokens
        and salt, and the page that holds the end of a prompt is steered.
        """
        if not self._steers:
            return [None] * len(rows)
        steered = [self.interventions[row.intervention].acts for row in rows]
        salts = [
            self.interventions[row.intervention].fingerprint if acts else None
            for row, acts in zip(rows, steered, strict=True)
        ]
        ending = [acts and self._rule(row).needs_prompt for row, acts in zip(rows, steered, strict=True)]
        if not any(ending):
            return salts
        self.llm.reset_prefix_cache()
        prompts = sorted({tuple(row.tokens[: row.prompt]) for row in rows})
        inner = {short for short, longer in pairwise(prompts) if longer[: len(short)] == short}
        return [
            f"{salt}:{row.prompt}"
            if ends and (self._rule(row).own > 1 or tuple(row.tokens[: row.prompt]) in inner)
            else salt
            for salt, row, ends in zip(salts, rows, ending, strict=True)
        ]

    # Counting

    def _forget(self) -> None:
        count = len(self.interventions)
        self._implied = np.zeros(count, dtype=np.int64)
        self._corrections = np.zeros(count, dtype=np.int64)
        self._applied = dict.fromkeys(self._places, 0)
        self._acts = np.zeros((count, len(self._places)), dtype=np.int64)
        for number, one in enumerate(self.interventions):
            for edit in one.edits:
                self._acts[number, self._places.index(edit.place)] = edit.acts

    def _count(self, row: VllmRow, run: int, tokens: Sequence[int], output: RequestOutput) -> None:
        """Count what a row implies, of whose tokens so many are run, and what the cache spared of it."""
        if not self._steers or not self.interventions[row.intervention].acts:
            return
        rule = self._rule(row)
        self._implied[row.intervention] += rule.count(row.prompt, run, tokens)
        self._corrections[row.intervention] += rule.count(row.prompt, output.num_cached_tokens or 0, tokens)

    def _end(self, needed: list[int]) -> None:
        reports = self.llm.collective_rpc("steer_end", args=(needed,))
        self._corrections -= np.asarray(reports[0]["again"]) + np.asarray(reports[0]["beyond"])
        counts: dict[Place, int] = {}
        for one in reports:
            for place, count in by_place(one["applied"]).items():
                if counts.setdefault(place, count) != count:
                    raise SteeringError(
                        f"vLLM's workers steered different numbers of positions in {told(place)} ({counts[place]} "
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
