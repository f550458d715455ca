"""Jobs of the axis in the batches in which vLLM is asked, and where nothing is done to a model in VLLM's own order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from lm_eval_steer.axis.items import Asked
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.engines.protocol import Done, Engine, Job
from lm_eval_steer.interventions.intervention import Intervention


class InBatches:
    """Has an engine do jobs, some at a time.

    Args:
        engine: does them.
        batches: makes batches of rows, by the number of positions of each whose log-probabilities are asked for.
        plain: whether rows go in the order in which VLLM asks, so that its batches and texts are the same.
    """

    def __init__(self, engine: Engine, batches: Callable[[Sequence[int]], list[list[int]]], plain: bool) -> None:
        self._engine, self._batches, self._plain = engine, batches, plain

    def load(self, interventions: Sequence[Intervention], blocks: str | None = None) -> None:
        """As the engine."""
        self._engine.load(interventions, blocks)

    def measured(self) -> Measured:
        """As the engine."""
        return self._engine.measured()

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        """Do jobs (engines/protocol.py); each continuation is a row of its own."""
        texts = [job for job in jobs if job.generation is not None]
        if self._plain:
            texts.sort(key=lambda job: (-len(job.prompt), _prompt(job)))
        for batch in self._batches([0] * len(texts)):
            yield from self._engine.run([texts[number] for number in batch])
        yield from self._score([job for job in jobs if job.generation is None])

    def _score(self, jobs: Sequence[Job]) -> Iterator[Done]:
        rows = [
            Job((job, place), job.intervention, pairs=(pair,)) for job in jobs for place, pair in enumerate(job.pairs)
        ]
        tokens = {row: context + continuation for row in rows for context, continuation in row.pairs}
        if self._plain:
            rows.sort(key=lambda row: (-len(tokens[row]), tokens[row]))
        found: dict[Job, dict[int, tuple[float, bool]]] = {job: {} for job in jobs}
        for batch in self._batches([len(tokens[row]) for row in rows]):
            for done in self._engine.run([rows[number] for number in batch]):
                job, place = done.job.key
                found[job][place] = (done.scores or [])[0]
                if len(found[job]) == len(job.pairs):
                    yield Done(job, scores=[found[job][one] for one in range(len(job.pairs))])


def _prompt(job: Job) -> str:
    assert isinstance(job.key, Asked)
    return str(job.key.item.question.parts[0])
