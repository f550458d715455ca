"""scripts/campaign.py: a few seconds of it, and whether it would notice."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import sweeps
from conftest import ROOT


@pytest.fixture(scope="module")
def campaign() -> ModuleType:
    spec = importlib.util.spec_from_file_location("campaign", ROOT / "scripts" / "campaign.py")
    assert spec
    assert spec.loader
    module = sys.modules["campaign"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench(campaign: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import lm_eval_steer.grid.work  # noqa: F401  # whatever is imported here, no fork needs to import again

    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        sweeps.manager()
        yield campaign.Bench(tmp_path_factory.mktemp("bench"))


def test_a_few_tries_find_no_fault(campaign: ModuleType) -> None:
    found = campaign.campaign(["vectors", "results"], seed=3, seconds=60, most=2)
    assert {kind: sum(tally.ways.values()) for kind, tally in found.items()} == {"vectors": 2, "results": 2}
    assert [fault for tally in found.values() for fault in tally.faults] == []


def test_it_tells_the_ways_to_end_apart(campaign: ModuleType) -> None:
    def raw() -> None:
        raise KeyError("gone")

    def refused() -> int:
        print("a sentence", file=sys.stderr)
        return 2

    ways = {
        campaign.WORKED: lambda: 0,
        campaign.SENTENCE: refused,
        campaign.RAW: raw,
        campaign.HANG: lambda: time.sleep(60),
    }
    assert {way: campaign.attempt(run, limit=0.3 if way == campaign.HANG else 30).way for way, run in ways.items()} == {
        way: way for way in ways
    }
    assert "KeyError: 'gone'" in campaign.attempt(raw).words
    assert campaign.attempt(lambda: os.kill(os.getpid(), signal.SIGUSR1)).way == campaign.RAW
    job = campaign.Job(lambda folder: 0, lambda folder: "half")
    assert campaign._judge(job, Path(), "half").way == campaign.WORKED
    assert campaign._judge(job, Path(), "whole").way == campaign.OTHER
    assert campaign._judge(campaign.Job(lambda folder: refused(), lambda folder: ""), Path(), "").way == campaign.OTHER


def test_a_try_does_not_wait_for_threads_of_the_process_that_forked_it(
    campaign: ModuleType,
) -> None:
    def add() -> int:
        return int(torch.ones(3_000_000).exp().sum() < 0)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert add() == 0  # starts both
        assert campaign.attempt(add, limit=60) == campaign.End(campaign.WORKED)
    finally:
        torch.set_num_threads(before)


def test_a_seed_draws_the_same_damage_again(campaign: ModuleType, tmp_path: Path) -> None:
    told = []
    for _ in range(2):
        file = tmp_path / "results_1.json"
        file.write_text('{"a": [1, {"b": "c"}], "d": null}')
        told.append([campaign.change_json(file, random.Random(seed)) for seed in range(3)])
    assert told[0] == told[1]
    assert len(set(told[0])) > 1


def test_faults_are_printed_and_are_the_exit_code(
    campaign: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = campaign.Tally()
    tally.ways[campaign.RAW] += 1
    tally.faults.append("vectors 0: v.pt: \x1b[31m")
    monkeypatch.setattr(campaign, "campaign", lambda *_: {"vectors": tally, "disks": campaign.Tally(skipped="no root")})
    assert campaign.main(["--only", "vectors,disks"]) == 1
    out = capsys.readouterr().out
    assert "disks      skipped: no root" in out
    assert out.splitlines()[-1] == "- seed 0, vectors 0: v.pt: \\x1b[31m"
    tally.faults.clear()
    assert campaign.main(["--only", "vectors,disks"]) == 0
    with pytest.raises(SystemExit):
        campaign.main(["--only", "all"])


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_study_that_is_killed_anywhere_goes_on(
    bench: Any, campaign: ModuleType, tmp_path: Path, share: float
) -> None:
    job, expected, seconds = campaign._undisturbed(bench, "grid")
    assert campaign.attempt(lambda: job.start(tmp_path), kill=share * seconds).way == campaign.WORKED
    assert campaign._judge(job, tmp_path, expected) == campaign.End(campaign.WORKED)
