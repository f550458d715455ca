"""read_runs: what lm_eval wrote, and a sentence where it is not whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from lm_eval_steer.axis.record import digest
from lm_eval_steer.compare.runs import find_runs, read_documents, read_runs
from lm_eval_steer.errors import SteeringError
from runs import write_run


def refusal(folder: Path) -> str:
    with pytest.raises(SteeringError) as caught:
        read_runs([folder])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of lm_eval itself, with its dummy model: two filters, and a metric that is no number per document."""

    def documents(**kwargs: object) -> dict:
        return {"test": datasets.Dataset.from_list([{"q": f"{i}+1=", "a": "lol"} for i in range(3)])}

    common = {"custom_dataset": documents, "test_split": "test"}
    take_first = {"function": "take_first"}
    generate = common | {
        "task": "toy_generate",
        "output_type": "generate_until",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "generation_kwargs": {"until": ["\n"]},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [
            {"name": "letters", "filter": [{"function": "regex", "regex_pattern": "([a-z]+)"}, take_first]},
            {"name": "digits", "filter": [{"function": "regex", "regex_pattern": "([0-9]+)"}, take_first]},
        ],
    }
    rolling = common | {
        "task": "toy_rolling",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{q}}",
        "metric_list": [{"metric": "word_perplexity"}],
    }
    folder = tmp_path_factory.mktemp("real")
    tracker = EvaluationTracker(output_path=str(folder))
    results = simple_evaluate(
        model="dummy",
        model_args="pretrained=org/child,batch_size=2",
        tasks=[generate, rolling],
        log_samples=True,
        bootstrap_iters=0,
        evaluation_tracker=tracker,
        task_manager=TaskManager(include_defaults=False),
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results, samples)
    for task in results["configs"]:
        tracker.save_results_samples(task, samples[task])
    return folder


def test_a_run_of_lm_eval_itself(real: Path) -> None:
    generate, rolling = read_runs([real])
    assert (generate.task, generate.child, generate.metric) == ("toy_generate", "org/child", "exact_match,letters")
    assert (generate.score, generate.n, generate.alphas, generate.steering) == (1.0, 3, (0.0,), {})
    assert [json.loads(sample.response) for sample in generate.samples] == [[["lol"]]] * 3
    assert [sample.score for sample in generate.samples] == [1.0] * 3
    assert len({sample.key for sample in generate.samples}) == 3
    assert (rolling.task, rolling.metric, rolling.n) == ("toy_rolling", "word_perplexity,none", 3)
    assert (rolling.aggregate, len(rolling.samples)) == ("weighted_perplexity", 3)
    assert sum(one.score for one in rolling.samples) / 3 == pytest.approx(rolling.score)
    assert rolling.score > 1


def test_every_field(tmp_path: Path) -> None:
    path = write_run(tmp_path, [1.0, 0.0, 1.0, 1.0], alpha=-0.5, child="/models/tiny", responses=["é", "b", "c", "d"])
    (run,) = read_runs([tmp_path])
    assert (run.path, run.task, run.child, run.n) == (path, "toy", "/models/tiny", 4)
    assert (run.alphas, run.steering["transfer"]["parent"]) == ((-0.5,), "org/parent")
    assert (run.metric, run.score) == ("exact_match,strict", 0.75)
    assert [sample.score for sample in run.samples] == [1.0, 0.0, 1.0, 1.0]  # of the metric's filter only
    assert [sample.response for sample in run.samples] == ['[["é"]]', '[["b"]]', '[["c"]]', '[["d"]]']


def test_keys_agree_for_the_same_document_and_prompt_only(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [1.0, 1.0])
    write_run(tmp_path / "b", [0.0, 0.0], alpha=1.0)
    write_run(tmp_path / "c", [0.0, 0.0], prompt="Say {}")
    write_run(tmp_path / "d", [0.0, 0.0], first_doc=1)
    a, b, c, d = ([sample.key for sample in run.samples] for run in read_runs([tmp_path]))
    assert a == b
    assert not set(a) & set(c)
    assert set(a) & set(d) == {a[1]}


def test_a_run_without_samples(tmp_path: Path) -> None:
    write_run(tmp_path, [1.0, 0.0], log_samples=False)
    (run,) = read_runs([tmp_path])
    assert (run.score, run.n, run.samples) == (0.5, 2, [])


def test_runs_with_other_arguments_share_a_folder_and_a_repeated_run_replaces_the_older(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 0.0])
    write_run(tmp_path, [1.0, 0.0], alpha=0.5)
    write_run(tmp_path, [1.0, 1.0], alpha=0.25)
    write_run(tmp_path, [0.0, 1.0], alpha=0.5, responses=["new", "new"])
    write_run(tmp_path, [0.0, 1.0], task="other")
    assert len(list((tmp_path / "org__child").glob("results_*.json"))) == 5
    runs = read_runs([tmp_path])
    assert [(run.task, *run.alphas, run.score) for run in runs] == [
        ("toy", 0.0, 0.0),
        ("toy", 0.5, 0.5),
        ("toy", 0.25, 1.0),
        ("other", 0.0, 0.5),
    ]
    assert "new" in runs[1].samples[0].response
    assert read_runs([tmp_path, tmp_path / "org__child"]) == runs


def test_a_missing_and_an_empty_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no") == f"{tmp_path / 'no'}: no such folder of results"
    (tmp_path / "samples_toy_2025.jsonl").touch()
    assert refusal(tmp_path) == (
        f"{tmp_path} holds no results_*.json of lm_eval: run lm_eval with --output_path {tmp_path}"
    )


def test_an_arm_that_a_sweep_is_writing_is_no_result_yet(tmp_path: Path) -> None:
    write_run(tmp_path / "arms" / "toy" / "best", [1.0])
    path = write_run(tmp_path / "arms" / "toy" / "vote.part", [1.0])
    path.write_text("{")
    assert len(read_runs([tmp_path])) == 1


def test_one_empty_folder_among_others(tmp_path: Path) -> None:
    write_run(tmp_path / "full", [1.0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SteeringError, match="empty holds no results"):
        read_runs([tmp_path / "full", tmp_path / "empty"])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        '{"config": 3, "configs": {"toy": {}}}',
        '{"config": {}, "configs": {"toy": {}}}',
    ],
)
def test_a_result_file_that_is_not_whole(content: str, tmp_path: Path) -> None:
    path = tmp_path / "results_2025-01-01T00-00-00.json"
    path.write_text(content)
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{path} is not a whole result file of lm_eval, or its samples are not (")
    assert sentence.endswith("): remove it or run again")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_half_written_files(share: float, tmp_path: Path) -> None:
    path = write_run(tmp_path, [1.0, 0.0])
    (samples,) = path.parent.glob("samples_*.jsonl")
    for file in (samples, path):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * share)])
        assert refusal(tmp_path).startswith(f"{path} is not a whole result file of lm_eval, or its samples are not (")


def test_samples_that_end_with_a_whole_line(tmp_path: Path) -> None:
    path = write_run(tmp_path, [1.0, 0.0])
    (samples,) = path.parent.glob("samples_*.jsonl")
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:2]))
    assert f"{samples.name} holds 1 of 2 documents" in refusal(tmp_path)


def test_a_task_without_a_metric(tmp_path: Path) -> None:
    path = write_run(tmp_path, [1.0])
    content = json.loads(path.read_text())
    content["results"]["toy"] = {"alias": "toy"}
    path.write_text(json.dumps(content))
    assert "no metric of toy" in refusal(tmp_path)


# What is left out


def change(path: Path, *keys: str, to: object) -> Path:
    """Set a part of a result file."""
    content = part = json.loads(path.read_text())
    for key in keys[:-1]:
        part = part.setdefault(key, {})
    part[keys[-1]] = to
    path.write_text(json.dumps(content))
    return path


def steering(*keys: str, to: object) -> Callable[[Path], object]:
    return lambda path: change(path, "config", "steering", *keys, to=to)


def in_place(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Something else where the result file was."""

    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def samples_of(path: Path) -> Path:
    (found,) = path.parent.glob(f"samples_*{path.stem.removeprefix('results')}.jsonl")
    return found


def change_sample(**parts: object) -> Callable[[Path], object]:
    def change_it(path: Path) -> None:
        file = samples_of(path)
        rows = [json.loads(line) | parts for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return change_it


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "deep": (lambda path: path.write_text("[" * 200_000), "more than 100 levels"),
    "folder": (in_place(Path.mkdir), "this is a folder"),
    "pipe": (in_place(os.mkfifo), "this is a device, a pipe or a socket"),
    "loop": (in_place(lambda path: path.symlink_to(path)), "cannot be read"),
    "device": (in_place(lambda path: path.symlink_to("/dev/zero")), "this is a device, a pipe or a socket"),
    "encoding": (lambda path: path.write_bytes(path.read_text().encode("utf-16")), "no UTF-8 text"),
    "huge": (lambda path: change(path, "results", "toy", "exact_match,strict", to=10**400), "401 digits"),
    "list": (lambda path: change(path, "results", to=[1]), "its content.results is [1], expected an object"),
    "n": (lambda path: change(path, "n-samples", "toy", "effective", to="2"), "is '2', expected a whole number"),
    "no shots": (lambda path: change(path, "n-shot", to={}), "expected an object with n-shot"),
    "seconds": (lambda path: change(path, "total_evaluation_time_seconds", to="long"), "expected seconds"),
    "no alpha": (steering("alpha", to=[]), "alpha is [], expected a list that is not empty"),
    "alpha": (steering("alpha", to=[0.5, "x"]), "alpha[1] is 'x', expected a finite number"),
    "control": (steering("control", to="random:x"), "control is 'random:x', expected the name of a control"),
    "dose": (steering("doses", "0.5", "0", to="x"), "doses.0.5.0 is 'x', expected an object"),
    "no dose": (steering("doses", "0.5", to={}), "doses.0.5 is {}, expected an object that is not empty"),
    "block": (steering("doses", "0.5", "x", to={}), "a key of its content.config.steering.doses.0.5 is 'x'"),
    "transfer": (steering("transfer", to="x"), "transfer is 'x', expected an object"),
    "settings": (steering("settings", to=7), "settings is 7, expected a list"),
    "passport": (steering("passport", to=[]), "passport is [], expected an object"),
    "no metric": (lambda path: change(path, "results", "toy", to={"a": 1}), "no metric of toy (it has no score)"),
    "predict only": (lambda path: change(path, "results", "toy", to={"bypass,none": 999}), "run with --predict_only"),
    "N/A": (lambda path: change(path, "results", "toy", "exact_match,strict", to="N/A"), "is 'N/A' and no number"),
    "samples": (lambda path: samples_of(path).write_text("{}\n"), "an object with filter"),
    "responses": (change_sample(resps=[]), "resps is [], expected a list that is not empty"),
    "response": (change_sample(resps=[[]]), "list index out of range"),
    "number": (change_sample(doc_id="x"), "doc_id is 'x', expected a whole number"),
    "hash": (change_sample(doc_hash=[1]), "doc_hash is [1], expected text"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_damaged_or_foreign_is_left_out_with_a_sentence_and_the_others_stand(harm: str, tmp_path: Path) -> None:
    do, why = HARMS[harm]
    bad = write_run(tmp_path / "bad", [1.0, 0.0], alpha=0.5)
    do(bad)
    sentence = refusal(tmp_path)  # alone, it is all there was
    write_run(tmp_path / "good", [1.0, 1.0])
    runs, left_out = find_runs([tmp_path])
    assert [run.score for run in runs] == [1.0]
    assert left_out == [sentence]
    assert why in sentence
    assert str(bad) in sentence or samples_of(bad).name in sentence
    assert len(sentence) < 500


def test_of_two_tasks_the_one_without_a_score_is_left_out(tmp_path: Path) -> None:
    path = write_run(tmp_path, [1.0, 0.0])
    content = json.loads(path.read_text())
    for part in ("results", "configs", "n-shot", "n-samples"):
        content[part]["other"] = content[part]["toy"]
    content["results"]["toy"] = {"bypass,none": 999}
    path.write_text(json.dumps(content))
    (run,), (sentence,) = find_runs([tmp_path])
    assert run.task == "other"
    assert sentence == f"{path}: no metric of toy (it was run with --predict_only), so there is nothing to compare"


def test_half_of_a_surrogate_pair_is_text(tmp_path: Path) -> None:
    path = write_run(tmp_path, [1.0, 0.0])
    change_sample(resps=[["a \ud800"]])(path)
    change(path, "model_name", to="org/\ud800\x1b[31m")
    (run,) = read_runs([tmp_path])
    assert run.child == "org/\ufffd\\x1b[31m"
    assert run.samples[0].response == '[["a \ufffd"]]'


# Names


def test_what_output_path_named_is_found(tmp_path: Path) -> None:
    """--output_path runs/base.json leaves runs/base_DATE.json, and samples beside it without that name."""
    folder = tmp_path / "runs"
    for place, (name, scores) in enumerate({"base": [0.0, 0.0], "steered": [1.0, 0.0], "again": [0.0, 0.0]}.items()):
        tracker = EvaluationTracker(output_path=str(folder / f"{name}.json"))
        written = write_run(tmp_path / name, scores, alpha=0.5 if name == "steered" else None)
        content = json.loads(written.read_text())
        samples = [json.loads(line) for line in samples_of(written).read_text().splitlines()]
        for row in samples:
            row["arguments"] = [tuple(one.values()) for one in row["arguments"].values()]
        tracker.general_config_tracker.log_experiment_args("hf", {"pretrained": "org/child"}, None, None, False)
        tracker.save_results_aggregated(content, {"toy": samples})
        tracker.save_results_samples("toy", samples)
        assert len(list(folder.glob("*.json"))) == place + 1
    (folder / "leaderboard.json").write_text("{}")
    assert [(run.score, len(run.samples)) for run in read_runs([folder])] == [(0.0, 2), (0.0, 2), (0.5, 2)]
    (steered,) = read_runs([folder / "steered.json"])
    assert steered.alphas == (0.5,)
    assert read_runs([steered.path, folder / "steered.json"]) == [steered]
    assert len(read_runs([folder / "base.json", steered.path])) == 2
    assert "no such folder of results" in refusal(folder / "other.json")
    assert "leaderboard.json is not a whole result file" in refusal(folder / "leaderboard.json")
    assert "no such folder of results" in refusal(Path("x" * 5000))


@pytest.mark.parametrize(
    ("config", "engine"),
    [
        ({"model": "steered-hf"}, "transformers"),
        ({"model": "hf-multimodal"}, "transformers"),
        ({"model": "org/child", "model_num_parameters": 7}, "transformers"),
        ({"model": "vllm-vlm"}, "vllm"),
        ({"model": "steered-vllm", "model_dtype": "float32"}, "vllm"),
        ({"model": "steered-gguf", "model_dtype": "Q4_1", "model_num_parameters": 9}, "llama.cpp"),
        ({"model": "sglang-generate"}, "sglang"),
        ({"model": "local-completions"}, "local-completions"),
        ({"model": "openvino", "model_num_parameters": 7}, "openvino"),
    ],
    ids=str,
)
def test_engines_bear_their_names(config: dict[str, object], engine: str, tmp_path: Path) -> None:
    write_run(tmp_path, [1.0], patch={"config": config}, log_samples=False)
    (run,) = read_runs([tmp_path])
    assert run.conditions["engine"] == engine


def test_conditions_name_what_a_comparison_must_share(tmp_path: Path) -> None:
    generation = {"until": ["\n"], "max_gen_toks": 64}
    patch = {
        "configs": {"toy": {"generation_kwargs": generation}},
        "config": {"model_dtype": "torch.bfloat16", "model_revision": "main", "model_sha": "0123456789ab"},
        "versions": {"toy": 1.0},
        "chat_template_sha": "fedcba9876543210",
        "higher_is_better": {"toy": {"exact_match": False}},
        "total_evaluation_time_seconds": "2.5",
        "lm_eval_version": "0.4.13",
    }
    write_run(tmp_path, [1.0, 0.0], alpha=1, max_length=512, record="r", patch=patch)
    (run,) = read_runs([tmp_path])
    assert run.conditions == {
        "metric": "exact_match,strict",
        "limit": "2 of 100 documents",
        "task version": "1.0",
        "shots": "0",
        "chat template": "used",
        "system prompt": "the task's",
        "system_role": "as hf has it",
        "dtype": "bfloat16",
        "engine": "transformers",
        "generation max_gen_toks": "64",
        "generation until": '["\\n"]',
    }
    assert run.own_conditions == {
        "template": "fedcba98",
        "model revision": "main (01234567)",
        "model argument max_length": "512",  # what steers, and where it runs, is no condition
    }
    assert (run.higher_is_better, run.seconds, run.lm_eval_version) == (False, 2.5, "0.4.13")
    assert (run.vectors, run.record, run.has_samples_file) == ("v", "r", True)


def test_digests_do_not_depend_on_order(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", [1.0, 0.0])
    (samples,) = path.parent.glob("samples_*.jsonl")
    samples.write_text("".join(reversed(samples.read_text().splitlines(keepends=True))))
    write_run(tmp_path / "b", [0.0, 0.0])
    write_run(tmp_path / "c", [0.0, 0.0], prompt="Say {}")
    write_run(tmp_path / "d", [0.0, 0.0], log_samples=False)
    a, b, c, d = read_runs([tmp_path])
    assert (a.documents, a.prompts) == (b.documents, b.prompts)
    assert (c.documents, c.prompts != a.prompts) == (a.documents, True)
    assert (d.documents, d.prompts, d.has_samples_file) == (None, None, False)


def test_model_args_as_text_are_read(tmp_path: Path) -> None:
    patch = {"config": {"model_args": "pretrained=org/child,max_length=512,vectors=a/b.safetensors"}}
    path = write_run(tmp_path, [1.0])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": {"model": "hf"} | patch["config"]}))
    (run,) = read_runs([tmp_path])
    assert (run.vectors, run.own_conditions["model argument max_length"]) == ("b", "512")


def test_the_request_is_the_prompt_as_a_record_has_it(tmp_path: Path) -> None:
    write_run(tmp_path, [1.0])
    (run,) = read_runs([tmp_path])
    assert read_documents(run)[0].request == digest(["0+1="])


def test_a_score_that_is_not_finite_is_no_number_per_document(tmp_path: Path) -> None:
    write_run(tmp_path, [float("inf"), 1.0])
    (run,) = read_runs([tmp_path])
    assert (run.samples, run.has_samples_file) == ([], True)


def test_a_sweep_without_an_arm_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").touch()
    assert refusal(tmp_path) == f"the sweep in {tmp_path} has no arm yet: start its command again, it goes on"
