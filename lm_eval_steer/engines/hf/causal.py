"""CausalEngine: jobs as rows of batches, for models without an encoder."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from functools import partial

from lm_eval_steer.engines.hf.arguments import GenerationArguments, understand
from lm_eval_steer.engines.hf.batches import run_in_batches, share_out
from lm_eval_steer.engines.hf.beginnings import Beginnings
from lm_eval_steer.engines.hf.engine import HFEngine, Loaded
from lm_eval_steer.engines.hf.memory import bytes_to_keep
from lm_eval_steer.engines.hf.prefix import Prefixes
from lm_eval_steer.engines.hf.score import Scorer
from lm_eval_steer.engines.hf.stops import Stops
from lm_eval_steer.engines.hf.write import leave_to_transformers, write
from lm_eval_steer.engines.protocol import Done, Generation, Job

logger = logging.getLogger(f"lm_eval.{__name__}")


class CausalEngine(HFEngine):
    """The engine of a decoder.

    Args:
        child: the model.
    """

    _told: frozenset[str] = frozenset()
    _prefixes: Prefixes | None = None

    def _check_model(self) -> None:
        self.traits.require_causal()

    def _adopt(self, loaded: Loaded) -> None:
        if self._prefixes is None:
            self._prefixes = Prefixes(partial(bytes_to_keep, self.child.device))
        self._loaded = loaded
        self._beginnings = Beginnings(self.traits, loaded.steerer, self._prefixes, loaded.blocks)

    def _short(self) -> None:
        """Memory did not hold a batch."""
        self._beginnings.prefixes.drop()
        self._loaded.application.not_compared = "rows that memory did not hold were run again"

    def _write(self, jobs: Sequence[Job], generation: Generation) -> Iterator[Done]:
        child, traits, application = self.child, self.traits, self._loaded.application
        asked = understand(child, generation.arguments, generation.new_tokens, self._loaded.steerer.acts)
        stops = Stops(child.tokenizer, generation.stop, asked.stop_strings)
        prompts, numbers = [job.prompt for job in jobs], [job.intervention for job in jobs]
        order = sorted(range(len(jobs)), key=lambda i: (-len(prompts[i]), prompts[i], i))
        longest = max(len(prompt) + asked.limit(len(prompt)) for prompt in prompts)
        self._beginnings.learn(prompts)  # before memory is measured: it lets others go
        size = 1 if traits.mixes_tokens else self.batch_size or traits.rows_that_fit(longest, read=1)
        reason = self._against_our_loop(asked)
        if (
            reason
            and size > 1
            and (asked.is_for_one_row or not traits.heeds_padding or any(job.seed is not None for job in jobs))
        ):
            size = 1  # or a row would depend on the others of its batch
        if reason and reason not in self._told:
            self._told |= {reason}
            logger.info("Prompts are run whole, and a batch until its last row has finished: %s", reason)

        def run(batch: list[int]) -> Generator[tuple[int, list[Done]], None, None]:
            those = [jobs[number] for number in batch]
            if reason:
                application.not_compared = application.not_compared or "the loop of transformers runs finished rows on"
                came = leave_to_transformers(child, self._loaded.steerer, those, stops, asked, generation.visible)
            else:
                came = write(traits, self._loaded.steerer, self._beginnings, those, stops, asked, generation.visible)
            for place, generated in came:
                job = those[place]
                positions = application.positions(
                    job.intervention, len(job.prompt), len(generated.tokens), job.prompt + generated.tokens
                )
                application.imply(job.intervention, positions)
                yield batch[place], [generated.done(job)]

        parts = self._beginnings.parts(prompts, numbers, order)
        batches = [batch for part in parts for batch in share_out(part, size)]
        yield from run_in_batches(batches, run, self._short)

    def _against_our_loop(self, asked: GenerationArguments) -> str:
        """Why rows are left to transformers' own loop; empty where ours runs them."""
        name, traits = self.child.name, self.traits
        if asked.beams > 1:
            return f"{{'num_beams': {asked.beams}}} makes several texts of a row"
        if asked.other_cache:
            return f"cache_implementation={asked.other_cache!r} is a cache that only transformers' own loop knows"
        if not traits.mixes_tokens and not traits.heeds_padding:
            return f"padding changes what {name} writes, so that each row is a batch of its own"
        if not traits.takes_positions:
            return f"{name} counts positions itself"
        if not traits.continues:
            return f"{name} keeps more than keys and values"
        return ""

    def _score(self, jobs: Sequence[Job]) -> Iterator[Done]:
        scorer = Scorer(self.traits, self._loaded.steerer, self._loaded.application, self._beginnings, jobs)
        size = (1 if self.traits.mixes_tokens else self.batch_size) or scorer.rows_that_fit()
        batches = [batch for part in scorer.parts() for batch in share_out(part, size)]
        yield from run_in_batches(batches, scorer.run, self._short)
