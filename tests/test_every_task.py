"""Tasks of every kind from the harness's own YAML: extract, sweep, leaderboard, and what docs/TASKS.md says of each."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval
import pytest

import harness_tasks
import models
import sweeps
from lm_eval_steer.cli.main import main
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.validation import tell_validation
from lm_eval_steer.models.documents import document_hash
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.vectors.vector import SteeringVector

ALPHAS = [5.0, 20.0]
SHORT = {"max_gen_toks": 8}
TABLE = Path(__file__).parent.parent / "docs" / "TASKS.md"
PLAIN = (
    *("hellaswag", "arc_easy", "mmlu_anatomy", "truthfulqa_mc1", "truthfulqa_mc2", "winogrande", "boolq", "cola"),
    *("squad_completion", "squadv2", "drop", "nq_open", "gsm8k", "bbh_cot_fewshot_boolean_expressions", "ifeval"),
    *("humaneval", "lambada_openai", "wikitext"),
)


@dataclass(frozen=True)
class Done:
    """A finished sweep.

    Attributes:
        folder: of the sweep.
        child: its model_args.
        told: what the command printed.
    """

    folder: Path
    child: dict[str, Any]
    told: str

    @property
    def tasks(self) -> dict[str, Any]:
        return json.loads((self.folder / "sweep.json").read_text(encoding="utf-8"))["tasks"]

    def samples(self, task: str, arm: str) -> list[dict[str, Any]]:
        return sweeps.samples(self.folder, arm, task)

    def results(self, task: str, arm: str) -> dict[str, Any]:
        (path,) = (self.folder / "arms" / task / arm).rglob("results_*.json")
        return json.loads(path.read_text(encoding="utf-8"))


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Spare what takes seconds and changes no score: other tasks, standard errors by bootstrap, long texts."""
    sweeps.hurry(patch)
    for place in ("sweep.run", "extraction.tasks"):
        patch.setattr(f"lm_eval_steer.{place}.TaskManager", lambda **_: harness_tasks.manager())
    patch.setattr("lm_eval.api.metrics.bootstrap_stderr", lambda *_, **__: 0.0)
    patch.setattr("lm_eval.models.huggingface.HFLM.max_gen_toks", property(lambda _: SHORT["max_gen_toks"]))


def command(*words: str) -> str:
    """What a command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert main(list(words)) in (0, None)
    return told.getvalue()


@pytest.fixture(scope="module")
def data() -> Any:
    with harness_tasks.local_data(), pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        yield


@pytest.fixture(scope="module")
def child(data: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny model and a vector of its own, made from hellaswag's training documents."""
    folder = tmp_path_factory.mktemp("child")
    model = models.save_model(folder / "m", "llama")
    out = folder / "hellaswag.safetensors"
    command("extract", "--model_args", f"pretrained={model}", "--task", "hellaswag", "--n", "8", "--out", str(out))
    assert SteeringVector.load(out).passport["data"]["task"] == "hellaswag"
    return {"pretrained": str(model), "vectors": str(out), "max_length": 4096}


@pytest.fixture(scope="module")
def done(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("sweep")
    told = command(
        *sweeping(child, folder, ",".join(PLAIN), "--gen_kwargs", "max_gen_toks=8", "--batch_size", "32"),
        "--confirm_run_unsafe_code",
    )
    return Done(folder, child, told)


@pytest.fixture(scope="module")
def plain(done: Done) -> dict[Any, dict[str, Any]]:
    """Strength -> a run of the harness over all tasks, on the documents that the sweep tested."""
    numbers = {task: sorted({one["doc_id"] for one in done.samples(task, "baseline")}) for task in PLAIN}
    voting = [task for task in PLAIN if "vote" in done.tasks[task]["test"]]
    found = {}
    for alpha, tasks in ((0.0, PLAIN), *((one, PLAIN) for one in ALPHAS), (tuple(ALPHAS), voting)):
        extra = (
            {"record": str(done.folder / "alone"), "alpha": list(alpha)}
            if isinstance(alpha, tuple)
            else {"alpha": alpha}
        )
        found[alpha] = lm_eval.simple_evaluate(
            model="steered-hf", model_args=done.child | extra, tasks=list(tasks), batch_size=32, device="cpu",
            samples={task: numbers[task] for task in tasks}, task_manager=harness_tasks.manager(), gen_kwargs=SHORT,
            confirm_run_unsafe_code=True,
        )  # fmt: skip
    return found


def close(found: dict[str, Any]) -> dict[str, Any]:
    """Numbers within the rounding of another batch; a perplexity is an exponential of what is rounded."""
    return {key: pytest.approx(value, rel=1e-3) if isinstance(value, float) else value for key, value in found.items()}


def responses(sample: dict[str, Any]) -> list[Any]:
    """Texts, or log-likelihoods."""
    found = []
    for value in sample["resps"]:
        while isinstance(value, list | tuple):
            value = value[0]
        try:
            found.append(pytest.approx(float(value), rel=1e-4))
        except ValueError:
            found.append(value)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("task", PLAIN)
def test_every_arm_is_a_run_of_lm_eval_at_its_strength(task: str, done: Done, plain: dict[Any, Any]) -> None:
    found = done.tasks[task]
    best = found["validation"]["best"]["vector"]
    strengths = {"baseline": 0.0, "best": best, "vote": tuple(ALPHAS)}
    assert set(found["test"]) == set(strengths) - ({"vote"} if "vote" in found["refused"] else set())
    for arm in found["test"]:
        alone, content = plain[strengths[arm]], done.results(task, arm)
        assert content["results"][task] == close(alone["results"][task])
        assert found["test"][arm]["score"] == content["results"][task][found["test"][arm]["metric"]]
        assert content["n-samples"][task] == alone["n-samples"][task]
        samples = done.samples(task, arm)
        assert len(samples) == len(alone["samples"][task]) > 0
        for one, other in zip(samples, alone["samples"][task], strict=True):
            keys = ("doc_id", "doc_hash", "prompt_hash", "filter")
            assert [one[key] for key in keys] == [other[key] for key in keys]
            assert responses(json.loads(json.dumps(other, default=str))) == responses(one)
    assert [one["resps"] for one in done.samples(task, "best")] != [
        one["resps"] for one in done.samples(task, "baseline")
    ]


# What a new user gets wrong

OWN = {
    "three": "include: {harness}/super_glue/boolq/default.yaml\ntraining_split: null\nvalidation_split: three\n",
    "odd_metric": "include: {harness}/gsm8k/gsm8k.yaml\nmetric_list: [{{metric: no_such_metric}}]\n",
    "no_data": "include: {harness}/gsm8k/gsm8k.yaml\ndataset_path: nobody/has_this\n",
    "leave": "include: {harness}/gsm8k/gsm8k.yaml\nprocess_docs: !function leave.ask\n",
    "half": "output_type: [\n",
    "mixed": "task: [hellaswag, drop]\naggregate_metric_list: [{{metric: acc}}]\n",
}
LEAVE = 'def ask(_):\n    raise ValueError("\\n####\\n  !!! WARNING !!!\\n####\\nSet HF_ALLOW_CODE_EVAL=1.")\n'
"""As `code_eval` does where nobody allowed it to run code."""
REFUSED = {
    "a typo": ("hellaswagg", "--tasks hellaswagg is no task (the nearest name is hellaswag): see lm_eval ls tasks"),
    "nothing like it": ("zzz", "--tasks zzz is no task: see lm_eval ls tasks"),
    "a twin": (
        "hellaswag --val_task hellaswaq",
        "--val_task hellaswaq is no task (the nearest name is hellaswag): see",
    ),
    "a metric": ("hellaswag --metric f1", "--metric f1 is no metric of hellaswag: it has acc, acc_norm"),
    "all of it": ("hellaswag --val_share 1", "--val_share 1 leaves no document to test it on: give a share between"),
    "a split": (
        "hellaswag --val_split trian",
        "--val_split trian is no split of hellaswag, which has train, validation",
    ),
    "three documents": ("three", "its 3 test documents (3 different questions) are too few to be parted"),
    "an odd metric": ("odd_metric", "odd_metric cannot be loaded (KeyError: None): see that its data is in reach, and"),
    "half a file": ("half", "the harness passes over a file there that is no whole YAML with task: half"),
    "no data": ("no_data", "no_data cannot be loaded (ConnectionError: Couldn't reach 'nobody/has_this' on the Hub"),
    "leave": ("leave", "leave cannot be loaded (ValueError: !!! WARNING !!!): set HF_ALLOW_CODE_EVAL=1 in the"),
    "code": ("humaneval", "--tasks humaneval executes what the model writes: add --confirm_run_unsafe_code"),
    "a group's twin": ("mmlu --val_task hellaswag", "--val_task hellaswag is given for mmlu in --tasks, which is no"),
    "mixed types": ("mixed", "the members of the group mixed have several"),
    "read before": ("hellaswag --val_split train", "documents of hellaswag:train are among the 8 rows"),
}


def sweeping(child: dict[str, Any], folder: Path, *words: str) -> list[str]:
    """A sweep's command."""
    return [
        *("sweep", "--model_args", ",".join(f"{key}={value}" for key, value in child.items())),
        *("--alpha", json.dumps(ALPHAS), "--output_path", str(folder), "--device", "cpu", "--tasks", *words),
    ]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_swept_is_one_sentence_before_a_model_is_loaded(
    case: str,
    child: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, sentence = REFUSED[case]
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    for name, text in OWN.items():
        (tmp_path / f"{name}.yaml").write_text(
            f"{'group' if name == 'mixed' else 'task'}: {name}\n" + text.format(harness=harness_tasks.HARNESS)
        )
    (tmp_path / "leave.py").write_text(LEAVE)
    found = harness_tasks.manager(str(tmp_path))
    monkeypatch.setattr("lm_eval_steer.sweep.run.TaskManager", lambda **_: found)
    assert main(sweeping(child, tmp_path / "sweep", *words.split())) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lm-eval-steer sweep: ")]
    assert sentence in told


# What docs/TASKS.md says of each


def table() -> dict[str, list[str]]:
    """Task -> the other cells of its row."""
    text = TABLE.read_text(encoding="utf-8").split("## Kinds of tasks")[1]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return {name.split("`")[1]: cells for name, *cells in rows}


def test_the_table_is_about_the_tasks_that_are_run() -> None:
    assert list(table()) == [*PLAIN, "mmlu"]


def test_the_table_says_what_a_sweep_does(done: Done) -> None:
    settings = json.loads((done.folder / "sweep.json").read_text(encoding="utf-8"))["settings"]["validation"]
    told = {}
    for task, found in done.tasks.items():
        (run,) = read_runs([done.folder / "arms" / task / "baseline"])
        config = done.results(task, "baseline")["configs"][task]
        kinds = {"squadv2": "generate_until, loglikelihood"}.get(task, config["output_type"])
        chosen = settings[task].get("split") or settings[task]["kind"]
        vote = {"vote"} <= set(found["test"])
        assert vote == ("vote" not in found["refused"])
        together = {"squadv2"} if run.aggregate is None and not run.samples else set()
        values = {one.score for one in run.samples}
        interval = "bootstrap" if run.aggregate else "none" if together else "Wilson" if values <= {0, 1} else "t"
        told[task] = [kinds, chosen, "yes" if vote else "no", found["validation"]["metric"], interval]
        assert found["test"]["baseline"]["metric"] == found["validation"]["metric"]
    assert {task: [cells[0], *cells[2:]] for task, cells in table().items() if task != "mmlu"} == told


def test_every_task_has_a_row_in_the_leaderboard(done: Done) -> None:
    board = json.loads(command("leaderboard", str(done.folder), "--format", "json"))
    rows = {row["task"]: row for row in board["rows"]}
    assert set(rows) == set(PLAIN)
    for task, row in rows.items():
        test = done.tasks[task]["test"]
        assert (row["baseline"], row["metric"]) == (test["baseline"]["score"], test["baseline"]["metric"])
        assert {arm: row["scores"][arm]["score"] for arm in test} == {arm: one["score"] for arm, one in test.items()}
        low, high = row["changes"]["best"]["low"], row["changes"]["best"]["high"]
        change = test["best"]["score"] - test["baseline"]["score"]
        assert row["changes"]["best"]["change"] == pytest.approx(change)
        assert (low is None) == (table()[task][-1] == "none")
        assert low is None or low <= change <= high


@pytest.mark.parametrize("task", PLAIN)
def test_vectors_are_made_of_what_the_table_says(
    task: str, child: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "extract",
        "--model_args",
        f"pretrained={child['pretrained']}",
        "--task",
        task,
        "--n",
        "4",
        "--method",
        "mean",
    ]
    words += ["--out", str(tmp_path / "v.safetensors")]
    reads = table()[task][1]
    options = next(iter(reads.split("`")[1::2]), "").split()
    if "training split" not in reads:
        assert main(words) == 2
        (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lm-eval-steer extract: ")]
        named = {
            "drop": "have the target",
            "wikitext": "neither prompt nor target",
            "mmlu_anatomy": "no training split",
        }
        assert named.get(task, "are those that it is evaluated on") in told
        if "--pairs" in options:
            return
        assert task in ("drop",) or f"--split {options[1]}" in told.replace("(dev, validation;", "validation")
    if "system" in options:
        options += ["--positive", "Be kind.", "--negative", "Be rude."]
    assert main([*words, *options]) == 0
    data = SteeringVector.load(tmp_path / "v.safetensors").passport["data"]
    assert (data["task"], data["n_pairs"], len(data["rows"])) == (task, 4, 4)
    assert data["split"] == (options[1] if "--split" in options else "train")


# A group: all 57 tasks of mmlu, with one strength


@pytest.fixture(scope="module")
def mmlu(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("mmlu")
    return Done(folder, child, command(*sweeping(child, folder, "mmlu", "--batch_size", "64")))


@pytest.mark.slow
def test_every_arm_of_a_group_is_a_run_of_lm_eval(mmlu: Done) -> None:
    found = mmlu.tasks["mmlu"]
    numbers: dict[str, list[int]] = {}
    for path in sorted((mmlu.folder / "arms" / "mmlu" / "baseline").rglob("samples_*.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        numbers[path.name.removeprefix("samples_").rpartition("_")[0]] = sorted(one["doc_id"] for one in lines)
    assert (len(numbers), {len(one) for one in numbers.values()}) == (57, {10})
    for arm, alpha in (("baseline", 0.0), ("best", found["validation"]["best"]["vector"])):
        alone: Any = lm_eval.simple_evaluate(
            model="steered-hf", model_args=mmlu.child | {"alpha": alpha}, tasks=["mmlu"], batch_size=64, device="cpu",
            samples=numbers, task_manager=harness_tasks.manager(), gen_kwargs={}, log_samples=False,
        )  # fmt: skip
        content = mmlu.results("mmlu", arm)
        assert content["groups"].keys() == alone["groups"].keys() > {"mmlu", "mmlu_stem"}
        for name, group in content["groups"].items():
            assert group["acc,none"] == pytest.approx(alone["groups"][name]["acc,none"])
        for name in numbers:
            assert content["results"][name]["acc,none"] == alone["results"][name]["acc,none"]
        assert found["test"][arm]["score"] == pytest.approx(alone["groups"]["mmlu"]["acc,none"])
        assert found["test"][arm]["n"] == 570


def test_the_table_says_what_a_group_gets(mmlu: Done, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked, _, chosen, vote, metric, _ = table()["mmlu"]
    found = mmlu.tasks["mmlu"]
    settings = json.loads((mmlu.folder / "sweep.json").read_text(encoding="utf-8"))["settings"]["validation"]["mmlu"]
    assert {f"{one['kind']} of each" for one in settings["members"].values()} == {chosen}
    assert ("vote" in found["test"]) == (vote == "yes")
    assert found["validation"]["metric"] == metric
    assert {one["output_type"] for one in mmlu.results("mmlu", "best")["configs"].values()} == {asked}
    (row,) = json.loads(command("leaderboard", str(mmlu.folder), "--format", "json"))["rows"]
    assert (row["task"], row["n"], row["best"]) == ("mmlu", 570, found["test"]["best"]["score"])
    words = ["extract", "--model_args", f"pretrained={mmlu.child['pretrained']}", "--task", "mmlu"]
    assert main([*words, "--out", str(tmp_path / "v.pt")]) == 2
    assert "--task mmlu is a group of 57 tasks: name one of them (mmlu_abstract_algebra" in capsys.readouterr().err


def test_a_part_of_the_test_documents_makes_a_vector_and_the_others_test_it(
    tmp_path: Path, child: dict[str, Any]
) -> None:
    """Of a task that has no other documents: what the vector has read is on neither side of the sweep."""
    out, sweep = tmp_path / "v.safetensors", ("--alpha", "5", "--batch_size", "32", "--device", "cpu")
    words = ["--task", "truthfulqa_mc1", "--split", "share", "--n", "3", "--seed", "2"]
    told = command("extract", "--model_args", f"pretrained={child['pretrained']}", *words, "--out", str(out))
    assert "--tasks truthfulqa_mc1 --val_split share" in told
    data = SteeringVector.load(out).passport["data"]
    assert (data["split"], data["share"], len(set(data["rows"]))) == ("share of validation", 0.3, 3)
    halves = {}
    for name, vector in (("left_out", str(out)), ("whole", child["vectors"])):
        folder = tmp_path / name
        args = f"pretrained={child['pretrained']},vectors={vector}"
        command("sweep", "--model_args", args, "--tasks", "truthfulqa_mc1", *sweep, "--output_path", str(folder))
        halves[name] = json.loads((folder / "sweep.json").read_text())["settings"]["validation"]["truthfulqa_mc1"]
    found, whole = halves["left_out"], halves["whole"]
    assert (found["left_out"], whole["left_out"]) == ({"shots": 0, "read": 3}, {"shots": 0})
    assert found["validation"]["n"] + found["test"]["n"] == whole["validation"]["n"] + whole["test"]["n"] - 3 == 13
    assert "without 3 that a vector was made from" in tell_validation("truthfulqa_mc1:share", found)
    tested = {document_hash(row["doc"]) for row in sweeps.samples(tmp_path / "left_out", "best", "truthfulqa_mc1")}
    assert len(tested) == found["test"]["n"]
    assert not tested & set(data["rows"])
