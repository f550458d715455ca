"""On which documents a strength is chosen where a task has no validation twin.

Those of another split of its data, or a part of its test documents, which is then no part of the test.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.documents import document_hash, row_of
from lm_eval_steer.models.parts import BY_SHARE, SHARE, split_by_hash, way_to_ask

LEAST = 4
"""Documents below which nothing is chosen, and nothing is tested."""

Draw = Callable[[Any], Iterable[Any]]
"""From a task to the rows that its prompts have as shots."""


@dataclass(frozen=True)
class Choice:
    """What the user says of it.

    Attributes:
        split: name of a split of the task's data, or `share`; None for the first that applies.
        share: of the test documents that is for validation, where these are parted.
        seed: of that.
        read: hashes of the test documents that vectors were made from by a share of them, which are on neither side.
    """

    split: str | None = None
    share: float = SHARE
    seed: int = 0
    read: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Halves:
    """Where a task is searched and tested.

    Attributes:
        validation: the task on the documents that strengths are chosen on, with a name of its own.
        test: the task on its test documents, or on those that are left of them.
        facts: JSON-ready, which documents these are (docs/SWEEP.md).
    """

    validation: Any
    test: Any
    facts: dict[str, Any]


def find_halves(name: str, task: Any, choice: Choice, draw: Draw) -> Halves:
    """The task's own validation split where it tests on another; its training split where it has no validation split;
    else its test documents, parted by hash. `choice.split` overrules.

    No half holds a document that asks the question of a shot of the test prompts; no validation document asks a
    question of the test; validation prompts have no shots that ask a question of validation.

    Args:
        name: of the task.
        task: of the harness, loaded.
        choice: what the user says.
        draw: from the task on its test documents to the shots of its prompts.

    Raises:
        SteeringError: for a split that is not there, is the test's, or cannot be read, and for too few documents.
    """
    if choice.split not in (None, BY_SHARE):
        found = _of_split(name, task, str(choice.split), _named(name, task, str(choice.split)), draw, named=True)
        assert found is not None  # what is named is taken or refused
        return found
    split = None if choice.split else _other_split(task)
    found = _of_split(name, task, split, _splits(task)[split](), draw, named=False) if split else None
    return found or _by_share(name, task, choice, draw)


def facts_of(kind: str, validation: Any, test: Any, **more: Any) -> dict[str, Any]:
    """What sweep.json says of the documents on both sides, whatever --limit and --val_limit leave of them."""
    return {"kind": kind, **more, "validation": _count(validation), "test": _count(test)}


def asked_among(task: Any, shots: Iterable[Any]) -> int:
    """How many of some shots ask what a document of a task asks, each question once."""
    documents = [doc for _, doc in task.doc_iterator(rank=0, limit=None, world_size=1)]
    shots = list(shots)
    ask = way_to_ask(task, [*documents, *shots])
    return len({ask(doc) for doc in documents} & {ask(doc) for doc in shots})


def narrow(task: Any, name: str, documents: Any, places: Sequence[int], shots: Sequence[Any] | None = None) -> Any:
    """A task that asks some documents only. Their numbers stay, as `lm_eval --samples` has them.

    Args:
        task: of the harness; it is left as it is.
        name: of the new one.
        documents: that `places` count in.
        places: which of them.
        shots: rows that shots are taken from, in place of the task's own.
    """
    one = copy.copy(task)
    one._config = copy.copy(task._config)
    one._config.task = name

    def iterate(*, rank: int = 0, limit: int | None = None, world_size: int = 1, samples: Any = None) -> Iterator[Any]:
        return ((place, documents[place]) for place in places[: limit or None])

    one.doc_iterator = iterate
    if shots is not None and hasattr(task, "sampler"):
        one.sampler = copy.copy(task.sampler)
        one.sampler.replace_df(list(shots))
    elif shots is not None:  # a class of its own, which keeps them here (lm_eval/api/task.py, `fewshot_context`)
        one._training_docs = one._fewshot_docs = list(shots)
    return one


def _of_split(name: str, task: Any, split: str, documents: Any, draw: Draw, named: bool) -> Halves | None:
    """Validation on another split; None where it has too few documents and nobody named it."""
    documents, tests = _indexed(documents), list(task.eval_docs)
    many = len(documents)
    ask = way_to_ask(task, [*tests, *documents])
    questions, tested = [ask(doc) for doc in documents], {ask(doc) for doc in tests}
    pool = _pool(task, ask, set(questions))
    shots = {ask(doc) for doc in draw(task)} if pool else set()
    repeated = [place for place, question in enumerate(questions) if question in tested]
    places = [place for place, question in enumerate(questions) if question not in tested | shots]
    if len(places) < LEAST:
        if named:
            raise SteeringError(
                f"--val_split {split} leaves {len(places)} documents of {name} to choose a strength on, and {LEAST} "
                f"are needed: it has {many}, of which {len(repeated)} ask what the test asks and "
                f"{many - len(repeated) - len(places)} are shots of its prompts; name another split, or share"
            )
        return None
    chosen = {questions[place] for place in places}
    validation = narrow(task, f"{name}:{split}", documents, places, _without(pool, chosen))
    left_out = {"asked in the test": len(repeated), "shots": many - len(repeated) - len(places)}
    return Halves(validation, task, facts_of("split", validation, task, split=split, left_out=left_out))


def _by_share(name: str, task: Any, choice: Choice, draw: Draw) -> Halves:
    """Validation and test on two parts of the test documents."""
    documents = _indexed(task.eval_docs)
    rows = list(documents)
    ask = way_to_ask(task, rows)
    questions = [ask(doc) for doc in rows]
    read = {
        question
        for doc, question in zip(rows, questions, strict=True)
        if {row_of(doc), document_hash(doc)} & choice.read
    }
    free = [place for place, question in enumerate(questions) if question not in read]
    halves = split_by_hash([questions[place] for place in free], choice.share, choice.seed)
    validation, test = ([free[place] for place in half] for half in halves)
    pool = _pool(task, ask, set(questions))
    if pool:  # the shots of fewer documents are among those of all of them
        shots = {ask(doc) for doc in draw(narrow(task, name, documents, test))}
        validation, test = ([one for one in half if questions[one] not in shots] for half in (validation, test))
    left_out = len(free) - len(validation) - len(test)
    if min(len(validation), len(test)) < LEAST:
        shot = f" without {len(rows) - len(free)} that a vector was made from" if read else ""
        shot += f" without {left_out} that are shots of its prompts" if left_out else ""
        raise SteeringError(
            f"{name} has no validation documents, and its {len(rows)} test documents ({len(set(questions))} different "
            f"questions){shot} are too few to be parted: --val_share {choice.share:g} leaves {len(validation)} to "
            f"choose a strength on and {len(test)} to test it on, and {LEAST} of each are needed; name other documents "
            "with --val_split or --val_task" + (", or --num_fewshot 0" if left_out else "")
        )
    asked = {questions[place] for place in (*validation, *test)}
    tested = narrow(task, name, documents, test)
    if pool and asked & {ask(doc) for doc in draw(tested)}:
        raise SteeringError(
            f"the shots of {name} are drawn from its test documents, and differ with what is left of them: give "
            "--num_fewshot 0, or name other documents with --val_split or --val_task"
        )
    searched = narrow(task, f"{name}:{BY_SHARE}", documents, validation, _without(pool, asked))
    without = {"shots": left_out} | ({"read": len(rows) - len(free)} if read else {})
    facts = {"share": choice.share, "seed": choice.seed, "left_out": without}
    return Halves(searched, tested, facts_of(BY_SHARE, searched, tested, **facts))


def tested_split(task: Any) -> str:
    """The split that a task is tested on."""
    config = task.config
    return str((config.test_split or "test") if task.has_test_docs() else (config.validation_split or "validation"))


def _splits(task: Any) -> dict[str, Callable[[], Any]]:
    """The splits beside the tested one that the task declares, validation first."""
    config, found = task.config, {}
    if task.has_validation_docs():
        found[str(config.validation_split or "validation")] = task.validation_docs
    if task.has_training_docs():
        found.setdefault(str(config.training_split or "train"), task.training_docs)
    found.pop(tested_split(task), None)
    return found


def _other_split(task: Any) -> str | None:
    """The split that validation is on where nobody says another."""
    splits = _splits(task)
    if task.has_validation_docs():
        name = str(task.config.validation_split or "validation")
        return name if name in splits else None
    return next(iter(splits), None)


def _named(name: str, task: Any, split: str) -> Any:
    """The documents of a split that the user named."""
    if split == tested_split(task):
        raise SteeringError(
            f"--val_split {split} is the split that {name} is tested on: a strength that is chosen on the test rows "
            "proves nothing, name another one, or share for a part of them"
        )
    declared, data = _splits(task), getattr(task, "dataset", None) or {}
    if split not in declared and split not in data:
        raise SteeringError(
            f"--val_split {split} is no split of {name}, which has {', '.join(dict.fromkeys([*declared, *data]))}: "
            "name one of these, or share"
        )
    try:
        if split in declared:
            return declared[split]()
        process = task.config.process_docs
        return data[split] if process is None else process(data[split])
    except Exception as error:  # of a function of the task
        raise SteeringError(
            f"--val_split {split} cannot be read as documents of {name} ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[:1]}): name another split, or share"
        ) from None


def _indexed(documents: Any) -> Any:
    return documents if hasattr(documents, "__getitem__") else list(documents)


def _pool(task: Any, ask: Callable[[Any], str], questions: set[str]) -> list[tuple[str, Any]]:
    """Rows that shots are drawn from, with what they ask; none where there are no shots, or none of the questions."""
    found = [(ask(row), row) for row in shot_rows(task)]
    return found if any(question in questions for question, _ in found) else []


def shot_rows(task: Any) -> list[Any]:
    """All rows that shots of a task are drawn from; none where it has no shots."""
    if not task.config.num_fewshot:
        return []
    if hasattr(task, "sampler"):
        return list(task.sampler.df or ())
    return list(task.fewshot_docs() or ())


def _without(pool: Iterable[tuple[str, Any]], questions: set[str]) -> list[Any] | None:
    """The rows that ask none of these; None to leave a task's own."""
    return [row for question, row in pool if question not in questions] or None


def _count(task: Any) -> dict[str, Any]:
    hashes = sorted(document_hash(doc) for _, doc in task.doc_iterator(rank=0, limit=None, world_size=1))
    return {"n": len(hashes), "sha256": hashlib.sha256("\n".join(hashes).encode()).hexdigest()}
