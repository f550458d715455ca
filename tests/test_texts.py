"""The texts that a map is fitted on: from tasks and files, and none that a model is judged on."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from data import provided
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.pairs import load_task
from lm_eval_steer.tasks.splits import SPLITS, row_hash
from lm_eval_steer.transfer import held
from lm_eval_steer.transfer import texts as texts_module
from lm_eval_steer.transfer.texts import CUT, find_texts


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Rows of GSM8K and ARC: the published ones where they are at hand, else stand-ins."""
    with provided(tmp_path_factory.mktemp("data")):
        yield


def write(path: Path, *texts: str) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def test_texts_of_a_task_are_beginnings_of_its_extraction_rows() -> None:
    found = find_texts("arith_steer", None, 200, 3)
    assert found.source == {"source": "task", "tasks": ["arith_steer"], "n": 200, "cut": [6, 40], "seed": 3}
    assert len(set(found.texts)) == len(set(found.hashes)) == len(found.texts) == 200
    task = load_task("arith_steer")
    questions = {doc["row"]: task.doc_to_text(doc).strip() for doc in task.training_docs()}
    for text, row in zip(found.texts, found.hashes, strict=True):
        whole = questions[row]
        assert whole.startswith(text)
        assert whole == text or CUT[0] <= len(text.split()) <= CUT[1]
        assert whole[len(text) :].split() == whole.split()[len(text.split()) :]  # no word is cut
    assert len({text.split()[-1] for text in found.texts}) > 40


def test_the_seed_draws_rows_and_cuts_and_n_takes_the_first_of_them() -> None:
    many, few = find_texts("arith_steer", None, 150, 3), find_texts("arith_steer", None, 20, 3)
    assert many.texts[:20] == few.texts
    assert many.sha256 != few.sha256
    assert few == find_texts("arith_steer", None, 20, 3)
    other = find_texts("arith_steer", None, 20, 4)
    assert set(other.hashes) != set(few.hashes)
    both = find_texts("arith_steer, arith_steer_val", None, 150, 3)  # the same extraction rows, each once
    assert both.texts == many.texts


def test_without_a_number_all_or_the_default_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = find_texts("arith_steer", None, None, 0)
    assert 250 < whole.source["n"] == len(whole.texts) <= 300
    file = write(tmp_path / "texts.jsonl", *(f"text {number}" for number in range(9)))
    assert len(find_texts(None, file, None, 0).texts) == 9
    monkeypatch.setattr(texts_module, "TEXTS", 7)
    assert find_texts("arith_steer", None, None, 0).texts == whole.texts[:7]
    assert find_texts(None, file, None, 0).texts == tuple(f"text {number}" for number in range(7))


def test_texts_of_a_file_are_read_as_they_stand(tmp_path: Path) -> None:
    file = write(tmp_path / "texts.jsonl", " one  two\n", "Ümläut 🍎", " one  two\n")
    found = find_texts(None, file, None, 0)
    assert found.texts == (" one  two\n", "Ümläut 🍎")
    assert found.hashes[0] == row_hash({"text": "one two"}, ("text",))
    assert {key: found.source[key] for key in ("source", "name", "n")} == {
        **{"source": "file", "name": "texts.jsonl", "n": 2}
    }
    assert len(found.source["sha256"]) == 64


def test_a_text_that_a_file_holds_twice_counts_once(tmp_path: Path) -> None:
    """Else it might be held out and in the fit, and a text paired at random would meet itself."""
    file = write(tmp_path / "texts.jsonl", *["one two", "three", "one  two ", "four", "three"] * 20)
    found = find_texts(None, file, None, 0)
    assert found.texts == ("one two", "three", "four")
    assert len(set(found.hashes)) == 3
    assert find_texts(None, file, 2, 0).texts == ("one two", "three")
    with pytest.raises(SteeringError, match="holds 3 that differ: use a smaller --n"):
        find_texts(None, file, 4, 0)


@pytest.mark.parametrize("split", [name for name in SPLITS if name != "extraction"])
def test_texts_that_hold_a_question_are_refused_with_their_count(split: str, tmp_path: Path) -> None:
    rows = load_task("arith_steer").dataset[split]
    one, two = rows[3]["question"], rows[4]["question"].replace(" ", "\n ")
    sample = "He finds 5 more stamps in a drawer. How many stamps does Tom have now?"
    shot = f"Tom has 8 stamps. {sample}"
    fine = load_task("arith_steer").dataset["extraction"][0]["question"]
    file = write(tmp_path / "texts.jsonl", fine, f"Q:{one}", f"before {two} and behind", shot, sample, one[:-9])
    with pytest.raises(
        SteeringError, match="3 of the 6 texts are rows that a validation, test or few-shot split holds"
    ):
        find_texts(None, file, None, 0)
    assert find_texts(None, file, None, 0, allow_leak=True).source["n"] == 6
    assert find_texts(None, file, 1, 0).texts == (fine,)


def test_shots_and_rows_of_other_datasets_are_held(published: None, tmp_path: Path) -> None:
    gsm8k, arc = load_task("gsm8k_steer").dataset, load_task("arc_challenge_steer").dataset
    leaks = [gsm8k["test"][0]["question"], gsm8k["validation"][0]["question"], arc["fewshot"][0]["question"]]
    leaks.append(load_task("sentiment_steer").dataset["test"][0]["stem"])
    file = write(tmp_path / "texts.jsonl", *leaks, gsm8k["extraction"][0]["question"], "Planets orbit the sun")
    with pytest.raises(SteeringError, match="4 of the 6 texts"):
        find_texts(None, file, None, 0)


def test_a_short_question_is_held_as_a_whole_text_alone() -> None:
    questions = ["Planets orbit", "What is the temperature at which water boils?"]
    texts = ["Planets  orbit\n", "Planets orbit the sun", "what is the temperature at which water boils?"]
    assert held.count_holding(texts, questions) == 1
    assert held.count_holding([f"So: {questions[1]}."], questions) == 1


def test_rows_of_a_task_that_a_manifest_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_texts("arith_steer", None, 30, 0)
    assert held.held_hashes().isdisjoint(found.hashes)
    monkeypatch.setattr(texts_module, "held_hashes", lambda: frozenset(found.hashes[:4]))
    with pytest.raises(SteeringError, match="4 of the 30 texts are rows that"):
        find_texts("arith_steer", None, 30, 0)
    assert find_texts("arith_steer", None, 30, 0, allow_leak=True) == found


def test_hashes_of_manifests_and_shots(published: None) -> None:
    arith, arc = load_task("arith_steer"), load_task("arc_challenge_steer")
    hashes = held.held_hashes()
    assert set(arith.dataset["test"]["row"]) <= hashes
    assert set(arith.dataset["extraction"]["row"]).isdisjoint(hashes)
    folder = importlib.resources.files("lm_eval_steer.tasks")
    for name in ("arc_challenge", "gsm8k"):
        splits = json.loads((folder / name / "manifest.json").read_text(encoding="utf-8"))["splits"]
        assert {*splits["test"], *splits["validation"]} <= hashes
        assert hashes.isdisjoint(splits["extraction"])
    assert set(arc.dataset["fewshot"]["row"]) <= held.hashes_of(arc)


def test_a_dataset_that_is_not_here_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LM_EVAL_STEER_DATA", str(tmp_path))
    questions = held.held_questions()
    assert load_task("arith_steer").dataset["test"][0]["question"] in questions
    first = "gsm8k_direct_steer"  # of the tasks that read these rows
    assert f"Texts are not compared with the rows of {first}, which are not here: " in caplog.text


@pytest.mark.parametrize(
    ("task", "lines", "n", "said"),
    [
        (None, None, None, "there are no texts to read: name either a --task or a file of --texts"),
        ("arith_steer", "", None, "--task arith_steer and --texts .* are both given"),
        ("arith_steer", None, 0, "n=0 texts is not positive"),
        ("arith_steer", None, 5000, r"n=5000 texts, but arith_steer has \d+ extraction rows whose texts differ"),
        ("no_such_task", None, None, "there is no task 'no_such_task' with extraction rows: use one of"),
        (None, "\n\n", None, "texts.jsonl holds no texts"),
        (None, '{"text": "a"}\n{"txt": "b"}\n', None, r'texts.jsonl, line 2: expected {"text": text}, got \'{"txt'),
        (None, '{"text": " "}\n', None, "line 1: expected"),
        (None, "[]\n", None, "line 1: expected"),
        (None, '{"text": "a"}\n', 2, "n=2 texts, but .*texts.jsonl holds 1 that differ: use a smaller --n"),
    ],
)
def test_bad_input_is_one_sentence(
    task: str | None, lines: str | None, n: int | None, said: str, tmp_path: Path
) -> None:
    file = None
    if lines is not None:
        (tmp_path / "texts.jsonl").write_text(lines)
        file = str(tmp_path / "texts.jsonl")
    with pytest.raises(SteeringError, match=said):
        find_texts(task, file, n, 0)
    with pytest.raises(SteeringError, match="seed=-1 is negative"):
        find_texts("arith_steer", None, 1, -1)
