"""Items: questions on their way, with the responses that are there so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lm_eval_steer.axis.questions import Question
from lm_eval_steer.axis.record import Line, digest
from lm_eval_steer.axis.settings import LineSettings


class Item:
    """A question on its way.

    Attributes:
        question: what is asked.
        doc_id: number of its document, as lines have it.
        repeat: which of the repeats of the request it is.
        prints: fingerprint per intervention.
        fuller: those of lines that stand beside lines without log-probabilities, in a weighted vote.
        lines: what is there, by the number of the intervention, with the answers that were read.
        voted: how many interventions, from the first on, the vote of each ballot counts so far.
        open: numbers of the ballots that have no response yet.
    """

    def __init__(
        self, question: Question, doc_id: int, repeat: int, settings: Sequence[LineSettings], ballots: int
    ) -> None:
        self.question, self.doc_id, self.repeat = question, doc_id, repeat
        what = {"task": question.task, "doc_id": doc_id, "repeat": repeat, "prompt": question.sha,
                "arguments": question.arguments}  # fmt: skip
        self.prints, self.fuller = (
            [digest(what | {"settings": one.of(question.draws, beside)}) for one in settings]
            for beside in (False, True)
        )
        self.lines: dict[int, Line] = {}
        self.voted = [0] * ballots
        self.open = list(range(ballots))


@dataclass(frozen=True, eq=False)
class Asked:
    """Key of a job: an item under one intervention."""

    item: Item
    number: int


def make_items(
    questions: Iterable[Question], settings: Sequence[LineSettings], ballots: int, recorded: bool
) -> list[Item]:
    """An item per question, repeats of one request apart.

    Args:
        questions: in the order of the harness.
        settings: of the lines of each intervention.
        ballots: how many arms there are.
        recorded: whether there is a record; questions that were made by hand then have their place for a document.
    """
    seen: Counter[tuple[str, int, str]] = Counter()
    items = []
    for place, one in enumerate(questions):
        doc_id = one.doc_id if one.doc_id is not None else place if recorded else -1
        key = (one.task, doc_id, one.sha)
        # With several ranks the harness gives a last request more often than it has repeats, to fill up.
        repeat = seen[key] % one.repeats if one.repeats else seen[key]
        seen[key] += 1
        items.append(Item(one, doc_id, repeat, settings, ballots))
    return items
