"""What the user says of a file that does not say it itself, and what a reader asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval_steer.errors import SteeringError


class UnansweredError(SteeringError):
    """A file leaves something open that changes what its numbers mean, and nobody said it.

    Attributes:
        argument: that says it, as it is typed: `--sign`.
    """

    def __init__(self, sentence: str, argument: str = "") -> None:
        super().__init__(sentence)
        self.argument = argument


class Answers:
    """Answers to what a file cannot tell. A reader asks for those that it needs; nothing is guessed in their place.

    Args:
        given: argument, without its dashes, to what was said; None for what was not said.
        parent: what is known of the model that the vector was read from: `name`, and where they are known `num_blocks`,
            `hidden_size`, `architecture`, `revision` and others of the passport's `parent`.
        force: whether contradictions between file and parent that can be overlooked are.

    Attributes:
        asked: argument to answer, of all that a reader asked for and got: it goes into the passport.
    """

    def __init__(
        self,
        given: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        self.parent = {key: value for key, value in (parent or {}).items() if value is not None}
        self.force = force
        self.asked: dict[str, Any] = {}
        self._given = {key: value for key, value in (given or {}).items() if value is not None}

    def ask(self, argument: str, why: str) -> Any:
        """What the user says.

        Args:
            argument: without its dashes.
            why: what the file does not say and what the answers mean, to stand before "say it with".

        Raises:
            UnansweredError: where it was not said.
        """
        if argument not in self._given:
            raise UnansweredError(f"{why}: say it with --{argument}", f"--{argument}")
        self.asked[argument] = self._given[argument]
        return self._given[argument]

    def may(self, argument: str) -> Any:
        """What the user says, where it is said, of something that needs no answer."""
        if argument in self._given:
            self.asked[argument] = self._given[argument]
        return self._given.get(argument)

    def choose(self, argument: str, why: str, choices: Mapping[str, str]) -> str:
        """One of several answers; the sentence tells what each of them means.

        Raises:
            UnansweredError: where it was not said.
            SteeringError: for another answer.
        """
        told = " or ".join(f"{choice} ({meaning})" for choice, meaning in choices.items())
        answer = self.ask(argument, f"{why}, {told}")
        if answer not in choices:
            raise SteeringError(f"--{argument} {answer} is no answer for this file: {why}, {told}")
        return str(answer)

    def blocks(self, why: str, model: str | None = None) -> int:
        """How many blocks the parent has, of its configuration or as the user says.

        Args:
            why: it has to be known, to stand before "say it with".
            model: the name of the parent that the file says.

        Raises:
            UnansweredError: where neither is known.
        """
        known = self.parent.get("num_blocks")
        if known is not None:
            return int(known)
        name = self.parent.get("name") or model
        if not name:
            self.ask("parent", f"{why}, and nobody knows its model")
        said = int(self.ask("blocks", f"{why}, and the configuration of {name} is not in reach"))
        if said < 1:
            raise SteeringError(f"--blocks {said} is no number of blocks: give 1 or more")
        return said

    def refuse_unused(self, what: str) -> None:
        """Refuse answers to questions that the file does not raise.

        Args:
            what: the file is, for the sentence.

        Raises:
            SteeringError: names the first.
        """
        if unused := [argument for argument in self._given if argument not in self.asked]:
            raise SteeringError(
                f"--{unused[0]} {self._given[unused[0]]} has no meaning for {what}, which does not leave that open: "
                "leave it out"
            )
