"""VllmEngine: interventions and jobs, run by one vLLM engine or several that share them (engines/protocol.py).

vLLM runs an engine in a process beside this one, which hands it rows and takes what it wrote. So no threads are needed:
each engine works while another's outputs are read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import pairwise, zip_longest
from typing import Any, TypeVar

from tqdm import tqdm
from vllm import RequestOutput, SamplingParams, TokensPrompt

from lm_eval_steer.engines.measured import Measured, add_up
from lm_eval_steer.engines.protocol import Done, Job
from lm_eval_steer.engines.vllm.arguments import sampling
from lm_eval_steer.engines.vllm.check import Checks
from lm_eval_steer.engines.vllm.rows import RowRunner, Steps, VllmRow
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention

T = TypeVar("T")


class VllmEngine:
    """Runs jobs of one model.

    Args:
        runners: one per vLLM engine, all of the same model.
        checks: show, before the first job, that steering acts as it should.

    Attributes:
        cached: whether scored rows may read the prefix cache.
    """

    def __init__(self, runners: Sequence[RowRunner], checks: Checks) -> None:
        self.runners = list(runners)
        self.cached = True
        self._checks = checks
        self._loaded: tuple[tuple[Intervention, ...], str | None] = ((), None)

    def load(self, interventions: Sequence[Intervention], path: str | None = None) -> None:
        """Take these from now on, and count from nothing: all of them or, where one is refused, those before.

        What is new of them (blocks, operators, units) is checked first.

        Args:
            interventions: in the order of their numbers.
            path: of the list of blocks, where they cannot be found by shape.

        Raises:
            SteeringError: where one does not fit the model, or steering does not act as it should.
        """
        try:
            self._checks.run(self.runners, interventions, path)
            for runner in self.runners:
                runner.load(interventions, path)
        except BaseException:
            with suppress(Exception):  # of an engine that is gone
                for runner in self.runners:
                    runner.load(*self._loaded)
            raise
        self._loaded = tuple(interventions), path

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        """Do jobs, in any order; each comes back once, as soon as it is done.

        Raises:
            SteeringError: for a job that cannot be done, and where one does not come back.
        """
        known = len(self._loaded[0])
        if strange := [job.intervention for job in jobs if not 0 <= job.intervention < known]:
            raise SteeringError(f"a job names intervention {strange[0]}, and {known} are loaded: load it first")
        yield from self._write([job for job in jobs if job.generation is not None])
        yield from self._score([job for job in jobs if job.generation is None])

    def measured(self) -> Measured:
        """What was measured since `load`, by all engines."""
        return add_up(runner.measured() for runner in self.runners)

    def run_plainly(self, rows: Sequence[VllmRow]) -> Iterator[tuple[int, RequestOutput]]:
        """Hand on what vLLM makes of every row, while nothing is steered."""
        yield from self._share([runner.run_plainly for runner in self.runners], rows)

    def _write(self, jobs: Sequence[Job]) -> Iterator[Done]:
        rows = []
        for job in jobs:
            told = job.generation
            assert told is not None
            drawn = {} if job.seed is None else {"seed": job.seed}
            params = sampling(
                max_tokens=told.new_tokens, stop=list(told.stop), logprobs=0, **(dict(told.arguments) | drawn)
            )
            rows.append(VllmRow(job.prompt, len(job.prompt), job.intervention, params, told.visible))
        for number, came in self._share([runner.generate for runner in self.runners], rows):
            yield Done(jobs[number], tokens=came.tokens, text=came.text, logprob=came.logprob, stop=came.stop)

    def _score(self, jobs: Sequence[Job]) -> Iterator[Done]:
        rows, owners = [], []
        for place, job in enumerate(jobs):
            for choice, (context, continuation) in enumerate(job.pairs):
                rows.append(VllmRow(context + continuation, len(context), job.intervention))
                owners.append((place, choice))
        found: list[dict[int, tuple[float, bool]]] = [{} for _ in jobs]

        def run(runner: RowRunner) -> Any:
            return lambda part: runner.score(part, self.cached)

        for number, score in self._share([run(runner) for runner in self.runners], rows):
            place, choice = owners[number]
            found[place][choice] = score
            if len(found[place]) == len(jobs[place].pairs):
                yield Done(jobs[place], scores=[found[place][one] for one in range(len(found[place]))])

    def _share(self, runs: Sequence[Any], rows: Sequence[VllmRow]) -> Iterator[tuple[int, Any]]:
        """Rows dealt to the engines; number and outcome of each, as it gets done."""
        steps = []
        for run, part in zip(runs, deal(rows, len(self.runners)), strict=True):
            steps.append(_placed(run([rows[number] for number in part]), part))
        yield from take_turns(steps)


class Together:
    """What the harness's VLLM asks of its `vllm.LLM`, of several: its own path, where nothing is steered."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine
        self.llm_engine = engine.runners[0].llm.llm_engine

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
            for number, output in self._engine.run_plainly(rows):
                outputs[number] = output
                progress.update()
        return [outputs[number] for number in range(len(rows))]

    def reset_prefix_cache(self) -> None:
        """`LLM.reset_prefix_cache`, of every engine."""
        for runner in self._engine.runners:
            runner.llm.reset_prefix_cache()


def deal(rows: Sequence[VllmRow], count: int) -> list[list[int]]:
    """The numbers of the rows of each of `count` engines: equally many, give or take one, in order of intervention.

    Rows of one intervention share the keys and values of their prompts' beginning, which so is run once more at most
    for each further engine.
    """
    order = sorted(range(len(rows)), key=lambda number: rows[number].intervention)
    cuts = [len(rows) * part // count for part in range(count + 1)]
    return [order[start:end] for start, end in pairwise(cuts)]


def take_turns(runs: Sequence[Steps[T]]) -> Iterator[tuple[int, T]]:
    """Run until all are done, a step of each in turn; where one fails, or nobody asks on, the others are ended, too."""
    with ExitStack() as stack:
        for run in runs:
            if isinstance(run, Generator):
                stack.enter_context(closing(run))
        for together in zip_longest(*runs):
            for came in together:
                yield from came or ()


def _placed(steps: Steps[T], places: Sequence[int]) -> Steps[T]:
    """Steps whose rows have the numbers that `places` gives theirs."""
    try:
        for came in steps:
            yield [(places[number], one) for number, one in came]
    finally:
        if isinstance(steps, Generator):
            steps.close()
