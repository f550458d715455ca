"""lm-eval-steer sweep --arms with what may do as well as a vector: prompts, other shots, other models."""

from __future__ import annotations

import json
import weakref
from math import comb
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from peft import LoraConfig, get_peft_model

import models
import sweeps
import templates
import test_validation
from lm_eval_steer.cli.main import main
from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.report.tables.board import read_leaderboard
from lm_eval_steer.sweep import make_notes, make_table, run_sweep
from lm_eval_steer.sweep.others import Other, part_arms
from sweeps import SMALL, make_args, manager, outcome, responses, samples, sweep, texts

pytestmark = pytest.mark.usefixtures("hurried")

TEXTS = ("Count, then answer.", "Say a number, and nothing else.")
OTHERS = ("prompt", "shots:1", "shots:3", "model:other")
SIZE: dict[str, Any] = {"alpha": [1, 2], "limit": 6.0, "val_limit": 4.0}


@pytest.fixture(scope="module")
def bare(child: dict[str, Any]) -> dict[str, Any]:
    """The same without its vector."""
    return {key: value for key, value in child.items() if key != "vectors"}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another model, of another family."""
    return str(models.save_model(tmp_path_factory.mktemp("models") / "other", "qwen2"))


@pytest.fixture(scope="module")
def arms(child: dict[str, Any], other: str) -> list[str]:
    """As the command has them."""
    return [f"own={child['vectors']},shots=1,shots=3", *(f"prompt={text}" for text in TEXTS), f"model={other}"]


@pytest.fixture(scope="module")
def whole(
    bare: dict[str, Any], arms: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A finished sweep of a vector, two prompts, two numbers of shots, and a model."""
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(bare, folder, **SIZE, arms=arms)


def plain(pretrained: str, task: str = "parity_steer", limit: float = 6.0, **changes: Any) -> dict[str, Any]:
    """`lm_eval --model hf`, with its options."""
    return lm_eval.simple_evaluate(  # type: ignore[return-value]
        model="hf", model_args=f"pretrained={pretrained},max_length=2048", tasks=[task], limit=limit, batch_size=1,
        device="cpu", task_manager=manager(), gen_kwargs={}, **changes,
    )  # fmt: skip


def test_each_is_what_the_harness_gives_with_its_option(
    bare: dict[str, Any], other: str, whole: tuple[Path, dict[str, Any]]
) -> None:
    folder, state = whole
    found = state["tasks"]["parity_steer"]
    assert list(found["test"]) == ["baseline", "own best", "own vote", *OTHERS]
    own, scores = bare["pretrained"], found["validation"]["scores"]["prompt"]
    searched = [plain(own, "parity_steer_val", 4.0, system_instruction=text) for text in TEXTS]
    measured = [one["results"]["parity_steer_val"]["exact_match,remainder"] for one in searched]
    assert list(scores.values()) == measured
    best = measured.index(max(measured))
    assert found["validation"]["best"]["prompt"] == best + 1
    alone = {
        "baseline": plain(own),
        "prompt": plain(own, system_instruction=TEXTS[best]),
        "shots-1": plain(own, num_fewshot=1),
        "shots-3": plain(own, num_fewshot=3),
        "model-other": plain(other),
    }
    for arm, expected in alone.items():
        assert responses(folder, arm) == texts(expected)
        entry = found["test"][arm.replace("-", ":")]
        assert entry["score"] == expected["results"]["parity_steer"]["exact_match,remainder"]
        (file,) = (folder / "arms" / "parity_steer" / arm).rglob("results_*.json")
        written = json.loads(file.read_text(encoding="utf-8"))
        assert written["n-shot"] == expected["n-shot"]
        assert written["config"]["model_args"]["pretrained"] == (other if "model" in arm else own)
    assert [found["test"][name]["given"] for name in OTHERS] == [TEXTS[best], None, None, other]
    assert len({tuple(responses(folder, arm)) for arm in alone}) == len(alone)  # none of them is another


def test_they_are_paired_by_document_whatever_their_prompts(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, state = whole
    right = {
        arm: {one["doc_hash"]: one["exact_match"] for one in samples(folder, arm.replace(":", "-"))}
        for arm in ("baseline", *OTHERS)
    }
    board = read_leaderboard([folder])
    (row,) = board.rows
    family = board.families[0].tests
    assert {*OTHERS, "best", "vote"} == set(family)
    changes = {}
    for name in OTHERS:
        changes = {doc: right[name][doc] - right["baseline"][doc] for doc in right["baseline"]}
        gained, lost = (list(changes.values()).count(one) for one in (1, -1))
        changed = gained + lost
        p = min(1.0, 2 * sum(comb(changed, one) for one in range(min(gained, lost) + 1)) / 2**changed)
        told = state["tasks"]["parity_steer"]["test"][name]["against_baseline"]
        assert (told["gained"], told["lost"], told["p"]) == (gained, lost, pytest.approx(p))
        assert told["change"] == pytest.approx(sum(changes.values()) / 6)
        judged = row.changes[Arm("baseline", other=name)]
        assert (judged.gained, judged.lost, judged.in_family) == (gained, lost, True)
        assert judged.verdict is not None
        assert judged.verdict.mcnemar_p == pytest.approx(p)
    assert changes


def test_each_counts_what_it_reads_and_writes(bare: dict[str, Any], whole: tuple[Path, dict[str, Any]]) -> None:
    folder, state = whole
    tokenizer = models.make_tokenizer()
    found = state["tasks"]["parity_steer"]["test"]
    for name, entry in found.items():
        asked = 2 if name == "own vote" else 1
        prompts = [one["arguments"]["gen_args_0"]["arg_0"] for one in samples(folder, entry["result"].split("/")[2])]
        assert entry["prompt_tokens"] == asked * sum(len(tokenizer(prompt)["input_ids"]) for prompt in prompts)
        written = entry["tokens"] / asked / 6
        assert 1 <= written <= 32
    assert found["shots:1"]["prompt_tokens"] < found["shots:3"]["prompt_tokens"] < found["baseline"]["prompt_tokens"]
    (told,) = read_leaderboard([folder]).entries()
    assert told["prompt_tokens"] == {name.removeprefix("own "): entry["prompt_tokens"] for name, entry in found.items()}
    cost = f"{found['shots:3']['prompt_tokens'] / 6:,.0f} + "
    (cell,) = [cell for cell in make_table("parity_steer", found_task(state), "alpha").columns[7].cells if cost in cell]
    assert cell.startswith(cost)
    prompt = found["prompt"]["given"]
    assert any(note.startswith(f"prompt of parity_steer is {prompt!r}, the best of 2 on parity_steer_val") for note in
               make_notes("parity_steer", found_task(state)))  # fmt: skip


def found_task(state: dict[str, Any]) -> dict[str, Any]:
    return dict(state["tasks"]["parity_steer"])


def test_tables_and_page_have_them(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = whole
    assert main(["leaderboard", str(folder), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert set(OTHERS) <= set(row["changes"])
    assert row["given"].keys() == {"prompt", "model:other"}
    assert {arm: set(rivals) for arm, rivals in row["rivals"].items()} == {"best": set(OTHERS), "vote": {"best"}}
    for name, found in row["rivals"]["best"].items():
        assert found["difference"] == pytest.approx(row["best"] - row["scores"][name]["score"])
        assert found["rival_prompt_tokens"] == row["prompt_tokens"][name]
        assert found["prompt_tokens"] == row["prompt_tokens"]["best"]
    assert main(["leaderboard", str(folder), "--format", "markdown"]) == 0
    shown = capsys.readouterr().out
    assert all(f"| {name.replace('_', chr(92) + '_')} |" in shown for name in OTHERS)
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(f"In place of steering, {name}: " in page for name in OTHERS)


def test_a_finished_sweep_is_shown_without_a_model(
    bare: dict[str, Any], arms: list[str], whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("a model is loaded"))
    assert sweep(bare, whole[0], **SIZE, arms=arms) == json.loads(json.dumps(whole[1]))
    with pytest.raises(SteeringError, match=r"holds a sweep with another prompt in --arms: it has .*Count.*, this one"):
        sweep(bare, whole[0], **SIZE, arms=[*arms[:2], *arms[3:]])
    with pytest.raises(SteeringError, match=r"another shots:1 in --arms: it has 1, this one None"):
        sweep(bare, whole[0], **SIZE, arms=[arms[0].replace(",shots=1", ""), *arms[1:]])


def test_they_are_added_to_a_sweep_and_survive_its_end(
    bare: dict[str, Any], arms: list[str], whole: tuple[Path, dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sweep(bare, tmp_path / "sweep", **SIZE, arms=arms[0].split(",")[0])
    create, loaded = SteeredHF.create_from_arg_obj, []

    def fail(told: dict[str, Any], place: Any) -> Any:
        if loaded:
            assert loaded[0]() is None  # the first is let go before there is another
            raise KeyboardInterrupt
        lm = create(told, place)
        loaded.append(weakref.ref(lm.model))
        return lm

    with monkeypatch.context() as patch:
        patch.setattr(SteeredHF, "create_from_arg_obj", fail)
        with pytest.raises(KeyboardInterrupt):
            sweep(bare, tmp_path / "sweep", **SIZE, arms=arms)
    state = json.loads((tmp_path / "sweep" / "sweep.json").read_text(encoding="utf-8"))
    assert (state["complete"], list(state["tasks"]["parity_steer"]["test"])[-1]) == (False, "shots:3")
    state = sweep(bare, tmp_path / "sweep", **SIZE, arms=arms)
    assert sweeps.differences(outcome(tmp_path / "sweep"), outcome(whole[0])) == []
    passes = state["tasks"]["parity_steer"]["passes"]
    assert {name: one["new"] for name, one in passes.items()} == {
        "parity_steer_val": 12, "parity_steer": 18, "parity_steer_val, prompt 1": 4, "parity_steer_val, prompt 2": 4,
        **{f"parity_steer, {name}": 6 for name in OTHERS},
    }  # fmt: skip


def test_a_sweep_may_have_no_vector(bare: dict[str, Any], tmp_path: Path) -> None:
    given: dict[str, Any] = {"alpha": None, "limit": 4.0, "val_limit": 4.0}
    arms = {"prompt": list(TEXTS), "shots": 0}
    state = sweep(bare, tmp_path, **given, arms=arms)
    found = found_task(state)
    assert list(found["test"]) == ["baseline", "prompt", "shots:0"]
    assert found["validation"]["scores"]["prompt"].keys() == {"1", "2"}
    (row,) = read_leaderboard([tmp_path]).rows
    assert [arm.name for arm in row.runs] == ["prompt", "shots:0"]
    assert row.baseline is not None
    assert make_table("parity_steer", found, "alpha").row_count == 3
    assert sweep(bare, tmp_path, **given, arms=arms) == json.loads(json.dumps(state))
    for more, sentence in (
        ({"controls": "negated"}, "--controls negated takes a vector, and the sweep has none"),
        ({"per_layer": "coordinate"}, "--per-layer coordinate takes a vector, and the sweep has none"),
        ({"alpha": [1]}, "alpha=1 needs vectors"),
    ):
        with pytest.raises(SteeringError, match=sentence):
            sweep(bare, tmp_path, **(given | more), arms=arms)


def test_words_of_the_command() -> None:
    words = ["own=v.pt, mapped=a=b.pt,shots=5", " prompt=Well, a=b, shots=3. ", "model=a/b,model=c", "shots=0"]
    vectors, others = part_arms(words)
    assert vectors == "own=v.pt, mapped=a=b.pt"
    assert others == (
        Other("prompt", ("Well, a=b, shots=3. ",)), Other("shots", shots=5), Other("shots", shots=0),
        Other("model", model="a/b"), Other("model", model="c"),
    )  # fmt: skip
    assert [one.name for one in others] == ["prompt", "shots:5", "shots:0", "model:b", "model:c"]


@pytest.mark.parametrize(
    ("words", "changes", "sentence"),
    [
        (["prompt= "], {}, "--arms has prompt= without a value: say which"),
        (["shots="], {}, "--arms has shots= without a value"),
        (["model="], {}, "--arms has model= without a value"),
        (["shots=-1"], {}, "--arms has shots=-1, which is no number of shots: give 0 or more"),
        (["shots=many"], {}, "--arms has shots=many, which is no number of shots"),
        (["shots=2,prompt=a"], {}, "--arms has prompt= behind a comma in 'shots=2,prompt=a', and commas may be part"),
        (["prompt=a", "prompt=a"], {}, "--arms has prompt='a', which is there twice"),
        (["shots=2", "shots=02"], {}, "--arms has shots=2 and shots=02, and both are shots:2 in tables"),
        (["model=a/b", "model=c/b"], {}, "--arms has model=a/b and model=c/b, and both are model:b in tables"),
        (["prompt=a"], {"system_instruction": "a"}, "which is the sweep's own --system_instruction"),
        (["shots=2"], {"num_fewshot": 2}, "--arms has shots=2, which is the sweep's own --num_fewshot"),
        (["shots=5"], {}, "--arms has shots=5, which parity_steer has in this sweep already"),
        (["shots=9"], {}, "the prompts of parity_steer cannot be built with 9 shots"),
        (["model=nowhere/at-all"], {}, "the model 'nowhere/at-all' cannot be loaded: "),
    ],
)
def test_what_cannot_be(
    words: list[str], changes: dict[str, Any], sentence: str, child: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("a model is loaded"))
    with pytest.raises(SteeringError) as told:
        sweep(child, tmp_path, **SMALL, arms=words, **changes)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_models_that_cannot_be(
    child: dict[str, Any], other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("a model is loaded"))
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    empty.mkdir()
    models.save_model(broken, "qwen2")
    (broken / "config.json").write_text("{}", encoding="utf-8")
    link = tmp_path / "link"
    link.symlink_to(child["pretrained"])
    for model, sentence in (
        (child["pretrained"], "which is the sweep's own model: leave it out"),
        (link, "which is the sweep's own model: leave it out"),
        (empty, "a folder without the weights of a model: name another"),
        (broken, "cannot be loaded: "),
    ):
        with pytest.raises(SteeringError) as told:
            sweep(child, tmp_path / "sweep", **SMALL, arms=[f"model={model}"])
        assert sentence in str(told.value)
    with pytest.raises(SteeringError, match="whose tokenizer has no chat template"):
        sweep(child, tmp_path / "sweep", **SMALL, arms=[f"model={other}"], apply_chat_template=True)


def test_choices_behind_a_chat_template(tmp_path: Path) -> None:
    """The text is a system message there; another model brings a template of its own, and an adapter is put on."""
    own = models.save_model(tmp_path / "own", "llama", templates.LLAMA3)
    other = models.save_model(tmp_path / "other", "qwen2", templates.PHI4)
    adapted = get_peft_model(
        models.make_model("llama"), LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "lora")
    arms = [f"prompt={TEXTS[0]}", f"model={other}", f"model={tmp_path / 'lora'}"]
    given: dict[str, Any] = {"tasks": ["sentiment_steer"], "alpha": None, "limit": 5.0, "val_limit": 4.0}
    state = sweep({"pretrained": str(own)}, tmp_path / "sweep", **given, arms=arms, apply_chat_template=True)
    found = state["tasks"]["sentiment_steer"]["test"]
    assert list(found) == ["baseline", "prompt", "model:other", "model:lora"]
    chat: dict[str, Any] = {"task": "sentiment_steer", "limit": 5.0, "apply_chat_template": True}
    alone = {
        "baseline": plain(str(own), **chat),
        "prompt": plain(str(own), **chat, system_instruction=TEXTS[0]),
        "model-other": plain(str(other), **chat),
        "model-lora": plain(f"{own},peft={tmp_path / 'lora'}", **chat),
    }
    for arm, expected in alone.items():
        ours = [one["resps"] for one in samples(tmp_path / "sweep", arm, "sentiment_steer")]
        theirs = [one["resps"] for one in expected["samples"]["sentiment_steer"]]
        for one, same in zip(ours, theirs, strict=True):
            assert [float(choice[0][0]) for choice in one] == pytest.approx([choice[0][0] for choice in same], abs=1e-4)
    shown = samples(tmp_path / "sweep", "prompt", "sentiment_steer")[0]["arguments"]["gen_args_0"]["arg_0"]
    assert f"system<|end_header_id|>\n\n{TEXTS[0]}<|eot_id|>" in shown
    tokenizer = models.make_tokenizer()
    asked = [list(one["arguments"].values()) for one in samples(tmp_path / "sweep", "prompt", "sentiment_steer")]
    ends = "\n\n"  # which the harness moves from the context to each option
    assert all(one[0]["arg_0"].endswith(ends) and len(one) == 2 for one in asked)
    read = [one[0]["arg_0"] + ends.join(choice["arg_1"] for choice in one) for one in asked]
    assert found["prompt"]["prompt_tokens"] == sum(len(tokenizer(text)["input_ids"]) for text in read)


def test_a_prompt_that_the_template_leaves_out_is_refused(tmp_path: Path) -> None:
    own = {"pretrained": str(models.save_model(tmp_path / "own", "llama", templates.GEMMA2)), "max_length": 4096}
    given: dict[str, Any] = {"alpha": None, "limit": 2.0, "val_limit": 2.0, "apply_chat_template": True}
    with pytest.raises(SteeringError, match=r"prompt='Be brief\.', and the model's chat template knows no system role"):
        sweep(own | {"system_role": "drop"}, tmp_path / "dropped", **given, arms=["prompt=Be brief."])
    sweep(own, tmp_path / "merged", **given, arms=["prompt=Be brief."])
    shown = samples(tmp_path / "merged", "prompt")[0]["arguments"]["gen_args_0"]["arg_0"]
    assert shown.startswith("<s><start_of_turn>user\nBe brief.\n\nSolve the problem")


def test_shots_that_are_test_documents_are_refused(child: dict[str, Any], tmp_path: Path) -> None:
    """The harness's hellaswag on small rows, which are parted by a hash; without a split of its own for shots."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    shots = "num_fewshot: null\ntraining_split: null\nfewshot_split: null\n"
    test_validation.write_task(folder, "hellaswag", test_validation.YAML["hellaswag"], "hellaswag", shots)
    test_validation.write_task(folder, "fixed", test_validation.YAML["hellaswag"], "hellaswag", "num_fewshot: 0\n")
    for task, sentence in (
        (
            "hellaswag",
            "of the shots of hellaswag are documents of its test or validation, as the task draws",
        ),
        ("fixed", "--arms has shots=2, and fixed says num_fewshot: 0 of itself, which the harness keeps"),
    ):
        args = make_args(child, tmp_path / "sweep", tasks=[task], arms=["shots=2"], limit=None)
        with pytest.raises(SteeringError) as told:
            run_sweep(args, test_validation.manager(folder), sweeps.QUIET)
        assert sentence in str(told.value)
