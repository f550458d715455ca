"""Chat templates that print a date: one date per record, whatever the clock says, and told where runs differ in it."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

import models
import sweeps
from conftest import make_vector
from lm_eval_steer.axis.record import read_lines, settings_of
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.report.tables import read_leaderboard
from runs import write_run
from sweeps import make_args

# As Llama 3.2 asks for it, and only where there is a system message, as gpt-oss does.
LLAMA = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ 'Today: ' + date_string + '\n' }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
)
SYSTEM = "{% for m in messages %}{% if m['role'] == 'system' %}{{ strftime_now('%Y-%m-%d') }}{% endif %}{% endfor %}x"
NONE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_to(day: int) -> None:
        clock = SimpleNamespace(now=lambda: datetime(2031, 5, day, 23, 59))
        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", clock)

    set_to(7)
    return set_to


def make(template: str = LLAMA, **arguments: Any) -> SteeredHF:
    common = {"tokenizer": models.make_tokenizer(template), "device": "cpu", "batch_size": 4, "vectors": make_vector()}
    return SteeredHF(models.make_model("llama"), **({"alpha": 1.0} | common | arguments))


def ask(lm: SteeredHF) -> str:
    """Asks for a response to a prompt in the chat template; returns the prompt."""
    prompt = lm.apply_chat_template(HELLO)
    lm.generate_until([Instance("generate_until", {}, (prompt, {"max_gen_toks": 3}), 0, ("toy", 0, 1))])
    return prompt


def counts(lm: SteeredHF) -> dict[str, int]:
    return lm.get_model_info()["steering"]["responses"]


def test_a_record_goes_on_with_its_own_date(tmp_path: Path, set_clock: Any) -> None:
    record = str(tmp_path / "record")
    first = make(record=record)
    assert ask(first) == "Today: 07 May 2031\nHello"
    set_clock(8)
    assert ask(first) == "Today: 07 May 2031\nHello"  # over midnight
    again, other = make(record=record), make(record=str(tmp_path / "other"))
    assert ask(again) == "Today: 07 May 2031\nHello"
    assert counts(again) == {"run": 0, "from_record": 1}
    assert ask(other) == "Today: 08 May 2031\nHello"
    assert [len(list(read_lines(folder))) for folder in (record, tmp_path / "other")] == [1, 1]
    assert {content["model"]["date"] for content in settings_of(record).values()} == {"2031-05-07"}
    infos = [lm.get_model_info()["steering"] for lm in (again, other)]
    assert [info["date"] for info in infos] == ["2031-05-07", "2031-05-08"]
    assert infos[0]["settings"] != infos[1]["settings"]
    assert again.tokenizer_name != other.tokenizer_name  # by which the harness keeps prompts
    assert again.steering_fingerprint == other.steering_fingerprint  # a response cache has the prompts themselves
    other.steer(again.plan)  # the record of another day is taken up by a model that is loaded
    assert ask(other) == "Today: 07 May 2031\nHello"
    assert counts(other) == {"run": 0, "from_record": 1}


@pytest.mark.parametrize(
    ("template", "arguments", "day"),
    [
        (LLAMA, {}, "2031-05-07"),
        (SYSTEM, {}, "2031-05-07"),
        (LLAMA, {"chat_template_args": {"date_string": "1 May 2000"}}, None),
        (NONE, {}, None),
        (NONE + "{# strftime_now #}", {}, None),
        ("{{ raise_exception(strftime_now('%A') + ' is no day for ' + messages[0]['role']) }}", {}, "2031-05-07"),
    ],
)
def test_the_date_counts_where_the_template_prints_it(
    template: str, arguments: dict[str, Any], day: str | None, set_clock: Any
) -> None:
    lm = make(template, **arguments)
    assert lm.get_model_info()["steering"]["date"] == lm._model_settings.get("date") == day
    if "date_string" in str(arguments):
        assert lm.apply_chat_template(HELLO) == "Today: 1 May 2000\nHello"


def test_all_ranks_print_the_date_of_the_first(set_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SteeredHF, "world_size", 2)
    monkeypatch.setattr(SteeredHF, "all_gather", lambda _, days: torch.cat([days - 1, days]))  # rank 0 was earlier
    monkeypatch.setattr(SteeredHF, "gather_object", lambda _, sums, dst: [sums] * 2)
    lm = make()
    assert ask(lm) == "Today: 06 May 2031\nHello"
    assert lm.get_model_info()["steering"]["date"] == "2031-05-06"


def test_a_sweep_over_midnight_ends(tmp_path: Path, set_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval_steer.sweep import run_sweep

    sweeps.hurry(monkeypatch)
    child = {
        "pretrained": str(models.save_model(tmp_path / "child", "llama", LLAMA)),
        "vectors": str(make_vector().save(tmp_path / "v.pt")),
        "max_length": 4096,
    }
    few: dict[str, Any] = {"limit": 2.0, "val_limit": 2.0, "alpha": [0.5, 1.0], "apply_chat_template": True}
    run_sweep(make_args(child, tmp_path / "sweep", **few), sweeps.manager())
    set_clock(8)
    state = run_sweep(make_args(child, tmp_path / "sweep", **few, controls="negated"), sweeps.manager())
    assert state["complete"]
    (group,) = read_leaderboard([tmp_path / "sweep"]).groups
    assert {run.own_conditions["template's date"] for run in group.runs} == {"2031-05-07"}
    assert len(group.runs) == 5


def test_runs_of_different_days_are_apart_and_say_so(tmp_path: Path) -> None:
    chat = {"chat_template": LLAMA, "chat_template_sha": "d2a4"}
    noon = date(2031, 5, 7)
    seconds = 12 * 3600 + (noon - date(1970, 1, 1)).days * 86400
    write_run(tmp_path / "base", [0.0, 1.0], patch={**chat, "date": seconds})  # `hf`, which says no date itself
    for day in (7, 8):
        steering = {"date": f"2031-05-0{day}"}
        write_run(tmp_path / str(day), [1.0, 1.0], alpha=day, steering=steering, patch={**chat, "date": 0.0})
    board = read_leaderboard([tmp_path])
    assert [group.differs for group in board.groups] == [{"template's date": f"2031-05-0{day}"} for day in (7, 8)]
    assert [list(row["changes"]) for row in board.entries()] == [["7"], []]


def test_where_no_date_is_printed_days_do_not_matter(tmp_path: Path) -> None:
    for place, chat in enumerate(
        (
            {},
            {"chat_template": NONE, "chat_template_sha": "d2a4"},
            {"chat_template": LLAMA, "chat_template_sha": "d2a5"},
        )
    ):
        given = {"chat_template_args": {"date_string": "1 May 2000"}} if place == 2 else {}
        write_run(tmp_path / str(place) / "base", [0.0, 1.0], patch={**chat, "date": 0.0}, **given)
        more = {"steering": {"date": None if place else "2031-05-07"}, "patch": {**chat, "date": 9e9}}
        write_run(tmp_path / str(place) / "steered", [1.0, 1.0], alpha=1, **more, **given)
        board = read_leaderboard([tmp_path / str(place)])
        assert [list(row["changes"]) for row in board.entries()] == [["1"]]
