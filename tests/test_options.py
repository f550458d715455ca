"""Which option is chosen, against the harness's own scoring of every shape of multiple choice that it has."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask, MultipleChoiceTask
from lm_eval.config.task import TaskConfig

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.arguments import METRICS
from lm_eval_steer.models.options import Options
from lm_eval_steer.plugin.known_tasks import remember

WORDS = ["no", " maybe, who knows", "schön", "日本語", "a very long option that says little"]


def rows(**_: Any) -> datasets.DatasetDict:
    """The same document once for every answer that it may have."""
    docs = [{"q": "Which _ is it?", "options": WORDS, "gold": gold} for gold in range(len(WORDS))]
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(docs)})


SHAPES: dict[str, dict[str, Any]] = {
    "one input": {"doc_to_text": "{{q}}", "doc_to_target": "gold", "doc_to_choice": "options"},
    "no delimiter": {
        "doc_to_text": "{{q}}",
        "doc_to_target": "gold",
        "doc_to_choice": "options",
        "target_delimiter": "",
    },
    "several inputs": {
        "doc_to_text": lambda doc: doc["gold"],
        "doc_to_target": lambda doc: "it is.",
        "doc_to_choice": lambda doc: [f"Which {word}" for word in doc["options"]],
    },
    "several targets": {"doc_to_text": "{{q}}", "doc_to_target": lambda doc: [doc["gold"]], "doc_to_choice": "options"},
}


def build(name: str, shape: str, metrics: list[str]) -> ConfigurableTask:
    config = {"task": name, "custom_dataset": rows, "test_split": "test", "output_type": "multiple_choice"}
    config |= {"num_fewshot": 0, "metric_list": [{"metric": metric} for metric in metrics]}
    task = ConfigurableTask(config=config | SHAPES[shape])
    task.build_all_requests()
    return task


def by_document(task: Any) -> dict[int, list[Instance]]:
    found: dict[int, list[Instance]] = {}
    for request in task.instances:
        found.setdefault(request.doc_id, []).append(request)
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("metrics", [["acc", "acc_norm", "acc_bytes"], ["acc", "acc_norm", "acc_mutual_info"]])
def test_the_harness_scores_the_chosen_option_right_and_no_other(shape: str, metrics: list[str]) -> None:
    task = build("shaped", shape, metrics)
    rng = np.random.default_rng(0)
    chosen = set()
    for _ in range(12):
        scores: dict[str, list[tuple[float, bool]]] = {}
        for gold, requests in by_document(task).items():
            fresh = [(-float(x), False) for x in rng.uniform(0.1, 40, len(requests))]
            given = scores.setdefault("", fresh)
            marks = task.process_results(requests[0].doc, given)
            for metric in metrics:
                choice = Options.of(requests).choose(given, metric)
                assert (marks[metric] == 1.0) == (choice == gold), (metric, marks, choice)
                chosen.add((metric, choice))
    assert len({choice for metric, choice in chosen if metric == "acc"}) > 2
    assert {choice for metric, choice in chosen if metric == metrics[1]} != {0}


class Classic(MultipleChoiceTask):
    """A task of the harness's older kind."""

    VERSION = 0

    def __init__(self) -> None:  # without the harness's download
        self.doc = {"choices": ["no", "a very long option"], "gold": 1}
        self._config = TaskConfig(task="classic")
        self._instances = self.construct_requests(self.doc, "Q", metadata=("classic", 0, 1))


Classic.__abstractmethods__ = frozenset()  # nothing but options and scores is asked of it


def test_tasks_of_the_older_kind_measure_their_choices() -> None:
    task = Classic()
    remember("classic", task)
    scores = [(-2.0, False), (-9.0, False)]  # -1 and -0.5 per character
    options = Options.of(task._instances)
    assert [options.choose(scores, metric) for metric in ("acc", "acc_norm")] == [0, 1]
    assert task.process_results(task.doc, scores) == {"acc": 0.0, "acc_norm": 1.0}


def by_hand(*pairs: tuple[str, str]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, i, ("by hand", 0, 1)) for i, pair in enumerate(pairs)]


def test_requests_of_no_task_show_their_options() -> None:
    plain = Options.of(by_hand(("Q", " ab"), ("Q", " abcd")))
    assert (plain.count, plain.texts, plain.unconditional) == (2, ("ab", "abcd"), False)
    doubled = Options.of(by_hand(("Q", " ab"), ("Q", " abcd"), ("", " ab"), ("", " abcd")))
    assert (doubled.count, doubled.texts, doubled.unconditional) == (2, ("ab", "abcd"), True)
    assert doubled.choose([(-3.0, True), (-4.0, True), (-1.0, True), (-9.0, True)], "acc_mutual_info") == 1
    inputs = Options.of(by_hand(("A dog", " barks."), ("A stone", " barks.")))
    assert inputs.choose([(-1.0, True), (-2.0, True)], "acc") == 0


@pytest.mark.parametrize(
    ("pairs", "metric", "words"),
    [
        ((("Q", " a"), ("Q", " b")), "acc_mutual_info", "needs the options without their context, which by hand does"),
        ((("A", " x"), ("B", " x")), "acc_norm", "needs the lengths of the options, which stand in the contexts of by"),
    ],
)
def test_what_a_metric_lacks_is_one_sentence(pairs: Any, metric: str, words: str) -> None:
    assert metric in METRICS
    with pytest.raises(SteeringError, match=f"vote_metric={metric} {words}"):
        Options.of(by_hand(*pairs)).choose([(-1.0, True), (-2.0, True)], metric)
