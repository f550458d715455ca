"""The engine that has only the record: what was asked for before is told again, and nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.engines.protocol import Done, Job
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention


class RecordEngine:
    """Does no job: the axis finds all responses in the record, or the replay is refused.

    Args:
        record: folder of the record, for messages; None where there is none.
    """

    def __init__(self, record: str | None) -> None:
        self._record = record

    def load(self, interventions: Sequence[Intervention], blocks: str | None = None) -> None:
        """Take any: none of them is run."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        """Refuse whatever is asked.

        Raises:
            SteeringError: for any job.
        """
        if jobs:
            where = "a replay without a record" if self._record is None else f"the record {self._record}"
            raise SteeringError(f"{where} lacks {len(jobs)} of the responses that are asked for: run them first")
        return iter(())

    def measured(self) -> Measured:
        """Nothing: nothing is run."""
        return Measured()
