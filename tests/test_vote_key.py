"""What a vote counts: the same answer that the task's own filter gives, for our tasks and for those of the harness."""

from __future__ import annotations

import copy
import gc
import importlib
import importlib.resources
import random
import sys
import types
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import pytest
from lm_eval import simple_evaluate
from lm_eval.api import task as api
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.tasks import TaskManager

from data import manager, provided
from lm_eval_steer import plugin
from lm_eval_steer.answers import NO_ANSWER, math_answer, math_equal
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.vote_key import VoteKey
from lm_eval_steer.plugin import known_tasks
from lm_eval_steer.sweep.score import Scorer
from lm_eval_steer.sweep.tasks import Requests

REGEX = {"function": "regex", "regex_pattern": r"answer is (\w+)"}
FIRST = {"function": "take_first"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    names = ["arith_steer", "gsm8k_steer", "arc_challenge_steer", "math_steer"]
    with provided(tmp_path_factory.mktemp("data")):
        tasks = manager().load(names)["tasks"]
    for task in tasks.values():
        task.build_all_requests(limit=5)
    return tasks


def rows(**_: Any) -> datasets.DatasetDict:
    docs = [{"q": f"{n} + 1 =", "a": str(n + 1)} for n in range(4)]
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(docs)})


def toy(
    *filters: dict[str, Any], name: str = "toy", cls: type[ConfigurableTask] = ConfigurableTask, **config: Any
) -> Any:
    """A built task with the filter pipeline `answer` of these steps; without steps, with the harness's own pipeline."""
    if filters:
        config["filter_list"] = [{"name": "answer", "filter": list(filters)}]
    settings = {
        "task": name,
        "custom_dataset": rows,
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "num_fewshot": 0,
        "generation_kwargs": {"until": ["\n"]},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    task = cls(config=settings | config)
    task.build_all_requests()
    return task


def filtered(task: Task, responses: list[str], pipeline: str) -> list[tuple[Any, Any]]:
    """Every document with what the task's own filter makes of a response to it; the requests are as before after it."""
    results = []
    for start in range(0, len(responses), len(task.instances)):
        part = list(zip(task.instances, responses[start:], strict=False))
        task._instances, kept = [instance for instance, _ in part], task._instances
        for instance, response in part:
            instance.resps = [response]
        task.apply_filters()
        results += [(instance.doc, instance.filtered_resps[pipeline]) for instance in task._instances]
        for instance, _ in part:
            instance.resps, instance.filtered_resps = [], {}
        task._instances = kept
    return results


def synthetic(seed: int, n: int = 200) -> list[str]:
    """Responses that hold an answer in some form, several, or none."""
    rng = random.Random(seed)
    forms = (
        "The answer is {}.",
        "#### {}",
        "#### The final answer is: {}",
        "So \\boxed{{{}}}",
        "**Final Answer:** \\boxed{{{}}}",
        "({})",
        "<think>The answer is {}.</think>",
        "<think>The answer is {}.",
        "It is not {}",
        "$ {} , ",
        "",
        " \n",
        "I cannot say.",
    )
    things = ("1", "12", "1,234", "-3.50", "A", "B", "(C)", "D", "\\frac12", "0.5", "$7", "x = 4", "1/2", "seven")
    return [
        " ".join(rng.choice(forms).format(rng.choice(things)) for _ in range(rng.choice((1, 1, 2, 3))))
        for _ in range(n)
    ]


# ------------------------------------------------------------------------------------------------------- our own tasks


@pytest.mark.parametrize("name", ["arith_steer", "gsm8k_steer", "arc_challenge_steer", "math_steer"])
def test_the_key_is_what_the_tasks_filter_gives(ours: dict[str, Task], name: str) -> None:
    key, responses = VoteKey.of(name), synthetic(1)
    assert key.name == f"filter 'answer' of {name}"
    results = filtered(ours[name], responses, "answer")
    assert len(results) == 200
    answers = [key.answer(response, doc) for response, (doc, _) in zip(responses, results, strict=True)]
    assert [answer or NO_ANSWER for answer in answers] == [result for _, result in results]
    assert len(set(answers)) >= 5
    assert None in answers
    assert key.answers(responses, [doc for doc, _ in results]) == answers
    assert key.answers([], []) == []


class Thinks(LM):
    """A model whose chat template opens a thought; it says the right answer in it, behind it, or never ends it."""

    tokenizer_name = ""

    def __init__(self, opens: str, said: list[str]) -> None:
        super().__init__()
        self.opens, self.said, self.asked = opens, said, [None]

    def chat_template(self, chat_template: Any = False) -> str:
        return "thinks"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return "".join(f"<|{m['role']}|>{m['content']}" for m in chat_history) + "<|assistant|>" + self.opens

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        key = VoteKey.of(requests[0].task_name)
        said = [form.format(requests[0].doc["answer"][-2:].strip()) for form in self.said]
        self.asked = [
            key.answer(text, request.doc, request.args[0]) for text, request in zip(said, requests, strict=True)
        ]
        return said

    loglikelihood = loglikelihood_rolling = None  # type: ignore[assignment]


SAID = ["The answer is {}.", "So {}.</think>The answer is 77.", "So 77. </think>The answer is 78."]


@pytest.mark.parametrize(
    ("opens", "answers"),
    [("", [None, "77", "78"]), ("<think>\n", ["[no answer]", "77", "78"]), ("<think>\n</think>", [None, "77", "78"])],
)
def test_a_thought_that_the_prompt_opened_and_that_never_ended_says_nothing(
    ours: dict[str, Task], opens: str, answers: list[str | None]
) -> None:
    """In the score of any model, and in the vote; the log keeps what the model wrote."""
    out = simple_evaluate(
        lm := Thinks(opens, SAID),
        tasks=["arith_steer"],
        task_manager=manager(),
        limit=3,
        bootstrap_iters=0,
        apply_chat_template=True,
    )
    samples = out["samples"]["arith_steer"]
    filtered_answers = [sample["filtered_resps"][0] for sample in samples]
    assert [answer or NO_ANSWER for answer in lm.asked] == filtered_answers
    assert filtered_answers[1:] == answers[1:]
    assert filtered_answers[0] == (answers[0] or samples[0]["target"])
    assert samples[0]["resps"] == [[f"The answer is {samples[0]['target']}."]]
    assert samples[0]["exact_match"] == float(answers[0] is None)


def test_every_task_knows_what_its_prompt_opened(ours: dict[str, Task], monkeypatch: pytest.MonkeyPatch) -> None:
    said = "The answer is 1. \\boxed{1}"
    for name, task in ours.items():
        instance, key = copy.copy(task.instances[0]), VoteKey.of(name)
        monkeypatch.setattr(task, "_instances", [instance])
        for end, read in (("<think>\n", False), ("<think>\n\n</think>\n\n", True), ("[THINK]", False)):
            prompt = f"{instance.args[0]}{end}"
            instance.arguments, instance.resps = (prompt, instance.args[1]), [said]
            task.apply_filters()
            assert (instance.filtered_resps["answer"] != NO_ANSWER) is read
            assert (key.answer(said, instance.doc, prompt) is not None) is read
            assert instance.resps == [said]
        # a function that is named for the vote reads as much; a model that cuts thoughts itself has cut their ends
        named = VoteKey.of(name, vote_answer="lm_eval_steer.answers:math_answer")
        assert named.answer(said, {}, "<think>") is None
        assert named.answer(said, {}, "A:") == "1"
        monkeypatch.setitem(known_tasks.find(name).config.metadata, "think_end_token", "</think>")
        assert key.answer(said, instance.doc, "<think>") is not None


def test_a_sweep_scores_with_what_the_prompt_opened(ours: dict[str, Task]) -> None:
    task = ours["arith_steer"]
    instance = copy.copy(task.instances[0])
    target = task.doc_to_target(instance.doc)
    for end, value in (("", 1.0), ("<think>\n", 0.0)):
        instance.arguments = (task.instances[0].args[0] + end, {})
        scorer = Scorer(Requests(task, "arith_steer", [instance]))
        measured = scorer._measure([instance.doc_id], {0: f"The answer is {target}."})
        assert measured[instance.doc_id]["exact_match,answer"] == value


def test_right_answers_have_one_key_and_the_task_scores_it_right(ours: dict[str, Task]) -> None:
    for name, task in ours.items():
        key, doc = VoteKey.of(name), task.instances[0].doc
        target = str(task.doc_to_target(doc))
        said = [form.format(target) for form in ("So \\boxed{{{}}}", "First.\n\nAnd so \\boxed{{{}}}.")]
        answers = {key.answer(response, doc) for response in said}
        assert len(answers) == 1
        assert task.process_results(doc, [*answers])["exact_match"] == 1.0


def test_math_compares_by_math_equal_and_others_by_string(ours: dict[str, Task]) -> None:
    key, doc = VoteKey.of("math_steer"), ours["math_steer"].instances[0].doc
    assert key.equal is math_equal
    one, other = (key.answer(rf"\boxed{{{answer}}}", doc) for answer in (r"\frac12", "0.5"))
    assert one != other
    assert one is not None
    assert other is not None
    assert key.equal(one, other)
    assert key.unfinished >= 0
    for name in ("arith_steer", "gsm8k_steer", "arc_challenge_steer"):
        assert VoteKey.of(name).equal is None
        assert VoteKey.of(name).unfinished == 0


def test_unfinished_comparisons_are_counted(ours: dict[str, Task]) -> None:
    from lm_eval_steer.answers import _equality

    key = VoteKey.of("math_steer")
    before = key.unfinished
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_equality._Verifier, "_ask", staticmethod(lambda *_: ""))
        patch.setattr(_equality._Verifier, "_start", staticmethod(lambda: types.SimpleNamespace(communicate=list)))
        patch.setattr(_equality._verifier(_equality.os.getpid()), "_child", None)
        assert key.equal is not None
        assert not key.equal("no verdict", "for these two 1")
    assert key.unfinished == before + 1


def test_the_real_requests_and_documents_stay_as_they_are() -> None:
    def marks(responses: list[list[str]], docs: list[dict]) -> list[list[str]]:
        for part, doc in zip(responses, docs, strict=True):
            part[0], doc["marked"] = part[0].upper(), True
        return responses

    task = toy({"function": "custom", "filter_fn": marks}, FIRST)
    before = copy.deepcopy(task.instances)
    for instance in task.instances:
        assert VoteKey.of("toy").answer("yes", instance.doc) == "YES"
    assert task.instances == before


# -------------------------------------------------------------------------------------------------------- the harness's


def harness_task(folder: str, name: str, docs: list[dict[str, Any]], patch: pytest.MonkeyPatch) -> Any:
    """A task of the harness on documents of our own."""
    data = datasets.DatasetDict({split: datasets.Dataset.from_list(docs) for split in ("train", "test")})
    patch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    path = Path(lm_eval.tasks.__file__).parent / folder
    task = TaskManager(include_path=str(path), include_defaults=False).load([name])["tasks"][name]
    task.set_config("num_fewshot", 0)
    task.build_all_requests()
    return task


@pytest.fixture
def gsm8k(monkeypatch: pytest.MonkeyPatch) -> Any:
    docs = [{"question": f"What is {n} + {n}?", "answer": f"It doubles.\n#### {2 * n}"} for n in range(1, 6)]
    return harness_task("gsm8k", "gsm8k", docs, monkeypatch)


@pytest.mark.parametrize("pipeline", [None, "strict-match", "flexible-extract"])
def test_vote_filter_chooses_a_pipeline_of_gsm8k(gsm8k: Any, pipeline: str | None) -> None:
    key = VoteKey.of("gsm8k", pipeline)
    assert key.name == f"filter {pipeline or 'strict-match'!r} of gsm8k"
    assert key.equal is None
    responses = synthetic(2)
    results = filtered(gsm8k, responses, pipeline or "strict-match")
    answers = [key.answer(response, doc) for response, (doc, _) in zip(responses, results, strict=True)]
    assert [answer or "[invalid]" for answer in answers] == [result for _, result in results]
    assert None in answers
    assert key.answer("#### 12, and 13 more", {}) == ("13" if pipeline == "flexible-extract" else "12,")


def test_an_unknown_filter_is_answered_with_the_names(gsm8k: Any) -> None:
    with pytest.raises(
        SteeringError, match=r"^vote_filter='loose' is no filter of gsm8k: use one of strict-match, fle"
    ):
        VoteKey.of("gsm8k", "loose")


def test_majority_of_k_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = [{"question": "What is 1 + 1?", "answer": "#### 2"}]
    task = harness_task("gsm8k", "gsm8k_cot_self_consistency", docs, monkeypatch)
    for pipeline in (None, "score-first", "maj@64", "maj@8"):
        key = VoteKey.of("gsm8k_cot_self_consistency", pipeline)
        assert key.answer("The answer is 12.", task.instances[0].doc) == "12"
        assert key.answer("I give up", task.instances[0].doc) is None


def test_minerva_math_is_refused_with_the_argument_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = [{"problem": "What is 1 + 1?", "solution": r"It is $\boxed{2}$.", "level": "Level 1", "type": "Algebra"}]
    task = harness_task("minerva_math", "minerva_math_algebra", docs, monkeypatch)
    with pytest.raises(SteeringError) as refusal:
        VoteKey.of("minerva_math_algebra")
    for part in ("minerva_math_algebra", "process_results", "filter 'none'", "vote_answer=package.module:function"):
        assert part in str(refusal.value)
    key = VoteKey.of("minerva_math_algebra", vote_answer="lm_eval_steer.answers:math_answer")
    assert key.answer(r"So $\boxed{2}$.", task.instances[0].doc) == "2"


def scores(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    return {"exact_match": float(doc["a"] in results[0])}


class PythonTask(ConfigurableTask):
    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        return scores(doc, results)


class OwnFilters(ConfigurableTask):
    def apply_filters(self) -> None:
        pass


TIDIES = [
    (),
    (FIRST,),
    ({"function": "remove_whitespace"}, FIRST),
    ({"function": "lowercase"}, {"function": "majority_vote"}, FIRST),
    ({"function": "take_first_k", "k": 2}, FIRST),
]


@pytest.mark.parametrize("how", [{"process_results": scores}, {"cls": PythonTask}])
@pytest.mark.parametrize("filters", TIDIES)
def test_a_task_that_extracts_while_it_scores_is_refused(
    filters: tuple[dict[str, Any], ...], how: dict[str, Any]
) -> None:
    task = toy(*filters, **how)
    with pytest.raises(SteeringError, match=r"^toy extracts answers only while it scores .* vote_answer="):
        VoteKey.of("toy")
    task = toy(REGEX, *filters, **how)
    assert VoteKey.of("toy").answer("The answer is B", task.instances[0].doc) in ("B", "b")


@pytest.mark.parametrize("filters", TIDIES)
def test_free_text_votes_over_the_whole_response(filters: tuple[dict[str, Any], ...]) -> None:
    task = toy(*filters)
    key, doc = VoteKey.of("toy"), task.instances[0].doc
    assert key.answer("  the whole\ntext\n", doc) == "the whole\ntext"
    assert key.answer(" \n", doc) is None
    assert key.answer("", doc) is None


def test_predict_only_hides_how_a_task_scores() -> None:
    task = toy(process_results=scores)
    task.override_metric("bypass")
    with pytest.raises(SteeringError, match="toy extracts answers only while it scores"):
        VoteKey.of("toy")


def test_a_task_with_filters_of_its_own_is_refused() -> None:
    task = toy(REGEX, FIRST, cls=OwnFilters)
    with pytest.raises(SteeringError, match=r"^toy extracts answers in a way of its own .* vote_answer="):
        VoteKey.of(task.config.task)


def echo(value: Any) -> dict[str, Any]:
    return {"function": "custom", "filter_fn": lambda responses, docs: [[value] for _ in responses]}


@pytest.mark.parametrize(
    ("filters", "response", "answer"),
    [
        ((REGEX, FIRST), "The answer is B", "B"),
        ((REGEX, FIRST), "B", None),
        ((REGEX,), "The answer is B", "B"),  # a list of one
        ((REGEX,), "B", None),
        ((REGEX | {"fallback": "nothing"}, FIRST), "B", None),
        ((REGEX | {"fallback": "nothing"}, FIRST), "answer is [invalid]", None),
        ((REGEX | {"fallback": ""}, FIRST), "B", None),
        ((REGEX, {"function": "remove_whitespace"}, REGEX | {"regex_pattern": "(B|C)"}, FIRST), "answer is AB", "B"),
        ((REGEX, {"function": "map", "mapping_dict": {"B": 1}}, FIRST), "answer is B", "1"),
        ((REGEX, {"function": "map", "mapping_dict": {"B": 1}}, FIRST), "answer is C", None),
        ((REGEX, {"function": "map", "mapping_dict": {"B": 1}, "default_value": -1}, FIRST), "answer is C", None),
        ((REGEX, {"function": "map", "mapping_dict": {"B": -1}, "default_value": -1}, FIRST), "answer is B", "-1"),
        ((REGEX, {"function": "take_first_k", "k": 3}), "answer is B", "B"),
        (({"function": "regex_pos"},), "[('a', 'DET'), ('b', 'NOUN')]", "['DET', 'NOUN']"),
        (({"function": "regex_pos"},), "nothing", None),
        (({"function": "regex_pos"}, FIRST), "nothing", None),
        ((echo(" as it is "), FIRST), "x", " as it is "),
        ((echo(None), FIRST), "x", None),
        ((echo(NO_ANSWER), FIRST), "x", None),
        ((echo([]), FIRST), "x", None),
        ((echo(["one"]), FIRST), "x", "one"),
        ((echo(["one", "two"]), FIRST), "x", "['one', 'two']"),
        ((echo(0), FIRST), "x", "0"),
        ((echo(2.5), FIRST), "x", "2.5"),
    ],
)
def test_what_filters_give_as_an_answer(filters: tuple[dict[str, Any], ...], response: str, answer: str | None) -> None:
    task = toy(*filters)
    assert VoteKey.of("toy").answer(response, task.instances[0].doc) == answer


def test_an_equality_that_a_task_names_is_taken_and_checked() -> None:
    task = toy(REGEX, FIRST, metadata={"answer_equality": "operator:eq"})
    assert VoteKey.of("toy").equal is importlib.import_module("operator").eq
    task.config.metadata["answer_equality"] = "operator:gone"
    with pytest.raises(
        SteeringError, match=r"^answer_equality='operator:gone' of toy: the module operator has no gone"
    ):
        VoteKey.of("toy")
    task.config.metadata = None
    assert VoteKey.of("toy").equal is None


@pytest.mark.parametrize("name", [None, "gone"])
def test_requests_of_no_known_task_are_refused(name: str | None) -> None:
    with pytest.raises(SteeringError, match=rf"how {name or 'this task'} reads .* no task .* vote_answer=package"):
        VoteKey.of(name)


# --------------------------------------------------------------------------------------------------------- vote_answer


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("my_answers")
    monkeypatch.setitem(sys.modules, "my_answers", module)
    return module


@pytest.mark.parametrize(
    "function",
    [
        lambda response: response[-1:],
        lambda response, strict=True: response[-1:] if strict is True else "wrong",
        lambda response, doc: response[doc["from"] :],
        lambda response, document: response[document["from"] :],
        lambda response, doc=None: response[doc["from"] :],
        lambda response, /, doc, more=1: response[doc["from"] :],
        lambda *responses: responses[0][-1:] if len(responses) == 1 else "wrong",
    ],
)
def test_vote_answer_takes_the_response_and_maybe_the_document(mine: types.ModuleType, function: Any) -> None:
    mine.read = function  # type: ignore[attr-defined]
    key = VoteKey.of("no such task", vote_answer="my_answers:read")
    assert key.name == "my_answers:read"
    assert key.equal is None
    assert key.answer("It is 7", {"from": -1}) == "7"
    assert key.answers(["a", "b"], [{"from": -1}] * 2) == ["a", "b"]


@pytest.mark.parametrize("value", [None, "", " ", NO_ANSWER])
def test_vote_answer_may_find_nothing(mine: types.ModuleType, value: str | None) -> None:
    mine.read = lambda response: value  # type: ignore[attr-defined]
    assert VoteKey.of(None, vote_answer="my_answers:read").answer("x", {}) is None


@pytest.mark.parametrize(
    ("vote_answer", "words"),
    [
        ("my_answers", "'my_answers' is not understood: write package.module:function"),
        ("my_answers:", "not understood"),
        (":read", "not understood"),
        ("my_answers:a.b", "not understood"),
        (7, "vote_answer=7 is not understood"),
        ("gone_module:read", r"gone_module cannot be imported \(ModuleNotFoundError.*PYTHONPATH"),
        ("my_answers:gone", "the module my_answers has no gone"),
        ("my_answers:number", "number is of type int, not a function"),
        ("my_answers:none", r"takes \(\), but it is called with \(response\) or \(response, doc\)"),
        ("my_answers:three", r"takes \(a, b, c\), but"),
        ("my_answers:keyword", r"takes \(a, \*, b\), but"),
    ],
)
def test_vote_answer_that_cannot_be_used(mine: types.ModuleType, vote_answer: Any, words: str) -> None:
    vars(mine).update(number=1, none=lambda: "", three=lambda a, b, c: "", keyword=lambda a, *, b: "")
    with pytest.raises(SteeringError, match=words) as refusal:
        VoteKey.of(None, vote_answer=vote_answer)
    assert "\n" not in str(refusal.value)


def test_vote_answer_of_a_broken_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_answers.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SteeringError, match=r"broken_answers cannot be imported \(ZeroDivisionError: division by zero"):
        VoteKey.of(None, vote_answer="broken_answers:read")


def test_vote_answer_must_return_a_string(mine: types.ModuleType) -> None:
    mine.read = lambda response: 7  # type: ignore[attr-defined]
    with pytest.raises(SteeringError, match=r"'my_answers:read' returned 7, a int: let it return a string, or None"):
        VoteKey.of(None, vote_answer="my_answers:read").answer("x", {})


def test_both_arguments_are_one_too_many() -> None:
    with pytest.raises(SteeringError, match=r"vote_filter='answer' and vote_answer='a:b' both say .* give one"):
        VoteKey.of("arith_steer", "answer", "a:b")


# ------------------------------------------------------------------------------------------------ tasks known by name


def test_a_built_task_is_found_by_the_name_that_its_requests_carry() -> None:
    task = toy(name="known")
    assert known_tasks.find("known") is task
    assert {instance.task_name for instance in task.instances} == {"known"}
    assert known_tasks.find("unknown") is known_tasks.find(None) is None


def test_the_latest_build_wins_and_nothing_is_kept_alive() -> None:
    first, second = toy(name="twice"), toy(name="twice")
    assert known_tasks.find("twice") is second
    first.build_all_requests()
    assert known_tasks.find("twice") is first
    del first
    gc.collect()
    assert known_tasks.find("twice") is None
    assert second.instances


def test_a_build_that_fails_is_not_remembered() -> None:
    task = toy(name="fails")
    task.config.task = "fails_later"
    with pytest.raises(TypeError):
        task.build_all_requests(no_such_argument=1)
    assert known_tasks.find("fails_later") is None


def test_requests_from_the_cache_have_their_task(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = [[Instance("generate_until", {"q": "?"}, ("?", {}), 0, ("cached", 0, 1))]]
    task = toy(name="before")
    monkeypatch.setattr(api, "load_from_cache", lambda **_: cached)
    task.config.task = "cached"
    task.build_all_requests(cache_requests=True)
    assert task.instances == cached[0]
    assert known_tasks.find("cached") is task


def test_a_class_that_overrides_the_method_takes_part_through_super() -> None:
    class Overrides(ConfigurableTask):
        def build_all_requests(self, **arguments: Any) -> None:
            super().build_all_requests(**arguments)
            self._instances = self._instances[:1]

    class Alone(ConfigurableTask):
        def build_all_requests(self, **_: Any) -> None:
            self._instances = []

    task, alone = toy(name="overrides", cls=Overrides), toy(name="alone", cls=Alone)
    assert len(task.instances) == 1
    assert known_tasks.find("overrides") is task
    assert known_tasks.find("alone") is None
    assert alone.instances == []


def test_the_method_is_wrapped_once_and_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    build = Task.build_all_requests
    assert build.tells_lm_eval_steer  # type: ignore[attr-defined]
    assert not hasattr(build.__wrapped__, "tells_lm_eval_steer")  # type: ignore[attr-defined]
    assert (build.__name__, build.__qualname__) == ("build_all_requests", "Task.build_all_requests")
    plugin._remember_tasks(api)
    assert Task.build_all_requests is build


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ({}, "lm_eval.api.task has no Task"),
        ({"Task": type("Task", (), {})}, "Task has no build_all_requests"),
        ({"Task": type("Task", (), {"build_all_requests": staticmethod(list)})}, "build_all_requests is no method"),
    ],
)
def test_another_lm_eval_is_told_apart(module: dict[str, Any], reason: str) -> None:
    stand_in = types.ModuleType("lm_eval.api.task")
    vars(stand_in).update(module)
    with pytest.raises(plugin._Unsupported, match=reason):
        plugin._remember_tasks(stand_in)


def test_a_model_finds_the_tasks_of_its_requests_during_an_evaluation(ours: dict[str, Task]) -> None:
    class Asks(LM):
        def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
            keys = [VoteKey.of(request.task_name) for request in requests]
            said = [f"The answer is {request.doc['answer'] if 'row' in request.doc else 'B'}." for request in requests]
            parts = zip(keys, said, requests, strict=True)
            self.asked = [(key.name, key.answer(text, request.doc)) for key, text, request in parts]
            return said

        loglikelihood = loglikelihood_rolling = None  # type: ignore[assignment]

    out = simple_evaluate(
        (lm := Asks()), tasks=["arith_steer", toy(REGEX, FIRST)], task_manager=manager(), limit=2, bootstrap_iters=0
    )
    samples = [*out["samples"]["arith_steer"], *out["samples"]["toy"]]
    assert [answer for _, answer in lm.asked] == [sample["filtered_resps"][0] for sample in samples]
    assert {name for name, _ in lm.asked} == {"filter 'answer' of arith_steer", "filter 'answer' of toy"}


def test_math_answers_are_compared_as_the_yaml_says(ours: dict[str, Task]) -> None:
    folder = importlib.resources.files("lm_eval_steer.tasks") / "math"
    for name in ("math_steer", "math_steer_val", "math500_steer"):
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        assert "answer_function: lm_eval_steer.answers:math_answer" in text
        assert "answer_equality: lm_eval_steer.answers:math_equal" in text
    assert math_answer(r"\boxed{4}") == VoteKey.of("math_steer").answer(r"\boxed{4}", {})
