"""Result folders as lm_eval leaves them: written by its own EvaluationTracker, around outcomes that a test chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lm_eval.loggers import EvaluationTracker
from lm_eval.utils import hash_string


def write_run(
    folder: Path,
    scores: list[float],
    *,
    alpha: float | None = None,
    child: str = "org/child",
    task: str = "toy",
    responses: list[str] | None = None,
    first_doc: int = 0,
    prompt: str = "{}+1=",
    metric: str = "exact_match",
    log_samples: bool = True,
    **model_args: Any,
) -> Path:
    """Write one run of one task with one score per document; returns its result file.

    Args:
        folder: what --output_path names.
        scores: per document; documents are numbered from `first_doc`.
        alpha: strength of a `steered-hf` run; None for `hf`.
        child: `pretrained`.
        task: its name.
        responses: per document; by default they say the score.
        first_doc: number of the first document.
        prompt: its template.
        metric: name of the only metric, over the filter `strict`; the samples of a second filter are logged, too.
        log_samples: as --log_samples.
        **model_args: further arguments of the model.
    """
    samples = []
    for i, score in enumerate(scores):
        text = prompt.format(first_doc + i)
        response = responses[i] if responses else f"score {score}"
        for filter_name, value in [("strict", score), ("loose", 0.0)]:
            samples.append(
                {
                    "doc_id": i,
                    "doc": {"q": first_doc + i},
                    "target": "2",
                    "arguments": [(text, {"until": ["\n"]})],
                    "resps": [[response]],
                    "filtered_resps": [response],
                    "filter": filter_name,
                    "metrics": [metric],
                    "doc_hash": hash_string(str(first_doc + i)),
                    "prompt_hash": hash_string(text),
                    "target_hash": hash_string("2"),
                    metric: value,
                }
            )
    arguments = {"pretrained": child} | model_args
    config: dict[str, Any] = {"model": "hf", "model_args": arguments, "gen_kwargs": {}, "limit": None}
    if alpha is not None:
        arguments |= {"vectors": "v.pt", "alpha": alpha}
        config |= {"model": "steered-hf", "steering": {"alpha": alpha, "transfer": {"parent": "org/parent"}}}
    mean = sum(scores) / len(scores)
    results = {
        "results": {
            task: {
                "name": task,
                "alias": task,
                "sample_len": len(scores),
                f"{metric},strict": mean,
                f"{metric}_stderr,strict": "N/A",
                f"{metric},loose": 0.0,
                f"{metric}_stderr,loose": "N/A",
            }
        },
        "configs": {task: {"task": task}},
        "n-shot": {task: 0},
        "n-samples": {task: {"original": 100, "effective": len(scores)}},
        "config": config,
    }
    tracker = EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.log_experiment_args(config["model"], arguments, None, None, False)
    tracker.save_results_aggregated(results, {task: samples} if log_samples else None)
    if log_samples:
        tracker.save_results_samples(task, samples)
    (path,) = folder.rglob(f"results_{tracker.date_id}.json")
    return path
