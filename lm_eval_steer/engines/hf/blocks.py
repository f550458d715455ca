"""Finding the decoder blocks of a transformers model by their shape, whatever the family calls them."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.identity import Identity


def base_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model under a PEFT wrapper, or the model itself."""
    wrapper: Any = model
    return wrapper.get_base_model() if hasattr(model, "get_base_model") else wrapper


def decoder(model: nn.Module) -> PreTrainedModel:
    """The transformers model without its head, whose logits of every position would dwarf everything else."""
    without_head: Any = base_model(model).base_model
    return without_head


def text_config(model: nn.Module) -> Any:
    """The configuration of the language model (the text part, where a model has several; of two, the decoder's)."""
    config = base_model(model).config
    return config.get_text_config(decoder=True) if config.is_encoder_decoder else config.get_text_config()


def hidden_size(model: nn.Module) -> int:
    """Width of the residual stream."""
    size = getattr(text_config(model), "hidden_size", None)
    if not isinstance(size, int):
        raise SteeringError(f"the configuration of {type(base_model(model)).__name__} names no hidden_size")
    return size


def identity_of(model: nn.Module) -> Identity:
    """Which model it is, by its configuration: of one that was made without a checkpoint, its architecture alone."""
    config = base_model(model).config
    return Identity(config.name_or_path or None, getattr(config, "_commit_hash", None), text_config(model).model_type)


def find_blocks(model: nn.Module, path: str | None = None) -> list[nn.Module]:
    """The decoder blocks of `model`, in order.

    They are the one list of modules that is as long as the configuration's `num_hidden_layers` (of an encoder-decoder:
    that lies in the decoder), does not lie inside another such list, and whose modules hold a parameter of the residual
    stream's width. `path`, relative to the transformers model (`model.layers`), overrides the search.

    Raises:
        SteeringError: names the `blocks` argument, when there is no such list or more than one.
    """
    base = base_model(model)
    lists = {name: module for name, module in base.named_modules() if isinstance(module, nn.ModuleList) and len(module)}
    if path is not None:
        if path not in lists:
            raise SteeringError(
                f"blocks={path!r} is not a list of modules of the model; it has: {', '.join(lists) or 'none'}"
            )
        return list(lists[path])
    width = hidden_size(model)
    if base.config.is_encoder_decoder:
        inside = set(base.get_decoder().modules())
        wanted, fits = "of the decoder", lambda blocks: blocks in inside
    else:
        depth = getattr(text_config(model), "num_hidden_layers", None)
        wanted, fits = f"of {depth} modules", lambda blocks: len(blocks) == depth
    found = [name for name, blocks in lists.items() if fits(blocks) and all(_spans(b, width) for b in blocks)]
    outer = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    if len(outer) != 1:
        raise SteeringError(
            f"cannot tell the decoder blocks of {type(base).__name__}: {len(outer)} lists {wanted} of width "
            f"{width}; set blocks= to one of: {', '.join(lists) or 'none'}"
        )
    return list(lists[outer[0]])


def block_path(model: nn.Module) -> str:
    """Where the blocks of `find_blocks` are in the model without its head, as in `layers` or `h`."""
    blocks = find_blocks(model)
    lists = {name: module for name, module in decoder(model).named_modules() if isinstance(module, nn.ModuleList)}
    return next(name for name, module in lists.items() if list(module) == blocks)


def _spans(block: nn.Module, width: int) -> bool:
    """Whether a block has weights of a width; packed ones (quantised to a few bits) only say for how many numbers."""
    sizes = (getattr(module, name, None) for module in block.modules() for name in ("in_features", "out_features"))
    tensors = (*block.parameters(), *block.buffers())
    return width in sizes or any(width in tensor.shape for tensor in tensors)
