"""lm-eval-steer sweep --cost: how much less likely steering makes unrelated text, against hooks of our own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from rich.console import Console
from scipy.stats import t
from transformers import AutoModelForCausalLM, AutoTokenizer

import sweeps
from lm_eval_steer.axis.record import read_lines
from lm_eval_steer.compare.text_costs import TextCost, mean_of, show_text_cost
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.report.figures import find_pictures
from lm_eval_steer.report.page.words import tell
from lm_eval_steer.report.tables.board import read_leaderboard
from lm_eval_steer.report.tables.sheet import sheet
from lm_eval_steer.sweep import make_table
from lm_eval_steer.sweep.affordable import find_affordable, read_most_cost, tell_unaffordable
from lm_eval_steer.sweep.cost_texts import ROWS, find_cost_texts, halve
from lm_eval_steer.sweep.state import without_volatile
from lm_eval_steer.sweep.tasks import load
from lm_eval_steer.vectors.vector import SteeringVector
from sweeps import SMALL, make_args, manager, sweep

pytestmark = pytest.mark.usefixtures("hurried")

HALVES = (
    ("the cat sat", " on the mat"), ("two plus two", " is four, they say"), ("a", "  b"),
    ("rain\nfell", " all night long"),
)  # fmt: skip
TEXTS = tuple(map("".join, HALVES))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "few.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in (*TEXTS, TEXTS[0])))
    return path


@pytest.fixture(scope="module")
def done(child: dict[str, Any], file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep with a control, whose costs were measured."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(child, folder, **SMALL, controls="random:1", cost=str(file))


def by_hand(child: dict[str, Any], alpha: float, tokens: str) -> list[float]:
    """Nats per token of the second half of each text, one text at a time, by hooks that add α·v."""
    model = AutoModelForCausalLM.from_pretrained(child["pretrained"], dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(child["pretrained"])
    directions = torch.from_numpy(SteeringVector.load(child["vectors"]).directions)
    where = slice(None)

    def hook(block: int) -> Any:
        def add(module: Any, inputs: Any, output: Any) -> Any:
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            hidden[:, where] += alpha * directions[block]
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return add

    for block, layer in enumerate(model.model.layers):
        layer.register_forward_hook(hook(block))
    found = []
    for context, rest in HALVES:
        whole, begin = tokenizer(context + rest).input_ids, len(tokenizer(context).input_ids)
        where = slice(begin - 1, begin) if tokens == "last" else slice(None)
        with torch.no_grad():
            logs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        found.append(-fmean(float(logs[place - 1, whole[place]]) for place in range(begin, len(whole))))
    return found


@pytest.mark.parametrize("tokens", ["all", "last"])
def test_costs_are_those_of_hooks_on_one_text_at_a_time(
    tokens: str, child: dict[str, Any], file: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    state = done[1] if tokens == "all" else sweep(child | {"tokens": tokens}, tmp_path, **SMALL, cost=str(file))
    plain = by_hand(child, 0, tokens)
    for alpha in (1, 2):
        rises = [after - before for before, after in zip(plain, by_hand(child, alpha, tokens), strict=True)]
        reach = float(t.ppf(0.975, len(rises) - 1)) * stdev(rises) / len(rises) ** 0.5
        told = state["cost"]["strengths"]["vector"][str(alpha)]
        assert max(map(abs, rises)) > 1e-3
        assert told["value"] == pytest.approx(fmean(rises), abs=1e-5)
        assert (told["low"], told["high"]) == pytest.approx((fmean(rises) - reach, fmean(rises) + reach), abs=1e-5)
        assert (told["n"], told["tokens"]) == (4, sum(len(rest.encode()) for _, rest in HALVES))


def test_arms_of_one_strength_have_the_cost_of_it(done: tuple[Path, dict[str, Any]]) -> None:
    task, strengths = done[1]["tasks"]["parity_steer"], done[1]["cost"]["strengths"]
    assert set(strengths) == {"vector", "random:1"}
    for arm, contender in (("best", "vector"), ("random:1 best", "random:1")):
        assert task["test"][arm]["cost_nll"] == strengths[contender][f"{task['validation']['best'][contender]:g}"]
    assert [task["test"][arm]["cost_nll"] for arm in ("baseline", "vote", "random:1 vote")] == [None] * 3


def test_tables_and_report_show_costs_beside_what_is_gained(
    child: dict[str, Any], done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, task = done[0], done[1]["tasks"]["parity_steer"]
    told = {arm: one["cost_nll"] for arm, one in task["test"].items() if one["cost_nll"]}
    cell = show_text_cost(TextCost.read(told["best"]))
    console = Console(width=220, file=io.StringIO())
    console.print(make_table("parity_steer", task, "alpha"))
    assert cell in console.file.getvalue()  # type: ignore[attr-defined]
    board = read_leaderboard([folder])
    (entry,) = board.entries()
    assert entry["cost_nll"] == told
    (block,) = (one for one in board.blocks() if {"arm", "verdict"} <= set(one.columns))
    shown = {row[block.columns.index("arm")]: row[block.columns.index("cost")] for row in block.rows}
    assert [value for arm, value in shown.items() if arm.startswith("best,")] == [cell]
    assert [value for arm, value in shown.items() if arm.startswith(("baseline", "vote"))] == ["-", "-"]
    columns, (line,) = sheet([entry])
    ends = [line[columns.index(f"random:1 best {name}")] for name in ("cost_nll", "cost_nll_low", "cost_nll_high")]
    assert ends == [told["random:1 best"][key] for key in ("value", "low", "high")]
    assert f"likely: {cell} nats per token." in " ".join(tell(board.rows[0], board.names).more)
    assert any(note.startswith("cost: by how much") for note in board.notes)
    drawn, _ = find_pictures(board, [])
    (figure,) = (one.draw() for one in drawn if one.name == "effect_by_cost-parity_steer")
    curves = {str(line.get_label()): line.get_xydata().tolist() for line in figure.axes[0].get_lines()}
    scores, costs = task["validation"]["scores"], done[1]["cost"]["strengths"]
    for name, label in (("vector", "vector"), ("random:1", "a random direction")):
        assert curves[label] == [
            [costs[name][alpha]["value"], pytest.approx(100 * (scores[name][alpha] - scores["vector"]["0"]))]
            for alpha in ("1", "2")
        ]
    plain = read_leaderboard([sweep(child, tmp_path, **SMALL) and tmp_path])
    assert all("cost" not in one.columns for one in plain.blocks())
    assert plain.entries()[0]["cost_nll"] == {}


def test_the_best_of_what_costs_little_is_chosen_and_a_contender_without_any_has_no_arm(
    child: dict[str, Any],
    file: Path,
    done: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = {
        (name, float(alpha)): told["value"]
        for name, strengths in done[1]["cost"]["strengths"].items()
        for alpha, told in strengths.items()
    }
    (name, alpha), least = min(costs.items(), key=lambda item: item[1])
    other = "random:1" if name == "vector" else "vector"
    given = SMALL | {"controls": "random:1", "cost": str(file), "choose": f"effect@cost={least}"}
    state = sweep(child, tmp_path, **given)
    task = state["tasks"]["parity_steer"]
    assert task["validation"]["affordable"] == {name: [alpha], other: []}
    assert task["validation"]["best"] == {name: alpha}
    arms = {"vector": ["best", "vote"], "random:1": ["random:1 best", "random:1 vote"]}
    assert list(task["test"]) == ["baseline", *arms[name]]
    assert task["test"][arms[name][0]]["alpha"] == alpha
    others = min(value for (of, _), value in costs.items() if of == other)
    assert f"nats per token or less: the least is {others:.3g} at " in task["refused"][other]
    assert f"{other} " in "".join(note for note in read_leaderboard([tmp_path]).notes if "the least is" in note)
    with pytest.raises(SteeringError, match=r"another choose: it has 'effect@cost=.*', this one None"):
        sweep(child, tmp_path, **given | {"choose": None})
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert sweep(child, tmp_path, **given) == json.loads(json.dumps(state))


def test_what_may_be_chosen_is_worked_out_by_hand() -> None:
    costs = {"1": {"value": 0.1}, "-1": {"value": -0.2}, "2": {"value": 0.3}, "4": {"value": None}}
    assert find_affordable(costs, [1, -1, 2, 4], 0.1) == [1, -1]
    assert find_affordable(costs, [2, 4], 0.1) == []
    assert "the least is -0.2 at -1; give a larger C" in tell_unaffordable("own", costs, -1.0)
    assert "none has a finite cost" in tell_unaffordable("own", {"4": {"value": None}}, 1.0)
    assert [read_most_cost(one) for one in (None, "effect@cost=0.1", "effect@cost=-1e-2")] == [None, 0.1, -0.01]


@pytest.mark.parametrize(
    "given", ["effect", "cost", "effect@cost=", "effect@cost=a", "effect@cost=nan", "effect@cost=1 "]
)
def test_another_choice_is_refused(given: str) -> None:
    with pytest.raises(SteeringError, match="is not understood: give effect@cost=C"):
        read_most_cost(given)


def test_a_bound_takes_costs(child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"--choose effect@cost=0.1 bounds .* not measured: add --cost"):
        make_args(child, tmp_path, choose="effect@cost=0.1")


def test_several_seeds_have_their_mean() -> None:
    one, other = TextCost.of([1.0, 2.0], [1.5, 2.5], 9), TextCost.of([1.0, 2.0], [1.0, 2.5], 9)
    assert mean_of([one, other]) == TextCost(0.375, None, None, 2, 9)
    assert show_text_cost(mean_of([one, other])) == "+0.38"
    assert mean_of([one, TextCost(None, None, None, 2, 9)]) == TextCost(None, None, None, 2, 9)
    assert mean_of([]) is None


def test_costs_may_be_added_and_are_found_again_in_the_record(
    child: dict[str, Any], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sweep(child, tmp_path, **SMALL)
    assert before["settings"]["cost"] is None
    assert "cost" not in before
    search: dict[str, Any] = {"per_layer": "coordinate", "budget": 2, "cost": str(file)}
    whole = sweep(child, tmp_path, **SMALL, **search)
    arms = whole["tasks"]["parity_steer"]["test"]
    found = whole["tasks"]["parity_steer"]["per_layer"]["vector"]
    assert arms["per-layer"]["cost_nll"] == found["cost_nll"]
    if len(set(found["profile"])) == 1:
        assert found["cost_nll"] == arms["best"]["cost_nll"]
    assert {name: arm["score"] for name, arm in before["tasks"]["parity_steer"]["test"].items()}.items() <= {
        name: arm["score"] for name, arm in arms.items()
    }.items()
    (tmp_path / "sweep.json").unlink()
    again = sweep(child, tmp_path, **SMALL, **search)
    assert without_volatile(again) == without_volatile(whole)
    assert {log["new"] for log in again["cost"]["passes"].values()} == {0}
    lines = [line for line in read_lines(tmp_path / "record", task="cost:few.jsonl") if not line.alpha]
    assert len(lines) == len(TEXTS)
    spoilt = json.loads((tmp_path / "sweep.json").read_text())
    spoilt["tasks"]["parity_steer"]["test"]["best"]["cost_nll"] = None
    (tmp_path / "sweep.json").write_text(json.dumps(spoilt))
    assert without_volatile(sweep(child, tmp_path, **SMALL, **search)) == without_volatile(whole)
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert without_volatile(sweep(child, tmp_path, **SMALL, **search)) == without_volatile(whole)


def test_other_texts_are_refused(child: dict[str, Any], done: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    other = tmp_path / "few.jsonl"
    other.write_text('{"text": "an apple"}\n{"text": "two pears"}\n')
    for cost in (str(other), None):
        with pytest.raises(SteeringError, match=r"another cost: it has .*few.jsonl.*, this one"):
            sweep(child, done[0], **SMALL, controls="random:1", cost=cost)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"text": "two words"}\n{"txt": "two words"}\n', r'line 2: expected {"text": text} of 2 words or more, got'),
        ('{"text": "one"}\n', "line 1: expected"),
        ('{"text": "two words"}\n', "has 1 texts of 2 words or more: name others"),
        ("", "has 0 texts"),
        (None, "no such file"),
    ],
)
def test_a_file_without_texts_is_refused(content: str | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SteeringError, match=sentence):
        find_cost_texts(str(path), manager(), {})


def test_no_text_is_a_row_that_the_sweep_asks(tmp_path: Path) -> None:
    """Nor holds its question, in other words of the prompt."""
    task = load("arith_steer", manager())
    questions = {task.doc_to_text(doc) for doc in task.training_docs()}
    own = find_cost_texts("arith_steer", manager(), {"arith_steer": task})
    assert len(own.pairs) == len(set(own.pairs)) == ROWS
    assert {"".join(pair) for pair in own.pairs} <= {question.strip() for question in questions}
    turned = load("arith_steer", manager())
    turned.doc_iterator = lambda **_: enumerate(turned.training_docs())
    with pytest.raises(SteeringError, match="--cost arith_steer has 0 texts"):
        find_cost_texts("arith_steer", manager(), {"turned": turned})
    path = tmp_path / "held.jsonl"
    doc = next(iter(task.test_docs()))
    path.write_text(json.dumps({"text": f"Now {task.doc_to_text(doc)} 7"}) + '\n{"text": "two words"}\n')
    with pytest.raises(SteeringError, match="1 of its 2 texts hold a question of arith_steer"):
        find_cost_texts(str(path), manager(), {"arith_steer": task})


def test_what_is_no_task_of_texts_is_refused(child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"--cost arith_ster is no task \(the nearest name is arith_steer\)"):
        find_cost_texts("arith_ster", manager(), {})
    plain = {key: value for key, value in child.items() if key != "vectors"}
    with pytest.raises(SteeringError, match="--cost arith_steer takes a vector, and the sweep has none"):
        sweep(plain, tmp_path, alpha=None, arms=["shots=0"], cost="arith_steer")


def test_a_text_is_cut_behind_half_of_its_words() -> None:
    assert halve("a b c") == ("a", " b c")
    assert halve("one  two\nthree four") == ("one  two", "\nthree four")
    assert tuple(map(halve, TEXTS)) == HALVES


def test_a_text_that_became_impossible_has_no_finite_cost() -> None:
    cost = TextCost.of([1.0, 2.0], [1.5, float("inf")], 9)
    assert cost == TextCost(None, None, None, 2, 9) == TextCost.read(cost.to_json())
    assert [show_text_cost(one) for one in (cost, None)] == ["not finite", "-"]
    assert show_text_cost(TextCost.of([1.0, 2.0], [1.5, 2.5], 9)) == "+0.50 (+0.50 to +0.50)"
