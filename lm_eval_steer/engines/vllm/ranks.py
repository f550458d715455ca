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
WAIT = timedelta(hours=1)
"""So long the ranks wait for the last one."""
_MEETINGS: list[Meeting] = []
"""That of this process, once it has joined the others."""


class Meeting:
    """Where the ranks of a run wait for one another, before each of their exchanges.

    Args:
        store: what they share.
        rank, size: this one's number, of how many.
    """

    def __init__(self, store: dist.Store, rank: int, size: int) -> None:
        self._store, self._rank, self._size = store, rank, size
        self._number = 0

    def wait(self) -> None:
        """Come back when all ranks are here.

        Raises:
            SteeringError: names those that have not come in time.
        """
        self._number += 1
        keys = [f"{self._number}/{rank}" for rank in range(self._size)]
        try:
            self._store.set(keys[self._rank], "here")
            self._store.wait(keys, WAIT)
        except RuntimeError:  # torch's DistError, of which PyTorch 2.6 has few names
            raise _missing(self._rank, self._size, [n for n, key in enumerate(keys) if not self._has(key)]) from None

    def _has(self, key: str) -> bool:
        try:
            return self._store.check([key])
        except RuntimeError:  # rank 0 holds the store
            return not key.endswith("/0")


def _missing(rank: int, size: int, missing: list[int]) -> SteeringError:
    named = f"rank{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"
    return SteeringError(
        f"rank {rank} of {size} waited {WAIT.total_seconds():g} s at most for {named} in vain: see what the output of "
        "the missing ends with, and start again with the same record, which keeps the responses"
    )


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
        """Meet the other processes.

        Raises:
            SteeringError: names those that have not come in time.
        """
        if self.size == 1 or dist.is_initialized():
            return
        environment = os.environ
        # torchrun holds the store itself, where a rank that it starts again must not find the marks of the one before.
        holds = self.rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        place = environment.get("MASTER_ADDR", "localhost"), int(environment.get("MASTER_PORT", "29500"))
        try:
            shared = dist.TCPStore(*place, is_master=holds, timeout=WAIT, wait_for_workers=False)
        except RuntimeError:
            raise _missing(self.rank, self.size, [0]) from None
        store = dist.PrefixStore(f"lm_eval_steer/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}", shared)
        meeting = Meeting(dist.PrefixStore("meeting", store), self.rank, self.size)
        meeting.wait()
        dist.init_process_group("gloo", store=store, rank=self.rank, world_size=self.size, timeout=WAIT)
        _MEETINGS.append(meeting)

    def _meet(self) -> None:
        for meeting in _MEETINGS:
            meeting.wait()

    def all_gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, one behind the other, as accelerate's `gather` has them."""
        if self.size == 1:
            return tensor
        self._meet()
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor)
        return torch.cat([one.reshape(1) if one.dim() == 0 else one for one in found])

    def gather_object(self, item: Any, dst: int) -> list[Any] | None:
        """The objects of all ranks, on rank `dst`; None on others."""
        if self.size == 1:
            return [item]
        self._meet()
        found: list[Any] | None = [None] * self.size if self.rank == dst else None
        dist.gather_object(item, found, dst=dst)
        return found

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            self._meet()
            dist.barrier()
