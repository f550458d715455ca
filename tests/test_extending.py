"""docs/EXTENDING.md: its examples run as they stand and act, and every entry of every table is as it declares."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import models
import reports
from conftest import ROOT, make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.extraction.directions import find_direction, shuffle_orders
from lm_eval_steer.extraction.methods import METHODS
from lm_eval_steer.interventions.controls import KINDS, read_controls
from lm_eval_steer.interventions.layer_maps import LAYER_MAPS
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.interventions.presets import PRESETS
from lm_eval_steer.interventions.tokens import TOKENS
from lm_eval_steer.interventions.width_maps import WIDTH_MAPS, Arrays, FittedMap, plain_width_map, r2, read_width_map
from lm_eval_steer.report.figures import FIGURES
from lm_eval_steer.table import Table
from lm_eval_steer.vectors.foreign import FOREIGN
from lm_eval_steer.vectors.formats import FORMATS

TEXT = (ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8")
FITTED = {name: entry for name in WIDTH_MAPS if isinstance(entry := WIDTH_MAPS[name], FittedMap)}
TABLES: tuple[Table[Any], ...] = (
    OPERATORS,
    TOKENS,
    PRESETS,
    KINDS,
    WIDTH_MAPS,
    LAYER_MAPS,
    METHODS,
    FIGURES,
    FORMATS,
    FOREIGN,
)


def blocks_of(language: str, heading: str) -> list[str]:
    """The code of a section."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def examples() -> Iterator[None]:
    """All of them run, from the first to the last, and are taken out of the tables again."""
    before = {id(table): table.names for table in TABLES}
    for heading in re.findall(r"\n## (An? .*)\n", TEXT):
        for code in blocks_of("python", heading):
            exec(compile(code, f"docs/EXTENDING.md, {heading}", "exec"), {"__name__": "example"})
    yield
    for table in TABLES:
        for name in set(table.names) - set(before[id(table)]):
            table.remove(name)


def unit(width: int = models.WIDTH, seed: int = 0) -> Tensor:
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


# The examples act


def test_an_operator_steers_a_model_by_its_formula(tmp_path: Path) -> None:
    vector = make_vector()
    path = vector.save(tmp_path / "v.safetensors")
    plan = SteeringPlan.build(vectors=path, alpha=0.75, layers=1, operator="outward")
    child = plan.fit(models.DEPTH, models.WIDTH)
    model = models.make_model("llama")
    seen: list[Tensor] = []
    ids = torch.tensor([[65, 66, 67, 68]])
    block = find_blocks(model)[1]
    with torch.no_grad():
        block.register_forward_hook(lambda module, args, output: seen.append(first(output).clone()))
        steerer = Steerer(model, plan.interventions(models.DEPTH, child))
        with steerer.scoring([0], torch.tensor([[False, True, True, True]])):
            block.register_forward_hook(lambda module, args, output: seen.append(first(output).clone()))
            model(ids)
    before, after = seen
    v = vector.directions[1].astype(np.float64)
    expected = before.double().numpy()
    expected[0, 1:] += 0.75 * np.outer(np.sign(expected[0, 1:] @ v), v)
    assert np.allclose(after.numpy(), expected, atol=1e-5)
    assert torch.equal(after[0, 0], before[0, 0])


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def test_a_token_rule_chooses_its_positions(tmp_path: Path) -> None:
    path = make_vector().save(tmp_path / "v.safetensors")
    plan = SteeringPlan.build(vectors=path, alpha=1, tokens="ending")
    (one,) = plan.interventions(models.DEPTH, plan.fit(models.DEPTH, models.WIDTH))
    assert (one.tokens, one.steers_beginnings, TOKENS["ending"].interval(10)) == ("ending", False, (6, 10))


def test_a_preset_is_written_out(tmp_path: Path) -> None:
    path = make_vector().save(tmp_path / "v.safetensors")
    plan = SteeringPlan.build(vectors=path, preset="gentle")
    assert (plan.operator, plan.tokens, plan.dose, plan.alphas) == ("add_keep_norm", "generated", True, (0.05,))


def test_a_control_gives_other_directions_of_the_same_length(tmp_path: Path) -> None:
    path = make_vector().save(tmp_path / "v.safetensors")
    found = {}
    for control in ("none", *(arm.name for arm in read_controls("flipped:2"))):
        child = SteeringPlan.build(vectors=path, alpha=1, control=control).fit(models.DEPTH, models.WIDTH)
        assert child is not None
        found[control] = np.stack(list(child.directions.values()))
    assert list(found) == ["none", "flipped:1", "flipped:2"]
    assert np.array_equal(np.abs(found["flipped:1"]), np.abs(found["none"]))
    assert len({directions.tobytes() for directions in found.values()}) == 3


def test_maps_fit_a_child(tmp_path: Path) -> None:
    vector = make_vector(blocks=5, width=96)
    path = vector.save(tmp_path / "v.safetensors")
    child = SteeringPlan.build(vectors=path, alpha=1, width_map="last", layer_map="from-behind").fit(3, 64)
    assert child is not None
    assert child.sources == {0: 2, 1: 3, 2: 4}
    for block, source in child.sources.items():
        kept = vector.directions[source][-64:]
        assert np.allclose(child.directions[block], kept / np.linalg.norm(kept), atol=1e-6)


def test_a_fitted_map_is_ridge_on_components_of_one_spread() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 12)) * np.geomspace(1, 1000, 12)
    y = x @ rng.normal(size=(12, 8)) + rng.normal(size=(90, 8))
    chosen = read_width_map("by-component:0.2")
    assert chosen.setting == {"name": "by-component", "share": 0.2}
    found = chosen.fit(Arrays(x, y), 0).apply(np.eye(12))
    alike = StandardScaler().fit_transform(x)
    expected = Ridge(alpha=0.2 * 90).fit(alike, y).coef_.T / x.std(axis=0)[:, None]
    assert np.allclose(found, expected, rtol=1e-6)


def test_a_method_finds_a_direction_that_odd_pairs_do_not_turn() -> None:
    differences = np.tile([1.0, 2.0, 2.0], (9, 1)) + np.random.default_rng(0).normal(0, 1e-3, (9, 3))
    differences[:2] = [[500, -900, 0], [-700, 100, 900]]
    found = find_direction(differences, shuffle_orders(9, 0), "median")
    assert np.allclose(found.vector, [1 / 3, 2 / 3, 2 / 3], atol=1e-2)


def test_a_figure_is_drawn_by_the_command(tmp_path: Path) -> None:
    reports.write(tmp_path / "sweep", record=False)
    assert main(["figures", str(tmp_path / "sweep"), "--out", str(tmp_path / "out")]) == 0
    assert {"score_by_vector-toy.svg", "score_by_vector-toy.png"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_an_entry_point_of_an_installed_package_is_found(tmp_path: Path) -> None:
    (toml,) = blocks_of("toml", "From a package")
    (code,) = blocks_of("python", "From a package")
    said = dict(re.findall(r'^(\w+) = "(.*)"$', toml, re.MULTILINE))
    (group,) = re.findall(r'^\[project\.entry-points\."(.*)"\]$', toml, re.MULTILINE)
    (tmp_path / "steering_extras.py").write_text(code, encoding="utf-8")
    info = tmp_path / "steering_extras-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {said['name']}\nVersion: {said['version']}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nmiddle = {said['middle']}\n")
    path = make_vector(width=96).save(tmp_path / "v.safetensors")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from lm_eval_steer.interventions.plan import SteeringPlan\n"
        f"child = SteeringPlan.build(vectors={str(path)!r}, alpha=1, width_map='middle').fit(4, 64)\n"
        "print(child.directions[0].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept = make_vector(width=96).directions[0][16:80]
    assert np.allclose(np.array(eval(done.stdout)), kept / np.linalg.norm(kept), atol=1e-6)


# Every entry is as it declares


@pytest.mark.parametrize("name", [one for one in OPERATORS if OPERATORS[one].directions != OF_THE_FILE] + ["outward"])
def test_an_operator_keeps_its_word(name: str) -> None:
    operator = OPERATORS[name]
    hidden = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(1))
    directions = torch.stack([unit(16, 2), unit(16, 3)])[:, None]
    if operator.directions == 2:
        directions = torch.stack([directions, torch.stack([unit(16, 4), unit(16, 5)])[:, None]], dim=-2)
    strength = torch.tensor([[[0.5], [2.0], [-1.0]], [[0.0], [3.0], [0.25]]])
    after = operator.apply(hidden, strength, directions)
    for row in range(2):
        alone = operator.apply(hidden[row : row + 1], strength[row : row + 1], directions[row, 0])
        assert torch.equal(alone[0], after[row])
    tokens = operator.apply(
        hidden.flatten(0, 1), strength.flatten(0, 1), directions.expand(2, 3, *directions.shape[2:]).flatten(0, 1)
    )
    assert torch.equal(tokens, after.flatten(0, 1))
    if not operator.acts(0.0):
        assert torch.equal(after[1, 0], hidden[1, 0])
    if operator.directions == 1:
        assert torch.allclose(after - hidden, strength * directions, atol=1e-6) == operator.is_shift
    opposite = directions.clone()
    opposite[..., 0, :] *= -1  # of several the vector's
    assert torch.allclose(after, operator.apply(hidden, strength, opposite), atol=1e-6) != operator.signed
    half = operator.apply(hidden.bfloat16(), strength.bfloat16(), directions.bfloat16())
    exact = operator.apply(hidden.bfloat16().double(), strength.bfloat16().double(), directions.bfloat16().double())
    assert half.dtype is torch.bfloat16
    assert torch.equal(half, exact.float().bfloat16())  # rounded once


@pytest.mark.parametrize("name", [name for name in (*WIDTH_MAPS, "last") if name not in FITTED])
@pytest.mark.parametrize(("parent", "child"), [(96, 64), (64, 64), (48, 64)])
def test_a_width_map_gives_the_width_of_the_child(name: str, parent: int, child: int) -> None:
    fitted = plain_width_map(name)(unit(parent).numpy(), child)
    assert (fitted.dtype, fitted.shape) == (np.float32, (child,))
    assert name == "cut-raw" or np.linalg.norm(fitted.astype(np.float64)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", [*FITTED, "by-component"])
@pytest.mark.parametrize(("parent", "child"), [(12, 8), (8, 8), (6, 8)])
def test_a_fitted_width_map_stands_what_it_says(name: str, parent: int, child: int) -> None:
    entry = WIDTH_MAPS[name]
    assert isinstance(entry, FittedMap)
    rng = np.random.default_rng(0)
    common = rng.normal(size=(400, 24))
    x, y = (common @ rng.normal(size=(24, width)) for width in (parent, child))
    parameter = 5 if entry.parameter and entry.parameter.whole else 0.05
    rows = entry.needs((parent, child), parameter)
    for n in (rows, 400):
        found = entry.fit(Arrays(x[:n], y[:n]), parameter, 0)
        assert found.apply(unit(parent).numpy()).shape == (child,)
        assert np.isfinite(found.predict(x)).all()
    assert 0 < r2(found, Arrays(x, y)) <= 1


@pytest.mark.parametrize("name", [*LAYER_MAPS, "from-behind"])
@pytest.mark.parametrize(("parent", "child"), [(7, 4), (4, 4), (3, 9), (1, 1)])
def test_a_layer_map_names_blocks_that_there_are(name: str, parent: int, child: int) -> None:
    layers = tuple(range(0, parent, 2))
    entry = LAYER_MAPS[name]
    if entry.sources is None:
        assert entry.path is not None
        sources = entry.path(np.random.default_rng(0).uniform(size=(parent, child)))
        layers = tuple(range(parent))
    else:
        sources = entry.sources(layers, parent, child)
    assert sources
    assert set(sources) <= set(range(child))
    assert set(sources.values()) <= set(layers)


@pytest.mark.parametrize("name", [*KINDS, "flipped"])
def test_a_control_keeps_blocks_and_lengths(name: str) -> None:
    kind = KINDS[name]
    directions = {block: unit(seed=block).numpy() * (1 + block) for block in (1, 4, 9)}
    if kind.change is None:
        assert kind.temperature is not None or kind.regroups or kind.files
        return
    changed = kind.change(directions, 3 if kind.seeded else None)
    assert list(changed) == list(directions)
    for block, direction in changed.items():
        assert np.linalg.norm(direction) == pytest.approx(1 + block, rel=1e-5)
        assert not np.allclose(direction, directions[block], atol=1e-3)


@pytest.mark.parametrize("name", [*METHODS, "median"])
def test_a_method_points_from_negative_to_positive(name: str) -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(40, 8)) + 3 * np.eye(8)[0]
    found = METHODS[name](differences, shuffle_orders(40, 0))
    assert found.shape == (8,)
    assert found[0] > 0.9 * np.linalg.norm(found)
    turned = METHODS[name](-differences, shuffle_orders(40, 0))
    assert turned[0] < 0


def test_the_page_lists_every_table_and_its_group() -> None:
    rows = re.findall(r"^\| \[(.+?)\]\(.+?\) \| `(.+?)\.(\w+)` \| `(.+?)` \|", TEXT, re.MULTILINE)
    assert [(kind, group) for kind, _, _, group in rows] == [(table.kind, table.group) for table in TABLES]
    for _, module, name, _ in rows:
        found = __import__(f"lm_eval_steer.{module}", fromlist=[name])
        assert getattr(found, name) in TABLES
