"""Several processes of one run on vLLM, as `accelerate launch` and torchrun start them, each with engines of its own.

The harness gives every rank documents of its own and gathers their results through its model (lm_eval/api/model.py:
`rank`, `world_size`, `all_gather`, `gather_object`, `barrier`). HFLM brings these, its VLLM does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lm_eval_steer.errors import SteeringError

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher tells its processes."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run, or an engine among theirs.

    Attributes:
        rank, size: its number, of how many.
        local_rank, local_size: the same among those of this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def found(cls, environment: Mapping[str, str], engines: int = 1) -> Ranks:
        """What a launcher says; one process where there is none.

        Args:
            environment: of this process.
            engines: how many each process has.

        Raises:
            SteeringError: where vLLM would run an engine inside this process, which belongs to another group then.
        """
        rank, size, local_rank, local_size = (
            int(environment.get(name, default))
            for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
        )
        if size * engines > 1 and environment.get("VLLM_ENABLE_V1_MULTIPROCESSING", "1") == "0":
            raise SteeringError(
                f"{size * engines} engines share the documents, and each needs a process of its own: unset "
                "VLLM_ENABLE_V1_MULTIPROCESSING"
            )
        return cls(rank, size, local_rank, local_size)

    def engine(self, number: int, count: int) -> Ranks:
        """One of the `count` engines of this process, among those of all."""
        return Ranks(
            *(self.rank * count + number, self.size * count),
            *(self.local_rank * count + number, self.local_size * count),
        )

    @contextmanager
    def alone(self, devices: int) -> Iterator[None]:
        """Start an engine that takes itself for the only one.

        Args:
            devices: how many GPUs it takes; where the machine has any, each of its engines gets others.
        """
        if self.size == 1:
            yield
            return
        hidden = (*_NAMES, _VISIBLE)
        before = {name: os.environ[name] for name in hidden if name in os.environ}
        for name in _NAMES:
            os.environ.pop(name, None)
        if torch.cuda.device_count():
            os.environ[_VISIBLE] = self.devices(before.get(_VISIBLE), torch.cuda.device_count(), devices)
        try:
            yield
        finally:
            for name in hidden:
                os.environ.pop(name, None)
            os.environ.update(before)

    def devices(self, visible: str | None, count: int, each: int) -> str:
        """This engine's share of the GPUs.

        Args:
            visible: names of those that may be used, as in CUDA_VISIBLE_DEVICES; None for all.
            count: how many there are.
            each: how many an engine takes.

        Raises:
            SteeringError: where they do not suffice.
        """
        names = visible.split(",") if visible else [str(number) for number in range(count)]
        if self.local_size * each > len(names):
            raise SteeringError(
                f"{self.local_size} engines of {each} GPUs each want {self.local_size * each}, and this machine "
                f"shows {len(names)}: start fewer"
            )
        return ",".join(names[self.local_rank * each : (self.local_rank + 1) * each])

    def join(self) -> None:
        """Meet the other processes. Results are gathered when the slowest is done, however long that takes."""
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=timedelta(weeks=52))

    def all_gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, one behind the other, as accelerate's `gather` has them."""
        if self.size == 1:
            return tensor
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor)
        return torch.cat([one.reshape(1) if one.dim() == 0 else one for one in found])

    def gather_object(self, item: Any, dst: int) -> list[Any] | None:
        """The objects of all ranks, on rank `dst`; None on others."""
        if self.size == 1:
            return [item]
        found: list[Any] | None = [None] * self.size if self.rank == dst else None
        dist.gather_object(item, found, dst=dst)
        return found

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()
