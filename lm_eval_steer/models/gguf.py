"""`steered-gguf`: a quantised model on llama.cpp, with the control vector that is deployed, in the harness's tables."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from lm_eval_steer.engines.llama_cpp.support import require_llama_cpp
from lm_eval_steer.errors import SteeringError

VERSION = require_llama_cpp()

from lm_eval_steer.engines.llama_cpp.engine import LlamaCppEngine  # noqa: E402
from lm_eval_steer.engines.llama_cpp.file import GgufFile  # noqa: E402
from lm_eval_steer.engines.llama_cpp.tokenizer import Tokenizer  # noqa: E402
from lm_eval_steer.engines.protocol import Done, Job  # noqa: E402
from lm_eval_steer.interventions.intervention import Intervention  # noqa: E402
from lm_eval_steer.models.arms import take_plan  # noqa: E402
from lm_eval_steer.models.base import Steered  # noqa: E402
from lm_eval_steer.models.chat import Messages  # noqa: E402
from lm_eval_steer.models.checkpoint import checkpoint_digest, weights_digest  # noqa: E402
from lm_eval_steer.models.generation import check_thinking  # noqa: E402
from lm_eval_steer.models.gguf_texts import GgufTexts  # noqa: E402
from lm_eval_steer.vectors.identity import Identity  # noqa: E402

LONGEST = 4096
"""Positions of the context where none are asked for, of as many as the model was trained on at most."""
_GREEDY = frozenset(("do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p", "use_cache"))
"""Arguments that change nothing where the best token is taken."""


class SteeredGGUF(Steered, GgufTexts):
    """A model in a GGUF file on llama.cpp: h' = h + α·v at the output of every chosen block but the first.

    It answers as the edge build does: quantised weights, llama.cpp's tokenizer and arithmetic, a control vector at
    every position, greedy text. It takes the arguments of the plan (interventions/arguments.py); what a control vector
    cannot do is refused. A set of α is run one after the other.

    Args:
        pretrained: path of the file.
        max_length: positions of the context; nothing is cut to it.
        max_gen_toks: limit of new tokens where a task names none.
        n_threads: that compute; by default as many as torch takes.
        n_gpu_layers: blocks that are put on a GPU, where llama.cpp was built for one.
        enable_thinking: as in HFLM.
        think_end_token: as in HFLM, as text.
        chat_template_args: as in HFLM.
        batch_size: what the harness always says; a row is run at a time.
        max_batch_size: as batch_size.
        device: as batch_size; n_gpu_layers says where blocks are.
        **plan: the arguments of `SteeringPlan.build`.

    Raises:
        SteeringError: one sentence, before the model is loaded where that is possible.
    """

    engine: LlamaCppEngine
    runs_plainly = False  # the harness has no class of its own for a file
    batch_size = 1

    def __init__(
        self,
        pretrained: str,
        *,
        max_length: int | None = None,
        max_gen_toks: int = 256,
        n_threads: int | None = None,
        n_gpu_layers: int = 0,
        enable_thinking: bool | None = None,
        think_end_token: str | None = None,
        chat_template_args: Mapping[str, Any] | None = None,
        batch_size: Any = None,
        max_batch_size: Any = None,
        device: str | None = None,
        **plan: Any,
    ) -> None:
        steering = take_plan(plan)
        if plan:
            known = [name for name in inspect.signature(SteeredGGUF).parameters if name != "plan"]
            raise SteeringError(
                f"steered-gguf has no argument {min(plan)}: use {', '.join(known)}, and those that steer"
            )
        numbers = {"max_length": max_length, "max_gen_toks": max_gen_toks, "n_threads": n_threads}
        for name, value in numbers.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise SteeringError(f"{name}={value!r} is no number of 1 or more")
        check_thinking({"enable_thinking": enable_thinking, "think_end_token": think_end_token})
        super().__init__()
        self._file = GgufFile(str(pretrained), n_gpu_layers)
        self.tokenizer = Tokenizer(self._file, str(pretrained))
        self._max_length = max_length or min(self._file.context, LONGEST)
        self._max_gen_toks, self.think_end_token = max_gen_toks, think_end_token
        self.enable_thinking = enable_thinking
        self.chat_template_args = dict(chat_template_args or {})
        if enable_thinking is not None:
            self.chat_template_args["enable_thinking"] = enable_thinking
        named = {"max_length": self._max_length, "max_gen_toks": max_gen_toks, "think_end_token": think_end_token}
        self._model_settings = {key: str(value) for key, value in named.items()} | {
            "chat_template_args": str(self.chat_template_args),
            "engine": f"llama.cpp of llama-cpp-python {VERSION}",
            "pretrained": str(pretrained),
            "dtype": self._file.dtype,
            "weights": checkpoint_digest({"pretrained": pretrained}),
        }
        self.model_identity = Identity(str(pretrained), digest=weights_digest({"pretrained": pretrained}))
        threads = n_threads or torch.get_num_threads()
        self.engine = LlamaCppEngine(self._file, self.tokenizer, self._max_length, threads)
        self.steer(steering)

    def _shape(self, blocks: str | None) -> tuple[int, int]:
        return self._file.depth, self._file.width

    def _load(self, interventions: tuple[Intervention, ...], blocks: str | None) -> None:
        self.engine.load(interventions, blocks)

    def _dtype(self) -> str:
        return self._file.dtype

    # Requests

    def _read_arguments(self, told: dict[str, Any]) -> tuple[dict[str, Any], list[str], int]:
        arguments: dict[str, Any] = dict(normalize_gen_kwargs(told, self._max_gen_toks))
        until = handle_stop_sequences(arguments.pop("until", None), eos=self.tokenizer.eos_token)
        return arguments, until, arguments.pop("max_gen_toks")

    def _for_engine(self, arguments: dict[str, Any], intervention: Intervention) -> tuple[dict[str, Any], bool]:
        if arguments.get("do_sample"):
            raise SteeringError(
                f"steered-gguf writes greedy text, and temperature={arguments.get('temperature')} with do_sample draws "
                "it: leave both out, or use steered-hf"
            )
        other = {name: value for name, value in arguments.items() if name not in _GREEDY and value not in (None, 1)}
        if other:
            name, value = min(other.items())
            raise SteeringError(f"steered-gguf does not know the generation argument {name}={value}: leave it out")
        return {}, False

    def _encode(self, prompt: str, new_tokens: int) -> list[int]:
        return self.tok_encode(prompt) or [self.prefix_token_id]

    def _text(self, done: Done, stop: Sequence[str]) -> str:
        return self.tokenizer.decode(done.tokens or [], skip_special_tokens=True)

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        """What the harness's TemplateLM asks for: scores of tokens, under the first intervention."""
        jobs = [Job(place, 0, pairs=((context, rest),)) for place, (_, context, rest) in enumerate(requests)]
        found = {done.job.key: (done.scores or [])[0] for done in self.engine.run(jobs)}
        return [found[place] for place in range(len(requests))]

    def _render(self, messages: Messages) -> str:
        return self._templated(messages)

    def get_model_info(self) -> dict[str, Any]:
        """What the harness puts into the result file's config."""
        return super().get_model_info() | {
            "model_num_parameters": self._file.parameters,
            "model_dtype": self._file.dtype,
            "llama_cpp_python": VERSION,
        }
