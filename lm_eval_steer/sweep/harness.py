"""What `lm_eval` takes beside a model, and a sweep takes with the same meaning: seeds, shots, prompts, generation."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lm_eval_steer.errors import SteeringError

SEEDS: tuple[int | None, ...] = (0, 1234, 1234, 1234)
"""The harness's own of random, numpy, torch and few-shot samplers, where its command is given none."""

LAST_SEED = 2**32 - 1
"""The last that numpy takes."""

Seeds = int | Sequence[int | None] | None
RandomState = tuple[Any, Any, Any]
"""Of the generators of python, numpy and torch."""


@dataclass(frozen=True)
class HarnessArgs:
    """How tasks are asked, as `lm_eval`'s options of these names say; the defaults are those of its command.

    Attributes:
        apply_chat_template: True, or the name of a template.
        fewshot_as_multiturn: shots as turns of a conversation; by default where there is a chat template.
        system_instruction: put before every prompt.
        num_fewshot: in place of a task's own number of shots, except where a task says 0.
        gen_kwargs: go over the generation_kwargs of tasks that write texts.
        seeds: of random, numpy, torch and few-shot samplers; None leaves one as it is.
        confirm_run_unsafe_code: run tasks that execute what a model writes.
    """

    apply_chat_template: bool | str = False
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None
    num_fewshot: int | None = None
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int | None, ...] = SEEDS
    confirm_run_unsafe_code: bool = False

    @property
    def multiturn(self) -> bool | None:
        """`fewshot_as_multiturn` as the command of the harness hands it on."""
        return True if self.fewshot_as_multiturn is None and self.apply_chat_template else self.fewshot_as_multiturn

    def load(self, name: str, manager: Any) -> Any:
        """A fresh task, prepared as `simple_evaluate` does."""
        return self.load_all(name, manager)["tasks"][name]

    def load_all(self, name: str, manager: Any) -> Any:
        """What the harness's `TaskManager.load` gives for a task or group, its tasks prepared likewise."""
        import numpy as np
        import torch

        plants: tuple[Callable[[int], object], ...] = (random.seed, np.random.seed, torch.manual_seed)
        for seed, plant in zip(self.seeds, plants, strict=False):
            if seed is not None:
                plant(seed)
        loaded = manager.load([name])
        for task in loaded["tasks"].values():
            if task.get_config("output_type") == "generate_until":
                task.set_config(key="generation_kwargs", value=copy.deepcopy(dict(self.gen_kwargs)), update=True)
            own = task.get_config("num_fewshot")
            if own is None or (self.num_fewshot is not None and own != 0):
                task.set_config(key="num_fewshot", value=self.num_fewshot or 0)
            task.set_fewshot_seed(seed=self.seeds[3])
        return loaded

    def building(self, lm: Any | None) -> dict[str, Any]:
        """Arguments of a task's `build_all_requests`.

        Args:
            lm: the model, whose chat template is applied; without one, prompts have none.
        """
        templated = bool(self.apply_chat_template) and lm is not None
        return {
            "system_instruction": self.system_instruction,
            "apply_chat_template": templated,
            "fewshot_as_multiturn": self.multiturn if templated else False,
            "chat_template": lm.apply_chat_template if templated else None,  # type: ignore[union-attr]
            "tokenizer_name": lm.tokenizer_name if templated else "",  # type: ignore[union-attr]
        }

    def evaluating(self) -> dict[str, Any]:
        """Arguments of `simple_evaluate`, as the harness's command gives them."""
        names = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
        return {
            "num_fewshot": self.num_fewshot,
            "system_instruction": self.system_instruction,
            "apply_chat_template": self.apply_chat_template,
            "fewshot_as_multiturn": self.multiturn,
            "gen_kwargs": copy.deepcopy(dict(self.gen_kwargs)),
            "confirm_run_unsafe_code": self.confirm_run_unsafe_code,
            **dict(zip(names, self.seeds, strict=True)),
        }

    def settings(self) -> dict[str, Any]:
        """What of it changes an outcome, JSON-ready."""
        return {
            "apply_chat_template": self.apply_chat_template,
            "fewshot_as_multiturn": self.multiturn,
            "system_instruction": self.system_instruction,
            "num_fewshot": self.num_fewshot,
            "gen_kwargs": dict(self.gen_kwargs),
            "seed": list(self.seeds),
        }


def read_seeds(seed: Seeds) -> tuple[int | None, ...]:
    """The four seeds that `--seed` stands for: one for all, three and the default of the last, or four.

    Raises:
        SteeringError: for another number of them, and for one that no generator takes.
    """
    if seed is None:
        return SEEDS
    seeds = (seed,) * len(SEEDS) if isinstance(seed, int) else tuple(seed)
    if len(seeds) == len(SEEDS) - 1:
        seeds += SEEDS[-1:]
    wrong = [one for one in seeds if one is not None and (type(one) is not int or not 0 <= one <= LAST_SEED)]
    if wrong or len(seeds) != len(SEEDS):
        raise SteeringError(
            f"seed={seed!r} is not understood: give one whole number from 0 to {LAST_SEED}, or four for python, numpy, "
            "torch and few-shot samplers, None for one that stays unset"
        )
    return seeds


def random_state() -> RandomState:
    """The state of the generators that this process has."""
    import numpy as np
    import torch

    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def restore(state: RandomState) -> None:
    """Go back to a state of the generators."""
    import numpy as np
    import torch

    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])


def same_state(state: RandomState) -> bool:
    """Whether no generator was drawn from since that state."""
    import numpy as np
    import torch

    own, of_numpy, of_torch = random_state()
    return (
        own == state[0]
        and all(np.array_equal(one, other) for one, other in zip(of_numpy, state[1], strict=True))
        and torch.equal(of_torch, state[2])
    )
