"""Tasks that ask for the bare answer, and the concept that they declare: worked examples against bare ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval import simple_evaluate

import data
import models
import sweeps
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.concept import Concept
from lm_eval_steer.extraction.source import load_source
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.tasks.arith import task as arith
from lm_eval_steer.tasks.direct import ANSWERS, REASONS
from lm_eval_steer.vectors.vector import SteeringVector

NAMES = [f"{dataset}_direct_steer{end}" for dataset in ("arith", "gsm8k") for end in ("", "_val")]


@pytest.fixture(scope="module", autouse=True)
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with data.provided(tmp_path_factory.mktemp("data")):
        yield


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    return data.manager().load([*NAMES, *(name.replace("_direct", "") for name in NAMES)])["tasks"]  # type: ignore[return-value]


def worked_prompt(name: str) -> str:
    """The golden prompt of the task with reasoning, from its first example on."""
    golden = (data.GOLDEN / f"{name.replace('_direct', '')}.txt").read_text(encoding="utf-8")
    return golden[golden.index("Q: ") :]


def bare(prompt: str) -> str:
    """A prompt whose examples keep the last sentence of their answers."""
    return re.sub(r"(?s)(?<=\nA: )(?:(?!\nQ: ).)*?(?=The answer is \d+\.\n)", "", prompt)


# What is asked, and how it is scored


@pytest.mark.parametrize("name", NAMES)
def test_all_but_the_prompt_is_that_of_the_task_with_reasoning(tasks: dict[str, Any], name: str) -> None:
    task, other = tasks[name], tasks[name.replace("_direct", "")]
    assert task.eval_docs["row"] == other.eval_docs["row"]
    assert task.training_docs()["row"] == other.training_docs()["row"]
    some = [task.eval_docs[place] for place in range(10)]
    assert [task.doc_to_target(doc) for doc in some] == [other.doc_to_target(doc) for doc in some]
    assert task.config.generation_kwargs == other.config.generation_kwargs
    mine, theirs = task.config.metadata, other.config.metadata
    for key in ("dataset", "version", "split", "split_digest", "answer_function", "new_token_limit"):
        assert mine[key] == theirs[key]


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_those_of_the_task_with_reasoning_left_out(tasks: dict[str, Any], name: str) -> None:
    task = tasks[name]
    prompt = task.fewshot_context(task.eval_docs[0], num_fewshot=5)
    assert prompt == bare(worked_prompt(name))
    assert [len(answer.split()) for answer in re.findall(r"\nA: (.*)\n", prompt)] == [4] * 5
    messages = task.fewshot_context(
        task.eval_docs[0],
        num_fewshot=5,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        chat_template=lambda turns, **_: turns,
    )
    assert [message["role"] for message in messages] == ["user", "assistant"] * 5 + ["user"]  # no system prompt


REPLIES = [
    (" 1 + 1 = {}. The answer is {}.", 1.0, 1.0),
    (" The answer is {}.", 1.0, 0.0),
    (" 1 + 1 = 2. The answer is 123456.", 0.0, 1.0),
    (" 123456", 0.0, 0.0),
    ("", 0.0, 0.0),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_response_is_scored_by_its_answer_and_by_its_working(
    tasks: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    docs = [tasks[name].eval_docs[place] for place in range(len(REPLIES))]
    replies = [
        text.format(*[tasks[name].doc_to_target(doc)] * 2) for (text, *_), doc in zip(REPLIES, docs, strict=True)
    ]
    model = models.make_model("llama", max_position_embeddings=8192)
    lm = SteeredHF(pretrained=model, tokenizer=models.make_tokenizer(), batch_size=1, alpha=0)
    data.script(lm, replies, monkeypatch, really=False)
    out = simple_evaluate(model=lm, tasks=[name], task_manager=data.manager(), limit=len(REPLIES), bootstrap_iters=0)
    found = {key: value for key, value in out["results"][name].items() if "," in key and "stderr" not in key}
    assert found == {"exact_match,answer": 2 / 5, "reasons,working": 2 / 5}
    for metric, filter_name, place in (("exact_match", "answer", 1), ("reasons", "working", 2)):
        logged = sorted(
            (one for one in out["samples"][name] if one["filter"] == filter_name), key=lambda one: one["doc_id"]
        )
        assert [one[metric] for one in logged] == [reply[place] for reply in REPLIES]
    assert {one["filtered_resps"][0] for one in out["samples"][name] if one["filter"] == "working"} == {
        REASONS,
        ANSWERS,
    }


# The concept


@pytest.mark.parametrize("name", NAMES)
def test_the_concept_is_worked_against_bare_examples_before_the_same_question(tasks: dict[str, Any], name: str) -> None:
    source = load_source(ExtractionArgs(task=name, n=4))
    pairs = [pair for pair, _ in zip(source.candidates(4, 0, None), range(4), strict=False)]
    shots = worked_prompt(name).rpartition("Q: ")[0]
    questions = {doc["row"]: doc["question"] for doc in tasks[name].training_docs()}
    for pair in pairs:
        question = f"Q: {questions[str(pair.row)]}\nA:"
        assert (pair.positive, pair.negative) == (shots + question, bare(shots) + question)
    assert len({pair.row for pair in pairs}) == 4


def test_a_named_contrast_counts_more_than_the_declared_one() -> None:
    pair = next(load_source(ExtractionArgs(task="arith_direct_steer", n=4, contrast="target")).candidates(4, 0, None))
    assert pair.positive.startswith(pair.negative + " ")
    assert "Q: " not in pair.negative[1:]  # no examples
    assert load_source(ExtractionArgs(task="arith_direct_steer", n=4, contrast="target")).steering == {}
    three = ExtractionArgs(task="arith_direct_steer", n=4, num_fewshot=3)
    assert next(load_source(three).candidates(4, 0, None)).positive.count("Q: ") == 4


def test_the_vector_says_what_it_was_read_from_and_the_command_how_it_acts(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v.safetensors"
    command = ["extract", "--model_args", f"pretrained={tiny_folder}", "--task", "arith_direct_steer", "--n", "4"]
    assert main([*command, "--out", str(out)]) == 0
    assert f"vectors={out},dose=0.1,tokens=last --tasks arith_direct_steer" in capsys.readouterr().out
    passport = SteeringVector.load(out).passport
    assert passport["steering"] == {"tokens": "last", "dose": 0.1}
    found = passport["data"]
    assert (found["contrast"], found["num_fewshot"], found["worked"]) == ("shots", 5, "{{worked}}")
    assert len(found["shots"]) == 5

    assert main(["vectors", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "steer with it as it is meant to act:" in shown
    assert f"pretrained=CHILD,vectors={out},dose=0.1,tokens=last --tasks TASK" in shown
    mapped = tmp_path / "mapped.safetensors"
    transfer = ["transfer", str(out), "--child", str(tiny_folder), "--width_map", "cut", "--layer_map", "greedy"]
    assert main([*transfer, "--out", str(mapped)]) == 0
    assert f"vectors={mapped},dose=0.1,tokens=last --tasks TASK" in capsys.readouterr().out
    assert SteeringVector.load(mapped).passport["steering"] == passport["steering"]


def write_own(folder: Path, concept: Any) -> str:
    """A task of a user's own, with a concept."""
    own = {
        "include": str(arith.HERE / "arith_steer.yaml"),
        "task": "mine",
        "metadata": {"version": 1.0, "concept": concept},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    return str(folder)


def test_any_task_may_declare_a_concept(tmp_path: Path) -> None:
    folder = write_own(tmp_path, {"contrast": "system", "positive": "Be brief.", "negative": "Be slow."})
    source = load_source(ExtractionArgs(task="mine", n=2, include_path=folder))
    pair = next(source.candidates(2, 0, None))
    assert pair.positive.startswith("Be brief.\n\nSolve the problem step by step.")
    assert pair.negative == pair.positive.replace("Be brief.", "Be slow.")
    assert source.steering == {}


@pytest.mark.parametrize(
    ("concept", "sentence"),
    [
        ("shots", "metadata.concept of mine is 'shots': it may have contrast, num_fewshot, positive, negative, worked"),
        ({"contrasts": "shots"}, "metadata.concept of mine is {'contrasts': 'shots'}: it may have contrast, "),
        ({"contrast": "best"}, "there is no contrast 'best'"),
        ({"contrast": 5}, "metadata.concept of mine has contrast=5, which is no text"),
        ({"contrast": "system", "positive": "a"}, "--contrast system needs two system prompts"),
        ({"contrast": "target", "worked": "{{target}}"}, "has `worked`, which is of contrast: shots"),
        ({"contrast": "shots", "worked": "{{nothing}}"}, "`worked` of the concept of mine cannot be filled in"),
        ({"contrast": "shots", "num_fewshot": "all"}, "has num_fewshot='all', which is no number"),
        (
            {"contrast": "shots", "steering": {"dosage": 1}},
            "steering={'dosage': 1}, which does not say how a vector acts",
        ),
        ({"contrast": "target", "steering": {"allow_leak": True}}, "which does not say how a vector acts: name one or"),
        ({"contrast": "target", "steering": "last"}, "steering='last', which does not say how a vector acts"),
    ],
)
def test_a_concept_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path, concept: Any, sentence: str) -> None:
    folder = write_own(tmp_path, concept)
    with pytest.raises(SteeringError, match=re.escape(sentence)) as told:
        load_source(ExtractionArgs(task="mine", n=2, include_path=folder))
    assert "\n" not in str(told.value)


def test_a_task_without_a_concept_has_an_empty_one(tasks: dict[str, Any]) -> None:
    assert Concept.of(tasks["arith_steer"]) == Concept()


# A sweep


def test_a_sweep_chooses_by_the_share_that_reasons(tiny_folder: Path, tmp_path: Path) -> None:
    vector = tmp_path / "v.safetensors"
    read = ["extract", "--model_args", f"pretrained={tiny_folder}", "--task", "arith_direct_steer", "--n", "4"]
    assert main([*read, "--out", str(vector)]) == 0
    child = {"pretrained": str(tiny_folder), "vectors": str(vector), "tokens": "last"}
    changes = sweeps.SMALL | {"tasks": ("arith_direct_steer",), "metric": "reasons"}
    found = sweeps.sweep(child, tmp_path / "out", gen_kwargs={"max_gen_toks": 8}, **changes)
    task = found["tasks"]["arith_direct_steer"]
    assert (task["validation"]["task"], task["validation"]["metric"]) == ("arith_direct_steer_val", "reasons,working")
    for arm in ("baseline", "best", "vote"):
        assert task["test"][arm]["metric"] == "reasons,working"
        assert list(task["test"][arm]["metrics"]) == ["exact_match,answer"]
