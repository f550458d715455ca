"""Several vLLM engines that hold the same model and share the rows of a run (`data_parallel_size`).

vLLM runs an engine in a process beside this one, which hands it rows and takes what it wrote. So no threads are needed:
each engine works while another's outputs are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from itertools import pairwise, zip_longest
from typing import Any, TypeVar

from tqdm import tqdm
from vllm import RequestOutput, SamplingParams, TokensPrompt

from lm_eval_steer.engines import doses
from lm_eval_steer.engines.vllm.rows import Finished, RowRunner, Steps, VllmRow

T = TypeVar("T")


class Replicas:
    """Runs rows on one engine or more, under the steering that was loaded last.

    Args:
        engines: with the same model.
    """

    def __init__(self, engines: Sequence[RowRunner]) -> None:
        self.engines = list(engines)
        self._loaded: tuple[dict[str, Any], str, Sequence[str | None]] | None = None

    def load(self, settings: dict[str, Any], tokens: str, salts: Sequence[str | None]) -> None:
        """Steer from now on (`RowRunner.load`)."""
        for engine in self.engines:
            engine.load(settings, tokens, salts)
        self._loaded = settings, tokens, salts

    def unload(self) -> None:
        """Steer nothing."""
        for engine in self.engines:
            engine.unload()
        self._loaded = None

    @contextmanager
    def or_as_before(self) -> Iterator[None]:
        """Steer as before again, where what happens inside ends in an error."""
        before = self._loaded
        try:
            yield
        except BaseException:
            with suppress(Exception):  # of an engine that is gone
                if before is None:
                    self.unload()
                else:
                    self.load(*before)
            raise

    def doses(self) -> list[dict[str, dict[str, Any]]]:
        """What was measured, per row of the table of strengths (engines/doses.py); empty where nothing is steered."""
        if self._loaded is None:
            return []
        sums = doses.add(engine.doses() for engine in self.engines)
        return doses.report(sums, len(self._loaded[0]["strengths"]), pure=not self._loaded[0]["normalize"])

    def application(self) -> dict[str, Any] | None:
        """Proof that the steering was applied (`RowRunner.application`); None where nothing is steered."""
        if self._loaded is None:
            return None
        steered, implied = Counter[int](), Counter[int]()
        for found in (engine.application() for engine in self.engines):
            steered.update(found["steered"])
            implied.update(found["implied"])
        return {"steered": dict(steered), "implied": dict(implied)}

    def generate(self, rows: Sequence[VllmRow], finish: Callable[[int, Finished], None]) -> None:
        """Continue every row; `finish` is called with its number as soon as it is done."""
        self._share(RowRunner.generate, rows, finish)

    def score(
        self, rows: Sequence[VllmRow], finish: Callable[[int, tuple[float, bool]], None], cached: bool = True
    ) -> None:
        """Log-probability of every continuation, and whether greedy decoding would have written it."""
        self._share(partial(RowRunner.score, cached=cached), rows, finish)

    def run_plainly(self, rows: Sequence[VllmRow], finish: Callable[[int, RequestOutput], None]) -> None:
        """Hand on what vLLM makes of every row, while nothing is steered."""
        self._share(RowRunner.run_plainly, rows, finish)

    def _share(
        self,
        run: Callable[[RowRunner, Sequence[VllmRow], Callable[[int, T], None]], Steps],
        rows: Sequence[VllmRow],
        finish: Callable[[int, T], None],
    ) -> None:
        runs = []
        for engine, part in zip(self.engines, deal(rows, len(self.engines)), strict=True):

            def done(place: int, came: T, part: list[int] = part) -> None:
                finish(part[place], came)

            runs.append(run(engine, [rows[number] for number in part], done))
        take_turns(runs)


class Together:
    """What the harness's VLLM asks of its `vllm.LLM`, of several: its own path, where nothing is steered."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.llm_engine = replicas.engines[0].llm.llm_engine

    def generate(
        self, prompts: Sequence[TokensPrompt], sampling_params: Sequence[SamplingParams], use_tqdm: bool, **_: Any
    ) -> list[RequestOutput]:
        """`LLM.generate`, whose adapter the engines have."""
        rows = [
            VllmRow(prompt["prompt_token_ids"], len(prompt["prompt_token_ids"]), 0, params)
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]
        outputs: dict[int, RequestOutput] = {}
        with tqdm(total=len(rows), disable=not use_tqdm, desc="Processed prompts") as progress:

            def take(number: int, output: RequestOutput) -> None:
                outputs[number] = output
                progress.update()

            self._replicas.run_plainly(rows, take)
        return [outputs[number] for number in range(len(rows))]

    def reset_prefix_cache(self) -> None:
        """`LLM.reset_prefix_cache`, of every engine."""
        for engine in self._replicas.engines:
            engine.llm.reset_prefix_cache()


def deal(rows: Sequence[VllmRow], count: int) -> list[list[int]]:
    """The numbers of the rows of each of `count` engines: equally many, give or take one, in order of strength.

    Rows of one strength share the keys and values of their prompts' beginning, which so is run once more at most for
    each further engine.
    """
    order = sorted(range(len(rows)), key=lambda number: rows[number].strength)
    cuts = [len(rows) * part // count for part in range(count + 1)]
    return [order[start:end] for start, end in pairwise(cuts)]


def take_turns(runs: Sequence[Steps]) -> None:
    """Run until all are done, a step of each in turn; where one fails, the others are ended, too."""
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(closing(run))
        for _ in zip_longest(*runs):
            pass
