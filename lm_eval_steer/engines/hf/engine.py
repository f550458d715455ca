"""HFEngine: interventions and jobs, run by transformers (engines/protocol.py)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from lm_eval_steer.engines.application import Application
from lm_eval_steer.engines.doses import by_fingerprint
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.hf.traits import Traits
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.engines.protocol import Done, Generation, Job
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention


@dataclass(frozen=True, eq=False)
class Loaded:
    """Interventions that are loaded.

    Attributes:
        interventions: in the order of their numbers.
        steerer: whose hooks apply them.
        application: what is counted of them.
        blocks: path of the list of blocks; None where they are found by shape.
    """

    interventions: tuple[Intervention, ...]
    steerer: Steerer
    application: Application
    blocks: str | None


class HFEngine:
    """What the engines of decoders (causal.py) and of encoder-decoders (encoder_decoder.py) have in common.

    Args:
        child: the model.

    Attributes:
        traits: of the model.
        batch_size: rows of one batch; None for as many as fit into memory. Halved where memory does not suffice.
    """

    def __init__(self, child: Child) -> None:
        self.child, self.traits = child, Traits(child)
        self.batch_size: int | None = None
        self.load(())

    def load(self, interventions: Sequence[Intervention], blocks: str | None = None) -> None:
        """Take these from now on, and count from nothing: all of them or, where one is refused, those before.

        Beginnings that prompts share, and that were run under one of these before, are neither run nor measured again.

        Args:
            interventions: in the order of their numbers.
            blocks: where the blocks are, if they cannot be found by shape.

        Raises:
            SteeringError: where one does not fit the model, or the model is not causal.
        """
        steerer = Steerer(self.child.model, interventions, blocks, lambda: self.child.tokenizer)
        if steerer.acts:
            self._check_model()
        application = Application(interventions, lambda: steerer.applied, steerer.sites.rules)
        self._adopt(Loaded(tuple(interventions), steerer, application, blocks))

    def run(self, jobs: Sequence[Job]) -> Generator[Done, None, None]:
        """Do jobs, in any order; each comes back once, as soon as it is done.

        Between two of them the model has no hooks, so that others may use it.

        Raises:
            SteeringError: for a job that cannot be done, where one does not come back, and where other positions were
                steered than prompts, responses and token rules imply.
        """
        application, came, known = self._loaded.application, 0, len(self._loaded.interventions)
        if strange := [job.intervention for job in jobs if not 0 <= job.intervention < known]:
            raise SteeringError(f"a job names intervention {strange[0]}, and {known} are loaded: load it first")
        try:
            with closing(self._run(jobs)) as work:
                for done in work:
                    came += 1
                    yield done
            if came != len(jobs):
                raise SteeringError(
                    f"of {len(jobs)} jobs that the engine was given it brought {came} back: the results of this run "
                    "are void; start it again"
                )
        except BaseException:
            application.not_compared = application.not_compared or "a run under this steering did not come to its end"
            raise
        application.check()

    def measured(self) -> Measured:
        """What was measured since `load`."""
        now = self._loaded
        return now.application.measured(by_fingerprint(now.steerer.doses.sums(), now.interventions))

    def _run(self, jobs: Sequence[Job]) -> Generator[Done, None, None]:
        groups: dict[str, list[Job]] = {}
        names: dict[int, str] = {}  # of arguments that many jobs have
        for job in jobs:
            if job.generation is not None:
                groups.setdefault(names.setdefault(id(job.generation), repr(job.generation)), []).append(job)
        for group in groups.values():
            generation = group[0].generation
            assert generation is not None
            yield from self._write(group, generation)
        scored = [job for job in jobs if job.generation is None]
        if scored:
            yield from self._score(scored)

    # What a kind of model brings

    def _check_model(self) -> None:
        """Refuse a model that cannot be steered."""

    def _adopt(self, loaded: Loaded) -> None:
        """Let what was loaded take the place of what was before."""
        self._loaded = loaded

    def _write(self, jobs: Sequence[Job], generation: Generation) -> Iterator[Done]:
        """Continue prompts that have the same arguments, each as if it were alone."""
        raise NotImplementedError

    def _score(self, jobs: Sequence[Job]) -> Iterator[Done]:
        """Score continuations."""
        raise NotImplementedError
