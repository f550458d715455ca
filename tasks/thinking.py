"""The task class of this package: what a response's prompt opened counts when the response is read."""

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask, Task

from lm_eval_steer.answers import opened_thought


def whole(task: Task | None, prompt: Any, response: str) -> str:
    """A response to a request of `task`, behind the mark of the thought that the prompt left open, if it left one.

    A model with `think_end_token` has cut the thought's end away itself, so that nothing tells whether it came; and an
    API that is sent messages applies its chat template elsewhere.
    """
    metadata = getattr(task.config, "metadata", None) if task is not None else None
    cut = isinstance(metadata, dict) and metadata.get("think_end_token") is not None
    return response if cut or not isinstance(prompt, str) else opened_thought(prompt) + response


class SteerTask(ConfigurableTask):
    """A task of a YAML file whose filters see a response together with the thought that its prompt opened.

    Many chat templates end in `<think>`. A response that was cut before that thought ended holds no mark of it, and
    read alone it would look like an answer.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def apply_filters(self) -> list[Instance] | None:
        """As the harness's, over `whole` responses; what is logged stays as the model wrote it."""
        if self.OUTPUT_TYPE != "generate_until":
            return super().apply_filters()
        kept = [instance.resps for instance in self._instances]
        for instance in self._instances:
            instance.resps = [whole(self, instance.args[0], response) for response in instance.resps]
        try:
            return super().apply_filters()
        finally:
            for instance, responses in zip(self._instances, kept, strict=True):
                instance.resps = responses
