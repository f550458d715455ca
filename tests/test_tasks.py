"""The four tasks as the harness loads them, and the splits under them."""

import json
import os
import re
from pathlib import Path

import datasets
import pytest
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

import models
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.tasks.arith import generate
from lm_eval_steer.tasks.arith import task as arith
from lm_eval_steer.tasks.gsm8k import make_manifest
from lm_eval_steer.tasks.gsm8k import task as gsm8k
from lm_eval_steer.tasks.splits import DATA_VARIABLE, SPLITS, Manifest, digest, load, read_jsonl, read_source, row_hash

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("gsm8k_steer", "gsm8k_steer_val", "arith_steer", "arith_steer_val")
SIZES = {
    "gsm8k": {"extraction": 6973, "validation": 500, "test": 1319},
    "arith": {"extraction": 300, "validation": 300, "test": 300},
}
FIELDS = ("question", "answer")


def asked(name: str) -> str:
    """The question at the end of a golden prompt."""
    return (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").rpartition("Q: ")[2].removesuffix("\nA:")


def stand_in(folder: Path) -> Manifest:
    """Write GSM8K-like files and their manifest; the first rows of test and validation are those of the real splits."""
    generated = generate.generate()
    train = [{"question": asked("gsm8k_steer_val"), "answer": "It is 48.\n#### 48"}, *generated["extraction"]]
    test = [{"question": asked("gsm8k_steer"), "answer": "It is 18.\n#### 18"}, *generated["test"]]
    (folder / "gsm8k").mkdir()
    for name, rows in (("train", train), ("test", test)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "gsm8k" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    keys = [row_hash(row, FIELDS) for row in train]
    parts = {"extraction": keys[100:], "validation": keys[:100], "test": [row_hash(row, FIELDS) for row in test]}
    manifest = Manifest("gsm8k", "the test", "by hand", 0, FIELDS, {name: tuple(parts[name]) for name in SPLITS})
    manifest.write(folder / "manifest.json")
    return manifest


@pytest.fixture(scope="module", autouse=True)
def real_gsm8k(tmp_path_factory):
    """Whether gsm8k's published rows are at hand; a stand-in of the same schema takes their place otherwise."""
    if DATA_VARIABLE in os.environ:
        yield True
        return
    folder = tmp_path_factory.mktemp("data")
    stand_in(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(folder))
        patch.setattr(gsm8k, "HERE", folder)
        yield False


@pytest.fixture(scope="module")
def manager():
    """The harness's own manager, which finds our tasks through the plugin."""
    return TaskManager()


@pytest.fixture(scope="module")
def tasks(real_gsm8k, manager):
    return manager.load(list(NAMES))["tasks"]


# Prompts


def turns(messages, **_):
    """A chat template that renders nothing."""
    return messages


@pytest.mark.parametrize("name", NAMES)
def test_first_prompt_is_the_golden_one(tasks, name):
    task = tasks[name]
    prompt = task.fewshot_context(task.eval_docs[0], num_fewshot=5)
    assert prompt == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_roles_of_the_chat(tasks, name):
    task = tasks[name]
    messages = task.fewshot_context(
        task.eval_docs[0], num_fewshot=5, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=turns
    )
    assert [message["role"] for message in messages] == ["system"] + ["user", "assistant"] * 5 + ["user"]
    system, *others = (message["content"] for message in messages)
    assert system == task.config.description
    # The blank line that ends a plain-text description is the only stray whitespace, and templates that trim drop it.
    assert system == system.strip() + "\n\n"
    assert all(content == content.strip() for content in others)
    assert all(content.startswith("Q: ") and content.endswith("\nA:") for content in others[::2])
    assert all(re.search(r"The answer is \d+\.$", content) for content in others[1::2])


@pytest.mark.parametrize("name", NAMES)
def test_generation_is_greedy_limited_and_fit_for_apis(tasks, name):
    kwargs = tasks[name].config.generation_kwargs
    assert kwargs["do_sample"] is False
    assert kwargs["max_gen_toks"] == tasks[name].config.metadata["new_token_limit"] == (512 if "gsm8k" in name else 128)
    assert len(kwargs["until"]) < 4  # the tokenizer's own end of turn is added to them


# Scoring


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("response", "right"),
    [
        (" So it is 2 + 2 = 4. The answer is {}.", True),
        ("#### Step-by-step derivation:\n1. We add 1 and 2.\n#### The final answer is: ${}.00", True),
        (" So it is {}. The answer is 123456.", False),
        ("<think>The answer is {}.", False),
        ("", False),
    ],
)
def test_scoring_through_the_task(tasks, name, response, right):
    task = tasks[name]
    task.build_all_requests(limit=1)
    (instance,) = task.instances
    instance.resps.append(response.format(task.doc_to_target(instance.doc)))
    task.apply_filters()
    assert task.process_results(instance.doc, [instance.filtered_resps["answer"]]) == {"exact_match": float(right)}


def test_no_answer_is_told_and_equals_no_target(tasks):
    for name in NAMES:
        assert "[no answer]" not in {tasks[name].doc_to_target(doc) for doc in tasks[name].eval_docs}
    assert gsm8k.answers([["none", "5"], [""]], [{}, {}]) == [["[no answer]", "5"], ["[no answer]"]]
    assert arith.answers([["none"]], [{}]) == [["[no answer]"]]


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_the_published_numbers(tasks, name):
    for doc in tasks[name].eval_docs:
        assert tasks[name].doc_to_target(doc) == str(int(doc["answer"].rpartition("#### ")[2].replace(",", "")))


def test_all_run_under_plain_hf(manager, tasks):
    model = models.make_model("llama", max_position_embeddings=8192)
    lm = HFLM(pretrained=model, tokenizer=models.make_tokenizer(), batch_size=1)
    out = simple_evaluate(
        model=lm, tasks=list(NAMES), task_manager=manager, limit=1, gen_kwargs={"max_gen_toks": 4}, bootstrap_iters=0
    )
    for name in NAMES:
        assert out["results"][name]["exact_match,answer"] in (0.0, 1.0)
        assert out["configs"][name]["metadata"]["split_digest"] == tasks[name].config.metadata["split_digest"]
        (sample,) = out["samples"][name]
        assert sample["doc"]["row"] == tasks[name].eval_docs[0]["row"]


# Splits


@pytest.mark.parametrize(("dataset", "module"), [("gsm8k", gsm8k), ("arith", arith)])
def test_committed_manifest(dataset, module):
    folder = Path(arith.__file__).parent.parent / dataset
    manifest = Manifest.read(folder / "manifest.json")  # reading asserts digests and disjointness
    assert {name: len(rows) for name, rows in manifest.splits.items()} == SIZES[dataset]
    for name, split in ((f"{dataset}_steer", "test"), (f"{dataset}_steer_val", "validation")):
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        assert f"split: {split}\n" in text
        assert f'split_digest: "{digest(manifest.splits[split])}"' in text


@pytest.mark.parametrize("name", NAMES)
def test_loaded_splits_are_those_of_the_manifest(tasks, name, real_gsm8k):
    task, dataset = tasks[name], name.split("_")[0]
    manifest = Manifest.read((gsm8k if dataset == "gsm8k" else arith).HERE / "manifest.json")
    assert {split: tuple(task.dataset[split]["row"]) for split in task.dataset} == manifest.splits
    assert task.eval_docs is not None
    assert task.eval_docs["row"] == task.dataset["validation" if name.endswith("_val") else "test"]["row"]
    if real_gsm8k:
        assert {split: len(task.dataset[split]) for split in SPLITS} == SIZES[dataset]
    questions = [make_manifest.normalised(question) for split in SPLITS for question in task.dataset[split]["question"]]
    assert len(set(questions)) == len(questions)
    shots = {make_manifest.normalised(shot["question"]) for shot in task.config.fewshot_config.samples}
    assert len(shots) == 5
    assert not shots & set(questions)


def test_gsm8k_manifest_can_be_made_again(tmp_path, real_gsm8k):
    train, test = (read_source("gsm8k", gsm8k.HUB, (name,), FIELDS) for name in ("train", "test"))
    manifest = make_manifest.make(train, test)
    manifest.write(tmp_path / "manifest.json")
    if real_gsm8k:
        committed = Path(make_manifest.__file__).parent / "manifest.json"
        assert (tmp_path / "manifest.json").read_bytes() == committed.read_bytes()
    assert Manifest.read(tmp_path / "manifest.json") == manifest
    # The lot does not depend on the order of the rows, and a few-shot question is left out.
    shot = {
        "question": "  if there are 3 cars in the parking lot and 2 more cars arrive\nhow many cars are "
        "in the parking LOT",
        "answer": "5",
    }
    again = make_manifest.make([shot, *reversed(train)], test)
    assert set(again.splits["validation"]) == set(manifest.splits["validation"])
    assert set(again.splits["extraction"]) == set(manifest.splits["extraction"])


def test_arith_files_are_what_the_generator_writes(tmp_path):
    generate.main(tmp_path)
    for name in ("extraction.jsonl", "validation.jsonl", "test.jsonl", "manifest.json"):
        assert (tmp_path / name).read_bytes() == (arith.HERE / name).read_bytes()


def test_arith_problems_are_solved_right():
    for rows in generate.generate().values():
        for row in rows:
            steps = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", row["answer"])
            assert len(steps) in (1, 2)
            for left, operator, right, result in steps:
                x, y = int(left), int(right)
                assert {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[operator] == int(result) >= 2
            assert row["answer"].endswith(f"\n#### {steps[-1][3]}")
            numbers = set(re.findall(r"\d+", row["question"]))
            assert numbers <= set(re.findall(r"\d+", row["answer"]))


def test_arith_splits_share_no_template_with_the_same_numbers():
    # What is left of a question without names and things: its numbers in order, and the words that no draw changes.
    drawn = {word for person in generate.PEOPLE for word in person} | {w.capitalize() for _, w in generate.PEOPLE}
    drawn |= {word for pair in generate.THINGS for thing in pair for word in thing.split()}
    seen = [
        tuple(word for word in re.findall(r"\w+", row["question"]) if word not in drawn)
        for rows in generate.generate().values()
        for row in rows
    ]
    assert len(set(seen)) == len(seen) == 900
    assert len(generate.TEMPLATES) >= 20
    assert {len(template.steps) for template in generate.TEMPLATES} == {1, 2}


def test_lines_end_at_line_feeds_only(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "a\u2028b\x85c", "answer": "1"}\n', encoding="utf-8")
    assert read_jsonl(tmp_path / "rows.jsonl", FIELDS) == [{"question": "a\u2028b\x85c", "answer": "1"}]


def test_a_row_hash_depends_on_words_and_fields_only():
    row = {"question": "a  b\u2028c", "answer": "d\n"}
    assert row_hash(row, FIELDS) == row_hash({"question": "a b c", "answer": "d", "other": "e"}, FIELDS)
    assert row_hash(row, FIELDS) != row_hash({"question": "a b", "answer": "c d"}, FIELDS)
    assert re.fullmatch("[0-9a-f]{16}", row_hash(row, FIELDS))


# Refusals, each one sentence


def manifest_of(extraction: str = "ab", validation: str = "cd", test: str = "ef") -> Manifest:
    splits = dict(zip(SPLITS, (tuple(extraction), tuple(validation), tuple(test)), strict=True))
    return Manifest("toy", "nowhere", "by hand", 0, ("text",), splits)


def test_overlap_is_refused():
    with pytest.raises(
        SteeringError, match=r"extraction \(3 rows\) and test \(2 rows\) .* share 1 rows, for example a"
    ):
        manifest_of(extraction="abx", test="ae")


def test_a_row_listed_twice_is_refused():
    with pytest.raises(SteeringError, match="validation of the toy manifest lists 3 rows, only 2 of them distinct"):
        manifest_of(validation="ccd")


def toy(words: str) -> tuple[Manifest, list[dict[str, str]]]:
    rows = [{"text": word} for word in words]
    keys = [row_hash(row, ("text",)) for row in rows]
    splits = {"extraction": tuple(keys[:2]), "validation": tuple(keys[2:3]), "test": tuple(keys[3:])}
    return Manifest("toy", "the alphabet", "by hand", 0, ("text",), splits), rows


def test_rows_come_in_the_order_of_the_manifest_with_their_hash():
    manifest, rows = toy("abcdef")
    loaded = load(manifest, reversed(rows))
    assert isinstance(loaded, datasets.DatasetDict)
    assert list(loaded) == list(SPLITS)
    assert loaded["test"]["text"][:] == ["d", "e", "f"]
    assert tuple(loaded["test"]["row"]) == manifest.splits["test"]


def test_missing_rows_are_refused():
    manifest, rows = toy("abcdef")
    with pytest.raises(
        SteeringError, match=r"test of toy needs 3 rows, but the data hold 2 .* not the alphabet"
    ) as error:
        load(manifest, rows[:-1])
    assert manifest.splits["test"][-1] in str(error.value)


def test_a_row_that_comes_twice_is_refused():
    manifest, rows = toy("abcdef")
    with pytest.raises(
        SteeringError, match=r"toy data hold row [0-9a-f]{16} twice \(row 7 repeats one of the 6 before"
    ):
        load(manifest, [*rows, {"text": " a "}])


def edit(path: Path, change) -> Path:
    """A copy of the committed arith manifest with one change."""
    content = json.loads((arith.HERE / "manifest.json").read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda content: content["splits"]["test"].pop(),
            "test in .* has the digest .* but the file says .*write the manifest again",
        ),
        (lambda content: content["splits"].pop("test"), "has the splits .*'extraction', 'validation'.*, not .*'test'"),
        (lambda content: content.pop("rule"), "is not a manifest of splits .*rule"),
        (lambda content: content.pop("splits"), "is not a manifest of splits .*splits"),
        (lambda content: content.pop("digests"), "is not a manifest of splits .*digests"),
        (lambda content: content["splits"]["test"].append(content["splits"]["extraction"][0]), "share 1 rows"),
    ],
)
def test_broken_manifests_are_refused(tmp_path, change, told):
    with pytest.raises(SteeringError, match=told):
        Manifest.read(edit(tmp_path / "manifest.json", change))


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(SteeringError, match=r"manifest\.json is not a manifest of splits"):
        Manifest.read(tmp_path / "manifest.json")


def test_a_missing_data_folder_is_refused_by_the_task(manager, monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(SteeringError, match=rf"gsm8k.train\.jsonl cannot be read .*{DATA_VARIABLE} must name a folder"):
        manager.load(["gsm8k_steer"])


@pytest.mark.parametrize("line", ['{"question": "a"}', "nonsense", "[1]", '{"question": 1, "answer": "b"}'])
def test_a_broken_line_is_refused(tmp_path, line):
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "b"}\n' + line + "\n")
    with pytest.raises(
        SteeringError, match=r"Line 2 of .*rows\.jsonl is not a JSON object with the fields question, answer"
    ):
        read_jsonl(tmp_path / "rows.jsonl", FIELDS)


@pytest.mark.parametrize("failure", [ConnectionError("offline"), ValueError("no cache"), RuntimeError("client closed")])
def test_an_unreachable_hub_is_told_in_one_sentence(manager, monkeypatch, failure):
    def refuse(*_, **__):
        raise failure

    monkeypatch.delenv(DATA_VARIABLE)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(SteeringError, match="go online, or set LM_EVAL_STEER_DATA to a folder that holds") as error:
        manager.load(["gsm8k_steer"])
    assert "openai/gsm8k (main)" in str(error.value)
    assert "gsm8k/train.jsonl and gsm8k/test.jsonl" in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.__suppress_context__


def test_the_hub_gives_the_same_rows(monkeypatch, tmp_path):
    manifest = stand_in(tmp_path)
    rows = {name: read_jsonl(tmp_path / "gsm8k" / f"{name}.jsonl", FIELDS) for name in ("train", "test")}

    def hub(repository, configuration, *, split):
        assert (repository, configuration) == ("openai/gsm8k", "main")
        return datasets.Dataset.from_list(rows[split])

    monkeypatch.delenv(DATA_VARIABLE)
    monkeypatch.setattr(datasets, "load_dataset", hub)
    monkeypatch.setattr(gsm8k, "HERE", tmp_path)
    loaded = gsm8k.splits(version=1.0, pretrained="a model argument")
    assert {name: tuple(loaded[name]["row"]) for name in loaded} == manifest.splits
