"""What is shown of a vector that was transferred: passport, table by block, and figures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from conftest import make_transferred, make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.report.figures import alignment, alignment_of, correlation
from lm_eval_steer.vectors.similarity import LEVEL, chance, compare
from lm_eval_steer.vectors.vector import SteeringVector

CKA = [[0.9, 0.2, 0.1], [0.3, 0.8, 0.1], [0.2, 0.7, 0.2], [0.1, 0.4, 0.5], [0.0, 0.1, 0.7]]


def own(blocks: int = 3, width: int = 8, seed: int = 0) -> SteeringVector:
    """A vector that was read from the child of `make_transferred` itself."""
    vector = make_vector(blocks, width, seed)
    parent = vector.passport["parent"] | {"name": "org/child"}
    return SteeringVector(vector.directions, vector.layers, {"parent": parent})


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(shlex.split(command))
    out, err = capsys.readouterr()
    return code, out, err


def rows_of(out: str) -> list[list[str]]:
    lines = (line for line in out.splitlines() if re.match(r"│ +\d+ │", line))
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def test_show_prints_a_passport_without_its_thousands_and_the_table_by_block(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = make_transferred(blocks=3, width=8, parents=2, cka=CKA, texts={"rows": ["ab"] * 1400, "held_out": 140})
    vector.passport["blocks"] = [{"block": block, "mean_norm": 3.0} for block in range(5)]  # of the parent
    vector.passport["transfer"]["parents"][1]["passport"]["data"] = {"rows": ["cd"] * 64}
    code, out, _ = run(f"vectors show {vector.save(tmp_path / 'mapped.safetensors')}", capsys)
    assert code == 0
    for line in (
        r"directions +│ 3 of width 8, blocks 0-2, in the space of child ",
        r"parent\.name +│ org/parent-0 ",
        r"transfer\.child\.name +│ child ",
        r"transfer\.parents\.2\.passport\.parent\.name +│ org/parent-1 ",
        r"transfer\.parents\.2\.passport\.data\.rows +│ cd, cd, cd, \.\.\. \(64 in all\)",
        r"transfer\.width_map\.lambda +│ 0\.05 ",
        r"transfer\.texts\.rows +│ ab, ab, ab, \.\.\. \(1400 in all\)",
    ):
        assert re.search(line, out), line
    assert "--model_args pretrained=CHILD,vectors=" in out  # `child` is a folder's own name, and no path
    assert "cka" not in out
    assert "mean ‖h‖" not in out
    for column in ("parent's block", "held-out R²", "length", "cos with cut", "cos with block before"):
        assert column in out
    assert [row[:5] for row in rows_of(out)] == [
        [str(block), f"{block}, {block}", "0.500, 0.500", "0.500, 0.500", "+0.010"] for block in range(3)
    ]


def test_show_names_a_child_of_the_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = make_transferred(blocks=3, width=8)
    vector.passport["transfer"]["child"]["name"] = "org/child"
    _, out, _ = run(f"vectors show {vector.save(tmp_path / 'mapped.pt')}", capsys)
    assert "--model_args pretrained=org/child,vectors=" in out


def test_show_leaves_out_what_a_cut_has_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = make_transferred(blocks=3, width=8, texts=None, width_map={"name": "cut"})
    for block in vector.passport["transfer"]["blocks"]:
        block["r2"] = None
    _, out, _ = run(f"vectors show {vector.save(tmp_path / 'cut.pt')}", capsys)
    assert "held-out" not in out
    assert [row[:4] for row in rows_of(out)] == [[str(block), str(block), "0.500", "+0.010"] for block in range(3)]


def test_show_draws_the_similarities_and_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = make_transferred(blocks=3, width=8, cka=CKA, layer_map={"name": "cka"})
    path, figure = vector.save(tmp_path / "mapped.safetensors"), tmp_path / "made" / "cka.svg"
    code, out, _ = run(f"vectors show {path} --out {figure}", capsys)
    assert code == 0
    assert f"Wrote {figure}." in out
    assert figure.read_text().startswith("<?xml")


def test_the_figure_has_every_number_and_the_path_of_the_first_parent() -> None:
    vector = make_transferred(blocks=3, width=8, parents=2, cka=CKA, layer_map={"name": "cka"})
    for block, sources in zip(vector.passport["transfer"]["blocks"], ([0, 4], [1, 4], [4, 4]), strict=True):
        block["source"] = sources
    axes = alignment_of(vector).axes[0]
    (image,), (line,) = axes.images, axes.lines
    assert image.get_array().tolist() == CKA
    assert line.get_xydata().tolist() == [[0, 0], [1, 1], [2, 4]]
    assert axes.get_title() == f"mean along the path 0.80, over all pairs {np.mean(CKA):.2f}"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("block of child", "block of org/parent-0")


def test_debiased_similarities_below_0_keep_their_colours() -> None:
    image = alignment(np.array([[-0.2, 0.5]]), {0: 0, 1: 0}, ("p", "c"), "cka").axes[0].images[0]
    assert image.get_clim() == (-0.2, 1.0)


@pytest.mark.parametrize("vector", [make_vector(), make_transferred()])
def test_what_has_no_similarities_is_one_sentence(
    vector: SteeringVector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(f"vectors show {vector.save(tmp_path / 'v.pt')} --out {tmp_path / 'cka.png'}", capsys)
    assert (code, out) == (2, "")
    assert err == (
        "lm-eval-steer vectors show: the passport holds no similarities of parent and child blocks to draw: "
        "lm-eval-steer transfer --layer_map cka writes them\n"
    )
    assert not (tmp_path / "cka.png").exists()


# Mapped against own


def test_a_mapped_vector_and_one_of_the_child_itself_share_a_space() -> None:
    mapped, itself = make_transferred(blocks=3, width=8), own()
    assert mapped.shares_space(itself)
    assert itself.shares_space(mapped)
    assert not mapped.shares_space(own(blocks=4))
    assert not mapped.shares_space(make_vector(3, 8))
    assert not make_vector(5, 6).shares_space(mapped)


def test_compare_of_mapped_and_own_tells_and_draws_cosines_by_block(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapped, itself = make_transferred(blocks=3, width=8), own(seed=1)
    expected = (mapped.directions * itself.directions).sum(1)
    names = [mapped.save(tmp_path / "mapped.pt"), itself.save(tmp_path / "own.pt")]
    code, out, _ = run(f"vectors compare {names[0]} {names[1]} --out {tmp_path / 'by_block.png'}", capsys)
    assert code == 0
    assert re.search(rf"mean cos of block l with block l +│ +{re.escape(f'{expected.mean():+.3f}')} │", out)
    assert "of different models" not in out
    cosines, null = compare(mapped, itself, ("mapped", "own")), chance(mapped, itself)
    panel = correlation(cosines, null).axes[2]
    _, line = panel.lines
    assert line.get_xdata().tolist() == [0, 1, 2]
    assert line.get_ydata() == pytest.approx(expected, abs=1e-6)
    (band,) = panel.patches
    limit = null.quantile(LEVEL)
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((-limit, limit))


def test_vectors_of_two_models_have_no_cosines_by_block() -> None:
    first, second = make_transferred(blocks=3, width=8), make_vector(3, 8, seed=1)
    figure = correlation(compare(first, second, ("a", "b")), chance(first, second))
    assert [axes.get_ylabel() for axes in figure.axes] == ["block of a", "pairs of blocks", "cosine (hatched: chance)"]
