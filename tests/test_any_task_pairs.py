"""Pairs of any task of the harness: its own YAML, with a few local documents in the dataset's schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import numpy as np
import pytest
import torch
import yaml
from lm_eval.evaluator import simple_evaluate

import templates
from harness_tasks import (
    HARNESS,
    Row,
    arc,
    bbh,
    boolq,
    drop,
    gsm8k,
    hellaswag,
    lambada,
    mmlu,
    squad,
    truthful,
    winogrande,
)  # fmt: skip
from lm_eval_steer.cli.main import main
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.capture import capture_pairs
from lm_eval_steer.extraction.extract import extract, load_parent
from lm_eval_steer.extraction.pairs import ContrastPair
from lm_eval_steer.extraction.source import Source, load_source, make_pairs
from lm_eval_steer.extraction.tasks import find_task
from lm_eval_steer.models.documents import document_hash, row_of
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.models.leaks import extraction_rows
from lm_eval_steer.vectors.vector import SteeringVector

N = 6


TASKS = {
    "hellaswag": ("hellaswag/hellaswag.yaml", hellaswag, ("train", "validation")),
    "arc_easy": ("arc/arc_easy.yaml", arc, ("train", "validation", "test")),
    "mmlu_anatomy": ("mmlu/default/mmlu_anatomy.yaml", mmlu, ("dev", "validation", "test")),
    "truthfulqa_mc1": ("truthfulqa/truthfulqa_mc1.yaml", truthful, ("validation",)),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc2.yaml", truthful, ("validation",)),
    "winogrande": ("winogrande/default.yaml", winogrande, ("train", "validation")),
    "boolq": ("super_glue/boolq/default.yaml", boolq, ("train", "validation")),
    "squad_completion": ("squad_completion/squad_completion.yaml", squad, ("train", "validation")),
    "drop": ("drop/default.yaml", drop, ("train", "validation")),
    "bbh_cot": ("bbh/cot_fewshot/boolean_expressions.yaml", bbh, ("test",)),
    "lambada_openai": ("lambada/lambada_openai.yaml", lambada, ("test",)),
    "gsm8k": ("gsm8k/gsm8k.yaml", gsm8k, ("train", "test")),
}


def write_task(folder: Path, name: str, changes: Row | None = None, rows: int = N) -> None:
    """A file of the harness with its documents taken from beside it."""
    file, make, splits = TASKS[name]
    files = {}
    for place, split in enumerate(splits):
        path = folder / f"{name}.{split}.jsonl"
        start = 100 * place + 10
        path.write_text("".join(json.dumps(make(i)) + "\n" for i in range(start, start + rows)), encoding="utf-8")
        files[split] = str(path)
    content = {"include": str(HARNESS / file), "task": name, "dataset_path": "json", "dataset_name": None}
    content |= {"dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content | (changes or {})), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for name in TASKS:
        write_task(folder, name)
    write_task(folder, "gsm8k", rows=40)
    for name, changes in {
        "painted": {"doc_to_image": "question"},
        "unsafe": {"unsafe_code": True},
        "rolling": {"output_type": "loglikelihood_rolling", "metric_list": None},
        "hollow": {"doc_to_target": "{{ '' if question.startswith('Bo has 1') else answer }}"},
        "broken": {"doc_to_target": "{{ answer if '12' not in question else nothing.at.all }}"},
        "begun": {"gen_prefix": "So:"},
    }.items():
        own = yaml.safe_load((folder / "gsm8k.yaml").read_text(encoding="utf-8")) | {"task": name} | changes
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    (folder / "both.yaml").write_text("group: both\ntask: [gsm8k, drop]\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def squad_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the task that is a Python class, which names its dataset itself."""
    load = datasets.load_dataset
    local = datasets.DatasetDict(
        {split: datasets.Dataset.from_list([squad(i) for i in range(10, 16)]) for split in ("train", "validation")}
    )

    def instead(*args: Any, **kwargs: Any) -> Any:
        return local if kwargs.get("path") == "hazyresearch/based-squad" else load(*args, **kwargs)

    monkeypatch.setattr("datasets.load_dataset", instead)


def source(folder: Path, task: str, n: int = N, **changes: Any) -> Source:
    return load_source(ExtractionArgs(task=task, n=n, include_path=str(folder), **changes))


def pairs(folder: Path, task: str, n: int = N, **changes: Any) -> list[ContrastPair]:
    """Those of plain text, by number of the document."""
    made = source(folder, task, n, **changes).candidates(n, changes.get("seed", 0), None)
    return [next(made) for _ in range(n)]


HEADER = "The following are multiple choice questions (with answers) about anatomy.\n\n"
DECLARED: dict[str, tuple[Row, str, tuple[str, ...]]] = {
    # task: options, what both sides of the first pair begin with, and how they may end (positive first)
    "hellaswag": (
        {},
        "Baking: Ann takes 10 eggs. Then she ",
        ("cracks 10 of them.", "flies away.", "sings. loudly.", "sleeps."),
    ),
    "arc_easy": ({}, "Question: What is 10 + 1?\nAnswer: ", ("11", "10", "12")),
    "mmlu_anatomy": (
        {"split": "dev"},
        HEADER + "Bone 10?\nA. rib\nB. ulna\nC. tibia\nD. skull\nAnswer: ",
        ("C", "A", "B", "D"),
    ),
    "boolq": ({}, "The number 10 is known.\nQuestion: is 10 odd?\nAnswer: ", ("no", "yes")),
    "winogrande": ({}, "The 10 cups fit the box because the ", ("box is 10 cm wide.", "cup is 10 cm wide.")),
    "squad_completion": ({"split": "train"}, "In 10 it was", (" 10 BC", "")),
    "gsm8k": (
        {"n": 40},
        "Question: Bo has 10 pens and buys 2. How many?\nAnswer:",
        (" He has 10+2=12 now.\n#### 12", ""),
    ),
    "lambada_openai": ({"split": "test"}, "She called 10 times for her", (" dog10", "")),
    "bbh_cot": (
        {"split": "test"},
        "Evaluate the result of a random Boolean expression.\n\nQ: "
        + bbh(10)["input"]
        + "\nA: Let's think step by step.\n",
        ("False", ""),
    ),
    "begun": ({}, "Question: Bo has 10 pens and buys 2. How many?\nAnswer: So:", (" He has 10+2=12 now.\n#### 12", "")),
}


@pytest.mark.parametrize("task", DECLARED)
def test_pairs_are_what_the_task_declares(task: str, folder: Path) -> None:
    options, beginning, (right, *others) = DECLARED[task]
    options = dict(options)
    every = options.pop("n", N if task != "begun" else 40)
    made = pairs(folder, task, every, **options)
    assert made[0].positive == beginning + right
    assert made[0].negative in [beginning + other for other in others]
    assert len({pair.row for pair in made}) == every
    drawn = {tuple(pair.negative for pair in pairs(folder, task, every, **options, seed=seed)) for seed in range(4)}
    assert (len(drawn) > 1) == (len(others) > 1)  # wrong options are drawn by the seed


def test_several_right_options_are_never_wrong_ones(folder: Path) -> None:
    for task, wrong in (("truthfulqa_mc1", ("Nobody knows.", "No.", "Never.")), ("truthfulqa_mc2", ("No.", "Never."))):
        ends = set()
        for seed in range(5):
            for pair in pairs(folder, task, split="validation", seed=seed):
                assert pair.positive.endswith("A: Yes, 1" + pair.positive[-2:])
                ends.add(pair.negative.split("\nA: ")[-1])
        assert ends == set(wrong)


def test_a_task_with_options_may_be_held_against_its_bare_prompt(folder: Path) -> None:
    (pair, *_) = pairs(folder, "arc_easy", contrast="target")
    assert (pair.positive, pair.negative) == (
        "Question: What is 10 + 1?\nAnswer: 11",
        "Question: What is 10 + 1?\nAnswer:",
    )
    (pair, *_) = pairs(folder, "winogrande", contrast="target")
    assert pair.positive == pair.negative + " is 10 cm wide."


def test_examples_are_worked_on_one_side_and_bare_on_the_other(folder: Path) -> None:
    made = source(folder, "gsm8k", 8, contrast="shots", num_fewshot=2)
    (pair, *others) = list(made.candidates(8, 0, None))[:8]
    asked = "Question: {question}\nAnswer: "
    worked = "".join(asked.format(**doc) + doc["answer"] + "\n\n" for doc in made.shots)
    bare = "".join(asked.format(**doc) + doc["answer"].split("#### ")[1] + "\n\n" for doc in made.shots)
    question = pair.positive.removeprefix(worked)
    assert question.startswith("Question: Bo has ")
    assert question.endswith("How many?\nAnswer:")
    assert pair.negative == bare + question
    assert all(one.positive.startswith(worked) and one.negative.startswith(bare) for one in others)
    assert not {row_of(doc) for doc in made.shots} & {one.row for one in (pair, *others)}
    (own, *_) = pairs(folder, "bbh_cot", split="test", contrast="shots")
    assert own.positive.count("So the answer is ") == 3  # the task's own number, from its own samples
    assert own.negative.count("step by step.\nFalse\n\n") == 2
    assert "So the answer is" not in own.negative


def test_two_system_prompts(folder: Path) -> None:
    texts = {"positive": "Be kind.", "negative": "Be rude."}
    made = pairs(folder, "arc_easy", contrast="system", **texts)
    assert made[0].positive == "Be kind.Question: What is 10 + 1?\nAnswer:"
    assert made[0].negative == "Be rude.Question: What is 10 + 1?\nAnswer:"
    (pair, *_) = pairs(folder, "mmlu_anatomy", split="dev", contrast="system", **texts)
    assert pair.positive.startswith("Be kind.\n\n" + HEADER)


def test_prompts_go_through_the_chat_template(folder: Path, tiny_folder: Path) -> None:
    parent = load_parent({"pretrained": str(tiny_folder)}, "cpu")
    parent.tokenizer.chat_template = templates.PHI4
    args = ExtractionArgs(
        task="gsm8k", n=2, include_path=str(folder), apply_chat_template=True, num_fewshot=1, contrast="target"
    )
    (pair, _), data = make_pairs(args, load_source(args), parent)
    turns = [part.split("<|im_sep|>") for part in pair.negative.split("<|im_start|>")[1:]]
    assert [turn[0] for turn in turns] == ["user", "assistant", "user", "assistant"]
    assert turns[-1][1] == ""
    assert pair.positive.removeprefix(pair.negative).startswith("He has ")
    assert data["num_fewshot"] == len(data["shots"]) == 1
    options = load_source(ExtractionArgs(task="arc_easy", n=N, include_path=str(folder)))
    pair = next(options.candidates(N, 0, lambda turns, opens=True: f"<{turns[-1]['content']}>"))
    assert pair.positive == "<Question: What is 10 + 1?\nAnswer:>11"


def test_a_template_of_ones_own_reads_the_fields_of_any_task(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.yml"
    file.write_text("drop: {positive: '{{ answers[0][0] }} of them', negative: '{{ answers[0][0] }}'}\n")
    (pair, *_) = pairs(folder, "drop", pair_template=str(file))
    assert pair.positive == "They scored 10 goals. How many?10 of them"
    assert pair.positive == pair.negative + " of them"


REFUSED: dict[str, tuple[Row, str]] = {
    "unknown": ({"task": "no_such_task"}, "--task no_such_task is no task: see lm_eval ls tasks"),
    "typo": ({"task": "hellaswagg"}, r"hellaswagg is no task \(the nearest name is hellaswag\): see lm_eval ls tasks"),
    "group": ({"task": "both"}, r"--task both is a group of 2 tasks: name one of them \(gsm8k, drop\)"),
    "tag": ({"task": "ai2_arc"}, r"--task ai2_arc is a group of 1 task: name it \(arc_easy\)"),
    "only test": (
        {"task": "lambada_openai"},
        r"only documents of lambada_openai are those that it is evaluated on \(test\): .* --split test and evaluate",
    ),
    "only validation": ({"task": "truthfulqa_mc1"}, r"truthfulqa_mc1 are those that it is evaluated on \(validation\)"),
    "no training": (
        {"task": "mmlu_anatomy"},
        r"mmlu_anatomy has no training split: .* --split \(dev, validation; it is evaluated on test\)",
    ),
    "split": ({"task": "arc_easy", "split": "training"}, "has no split 'training': use one of test, train, validation"),
    "no options": (
        {"task": "gsm8k", "contrast": "wrong"},
        "--contrast wrong needs options, and gsm8k is of the type gen",
    ),
    "no worked": (
        {"task": "arc_easy", "contrast": "shots"},
        "arc_easy is of the type multiple_choice, whose answers are",
    ),
    "bare": (
        {"task": "squad_completion", "split": "train", "contrast": "shots"},
        "the filters of squad_completion read nothing shorter out of the target",
    ),
    "many": ({"task": "arc_easy", "n": 7}, "n=7 pairs, but the split train of arc_easy has 6 documents: use a smaller"),
    "examples": ({"task": "arc_easy", "num_fewshot": 7}, "arc_easy does not give 7 examples .* smaller --num_fewshot"),
    "taken": (
        {"task": "arc_easy", "num_fewshot": 2},
        r"makes 4 of its 6 documents \(2 are among the examples\): use --n 4",
    ),
    "empty": ({"task": "hollow", "n": 40}, r"makes 30 of its 40 documents \(10 have an empty target\): use --n 30"),
    "constant": (
        {"task": "drop"},
        "all 6 documents of drop that would be read have the target 'number,date,.*--pair_temp",
    ),
    "broken": (
        {"task": "broken", "n": 40},
        "document 2 of the split train of broken cannot be asked .*'nothing' is und",
    ),
    "painted": ({"task": "painted"}, "painted asks with images or sound"),
    "rolling": (
        {"task": "rolling"},
        "rolling is of the type loglikelihood_rolling, which has neither prompt nor target",
    ),
    "rationales": ({"task": "arc_easy", "rationales": "r.jsonl"}, "fill a pair template, and arc_easy has none"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_pairs_is_told_in_one_sentence(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, sentence = REFUSED[case]
    manager = lm_eval.tasks.TaskManager
    monkeypatch.setattr(  # the harness's thousands are not scanned here
        "lm_eval_steer.extraction.tasks.TaskManager",
        lambda **given: manager(**({"include_path": str(folder)} | given | {"include_defaults": False})),
    )
    with pytest.raises(SteeringError, match=sentence) as told:
        source(folder, **changes)
    assert "\n" not in str(told.value)


def test_arguments_that_contradict_each_other() -> None:
    for changes, sentence in [
        ({"contrast": "best"}, "no contrast 'best': use one of target, wrong, shots, system"),
        ({"contrast": "system", "positive": "a"}, "needs two system prompts: give --positive TEXT and --negative TEXT"),
        ({"contrast": "system", "positive": "a", "negative": "a"}, "--positive and --negative are the same text 'a'"),
        ({"negative": "a"}, "--negative is a system prompt of --contrast system"),
        ({"contrast": "shots", "num_fewshot": 0}, "num_fewshot=0 is no number of examples: use 1 or more"),
        ({"num_fewshot": -1}, "num_fewshot=-1 is no number of examples: use 0 or more"),
        (
            {"contrast": "target", "pair_template": "f"},
            "--contrast target makes pairs without a template: leave out --p",
        ),
        ({"include_path": "no/folder"}, "--include_path no/folder is no folder"),
        ({"task": None, "pairs": "f", "split": "train"}, "--pairs are complete texts: --split has no meaning"),
        ({"task": None, "pairs": "f", "num_fewshot": 0}, "--num_fewshot has no meaning"),
    ]:
        with pytest.raises(SteeringError, match=sentence):
            ExtractionArgs(**({"task": "gsm8k"} | changes))


def test_nothing_is_run_of_what_an_unsafe_task_reads(folder: Path) -> None:
    assert len(pairs(folder, "unsafe", 4)) == 4


def test_beginnings_are_run_once_for_each_side(folder: Path, tiny_folder: Path) -> None:
    """Directions equal those of texts that are read whole, one at a time, and most tokens are not run."""
    parent = load_parent({"pretrained": str(tiny_folder), "dtype": "float32"}, "cpu")
    args = ExtractionArgs(
        task="gsm8k", n=32, include_path=str(folder), contrast="shots", num_fewshot=5, method="mean", batch_size=8
    )
    loaded = load_source(args)
    run: list[int] = []
    watch = parent.model.get_input_embeddings().register_forward_hook(lambda _, given, __: run.append(given[0].numel()))
    vector = extract(args, loaded, parent)
    watch.remove()
    made, _ = make_pairs(args, loaded, parent)
    tokens = [(parent.tok_encode(pair.positive), parent.tok_encode(pair.negative)) for pair in made]
    blocks = dict(enumerate(find_blocks(parent.model)))
    assert sum(run) < sum(len(text) for sides in tokens for text in sides) / 5
    whole = []
    for sides in tokens:
        states = [parent.model(torch.tensor([text]), output_hidden_states=True).hidden_states for text in sides]
        whole.append(
            [(states[0][block + 1][0, -1] - states[1][block + 1][0, -1]).detach().numpy() for block in range(2)]
        )
    want = np.mean(whole, axis=0)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert np.all((vector.directions[:2] * want).sum(axis=1) > 0.99999)
    differences = capture_pairs(parent.model, blocks, tokens, 1, torch.device("cpu")).differences
    mean = differences.mean(axis=0)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    assert np.all((vector.directions * mean).sum(axis=1) > 0.99999)


def test_a_vector_is_refused_on_documents_that_it_has_read(folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.safetensors"
    command = ["extract", "--model_args", f"pretrained={tiny_folder}", "--task", "lambada_openai", "--split", "test"]
    assert main([*command, "--include_path", str(folder), "--n", "4", "--out", str(out)]) == 0
    data = SteeringVector.load(out).passport["data"]
    assert (data["split"], data["contrast"], data["n_pairs"]) == ("test", "target", 4)
    assert set(data["rows"]) <= {document_hash(lambada(i)) for i in range(10, 16)}
    asked = {
        "tasks": ["lambada_openai"],
        "task_manager": lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False),
        "bootstrap_iters": 0,
    }
    child = {"pretrained": str(tiny_folder), "vectors": str(out), "device": "cpu"}
    with pytest.raises(SteeringError, match=r"^4 of the 6 documents of lambada_openai are among the 4 rows"):
        simple_evaluate(SteeredHF(**child, alpha=1.0), **asked)
    simple_evaluate(SteeredHF(**child, alpha=1.0, allow_leak=True), **asked)


def test_options_and_examples_count_as_read(folder: Path, tiny_folder: Path) -> None:
    parent = load_parent({"pretrained": str(tiny_folder)}, "cpu")
    args = ExtractionArgs(task="hellaswag", n=3, num_fewshot=2, include_path=str(folder), method="mean")
    vector = extract(args, load_source(args), parent)
    read = {row_of(doc) for doc in find_task("hellaswag", str(folder)).training_docs()}
    assert len(extraction_rows(vector)) == 5
    assert extraction_rows(vector) < read
    assert vector.passport["data"]["contrast"] == "wrong"
    assert vector.passport["data"]["dataset"] == {"path": "json", "name": None}


def test_a_document_has_one_hash_in_every_task_that_reads_it() -> None:
    doc = gsm8k(1)
    assert document_hash(doc | {"row": "0123456789abcdef"}) == document_hash(dict(reversed(doc.items())))
    assert row_of(doc | {"row": "0123456789abcdef"}) == "0123456789abcdef"
    assert row_of(doc | {"row": 7}) == row_of(doc) == document_hash(doc) != document_hash(gsm8k(2))
