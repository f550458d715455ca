"""`lm-eval-steer vectors`: cosines, what chance gives, and the two commands as a user types them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps import cut
from lm_eval_steer.vectors.catalog import shipped_names
from lm_eval_steer.vectors.similarity import (
    LEVEL,
    Null,
    chance,
    compare,
    least_p,
    p_value,
    share_beyond,
)
from lm_eval_steer.vectors.vector import SteeringVector

NAMES = ("first", "second")


def vector_of(rows: Any, **passport: Any) -> SteeringVector:
    directions = np.asarray(rows, np.float64)
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    parent = {"name": "made", "hidden_size": directions.shape[1], "num_blocks": 99}
    return SteeringVector(directions, tuple(range(len(directions))), {"parent": parent} | passport)


def wandering(seed: int, blocks: int = 12, width: int = 64) -> SteeringVector:
    """Neighbouring blocks resemble each other, as those of real vectors do."""
    return vector_of(np.random.default_rng(seed).normal(size=(blocks, width)).cumsum(0))


def test_a_vector_with_itself_has_ones_on_the_diagonal() -> None:
    vector = make_vector(6, 48)
    cosines = compare(vector, vector, NAMES)
    assert np.allclose(np.diag(cosines.values), 1, atol=1e-12)
    assert np.allclose(cosines.values, cosines.values.T)
    assert np.allclose(cosines.same_blocks(), 1)
    assert cosines.kept == (1, 1)


def test_cosines_by_hand() -> None:
    cosines = compare(vector_of([[1, 0], [0, 1], [3, 4]]), vector_of([[1, 1], [-3, 4]]), NAMES)
    half = 0.5**0.5
    assert np.allclose(cosines.values, [[half, -0.6], [half, 0.8], [1.4 * half, 0.28]], atol=1e-6)


def test_different_widths_are_compared_as_cut_leaves_them() -> None:
    narrow, wide = make_vector(3, 16), make_vector(5, 40, seed=1)
    cosines = compare(wide, narrow, NAMES)
    assert cosines.width == 16
    assert cosines.widths == (40, 16)
    by_hand = [[cut(one, 16) @ other for other in narrow.directions] for one in wide.directions]
    assert np.allclose(cosines.values, by_hand, atol=1e-6)
    kept = np.median(np.square(wide.directions[:, :16]).sum(1))
    assert cosines.kept == (pytest.approx(float(kept), abs=1e-6), 1)
    assert len(cosines.same_blocks()) == 3


def test_the_null_is_what_random_directions_give() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 200_000, 10))
    first, second = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    drawn = (first * second).sum(1)
    null = Null(10)
    for level in (0.5, LEVEL, 0.99):
        assert null.quantile(level) == pytest.approx(np.quantile(np.abs(drawn), level), rel=0.01)
    edges = np.linspace(-1, 1, 21)
    assert null.expected(edges, 100) == pytest.approx(np.histogram(drawn, edges)[0] / 2000, abs=0.3)
    most = np.abs(drawn).reshape(-1, 50).max(1)
    assert null.most(50) == pytest.approx(np.median(most), rel=0.01)


def test_random_vectors_lie_within_the_null() -> None:
    first, second = make_vector(60, 256), make_vector(60, 256, seed=1)
    cosines, null = compare(first, second, NAMES), chance(first, second)
    assert share_beyond(cosines, null) == pytest.approx(0.05, abs=0.015)
    assert np.mean(null.turned_beyond) == pytest.approx(0.05, abs=0.005)
    assert null.turned_most != chance(first, second, seed=1).turned_most
    assert null == chance(first, second)


@pytest.mark.parametrize(("blocks", "width"), [(3, 40), (6, 8), (12, 8)])
def test_a_turn_is_a_random_rotation(blocks: int, width: int) -> None:
    """The short cut by Bartlett's decomposition against whole random rotations."""
    first, second = wandering(0, blocks, width), wandering(1, blocks, width)
    null = chance(first, second, turns=2000)
    generator, most, beyond = np.random.default_rng(2), [], []
    for _ in range(2000):
        axes, upper = np.linalg.qr(generator.normal(size=(width, width)))
        values = np.abs(first.directions @ (axes * np.sign(np.diag(upper))) @ second.directions.T)
        most.append(values.max())
        beyond.append((values > null.quantile(LEVEL)).mean())
    levels = [0.1, 0.5, 0.9]
    assert np.quantile(null.turned_most, levels) == pytest.approx(np.quantile(most, levels), abs=0.025)
    assert np.mean(null.turned_beyond) == pytest.approx(np.mean(beyond), abs=0.01)


def test_chance_is_rarely_taken_for_likeness() -> None:
    """Vectors whose blocks resemble each other vary more than 5 %, and p takes that into account."""
    seen, shares = [], []
    for seed in range(150):
        first, second = wandering(2 * seed), wandering(2 * seed + 1)
        cosines, null = compare(first, second, NAMES), chance(first, second, turns=99)
        seen.append(p_value(cosines, null))
        shares.append(share_beyond(cosines, null))
    assert np.mean(np.array(seen) <= 0.05) <= 0.07
    assert np.quantile(shares, 0.95) > 0.1


def test_one_direction_in_common_is_noticed() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 12, 64))
    rows[1, 4] = rows[0, 7]
    first, second = (vector_of(one) for one in rows)
    null = chance(first, second)
    assert p_value(compare(first, second, NAMES), null) == least_p(null) == 0.01


def test_what_cannot_be_compared_is_told() -> None:
    with pytest.raises(SteeringError, match=r"first is 1 wide and second 2, and in one component every cosine is 1 or"):
        compare(vector_of([[1]]), vector_of([[1, 0]]), NAMES)
    with pytest.raises(SteeringError, match=r"^second: the first 2 of the direction's 3 "):
        compare(vector_of([[1, 0]]), vector_of([[0, 0, 1]]), NAMES)


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(shlex.split(command))
    out, err = capsys.readouterr()
    return code, out, err


def test_show_a_shipped_vector(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("vectors show smollm2_arith", capsys)
    assert code == 0
    assert "30 of width 576, blocks 0-29" in out
    assert "27f78fc872cd02580eeeaa93a643255a2d68f3031605bb34f5656ae5b761bd5a" in out
    assert re.search(r"parent\.name +│ smollm2 ", out)
    assert re.search(r"data\.rows +│ 5253d82c4d1fca7e, .* \(128 in all\)", out)
    rows = [line.split("│")[1:-1] for line in out.splitlines() if re.match(r"│ +\d+ │", line)]
    assert len(rows) == 30
    assert [cell.strip() for cell in rows[0]] == ["0", "0.760", "+0.995", "100%", "32.3", "-", "5.0% (308)"]
    assert "lm-eval-steer vectors compare smollm2_arith OTHER" in out


def test_show_measures_what_the_passport_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = vector_of([[1, 0, 0], [3, 4, 0], [0, 0, 2]], blocks=["odd", {"block": 1, "mean_norm": True}])
    path = vector.save(tmp_path / "foreign.pt")
    code, out, _ = run(f"vectors show {path}", capsys)
    assert code == 0
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if re.match(r"│ +\d+ │", line)
    ]
    assert rows == [["0", "-", "100.0% (0)"], ["1", "+0.600", "64.0% (1)"], ["2", "+0.000", "100.0% (2)"]]
    assert "explained variance" not in out


def test_show_lets_a_file_steer_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = vector_of([[1, 0]], note="[red]x[/nothing] \x1b]0;title\x07 \x9b2J", **{"k\x1b": {"a": {}, "b": [1]}})
    code, out, _ = run(f"vectors show {vector.save(tmp_path / 'odd.pt')}", capsys)
    assert code == 0
    assert "[red]x[/nothing] \\x1b]0;title\\x07 \\x9b2J" in out
    assert "k\\x1b.b" in out
    assert not re.search(r"[\x1b\x07\x9b]", out)


def test_a_number_that_no_float_holds_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = vector_of([[1, 0]], blocks=[{"block": 0, "mean_norm": 10**400, "explained_variance": 0.5}]).save(
        tmp_path / "a b.pt"
    )
    code, out, _ = run(f"vectors show '{path}'", capsys)
    assert code == 0
    assert re.search(r"│ +0 │ +0\.500 │ +- │ +100\.0% \(0\) │", out)
    assert f"--model_args 'pretrained=CHILD,vectors={path},alpha=0.04'" in out


def test_names_that_no_file_has_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("x" * 5000, "x" * 5000 + ".pt"):
        code, _, err = run(f"vectors show {name}", capsys)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith("lm-eval-steer vectors show: no steering vector 'xxx")
        assert len(err) < 1500
    code, _, err = run("vectors compare smollm2_arith smollm2_arith --out ''", capsys)
    assert (code, err) == (2, "lm-eval-steer vectors compare: --out names no file: name an .svg or a .png\n")


def test_compare_draws_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("vectors compare smollm2_arith smollm2_gsm8k --out made/compare.svg", capsys)
    assert code == 0
    assert "|cos| of 900 pairs of blocks" in out
    assert re.search(r"median \|cos\| +│ +0\.055 │ +0\.028 │", out)
    assert re.search(r"largest \|cos\| \(block 11 with 11\) +│ +0\.260 │", out)
    assert re.search(r"share beyond 0\.082.* │ +32\.0% │ +5\.0% │", out)
    assert "More alike than chance (p at most 0.01" in out
    assert "of different models" not in out
    assert "Wrote made/compare.svg" in out
    assert (tmp_path / "made" / "compare.svg").read_text().startswith("<?xml")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["compare.svg"]


def test_compare_different_widths_and_parents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make_vector(20, 100).save(tmp_path / "a.safetensors")
    second = make_vector(30, 50, seed=1).save(tmp_path / "b.safetensors")
    code, out, _ = run(f"vectors compare {first} {second}", capsys)
    assert code == 0
    told = " ".join(out.split())
    assert "a.safetensors is 100 wide, the other 50: compared are the first 50 components" in told
    assert re.search(r"they hold (4[5-9]|5[0-5])% of its squared length", told)
    assert "The vectors are of different models (random-0 and random-1)" in told
    assert "No evidence that they are more alike than chance" in told
    assert f"lm-eval-steer vectors compare {first} {second} --out compare.svg" in out


def test_compare_a_vector_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("vectors compare smollm2_arith smollm2_arith", capsys)
    assert "The two files hold the same directions." in out
    assert re.search(r"block l with block l \(30\) +│ +1\.000 │", out)


def test_list_without_a_folder_lists_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("vectors list", capsys)
    assert code == 0
    assert f"{len(shipped_names())} steering vectors" in out
    assert out.endswith(f"Look at one:\n  lm-eval-steer vectors show {shipped_names()[0]}\n")
    sentence = "lm-eval-steer vectors list: --out a.md is a page of no folder: name the one that it is to lie in\n"
    assert run("vectors list --out a.md", capsys)[::2] == (2, sentence)


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("vectors show nothing", capsys)[::2] == (
        2,
        "lm-eval-steer vectors show: no steering vector 'nothing': looked at ./nothing, ./vectors/nothing and the "
        "shipped vectors, which lm-eval-steer vectors list shows; make it with: lm-eval-steer extract "
        "--model_args pretrained=PARENT_MODEL --task gsm8k_steer --out nothing.safetensors\n",
    )
    code, out, err = run("vectors compare smollm2_arith nothing --out a.jpg", capsys)
    assert (code, out) == (2, "")
    assert err == "lm-eval-steer vectors compare: a.jpg: a figure is written as .svg or .png, not '.jpg'\n"
    (tmp_path / "bad.pt").write_bytes(b"PK")
    assert re.match(r".*bad\.pt: not a readable \.pt file", run(f"vectors show {tmp_path / 'bad.pt'}", capsys)[2])


@pytest.mark.parametrize("command", ["vectors", "vectors show", "vectors compare"])
def test_the_example_of_each_help_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    example = capsys.readouterr().out.split("example:\n  ")[1].strip()
    assert example.startswith(f"lm-eval-steer {command}")
    assert main(shlex.split(example)[1:]) == 0
