"""Other ways to run steered-vllm: compiled graphs, speculative decoding, a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.tasks import TaskManager
from rich.console import Console
from test_vllm import ALPHAS, CONTEXTS, SHARED, TOKENS, WIDTH, compare, plan, requests, save, start, start_hf, stop
from torch import nn
from vllm.compilation.backends import split_graph
from vllm.config import CUDAGraphMode

import sweeps
import test_ranks
from conftest import make_vector
from lm_eval_steer.axis.record import read_lines
from lm_eval_steer.engines.vllm import compiled as vllm_compiled
from lm_eval_steer.engines.vllm.support import OPERATOR
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sweep import SweepArgs, run_sweep

DRAFTS = {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_min": 1, "prompt_lookup_max": 3}


def trace(steps: list[nn.Module]) -> Any:
    """The graph of some modules whose outputs the operator steers."""
    vllm_compiled.register()
    for block, step in enumerate(steps):
        step.register_forward_hook(vllm_compiled._call(block))
    graphs: list[Any] = []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    torch.compile(nn.Sequential(*steps), backend=keep, fullgraph=True)(torch.ones(3, 4))
    return graphs[0]


def test_graphs_are_cut_at_the_operator() -> None:
    """So none that vLLM captures on CUDA holds it."""
    _, items = split_graph(trace([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)]), [OPERATOR])
    assert [item.is_splitting_graph for item in items] == [False, True, False, True, False, True]
    for item in items:
        steers = [node for node in item.graph.graph.nodes if "lm_eval_steer" in str(node.target)]
        assert len(steers) == item.is_splitting_graph


def test_whole_cuda_graphs_are_refused() -> None:
    loader: Any = object.__new__(vllm_compiled.SteeredLoader)
    loader._other = SimpleNamespace(load_model=lambda **_: nn.Linear(4, 4))
    model: Any = SimpleNamespace()
    compilation = SimpleNamespace(cudagraph_mode=CUDAGraphMode.FULL_AND_PIECEWISE)
    config: Any = SimpleNamespace(model_config=model, compilation_config=compilation)
    with pytest.raises(ValueError, match=r"needs cudagraph_mode PIECEWISE or NONE .* found FULL_AND_PIECEWISE"):
        loader.load_model(config, model)
    loader.load_model(config, SimpleNamespace())  # a model that drafts for it


def test_drafts_change_no_text_and_no_count(tmp_path: Path) -> None:
    """Tokens that were drafted and rejected were steered, too, and are run again."""
    folder = save(tmp_path / "model", "llama")
    lm = start(folder, speculative_config=DRAFTS)
    try:
        hf = start_hf(folder)
        for tokens in TOKENS:
            contexts = [text + SHARED for text in CONTEXTS]
            compare(lm, hf, tmp_path / tokens, {"alpha": ALPHAS, "tokens": tokens}, contexts)
        with pytest.raises(SteeringError, match="leave out speculative_config"):
            lm.steer(plan(control="self-consistency", alpha=ALPHAS))
        with pytest.raises(SteeringError, match="leave out speculative_config"):
            lm.generate_until(requests(do_sample=True, temperature=0.5))
    finally:
        stop(lm)


def test_suffix_decoding_drafts_what_other_strengths_wrote(tmp_path: Path) -> None:
    """It keeps the texts of finished requests, whatever steered them: near strengths write nearly the same."""
    folder = save(tmp_path / "model", "llama")
    lm = start(folder, speculative_config={"method": "suffix", "num_speculative_tokens": 8}, disable_log_stats=False)

    def accepted() -> int:
        found = {metric.name: metric for metric in lm.model.get_metrics()}
        return int(found["vllm:spec_decode_num_accepted_tokens"].value)

    try:
        shares = []
        for alpha in (0.7, 0.7001):
            lm.steer(plan(alpha=alpha, record=str(tmp_path / "record")))
            before = accepted()
            lm.generate_until(requests())
            lines = [line for line in read_lines(tmp_path / "record") if line.alpha == alpha]
            assert len(lines) == len(CONTEXTS)
            shares.append((accepted() - before) / sum(line.tokens or 0 for line in lines))
        assert shares[1] > 0.5 > 2 * shares[0]
        compare(lm, start_hf(folder), tmp_path / "set", {"alpha": ALPHAS}, CONTEXTS)
    finally:
        stop(lm)


def test_two_processes_share_the_documents_and_give_the_results_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one machine and of two, for which two launchers stand in here."""
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND")  # each takes its part of the cores
    make_vector(width=WIDTH).save(tmp_path / "v.pt")
    folder = save(tmp_path / "model", "llama", max_position_embeddings=4096)
    ways = [test_ranks.PROCESSES, test_ranks.MACHINES]
    given = {"dose": [0.05, 0.1, 0.2], "dtype": "float32", "max_length": 2048}
    for alone, together in test_ranks.compare(tmp_path, Path(folder), ways, "steered-vllm", **given):
        for measured in (alone, together):  # wherever it is measured: which passes are depends on when requests come
            for (name, _), (dose, positions) in measured.items():
                assert dose == pytest.approx(float(name), rel=1e-4)
                assert positions > 0


def test_a_sweep_on_vllm_ends_as_one_on_hf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps.hurry(monkeypatch)
    folder = save(tmp_path / "model", "llama")
    vector = make_vector(width=WIDTH).save(tmp_path / "v.pt")
    states: list[dict[str, Any]] = []
    both = {"pretrained": folder, "vectors": str(vector), "dtype": "float32", "max_length": 2048}
    scored = ["rolling", "single", "several_true"]  # log-likelihoods of whole texts, of one continuation, of several
    manager = TaskManager(
        include_path=[*sweeps.manager().include_path, str(sweeps.OUTPUTS)], include_defaults=False, metadata={}
    )
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(f'{{"text": "{word} is the same in every place"}}\n' for word in ("rain", "light", "day")))
    for engine, more in (("steered-vllm", {"data_parallel_size": 2}), ("steered-hf", {})):
        args = SweepArgs(
            model=engine,
            model_args=both | more,
            tasks=["parity_steer", *scored],
            output_path=str(tmp_path / engine),
            alpha=[0.5, 2.0],
            limit=8,
            val_limit=8,
            controls="random:1",
            cost=str(texts),
        )
        states.append(run_sweep(args, manager, Console(quiet=True)))
    for contender, strengths in states[1]["cost"]["strengths"].items():
        for alpha, cost in strengths.items():
            assert states[0]["cost"]["strengths"][contender][alpha] == pytest.approx(cost, abs=1e-4)
    for task in scored:
        on_vllm, on_hf = (state["tasks"][task] for state in states)
        for contender, scores in on_hf["validation"]["scores"].items():
            assert on_vllm["validation"]["scores"][contender] == pytest.approx(scores, rel=1e-3)
        assert on_vllm["test"].keys() == on_hf["test"].keys()
        assert on_vllm["refused"] == on_hf["refused"]
    ours, theirs = (state["tasks"]["parity_steer"] for state in states)
    assert states[0]["complete"]
    assert ours["validation"]["scores"].keys() == theirs["validation"]["scores"].keys()
    assert {name: arm["responses"] for name, arm in ours["test"].items()} == {
        name: arm["responses"] for name, arm in theirs["test"].items()
    }
    for arm in ours["test"].values():
        steering = json.loads((tmp_path / "steered-vllm" / arm["result"]).read_text())["config"]["steering"]
        applied = steering["application"]
        assert applied.get("steered") == applied.get("implied")
