"""The conditions of a run: what else than documents and prompts must agree before scores may be compared."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Sequence
from typing import Any

from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.text import as_text, printable

_NO_CONDITION = NEUTRAL | {
    *ARGUMENT_NAMES,
    *("pretrained", "dtype", "revision", "trust_remote_code"),
    *("device_map_option", "swap_space"),  # of older releases
}
"""Model arguments that say what is steered and where it runs, or that stand elsewhere among the conditions."""


def shared_conditions(content: dict[str, Any], task: str, metric: str) -> dict[str, str]:
    """The conditions that all children share, of one task of a result file: its documents, shots, dtype, ..."""
    config, samples = content["config"], content["n-samples"][task]
    merged = str((config.get("steering") or {}).get("system_prompt", "")).startswith("merged")
    system = content.get("system_instruction")
    found = {
        "metric": metric,
        "limit": f"{samples['effective']} of {samples.get('original', '?')} documents",
        "task version": str((content.get("versions") or {}).get(task, "unknown")),
        "shots": str(content["n-shot"][task]),
        "chat template": "used" if content.get("chat_template_sha") else "not used",
        "system prompt": f"given ({digest_of([str(system)])})" if system else "the task's",
        "system_role": "merge" if merged else "as hf has it",
        "dtype": str(config.get("model_dtype") or "unknown").removeprefix("torch."),
        "engine": _engine(config),
    }
    generation = content["configs"][task].get("generation_kwargs") or {}
    return _printable(found | _named("generation", generation))


_ENGINES = {
    **dict.fromkeys(("hf", "hf-auto", "huggingface", "steered-hf", "steered"), "transformers"),
    **dict.fromkeys(("hf-multimodal", "hf-mistral3", "hf-audiolm-qwen"), "transformers"),
    **dict.fromkeys(("vllm", "vllm-vlm", "steered-vllm"), "vllm"),
    **dict.fromkeys(("gguf", "ggml", "steered-gguf"), "llama.cpp"),
    **dict.fromkeys(("sglang", "sglang-generate"), "sglang"),
    **{name: name for name in ("ipex", "openvino", "habana")},  # of the class of `hf`, but with engines of their own
}
"""Model class of the harness -> what computes; another class (an API, onnxruntime) goes by its own name."""


def _engine(config: dict[str, Any]) -> str:
    name = str(config.get("model") or "unknown")
    if name in _ENGINES:
        return _ENGINES[name]
    if "model_num_parameters" in config:  # HFLM says it; simple_evaluate calls a model that it was handed otherwise
        return "transformers"
    return "vllm" if "vllm" in name.lower() else name


def own_conditions(content: dict[str, Any]) -> dict[str, str]:
    """The conditions that differ between children by nature: template, revision, model arguments."""
    config = content["config"]
    template = content.get("chat_template_sha")
    sha = config.get("model_sha")
    others = {key: value for key, value in arguments_of(config).items() if key not in _NO_CONDITION}
    found = {
        "template": str(template)[:8] if template else "none",
        "model revision": str(config.get("model_revision") or "unknown") + (f" ({str(sha)[:8]})" if sha else ""),
    }
    return _printable(_date(content, config) | found | _named("model argument", others))


def _date(content: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    """The date in the prompts, where the chat template prints one; of a model that says none, that of the run."""
    if not content.get("chat_template_sha"):
        return {}
    steering = config.get("steering") or {}
    day = steering.get("date")
    asks = "strftime_now" in str(content.get("chat_template")) and "date" not in steering
    given = "date_string" in (arguments_of(config).get("chat_template_args") or {})
    if asks and not given and isinstance(content.get("date"), int | float):
        with contextlib.suppress(ValueError, OverflowError, OSError):  # of a number that is no time
            day = datetime.date.fromtimestamp(content["date"]).isoformat()
    return {"template's date": str(day)} if day else {}


def arguments_of(config: dict[str, Any]) -> dict[str, Any]:
    """The model_args of a run, by name."""
    given = config.get("model_args") or {}
    if isinstance(given, str):  # simple_evaluate leaves them as they were given
        given = dict(part.partition("=")[::2] for part in given.split(","))
    return dict(given)


def digest_of(parts: Sequence[str]) -> str | None:
    """Short SHA-256 of texts in any order; None where there are none."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:8] if parts else None


def _named(what: str, values: dict[str, Any]) -> dict[str, str]:
    return {f"{what} {key}": as_text(values[key]) for key in sorted(values)}


def _printable(conditions: dict[str, str]) -> dict[str, str]:
    return {printable(name): printable(value) for name, value in conditions.items()}
