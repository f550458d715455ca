"""lm-eval-steer sweep: its arguments mean what they mean to lm_eval, and what it refuses before it begins."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval._cli.harness import HarnessCLI

import models
import sweeps
from lm_eval_steer.cli.main import make_parser
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sweep import run_sweep
from lm_eval_steer.sweep.harness import HarnessArgs, read_seeds
from lm_eval_steer.sweep.tasks import build
from sweeps import OWN, QUIET, make_args, own_manager, samples, sweep

pytestmark = pytest.mark.usefixtures("hurried")


TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def talker(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same with a chat template that has a name."""
    folder = models.save_model(tmp_path_factory.mktemp("talker") / "m", "llama")
    models.make_tokenizer({"default": TEMPLATE, "tools": TEMPLATE}).save_pretrained(folder)  # type: ignore[arg-type]
    return child | {"pretrained": str(folder)}


SHOTS = {"num_fewshot": 3, "seed": [0, 1, 2, 7], "system_instruction": "Think.", "metadata": {"length": 3}}
PROMPTED: dict[str, dict[str, Any]] = {
    "own task, other shots, limits": SHOTS | {"gen_kwargs": {"max_gen_toks": 9, "until": ["e"]}},
    "no shots": {"num_fewshot": 0, "gen_kwargs": {"max_gen_toks": 3}, "limit": 0.02},
    "chat": SHOTS | {"apply_chat_template": True},
    "chat, shots in one turn": SHOTS | {"apply_chat_template": "default", "fewshot_as_multiturn": False, "seed": 3},
}


@pytest.mark.parametrize("name", PROMPTED)
def test_arms_are_what_lm_eval_gives_with_the_same_arguments(
    name: str, child: dict[str, Any], talker: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, chat = PROMPTED[name], "chat" in name
    monkeypatch.setattr("lm_eval_steer.sweep.run.TaskManager", own_manager)
    sizes = {"alpha": [1, 2], "limit": 2.0, "val_limit": 2.0, "tasks": ["own_steer"], "include_path": str(OWN)}
    args = make_args(talker if chat else child, tmp_path, **(sizes | given))
    found = run_sweep(args, None, QUIET)["tasks"]["own_steer"]

    def alone(task: str, limit: float | None, **model_args: Any) -> dict[str, Any]:
        seeds = given.get("seed", [0, 1234, 1234, 1234])
        seeds = [seeds] * 4 if isinstance(seeds, int) else seeds
        names = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
        several = given.get("fewshot_as_multiturn", True if chat else None)
        model_args = dict(args.model_args) | model_args | ({"seed": seeds[0]} if seeds[0] else {})
        results: Any = lm_eval.simple_evaluate(
            model="steered-hf", model_args=model_args, tasks=[task], limit=limit, batch_size=32, device="cpu",
            num_fewshot=given.get("num_fewshot"), gen_kwargs=given.get("gen_kwargs", {}),
            system_instruction=given.get("system_instruction"), fewshot_as_multiturn=several,
            apply_chat_template=given.get("apply_chat_template", False), **dict(zip(names, seeds, strict=True)),
            task_manager=own_manager(model_args | given.get("metadata", {}), str(OWN)),
        )  # fmt: skip
        return results

    best = found["validation"]["best"]["vector"]
    checked = alone("own_steer_val", args.val_limit, alpha=best)["results"]["own_steer_val"]["exact_match,remainder"]
    assert found["validation"]["scores"]["vector"][f"{best:g}"] == checked
    for arm, alpha in (("baseline", 0.0), ("best", best))[chat:]:
        (path,) = (tmp_path / "arms" / "own_steer" / arm).rglob("results_*.json")
        content = json.loads(path.read_text(encoding="utf-8"))
        expected = json.loads(json.dumps(alone("own_steer", args.limit, alpha=alpha), default=str))
        asked = expected.pop("samples")["own_steer"]
        for one in (content, expected):
            del one["date"], one["config"]["steering"], one["config"]["bootstrap_iters"]
        assert {key: content[key] for key in expected} == expected
        assert content["system_instruction"] == given.get("system_instruction")
        prompts = [sample["arguments"]["gen_args_0"] for sample in samples(tmp_path, arm, "own_steer")]
        assert [[one["arg_0"], one["arg_1"]] for one in prompts] == [sample["arguments"][0] for sample in asked]
        assert [sample["resps"] for sample in samples(tmp_path, arm, "own_steer")] == [one["resps"] for one in asked]
    settings = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))["settings"]
    for key in given.keys() - {"seed", "limit"}:
        assert settings[key] == given[key]


def test_other_seeds_draw_other_shots(tmp_path: Path) -> None:
    manager = own_manager({}, str(OWN))
    drawn = {
        seed: build("own_steer", manager, None, 2, False, HarnessArgs(num_fewshot=2, seeds=read_seeds(seed)))
        for seed in (None, 7, (0, 1234, 1234, 1234))
    }
    prompts = {seed: [one.args[0] for one in requests.instances] for seed, requests in drawn.items()}
    assert prompts[None] == prompts[0, 1234, 1234, 1234] != prompts[7]


def test_the_command_reads_what_lm_eval_reads() -> None:
    words = shlex.split(
        '--model_args pretrained=m --tasks a,b c --gen_kwargs \'max_gen_toks=9,until=["e","f,g"]\' temperature=0.5 '
        "--num_fewshot 0 --system_instruction 'Think, first.' --include_path own --fewshot_as_multiturn false "
        "--seed 1,None,3 --metadata '{\"lengths\": [1, 2]}' --limit 0.5 --apply_chat_template rag --device cuda:1 "
        "--trust_remote_code --confirm_run_unsafe_code --output_path out"
    )
    ours = vars(make_parser().parse_args(["sweep", *words, "--alpha", "1"]))
    theirs = vars(HarnessCLI()._parser.parse_args(["run", *words]))
    names = [word.removeprefix("--") for word in words if word.startswith("--")]
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}
    assert ours["seed"] == [1, None, 3, 1234]
    bare = vars(
        make_parser().parse_args(["sweep", "--model_args", "pretrained=m", "--tasks", "a", "--output_path", "out"])
    )
    assert bare["batch_size"] == "auto"
    with pytest.raises(SystemExit):
        make_parser().parse_args(["sweep", *words, "--gen_kwargs", "{'until': 1}"])


def test_chat_templates_that_a_model_lacks_are_refused(
    child: dict[str, Any], talker: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SteeringError, match=r"--apply_chat_template rag: .*'rag' is not available.*default"):
        sweep(talker, tmp_path / "named", apply_chat_template="rag")
    with pytest.raises(SteeringError, match="no chat template: leave out --apply_chat_template"):
        sweep(child, tmp_path / "other", apply_chat_template=True)


# Refusals


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "hf"}, "--model hf does not steer"),
        ({"model": "nothing"}, "--model nothing is no model class"),
        ({"alpha": None}, "needs a set of strengths: give --alpha paper"),
        ({"dose": 0.1}, "two sets of strengths"),
        ({"alpha": "[0,1]"}, r"--alpha \[0,1\] holds 0, which is the baseline .*: leave it out"),
        ({"alpha": "papers"}, "alpha='papers' is not understood"),
        ({"limit": 0.0}, "--limit 0 leaves no document"),
        ({"val_limit": float("nan")}, "--val_limit nan leaves no document"),
        ({"batch_size": "large"}, "--batch_size large is not understood"),
        ({"batch_size": "auto:0"}, "--batch_size auto:0 is not understood"),
        ({"output_path": ""}, "--output_path is empty"),
        ({"num_fewshot": -1}, "--num_fewshot -1 is no number of shots"),
        ({"num_fewshot": 9}, r"parity_steer cannot be built with 9 shots \(.*change --num_fewshot"),
        ({"fewshot_as_multiturn": True}, "without a chat template there are none: add --apply_chat_template"),
        ({"include_path": "nowhere"}, "--include_path nowhere is no folder"),
        ({"seed": [1, 2]}, r"seed=\[1, 2\] is not understood"),
        ({"gen_kwargs": {"max_gen_toks": 0}}, "max_gen_toks=0 lets nothing be written"),
        ({"gen_kwargs": {"until": ["Q:", 3]}}, r"until=\['Q:', 3\] in the generation arguments is not understood"),
        ({"gen_kwargs": {"max_answer_toks": 0}}, "max_answer_toks=0 in the generation arguments is no number"),
        ({"gen_kwargs": {"max_answer_toks": 9}}, "max_answer_toks limits what stands behind a thought, and nothing"),
        ({"more": {"enable_thinking": True}}, "enable_thinking=True needs to know where a thought ends"),
        ({"more": {"vote_filter": "no"}}, "vote_filter='no' is no filter of parity_steer"),
        ({"controls": "random"}, None),
        ({"controls": "placebo"}, "'placebo' is not understood"),
        ({"seed": -1}, "seed=-1 is not understood"),
        ({"tasks": []}, "names no task"),
        ({"tasks": ["arith_steer", "arith_steer"]}, "names arith_steer twice"),
        ({"tasks": ["no_such"]}, r"--tasks no_such is no task: .* no whole YAML with task: no_such\)"),
        ({"val_task": ["arith_steer_val", "parity_steer_val"]}, "--val_task names 2 tasks and --tasks 1"),
        ({"val_task": ["parity_steer"]}, "--val_task parity_steer is the test task itself"),
        ({"val_task": ["no_such"]}, "--val_task no_such is no task"),
        *(
            ({"more": {key: 1}}, f"{key}=1 is in --model_args: leave it out there, a sweep has --")
            for key in ("alpha", "dose", "control", "record", "seed", "batch_size", "device")
        ),
        ({"more": {"vote": "none"}}, "vote=none with 3 strengths"),
        ({"per_layer": "grid"}, "there is no search 'grid'"),
        ({"per_layer": "coordinate", "budget": 0}, "the search has the budget 0"),
        ({"per_layer": "coordinate", "more": {"alpha_per_layer": "linear:0:1"}}, "--per-layer coordinate searches it"),
        ({"more": {"vectors": None}}, "needs vectors"),
    ],
)
def test_bad_arguments_are_one_sentence_before_the_model(
    changes: dict[str, Any],
    sentence: str | None,
    child: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    changes = dict(changes)
    model_args = child | changes.pop("more", {})
    if sentence is None:
        make_args(model_args, tmp_path / "out", **changes)
        return
    with pytest.raises(SteeringError, match=sentence):
        sweep(model_args, tmp_path / "out", **changes)


TASKS_THAT_CANNOT_BE = {
    "lost": (
        "dataset_path: json\ndataset_kwargs: {data_files: nowhere.jsonl}\ncustom_dataset: null\n",
        "cannot be loaded",
    ),
    "unmeasured": (
        "metric_list: [{metric: no_such, aggregation: mean, higher_is_better: true}]\n",
        "no_such .* unknown",
    ),
    "unsafe": ("unsafe_code: true\n", "--tasks unsafe executes what the model writes: add --confirm_run_unsafe_code"),
    "wordy": (
        "metric_list: [{metric: exact_match, aggregation: !function words.several, higher_is_better: true}]\n",
        "wordy has no metric that is one number",
    ),
    "painted": ("doc_to_image: question\n", "--tasks painted asks with images or sound"),
    "broken": ("doc_to_text: '{{ nothing.at.all }}'\n", "broken cannot be"),
}


@pytest.mark.parametrize("name", TASKS_THAT_CANNOT_BE)
def test_tasks_that_cannot_be_run_are_told_before_the_model(
    name: str, child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    monkeypatch.setattr("lm_eval_steer.sweep.run.TaskManager", own_manager)
    monkeypatch.setitem(sys.modules, "evaluate", None)  # where the harness looks for a metric that it does not know
    settings, sentence = TASKS_THAT_CANNOT_BE[name]
    (tmp_path / "words.py").write_text("def several(values):\n    return values\n")
    (tmp_path / f"{name}.yaml").write_text(f"include: {sweeps.PARITY}/parity_steer.yaml\ntask: {name}\n{settings}")
    args = make_args(child, tmp_path / "out", tasks=[name], val_task=["parity_steer_val"], include_path=str(tmp_path))
    with pytest.raises(SteeringError, match=sentence) as told:
        run_sweep(args, None, QUIET)
    assert "\n" not in str(told.value)


def test_a_folder_of_tasks_is_the_same_however_it_is_named(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    named = [make_args(child, tmp_path / "out", include_path=name) for name in ("own", str(tmp_path / "own"), "./own/")]
    told = [args.settings(args.plans(), {}, {})["include_path"] for args in named]
    assert told == [str((tmp_path / "own").resolve())] * 3


@pytest.mark.parametrize("operator", ["ace", "set_at_least"])
def test_a_strength_of_0_that_acts_has_a_number_near_it(operator: str, child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"--alpha \[0, 1\] holds 0, which .*: under operator=set\w* give a number"):
        make_args(child | {"operator": operator}, tmp_path, alpha=[0, 1])


def test_a_control_that_cannot_be_is_refused_before_any_response(child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="control=shuffled permutes directions among blocks"):
        sweep(child | {"layers": 1}, tmp_path, controls="negated,shuffled")
    assert not list((tmp_path / "record").glob("*.jsonl"))


def test_several_processes_are_refused(child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SteeringError, match="a sweep is one process, and 2 were started"):
        sweep(child, tmp_path / "out")
    assert not (tmp_path / "out" / "sweep.json").exists()


def test_trust_goes_to_the_model_as_lm_eval_hands_it_on(child: dict[str, Any], tmp_path: Path) -> None:
    args = make_args(child, tmp_path, trust_remote_code=True)
    assert args.arguments == child | {"trust_remote_code": True}
    assert args.settings(args.plans(), {}, {})["model_args"]["trust_remote_code"] is True


def test_output_path_must_be_a_folder(child: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "arms").write_text("")
    with pytest.raises(SteeringError, match="cannot be written"):
        make_args(child, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SteeringError, match="cannot be written"):
        make_args(child, tmp_path / "file")
