"""Requests of the harness, prepared once for all model classes: arguments, stop strings, limits, tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.utils import postprocess_generated_text

from lm_eval_steer.engines.protocol import Done, Generation, Visible
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.models.generation import ANSWER, check_generation, check_thinking
from lm_eval_steer.models.prompts import Prompts
from lm_eval_steer.models.windows import Window, cut


@dataclass(frozen=True, eq=False)
class Prepared:
    """How a request's text is written and read.

    Attributes:
        generation: what the engine is told.
        stop: strings behind which nothing counts; the engine may look for fewer of them.
        draws: whether tokens are drawn.
    """

    generation: Generation
    stop: list[str]
    draws: bool


class Requests(Prompts):
    """What both model classes do with requests; a subclass brings what its class of the harness does in its own way."""

    think_end_token: str | int | None

    # What a subclass brings

    def _read_arguments(self, told: dict[str, Any]) -> tuple[dict[str, Any], list[str], int]:
        """Arguments, stop strings and limit of new tokens, as the harness's class reads those of a request."""
        raise NotImplementedError

    def _for_engine(self, arguments: dict[str, Any], intervention: Intervention) -> tuple[dict[str, Any], bool]:
        """The arguments as the engine's library takes them, and whether tokens are drawn.

        Raises:
            SteeringError: for arguments that it does not take.
        """
        raise NotImplementedError

    def _looked_for(self, stop: list[str]) -> list[str]:
        """The stop strings at which the engine ends a text."""
        return stop

    def _encode(self, prompt: str, new_tokens: int) -> list[int]:
        """The tokens of a prompt, cut as the harness's class does where they and the new ones are too many."""
        raise NotImplementedError

    def _text(self, done: Done, stop: Sequence[str]) -> str:
        """The text of new tokens, before it is cut at a stop string."""
        raise NotImplementedError

    # What is common

    def prepare(self, told: Mapping[str, Any], intervention: Intervention, answers: bool = False) -> Prepared:
        """How the text of a request is written under an intervention.

        Args:
            told: the request's generation arguments.
            intervention: a control may draw the text.
            answers: whether the prompt ends a thought (`ends_thought`).

        Raises:
            SteeringError: for what cannot be understood, and a limit that leaves no room for a prompt.
        """
        check_generation(told)
        check_thinking({"think_end_token": self.think_end_token}, told)
        arguments, stop, new_tokens = self._read_arguments({key: told[key] for key in told if key != ANSWER})
        if new_tokens >= self.max_length:
            raise SteeringError(
                f"max_gen_toks={new_tokens} leaves no room for a prompt in the {self.max_length} tokens of the model: "
                "lower it with --gen_kwargs, or set max_length"
            )
        arguments, draws = self._for_engine(arguments, intervention)
        visible = None
        if told.get(ANSWER) is not None and self.think_end_token is not None:
            end = self.think_end_token
            special = dict(zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True))
            visible = Visible(told[ANSWER], special.get(end, end) if isinstance(end, str) else end, answers)
        return Prepared(Generation(tuple(self._looked_for(stop)), new_tokens, arguments, visible), stop, draws)

    def ends_thought(self, prompt: str) -> bool:
        """Whether a prompt ends with the end of a thought, as a chat template's may with enable_thinking=False."""
        end = self.think_end_token
        if end is None:
            return False
        shown = end if isinstance(end, str) else str(self.tokenizer.decode([end]))
        return bool(shown.strip()) and prompt.rstrip().endswith(shown.strip())

    def count_prompt(self, requests: Sequence[Instance]) -> int:
        """Tokens that are read for a response: of its prompt; of choices, of the context, once, and of each option.

        Args:
            requests: of the harness, those that one response answers.
        """
        first = requests[0]
        if first.request_type == "generate_until":
            told = {key: value for key, value in first.args[1].items() if key != ANSWER}
            _, _, new_tokens = self._read_arguments(told)
            return len(self._encode(first.args[0], new_tokens))
        if first.request_type == "loglikelihood":
            pairs = [self._encode_choice(*one.args[:2]) for one in requests]
            contexts = {tuple(context) for context, _ in pairs}
            return sum(map(len, contexts)) + sum(len(continuation) for _, continuation in pairs)
        return sum(len(self.tok_encode(one.args[0])) for one in requests)

    def count_continuation(self, context: str, continuation: str) -> int:
        """Tokens of a continuation that are scored behind a context.

        Raises:
            SteeringError: for a continuation that the model cannot score.
        """
        return len(self._encode_choice(context, continuation)[1])

    def read(self, done: Done, stop: list[str]) -> str:
        """The response in what an engine wrote, as the harness's class reads it.

        Args:
            done: without tokens, its text is the response.
            stop: strings behind which nothing counts.
        """
        if done.tokens is None:
            return done.text or ""
        end = self.think_end_token if isinstance(self.think_end_token, str) else None
        return postprocess_generated_text(self._text(done, stop), stop=stop, think_end_token=end)

    def _encode_choice(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Tokens of a context and its continuation, one of each at least.

        Raises:
            SteeringError: for a continuation that the model cannot score.
        """
        pair = self._encode_pair(context, continuation) if context else self._encode_alone(continuation)
        self._refuse_unscorable(pair[1])
        return pair

    def _encode_alone(self, continuation: str) -> tuple[list[int], list[int]]:
        """As the harness's TemplateLM does: no context is the prefix token, and a continuation may begin with it."""
        tokens = self.tok_encode(continuation, add_special_tokens=False)
        begins = bool(tokens) and tokens[0] == self.prefix_token_id
        return ([tokens[0]], tokens[1:]) if begins and len(tokens) > 1 else ([self.prefix_token_id], tokens)

    def _cut(self, text: str) -> tuple[Window, ...]:
        """The windows of a text that is scored whole.

        Raises:
            SteeringError: for a text without tokens.
        """
        return cut(self.tok_encode(text), self.prefix_token_id, self._longest)

    @property
    def _longest(self) -> int:
        """Tokens of the longest continuation that can be scored: each must be predicted from the token before it."""
        return int(self.max_length)

    def _refuse_unscorable(self, continuation: Sequence[int]) -> None:
        """Refuse what `hf` ends at in an AssertionError, and `vllm` scores in part."""
        if not continuation:
            raise SteeringError(
                "a continuation of 0 tokens has no log-likelihood: leave this task out, or its documents with an empty "
                "option"
            )
        if len(continuation) > self._longest:
            raise SteeringError(
                f"a continuation of {len(continuation)} tokens cannot be scored, since the model takes {self._longest} "
                "of them at most: set a larger max_length, or leave this task out"
            )
