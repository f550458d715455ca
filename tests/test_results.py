"""read_runs: what lm_eval wrote, and a sentence where it is not whole."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.record import digest
from lm_eval_steer.results import read_runs
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
    assert (rolling.task, rolling.metric, rolling.n, rolling.samples) == ("toy_rolling", "word_perplexity,none", 3, [])
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
    assert run.samples[0].request == digest(["0+1="])


def test_a_score_that_is_not_finite_is_no_number_per_document(tmp_path: Path) -> None:
    write_run(tmp_path, [float("inf"), 1.0])
    (run,) = read_runs([tmp_path])
    assert (run.samples, run.has_samples_file) == ([], True)


def test_a_sweep_without_an_arm_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").touch()
    assert refusal(tmp_path) == f"the sweep in {tmp_path} has no arm yet: start its command again, it goes on"
