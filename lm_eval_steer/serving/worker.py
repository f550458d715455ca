"""vLLM's worker, which steers: given to it as `worker_cls`, vLLM's own place for a worker of somebody else's."""

from __future__ import annotations

from typing import Any

from lm_eval_steer.engines.vllm.served import ServedRunner
from lm_eval_steer.engines.vllm.versions import Runner, platform_worker
from lm_eval_steer.serving.settings import vectors_of

_Worker: Any = platform_worker()[0]


class SteeringWorker(_Worker):
    """The platform's worker; its vectors are read when it loads the model, and checked before the first request."""

    def load_model(self, **kwargs: Any) -> None:
        """As vLLM's."""
        super().load_model(**kwargs)
        vectors = vectors_of(self.vllm_config)
        assert vectors is not None
        self._served = ServedRunner(Runner(self.model_runner), vectors.interventions, vectors.model.blocks)

    def compile_or_warm_up_model(self) -> Any:
        """As vLLM's, which calls it last of all before it serves."""
        found = super().compile_or_warm_up_model()
        self._served.check()
        return found
