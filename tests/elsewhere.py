"""Devices that this machine has not, played on the CPU: tensors that say they are there and refuse to be mixed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

CPU = torch.device("cpu")
_DEVICE_OF = torch.Tensor.device.__get__  # type: ignore[attr-defined]
_MOVES = {torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.copy_, torch.Tensor.type}


class Elsewhere(TorchFunctionMode):
    """While it is entered, tensors may be moved to these devices, and operations hold tensors of one device each.

    Args:
        devices: those that are played.

    Attributes:
        made: how many tensors came into being on each.
    """

    def __init__(self, *devices: str) -> None:
        super().__init__()
        self._devices = {torch.device(device) for device in devices}
        self._at = WeakTensorKeyDictionary()
        self.made = dict.fromkeys(self._devices, 0)

    def put(self, tensors: Iterable[Tensor], device: str) -> None:
        """Say where tensors are, as those of a model are somewhere from the start."""
        for tensor in tensors:
            self._at[tensor] = torch.device(device)

    def place(self, module: nn.Module, device: str) -> None:
        """Put a module there, and move what it is called with, as accelerate's hooks do."""
        target = torch.device(device)
        self.put((*module.parameters(), *module.buffers()), device)

        def move(module: nn.Module, args: Any, kwargs: Any) -> Any:
            return tree_map(lambda v: v.to(target) if isinstance(v, Tensor) else v, (args, kwargs))

        module.register_forward_pre_hook(move, with_kwargs=True)

    def where(self, tensor: Tensor) -> torch.device:
        return self._at.get(tensor, CPU)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == _DEVICE_OF:
            return self.where(args[0])
        given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        target = self._target(func, args, kwargs)
        if target is not None:  # a move, or a tensor made there
            args, kwargs = tree_map(lambda v: CPU if self._names(v) else v, (args, kwargs))
            source = self.where(given[0]) if given and func in _MOVES else target
            return self._settle(func(*args, **kwargs), target, fresh=source != target)
        if func in _MOVES:  # to another dtype, or in place
            return self._settle(func(*args, **kwargs), self.where(args[0]))
        places = {self.where(value) for value in given if value.dim()} or {self.where(value) for value in given}
        if len(places) > 1:
            raise RuntimeError(f"Expected all tensors to be on the same device: {func} was given {places}")
        return self._settle(func(*args, **kwargs), places.pop() if places else CPU)

    def _names(self, value: Any) -> bool:
        return isinstance(value, (torch.device, str)) and str(value) in map(str, self._devices)

    def _target(self, func: Any, args: Any, kwargs: dict[str, Any]) -> torch.device | None:
        """The device that a call names."""
        if func is torch.Tensor.cpu:
            return CPU
        named = [kwargs.get("device"), *(args[1:] if func is torch.Tensor.to else ())]
        for value in named:
            if isinstance(value, torch.device) or self._names(value) or value == "cpu":
                return torch.device(value)
            if isinstance(value, Tensor) and func is torch.Tensor.to:
                return self.where(value)
        return None

    def _settle(self, result: Any, device: torch.device, fresh: bool = False) -> Any:
        """Note where the results of an operation are."""
        if device == CPU and not fresh:
            return result

        def note(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if fresh:
                value = value.clone()
            if device.type == "mps" and value.dtype is torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it")
            if device != CPU:
                self._at[value] = device
                self.made[device] += 1
            return value

        return tree_map(note, result)
