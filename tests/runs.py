"""Result folders as lm_eval leaves them: written by its own EvaluationTracker, around outcomes that a test chooses."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lm_eval.loggers import EvaluationTracker
from lm_eval.utils import hash_string

from lm_eval_steer.axis.record import Line, Record, digest
from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.sweep_file import VERSION


def write_run(
    folder: Path,
    scores: list[float],
    *,
    alpha: float | None = None,
    child: str = "org/child",
    task: str = "toy",
    responses: list[str] | None = None,
    docs: list[dict[str, Any]] | None = None,
    first_doc: int = 0,
    prompt: str = "{}+1=",
    metric: str = "exact_match",
    beside: dict[str, list[float]] | None = None,
    log_samples: bool = True,
    steering: dict[str, Any] | None = None,
    patch: dict[str, Any] | None = None,
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
        docs: the documents; by default each has its number.
        first_doc: number of the first document.
        prompt: its template.
        metric: name of the only metric, over the filter `strict`; the samples of a second filter are logged, too.
        beside: further metrics over the filter `strict`, with a value per document.
        log_samples: as --log_samples.
        steering: what `steered-hf` records beside alpha and parent.
        patch: what the result file has otherwise; objects are merged.
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
                    "doc": docs[i] if docs else {"q": first_doc + i},
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
                    **{name: values[i] for name, values in (beside or {}).items()},
                }
            )
    arguments = {"pretrained": child} | model_args
    config: dict[str, Any] = {"model": "hf", "model_args": arguments, "gen_kwargs": {}, "limit": None}
    if alpha is not None:
        arguments |= {"vectors": "v.pt", "alpha": alpha}
        config |= {
            "model": "steered-hf",
            "steering": {"alpha": alpha, "transfer": {"parent": "org/parent"}, **(steering or {})},
        }
        found = config["steering"]
        found.setdefault("settings", [digest(one) for one in _settings(child, found.get("control"), alpha)])
    mean = sum(scores) / len(scores)
    results = {
        "results": {
            task: {
                "name": task,
                "alias": task,
                "sample_len": len(scores),
                f"{metric},strict": mean,
                f"{metric}_stderr,strict": "N/A",
                **{f"{name},strict": sum(values) / len(values) for name, values in (beside or {}).items()},
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
    if patch:
        path.write_text(json.dumps(_merge(json.loads(path.read_text()), patch)))
    return path


def write_sweep(
    folder: Path,
    arms: dict[str, tuple[Any, list[float]]],
    *,
    task: str = "toy",
    complete: bool = True,
    state: dict[str, Any] | None = None,
    beside: dict[str, dict[str, list[float]]] | None = None,
    **options: Any,
) -> Path:
    """Write the arms of a sweep of one task, and its sweep.json; returns that.

    Args:
        folder: of the sweep.
        arms: arm -> strength or strengths, and a score per document; `baseline` among them.
        task: the test task.
        complete: whether the sweep is done.
        state: what sweep.json has otherwise; objects are merged.
        beside: arm -> its further metrics, as `write_run` takes them.
        **options: of `write_run`, for all arms.
    """
    test = {}
    for arm, (alpha, scores) in arms.items():
        control = arm.rsplit(" ", 1)[0] if " " in arm else arm if arm in ("identity", "self-consistency") else None
        place = folder / "arms" / task / arm.replace(":", "-").replace(" ", "_")
        more = {"steering": {"control": control, "vector": "5ha", "unit": "alpha"}} | (
            {"control": control} if control else {}
        )
        metrics = {"beside": beside[arm]} if beside else {}
        path = write_run(place, scores, alpha=alpha, task=task, **(more | metrics | options))
        size = len(alpha) if isinstance(alpha, list) else 1
        kind, _, seed = (control or "").partition(":")
        role = {"identity": "baseline", "self-consistency": "vote"}.get(kind, arm.rsplit(" ", 1)[-1])
        test[arm] = {
            "role": role,
            "control": kind or None,
            "seed": int(seed) if seed else None,
            "alpha": alpha,
            "result": path.relative_to(folder).as_posix(),
            "tokens": 10 * size * len(scores),
            "n": len(scores),
            "responses": size * len(scores),
            "skipped": 0,
        }
    passes = {
        of: {"task": of, "seconds": seconds + 500.0, "new": 9, "contenders": {
            "vector": {"alphas": [0.5], "seconds": seconds, "new": 5},
            "random:1": {"alphas": [0.5], "seconds": 500.0, "new": 4},
        }}
        for of, seconds in ((f"{task}_val", 30.0), (task, 60.0))
    }  # fmt: skip
    validation = {"task": f"{task}_val", "n": 20, "best": {"vector": 0.5}, "scores": {}}
    found = {"validation": validation, "test": test, "refused": {}, "passes": passes}
    content = {"version": VERSION, "complete": complete, "settings": {}, "tasks": {task: found}}
    path = folder / "sweep.json"
    path.write_text(json.dumps(_merge(content, state or {})))
    return path


def write_named_sweep(
    folder: Path,
    arms: dict[Arm, list[float]],
    beside: dict[Arm, dict[str, list[float]]] | None = None,
    task: str = "toy",
    tokens: dict[Arm, tuple[int, int]] | None = None,
    prompts: dict[Arm, str] | None = None,
    **options: Any,
) -> Path:
    """Write a sweep of several vectors, with what competes with them; returns its sweep.json.

    Args:
        folder: of the sweep.
        arms: arm, the baseline first -> a score per document.
        beside: arm -> its further metrics, as `write_run` takes them.
        task: the test task.
        tokens: arm -> tokens read and written.
        prompts: arm -> its template, where it has one of its own.
        **options: of `write_run`, for all arms.
    """
    of_baseline = beside and {"baseline": beside[BASELINE]}
    path = write_sweep(folder, {"baseline": (0, arms[BASELINE])}, beside=of_baseline, task=task, **options)
    state = json.loads(path.read_text())
    for arm, scores in arms.items():
        if arm != BASELINE:
            control = arm.contender if arm.control else None
            vector = arm.vector or next(one.vector for one in arms if one.vector)
            place = folder / "arms" / task / arm.name.replace(":", "-").replace(" ", "_")
            steering = {"vector": digest([vector]), "control": control}
            more = {"control": control} if control else {}
            more |= {"beside": beside[arm]} if beside else {}
            more |= {"prompt": prompts[arm]} if prompts and arm in prompts else {}
            result = write_run(place, scores, alpha=1, task=task, steering=steering, **(more | options))
            read, written = (tokens or {}).get(arm, (None, None))
            state["tasks"][task]["test"][arm.name] = asdict(arm) | {
                "alpha": 1,
                "result": result.relative_to(folder).as_posix(),
                **{"n": len(scores), "responses": len(scores), "skipped": 0},
                **{"tokens": written, "prompt_tokens": read},
            }
    path.write_text(json.dumps(state))
    return path


def write_record(
    folder: Path,
    variants: dict[tuple[str, float], list[tuple[str, str | None]]],
    *,
    child: str = "org/child",
    task: str = "toy",
    prompt: str = "{}+1=",
) -> None:
    """Write what `steered-hf` records beside a sweep of `write_sweep`.

    Args:
        folder: of the record.
        variants: control (or empty, or `self-consistency 0`, ...) and strength -> (response, answer) per document.
        child: `pretrained`.
        task: its name.
        prompt: its template.
    """
    with Record(folder) as record:
        for (variant, alpha), answers in variants.items():
            control, _, number = variant.partition(" ")
            strengths = [0.0] * (int(number) + 1) if number else alpha
            settings = record.declare(_settings(child, control or None, strengths)[-1])
            for i, (response, answer) in enumerate(answers):
                line = Line(
                    fingerprint=digest([settings, i]),
                    settings=settings,
                    kind="generation",
                    task=task,
                    doc_id=i,
                    repeat=0,
                    prompt=digest([prompt.format(i)]),
                    alpha=alpha,
                    variant=variant,
                    response=response,
                    scores=None,
                    answer=answer,
                    tokens=len(response.split()),
                    logprob=-1.0,
                    stop="eos",
                    time=0.0,
                    seconds=0.0,
                )
                record.append(line)


def _settings(child: str, control: str | None, alphas: Any) -> list[dict[str, Any]]:
    """What `steered-hf` declares to a record, per variant of a set."""
    found = []
    for number, alpha in enumerate(alphas if isinstance(alphas, list) else [alphas]):
        sampled = control == "self-consistency"
        steering = {"vector": "5ha", "unit": "alpha", "control": control, "alpha": float(alpha)}
        found.append(
            {
                "model": {"pretrained": child, "dtype": "unknown"},
                "steering": steering if alpha and not sampled else {"alpha": 0.0},
                "sample": {"number": number} if sampled else None,
            }
        )
    return found


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        merged[key] = _merge(old[key], value) if both else value
    return merged
