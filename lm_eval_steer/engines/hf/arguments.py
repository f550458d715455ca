"""Generation arguments, the user's and the checkpoint's, as transformers' `generate` takes them: honoured or refused.

`generate` itself is asked what it makes of them, with a loop of ours (`custom_generate`) that runs nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.generation import LogitsProcessorList, StoppingCriteriaList, StopStringCriteria

from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.processors import reads_scores_only
from lm_eval_steer.errors import SteeringError

_GIVEN = {"input_ids", "attention_mask", "use_cache", "pad_token_id"} | (
    set(inspect.signature(GenerationMixin.generate).parameters) - {"self", "kwargs"}
)
"""What `hf` hands over itself, or what is no plain value."""
_CHANGES_NO_TEXT = {
    # what else `generate` returns
    **dict.fromkeys(("return_dict_in_generate", "output_scores", "output_logits"), False),
    **dict.fromkeys(("output_attentions", "output_hidden_states"), False),
    # guesses of the next tokens, which the model confirms or not
    **dict.fromkeys(("prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp", "is_assistant")),
    # where keys and values are, and the checkpoint's limit, which each batch is told as a number of positions
    **dict.fromkeys(("cache_implementation", "cache_config", "max_new_tokens")),
}
_OTHER_CACHES = ("quantized", "offloaded", "offloaded_static")
"""The first changes texts, the others spare memory that the user has not."""
_SEARCHES = ("greedy_search", "sample", "assisted_generation", "beam_search", "beam_sample")
"""What transformers still brings; the other kinds of search are code from its hub."""
_REFUSALS = (ValueError, TypeError, AttributeError, KeyError, IndexError, ImportError, NotImplementedError, OSError)
"""What `generate` raises for arguments that it does not take."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What `generate` prepares for its loop.

    Attributes:
        model: the transformers model that the loop runs.
        ids: token ids of the prompts [rows, positions].
        config: the generation config.
        processors: of logits.
        criteria: that end texts.
        cache: of keys and values; what `generate` makes where it was given none.
    """

    model: PreTrainedModel
    ids: Tensor
    config: GenerationConfig
    processors: LogitsProcessorList
    criteria: StoppingCriteriaList
    cache: Any

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""
        ends = self.config._eos_token_tensor
        return frozenset() if ends is None else frozenset(ends.flatten().tolist())


@dataclass(frozen=True)
class GenerationArguments:
    """What the rows of one call are generated with.

    Attributes:
        told: what `generate` is told, beside prompt, limit and padding.
        beams: of a search by beams; 1 for none.
        other_cache: a way of keeping keys and values that only transformers' own loop knows; empty for none.
        reads_text: whether a row's text so far has a say in its next token (a penalty of repetitions, a least length).
        ends: tokens that end a text.
        stop_strings: criterion of strings that end a text and stay in it; None for none.
        new_tokens: limit of a row.
        whole: limit of a row with its prompt; None for none.
    """

    told: dict[str, Any]
    beams: int
    other_cache: str
    reads_text: bool
    ends: frozenset[int]
    stop_strings: StopStringCriteria | None
    new_tokens: int
    whole: int | None

    @property
    def is_for_one_row(self) -> bool:
        """Whether transformers' own loop would let a row depend on the others of its batch, or on its padding."""
        strict = self.beams > 1 or self.reads_text or self.other_cache == "quantized"
        return strict or self.stop_strings is not None or self.whole is not None

    def limit(self, prompt: int) -> int:
        """How many tokens a row may write after a prompt of so many.

        Raises:
            SteeringError: for none.
        """
        if self.whole is None:
            return self.new_tokens
        if self.whole <= prompt:
            raise SteeringError(
                f"max_length={self.whole} leaves nothing to be written after a prompt of {prompt} tokens: give "
                "max_gen_toks in its place"
            )
        return self.whole - prompt


def refuse_several(child: Child, arguments: Mapping[str, Any]) -> None:
    """Refuse what makes several texts of a prompt, of which the harness takes one.

    Raises:
        SteeringError: names the argument.
    """
    several = arguments.get("num_return_sequences", _checkpoint(child).num_return_sequences)
    if several not in (None, 1):
        raise SteeringError(
            f"num_return_sequences={several} gives {several} texts of a prompt, and the harness takes 1: set it to 1 "
            "(a task's `repeats` asks several times)"
        )


def understand(child: Child, arguments: Mapping[str, Any], new_tokens: int, steers: bool) -> GenerationArguments:
    """Generation arguments as an engine needs them.

    Args:
        child: the model.
        arguments: what the harness's own model would hand to `generate`, without `until` and the limit of new tokens.
        new_tokens: that limit.
        steers: whether the model is steered.

    Raises:
        SteeringError: for what has no meaning here, or in transformers.
    """
    refuse_several(child, arguments)
    if given := sorted(_GIVEN & arguments.keys()):
        raise SteeringError(f"{given[0]} in the generation arguments is set by steered-hf itself: leave it out")
    if arguments.get("cache_implementation") == "paged":
        raise SteeringError("cache_implementation='paged' is another engine, which knows no stop strings: leave it out")
    if new_tokens < 1:
        raise SteeringError(f"max_gen_toks={new_tokens} lets nothing be written: give 1 or more")
    for name, kind, least in (("max_length", int, 1), ("num_beams", int, 1), ("max_time", (int, float), 0)):
        value = arguments.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind) or not value >= least):
            raise SteeringError(f"{name}={value!r} in the generation arguments is no number of {least} or more")
    strings = arguments.get("stop_strings", _checkpoint(child).stop_strings)
    told = {name: value for name, value in arguments.items() if name != "max_length"} | {"stop_strings": None}
    cache = arguments.get("cache_implementation", _checkpoint(child).cache_implementation)
    if child.device.type == "cpu" and str(cache).startswith("offloaded"):  # keys and values are where it would put them
        told["cache_implementation"] = None
    try:
        one = torch.tensor([[child.prefix]], device=child.device)
        made = prepare(child, one, torch.ones_like(one), {"max_length": 1 + new_tokens} | told)
        criterion = StopStringCriteria(child.tokenizer, strings) if strings else None
    except _REFUSALS as error:
        raise SteeringError(
            f"transformers refuses the generation arguments {dict(arguments)}: {' '.join(str(error).split())}"
        ) from None
    config = made.config
    search = config.get_generation_mode()
    if search not in _SEARCHES:
        raise SteeringError(
            f"the generation arguments {dict(arguments)} and the checkpoint's ask for {search.value}, which "
            "transformers does not bring any more: leave out what asks for it"
        )
    if config.guidance_scale not in (None, 1) and steers:
        raise SteeringError(
            f"guidance_scale={config.guidance_scale} runs the model on a second text, of which nobody has said where "
            "to steer it: set guidance_scale=1"
        )
    if getattr(config, "assistant_ensemble_weight", None) is not None:
        raise SteeringError(
            f"assistant_ensemble_weight={config.assistant_ensemble_weight} mixes another model into the steered one: "
            "leave it out"
        )
    known = GenerationConfig()
    told |= {name: value for name, value in _CHANGES_NO_TEXT.items() if hasattr(known, name)}
    other_cache = config.cache_implementation if config.cache_implementation in _OTHER_CACHES else ""
    if other_cache:
        told |= {"cache_implementation": other_cache, "cache_config": config.cache_config}
    return GenerationArguments(
        told=told,
        beams=config.num_beams or 1,
        other_cache=other_cache,
        reads_text=not reads_scores_only(made.processors),
        ends=made.ends,
        stop_strings=criterion,
        # A limit of new tokens of the checkpoint comes before those of the harness, and `max_length` before its other.
        new_tokens=config.max_new_tokens or new_tokens,
        whole=None if config.max_new_tokens else arguments.get("max_length"),
    )


def prepare(child: Child, ids: Tensor, mask: Tensor, told: Mapping[str, Any]) -> Prepared:
    """What `generate` would give its loop.

    Args:
        child: the model.
        ids: token ids of the prompts [rows, positions].
        mask: 0 at padding [rows, positions].
        told: what `generate` is told; a limit of positions among it, where the checkpoint has none of new tokens.
    """
    found: list[Prepared] = []

    def take(
        model: Any,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **rest: Any,
    ) -> Tensor:
        cache = rest.get("cache", rest.get("past_key_values"))
        found.append(Prepared(model, input_ids, generation_config, logits_processor, stopping_criteria, cache))
        return input_ids

    common = {"pad_token_id": child.tokenizer.pad_token_id, "use_cache": True}
    child.model.generate(input_ids=ids, attention_mask=mask, custom_generate=take, **(common | dict(told)))
    return found[0]


def _checkpoint(child: Child) -> GenerationConfig:
    config: GenerationConfig = child.base.generation_config
    return config
