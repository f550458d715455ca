"""Has the engines of this process steer: how they are started, and what becomes of each request."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from lm_eval_steer.engines.vllm.spans import FOREVER
from lm_eval_steer.engines.vllm.support import EXTENSION, choose_runner, compiled_arguments, require_vllm
from lm_eval_steer.engines.vllm.support import load_plugin as load_compiled
from lm_eval_steer.engines.vllm.versions import (
    OWN_ARGUMENTS,
    around_engines,
    around_requests,
    platform_worker,
    use_piecewise_graphs,
)
from lm_eval_steer.engines.vllm.worker import ARGUMENT
from lm_eval_steer.errors import SteeringError, show_sentences
from lm_eval_steer.files import parse_json
from lm_eval_steer.models.checkpoint import weights_digest
from lm_eval_steer.serving.asked import SALT, read_asked
from lm_eval_steer.serving.settings import default_of, keep_settings, vectors_of
from lm_eval_steer.serving.vectors import Model, read_vectors
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.identity import Identity

logger = logging.getLogger(f"vllm.{__name__}")  # vLLM shows what the children of its own logger say

WORKER = "lm_eval_steer.serving.worker.SteeringWorker"


def steer_engines(folder: str, default: str | None) -> None:
    """Have every engine that this process starts steer its requests, but those of steered-vllm.

    Args:
        folder: of the vectors that requests may name.
        default: what steers requests that say nothing of it, a JSON object as `vllm_xargs`.

    Raises:
        SteeringError: for a vLLM or a setting of it with which nothing can be steered.
    """
    show_sentences("vllm")
    require_vllm()
    choose_runner()
    told = _read_default(default)
    around_engines(_prepare, _after(os.path.abspath(os.path.expanduser(folder)), told))
    around_requests(steer_request, _beams(told))


def _read_default(given: str | None) -> dict[str, Any]:
    if not given:
        return {}
    try:
        found = parse_json(given)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SteeringError(
            f"LM_EVAL_STEER_DEFAULT={quoted(given)} is not understood: give a JSON object, as in "
            '{"vectors": "NAME", "alpha": 2}'
        )
    return found


def _prepare(args: Any) -> None:
    """Give an engine the worker that steers, and its compiled model the operator."""
    if args.worker_extension_cls == EXTENSION:
        return
    if args.worker_cls != "auto":
        raise SteeringError(f"--worker-cls {args.worker_cls} and steering cannot be had together: leave it out")
    if not args.enforce_eager:
        use_piecewise_graphs(args)
        mode = args.compilation_config.cudagraph_mode
        given = {} if mode is None else {"cudagraph_mode": mode.name}
        found = compiled_arguments(vars(args) | {"compilation_config": given}, None, cpu=mode is None)
        for name in ("load_format", "model_loader_extra_config", "additional_config"):
            setattr(args, name, found[name])
        load_compiled()


def _after(folder: str, default: dict[str, Any]) -> Callable[[Any], None]:
    def settle(config: Any) -> None:
        """Read the vectors for the model of an engine, and say which there are."""
        if config.parallel_config.worker_extension_cls == EXTENSION:
            return
        vectors = read_vectors(folder, _model(config.model_config))
        if default:
            read_asked({}, vectors, default)
        _, known = platform_worker()
        if config.parallel_config.worker_cls != known:
            raise SteeringError(f"vLLM would run {config.parallel_config.worker_cls}, and {known} is what is steered")
        config.parallel_config.worker_cls = WORKER
        keep_settings(config, folder, vectors, default)
        logger.info("Requests may be steered with: %s", ", ".join(vectors.plans))
        for name, why in vectors.refused.items():
            logger.warning("Not with %s: %s", name, why)
        if default:
            logger.info("Requests without vllm_xargs are steered with: %s", default)

    return settle


def _model(config: Any) -> Model:
    """What is steered, from vLLM's `ModelConfig`."""
    given = {"pretrained": config.model, "revision": config.revision}
    text = config.hf_text_config
    identity = Identity(config.model, config.revision, text.model_type, weights_digest(given))
    dtype = str(config.dtype).removeprefix("torch.")
    return Model(int(text.num_hidden_layers), int(config.get_hidden_size()), dtype, identity)


def steer_request(config: Any, request: Any) -> None:
    """Put into a request what the worker does with it, and keep its keys and values apart in the prefix cache.

    Args:
        config: `VllmConfig` of the engine.
        request: `EngineCoreRequest`; its `extra_args` hold the client's `vllm_xargs`.

    Raises:
        SteeringError: one sentence for what cannot be done.
    """
    vectors, params = vectors_of(config), request.sampling_params
    if vectors is None or params is None:
        return
    given = params.extra_args or {}
    own = {name: value for name, value in given.items() if name in OWN_ARGUMENTS}
    asked = read_asked({name: given[name] for name in given if name not in own}, vectors, default_of(config))
    if (request.cache_salt or "").startswith(SALT):
        raise SteeringError(f"cache_salt={quoted(request.cache_salt)} is a name of this server's: use another")
    if asked is not None:
        if asked.rule.needs_prompt and params.prompt_logprobs is not None:
            raise SteeringError(
                f"tokens={asked.tokens} counts from the end of the prompt, and where a text is scored nobody says "
                "where that is: use tokens=all, or leave out prompt_logprobs and echo"
            )
        ids = request.prompt_token_ids
        prompt = len(request.prompt_embeds if ids is None else ids)
        first, end = asked.rule.interval(prompt)
        own[ARGUMENT] = [asked.number, asked.alpha, first, FOREVER if end is None else end]
        request.cache_salt = asked.salt(prompt, request.cache_salt)
    params.extra_args = own or None


def _beams(default: dict[str, Any]) -> Callable[[Any], None]:
    def refuse(given: Any) -> None:
        """vLLM hands on none of the keys of a beam search, and asks for each of its tokens anew."""
        if set(given or ()) - set(OWN_ARGUMENTS) or default.get("tokens", "all") != "all":
            raise SteeringError("a beam search takes no steering of its own: leave out use_beam_search, or vllm_xargs")

    return refuse
