"""Fitted width maps: against scipy, scikit-learn and plain readings of their formulas, and on states that are twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import LinearRegression, Ridge

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps import (
    WIDTH_MAPS,
    Arrays,
    Fitted,
    FittedMap,
    combine,
    moments,
    plain_width_map,
    r2,
    read_width_map,
)

FITTED = ("lstsq", "ridge", "procrustes", "lowrank:5", "anchors:40")


def states(n: int = 200, parent: int = 24, child: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Float32 states of two models that see the same things, with means and with one component that is huge."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 30))
    x, y = (common @ rng.normal(size=(30, width)) + rng.normal(size=(n, width)) for width in (parent, child))
    x[:, 3] = 5000 + 100 * x[:, 3]
    y[:, 1] = 900 - 30 * y[:, 1]
    return x.astype(np.float32), y.astype(np.float32)


def fit(text: str, x: np.ndarray, y: np.ndarray, seed: int = 0, chunk: int = 64) -> Fitted:
    return read_width_map(text).fit(Arrays(x, y, chunk), seed)


def centred(states: np.ndarray) -> np.ndarray:
    exact = states.astype(np.float64)
    return exact - exact.mean(axis=0)


def rotation(width: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def whole(found: Fitted) -> np.ndarray:
    return found.apply(np.eye(len(found.into)))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_moments_are_those_of_the_whole_arrays() -> None:
    x, y = states()
    sums = moments(Arrays(x, y, chunk=7))
    assert sums.n == 200
    assert np.allclose(sums.mean_x, x.astype(float).mean(axis=0), rtol=1e-12)
    assert np.allclose(sums.xx, x.astype(float).T @ x, rtol=1e-12)
    assert np.allclose(sums.yy, y.astype(float).T @ y, rtol=1e-12)
    assert np.allclose(sums.centred_xx, centred(x).T @ centred(x), rtol=1e-9, atol=1e-5)
    assert np.allclose(sums.centred_xy, centred(x).T @ centred(y), rtol=1e-9, atol=1e-5)


def test_lstsq_is_linear_regression() -> None:
    x, y = states()
    found = fit("lstsq", x, y)
    expected = LinearRegression().fit(x.astype(float), y.astype(float))
    assert np.allclose(whole(found), expected.coef_.T, rtol=1e-7, atol=1e-8)
    assert np.allclose(found.predict(x), expected.predict(x.astype(float)), rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("penalty", [1e-6, 0.05, 3])
def test_ridge_is_that_of_scikit_learn(penalty: float) -> None:
    x, y = states()
    found = fit(f"ridge:{penalty}", x, y)
    mean = np.linalg.eigvalsh(centred(x).T @ centred(x)).mean()
    expected = Ridge(alpha=penalty * mean).fit(x.astype(float), y.astype(float))
    assert np.allclose(whole(found), expected.coef_.T, rtol=1e-7, atol=1e-9)
    assert np.allclose(found.predict(x), expected.predict(x.astype(float)), rtol=1e-7, atol=1e-6)


def test_ridge_has_a_map_where_there_are_fewer_texts_than_components() -> None:
    x, y = states(n=9)
    expected = Ridge(alpha=0.05 * np.trace(centred(x).T @ centred(x)) / 24).fit(x.astype(float), y.astype(float))
    assert np.allclose(whole(fit("ridge", x, y)), expected.coef_.T, rtol=1e-7, atol=1e-9)


def test_procrustes_is_that_of_scipy() -> None:
    x, y = states(child=24)
    found = fit("procrustes", x, y)
    expected, total = orthogonal_procrustes(centred(x), centred(y))
    assert np.allclose(whole(found), expected, atol=1e-9)
    assert found.scale == pytest.approx(total / np.square(centred(x)).sum())  # what brings X Q closest to Y


@pytest.mark.parametrize(("parent", "child"), [(24, 16), (16, 24)])
def test_procrustes_between_widths_is_the_closest_partial_rotation(parent: int, child: int) -> None:
    x, y = states(parent=parent, child=child)
    left, _, right = np.linalg.svd(centred(x).T @ centred(y), full_matrices=False)
    assert np.allclose(whole(fit("procrustes", x, y)), left @ right, atol=1e-9)


def test_procrustes_leaves_out_what_no_text_shows() -> None:
    """Of nine texts there are eight differences: the map turns eight dimensions, and nothing else is made up."""
    x, y = states(n=9)
    values = np.linalg.svd(whole(fit("procrustes", x, y)), compute_uv=False)
    assert np.allclose(values, [1] * 8 + [0] * 8, atol=1e-9)


@pytest.mark.parametrize("text", ["lstsq", "procrustes", "ridge:1e-8"])
def test_a_rotated_twin_is_brought_back(text: str) -> None:
    _, y = states(n=300, child=24)
    turn = rotation(24)
    x = y @ turn.astype(np.float32)
    own = np.random.default_rng(5).normal(size=24)
    found = fit(text, x, y)
    assert cosine(found.apply(own @ turn), own) >= 0.9999
    assert r2(found, Arrays(x, y)) == pytest.approx(1, abs=1e-4)


def test_lowrank_is_least_squares_between_right_singular_vectors_of_states_as_they_are() -> None:
    x, y = states()
    ours, theirs = (np.linalg.svd(one.astype(float), full_matrices=False)[2][:6].T for one in (x, y))
    between = np.linalg.lstsq(x.astype(float) @ ours, y.astype(float) @ theirs, rcond=None)[0]
    assert np.allclose(whole(fit("lowrank:6", x, y)), ours @ between @ theirs.T, rtol=1e-6, atol=1e-8)


def test_lowrank_leaves_out_directions_along_which_no_state_lies() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(50, 3)) @ rng.normal(size=(3, width)) for width in (12, 8))
    found = whole(fit("lowrank:6", x.astype(np.float32), y.astype(np.float32)))
    expected = np.linalg.lstsq(x, y, rcond=1e-6)[0]
    assert np.allclose(found, expected, atol=1e-4)


def test_anchors_are_cosines_with_texts_that_the_seed_draws() -> None:
    x, y = states()
    v = np.random.default_rng(1).normal(size=24)
    drawn = np.random.default_rng(7).choice(200, 40, replace=False)
    rows = []
    for one in (x, y):
        around = one[drawn].astype(float) - one[drawn].astype(float).mean(axis=0)
        rows.append(around / np.linalg.norm(around, axis=1, keepdims=True))
    u = rows[0] @ v
    expected = rows[1].T @ (u / np.linalg.norm(u))
    mapped, lengths = combine([(fit("anchors:40", x, y, seed=7), v, 1.0)])
    assert np.allclose(mapped, expected / np.linalg.norm(expected), atol=1e-6)
    assert lengths == pytest.approx([np.linalg.norm(rows[1].T @ u)])
    assert cosine(mapped, combine([(fit("anchors:40", x, y, seed=8), v, 1.0)])[0]) < 0.999


def test_anchors_average_parents_in_coordinates_that_they_share() -> None:
    x, y = states()
    other = states(parent=32, seed=3)[0]
    v, w = (np.random.default_rng(seed).normal(size=width) for seed, width in ((1, 24), (2, 32)))
    one, two = fit("anchors:40", x, y), fit("anchors:40", other, y)
    u, t = v @ one.into, w @ two.into
    assert one.out is not None
    expected = (3 * u / np.linalg.norm(u) + t / np.linalg.norm(t)) @ one.out
    mapped, lengths = combine([(one, v, 3.0), (two, w, 1.0)])
    assert np.allclose(mapped, expected / np.linalg.norm(expected), atol=1e-6)
    assert lengths.shape == (2,)
    with pytest.raises(SteeringError, match=r"^the maps of 2 parents share no coordinates, .* as with --tokens last$"):
        combine([(one, v, 1.0), (fit("anchors:40", other, y, seed=1), w, 1.0)])


@pytest.mark.parametrize("text", ["lstsq", "ridge", "procrustes", "lowrank:5"])
def test_several_parents_become_the_mean_of_their_mapped_unit_directions(text: str) -> None:
    x, y = states()
    other = states(parent=32, seed=3)[0]
    v, w = (np.random.default_rng(seed).normal(size=width) for seed, width in ((1, 24), (2, 32)))
    one, two = fit(text, x, y), fit(text, other, y)
    a, b = one.apply(v), two.apply(w)
    expected = 0.25 * a / np.linalg.norm(a) + 0.75 * b / np.linalg.norm(b)
    mapped, lengths = combine([(one, v, 0.25), (two, w, 0.75)])
    assert (mapped.dtype, mapped.shape) == (np.float32, (16,))
    assert np.allclose(mapped, expected / np.linalg.norm(expected), atol=1e-6)
    assert lengths == pytest.approx([np.linalg.norm(a), np.linalg.norm(b)])


def test_parents_that_cancel_each_other_and_directions_of_which_nothing_is_left_are_refused() -> None:
    x, y = states()
    found = fit("ridge", x, y)
    with pytest.raises(SteeringError, match="directions of 2 parents cancel each other"):
        combine([(found, np.eye(24)[0], 1.0), (found, -np.eye(24)[0], 1.0)])
    x[:, 5] = 4
    with pytest.raises(SteeringError, match="leaves nothing of a direction"):
        combine([(fit("ridge", x, y), np.eye(24)[5], 1.0)])


@pytest.mark.parametrize("text", FITTED)
@pytest.mark.parametrize("chunk", [1, 7, 199, 200])
def test_chunks_change_nothing(text: str, chunk: int) -> None:
    x, y = states()
    one, other = fit(text, x, y, chunk=chunk), fit(text, x, y, chunk=10**6)
    assert np.allclose(whole(one), whole(other), rtol=1e-8, atol=1e-10)
    assert one.scale == pytest.approx(other.scale)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(FITTED), st.integers(0, 10**6), st.integers(60, 120), st.integers(1, 20), st.integers(6, 20))
def test_r2_is_one_minus_the_share_that_is_missed(text: str, seed: int, n: int, others: int, width: int) -> None:
    x, y = states(n + others, parent=width, child=12, seed=seed)
    if text.startswith("lowrank"):
        text = f"lowrank:{1 + seed % 6}"
    found = fit(text, x[:n], y[:n], seed=seed)
    scale = 1.0
    a, b = centred(x[:n]) @ whole(found), centred(y[:n])
    if text.startswith(("procrustes", "anchors")):
        scale = float(np.linalg.lstsq(a.reshape(-1, 1), b.reshape(-1), rcond=None)[0][0])
    missed = (y[n:] - y[:n].astype(float).mean(axis=0)) - scale * (x[n:] - x[:n].astype(float).mean(axis=0)) @ whole(
        found
    )
    spread = y[n:] - y[:n].astype(float).mean(axis=0)
    expected = 1 - np.square(missed).sum() / np.square(spread).sum()
    assert r2(found, Arrays(x[n:], y[n:], chunk=3)) == pytest.approx(expected, rel=1e-6, abs=1e-8)
    inside = r2(found, Arrays(x[:n], y[:n]))
    assert inside <= 1 + 1e-9
    if text == "lstsq":
        assert inside >= r2(fit("ridge", x[:n], y[:n]), Arrays(x[:n], y[:n])) - 1e-9


def test_r2_of_a_child_whose_states_do_not_vary_is_nothing() -> None:
    x, y = states()
    y[:] = 2
    found = fit("ridge", x, y)
    assert r2(found, Arrays(x, y)) is None
    assert r2(found, Arrays(x[:0], y[:0])) is None


# What is refused


@pytest.mark.parametrize(
    ("text", "name", "parameter", "canonical", "setting"),
    [
        ("cut", "cut", None, "cut", {"name": "cut"}),
        ("lstsq", "lstsq", None, "lstsq", {"name": "lstsq"}),
        ("ridge", "ridge", 0.05, "ridge:0.05", {"name": "ridge", "lambda": 0.05}),
        ("ridge:1e-3", "ridge", 0.001, "ridge:0.001", {"name": "ridge", "lambda": 0.001}),
        ("lowrank:016", "lowrank", 16, "lowrank:16", {"name": "lowrank", "k": 16}),
        (" anchors:75 ", "anchors", 75, "anchors:75", {"name": "anchors", "n": 75}),
    ],
)
def test_a_width_map_is_read_and_has_one_spelling(
    text: str, name: str, parameter: Any, canonical: str, setting: dict[str, Any]
) -> None:
    chosen = read_width_map(text)
    assert (chosen.name, chosen.parameter, chosen.text, chosen.setting) == (name, parameter, canonical, setting)
    assert read_width_map(chosen.text) == chosen
    assert isinstance(chosen.parameter, type(parameter))


NAMES = "use one of cut, cut-raw, lstsq, ridge[:lambda], procrustes, lowrank:k, anchors:n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pad", f"width_map='pad' is not understood: {NAMES}"),
        (7, f"width_map=7 is not understood: {NAMES}"),
        ("", f"width_map='' is not understood: {NAMES}"),
        ("cut:3", "width_map='cut:3' has a number, but cut takes none: leave it out"),
        ("lstsq:", "width_map='lstsq:' has a number, but lstsq takes none: leave it out"),
        *[
            (
                f"ridge:{number}",
                f"width_map='ridge:{number}' is not understood: lambda is a number from 1e-09 to 1e+09, as in "
                "ridge:0.05",
            )
            for number in ("", "0", "-1", "nan", "inf", "x", "1e-10", "0.1:2")
        ],
        *[
            (text, f"width_map={text!r} is not understood: k is a whole number from 1 on, as in lowrank:16")
            for text in ("lowrank", "lowrank:", "lowrank:0", "lowrank:1.5", "lowrank:-3", "lowrank:" + "9" * 10)
        ],
        ("anchors:1", "width_map='anchors:1' is not understood: n is a whole number from 2 on, as in anchors:300"),
    ],
)
def test_a_width_map_that_is_not_understood(text: Any, words: str) -> None:
    with pytest.raises(SteeringError) as caught:
        read_width_map(text)
    assert str(caught.value) == words


def test_a_run_takes_no_fitted_map() -> None:
    assert plain_width_map("cut-raw") is WIDTH_MAPS["cut-raw"]
    with pytest.raises(SteeringError) as caught:
        plain_width_map("ridge:0.1")
    assert str(caught.value) == (
        "width_map=ridge:0.1 is fitted on texts that parent and child read, which a run does not do: write a vector "
        "for the child with `lm-eval-steer transfer VECTOR --width_map ridge:0.1 ...` and name that file"
    )
    with pytest.raises(SteeringError, match=r"^width_map=cut is not fitted: it takes a direction as it is$"):
        read_width_map("cut").fit(Arrays(*states()), 0)


@pytest.mark.parametrize(("text", "rows"), [("lstsq", 25), ("lowrank:16", 16), ("anchors:40", 40), ("ridge", 2)])
def test_fewer_texts_than_the_map_can_stand(text: str, rows: int) -> None:
    x, y = states(n=rows)
    chosen = read_width_map(text)
    chosen.check(rows, (24, 16))
    found = chosen.fit(Arrays(x, y), 0)
    assert np.isfinite(whole(found)).all()
    with pytest.raises(SteeringError) as caught:
        chosen.fit(Arrays(x[1:], y[1:]), 0)
    assert str(caught.value) == (
        f"width_map={chosen.text} from width 24 to 16 needs at least {rows} rows of states to fit on and has "
        f"{rows - 1}: give more texts{', or take ridge, which needs 2' if rows > 2 else ''}"
    )


def test_a_rank_above_the_narrower_width() -> None:
    with pytest.raises(SteeringError) as caught:
        read_width_map("lowrank:17").check(10**6, (24, 16))
    assert str(caught.value) == (
        "width_map=lowrank:17 asks for 17 directions, and the narrower model has 16 components: use k from 1 to 16"
    )


@pytest.mark.parametrize("spoil", ["one component is constant", "two components are alike", "texts repeat"])
def test_lstsq_without_a_single_solution(spoil: str) -> None:
    x, y = states()
    if spoil == "texts repeat":
        x, y = np.tile(x[:20], (10, 1)), np.tile(y[:20], (10, 1))
    elif spoil == "two components are alike":
        x[:, 7] = -3 * x[:, 3]
    else:
        x[:, 7] = 0.3
    with pytest.raises(SteeringError) as caught:
        fit("lstsq", x, y)
    assert str(caught.value) == (
        "the parent's states on 200 rows do not span its width of 24, so that lstsq has no single solution: take "
        "ridge, which has one for any states, or give more texts"
    )
    assert np.isfinite(whole(fit("ridge:1e-9", x, y))).all()


@pytest.mark.parametrize("text", FITTED)
@pytest.mark.parametrize(("model", "bad"), [("parent", np.nan), ("child", np.inf)])
def test_states_that_are_no_numbers(text: str, model: str, bad: float) -> None:
    x, y = states()
    (x if model == "parent" else y)[100:, [2, 5]] = bad
    with pytest.raises(SteeringError) as caught:
        fit(text, x, y)
    assert str(caught.value) == (
        f"the {model}'s states hold NaN or infinity in 2 of {24 if model == 'parent' else 16} components: load it in a "
        "dtype that holds them, as in dtype=float32"
    )


def test_no_rows_and_rows_that_are_no_pairs() -> None:
    x, y = states()
    with pytest.raises(SteeringError, match="there are 0 rows of states"):
        moments(Arrays(x[:0], y[:0]))
    with pytest.raises(ValueError, match="no pairs of rows"):
        Arrays(x, y[1:])


def test_every_fitted_map_is_tried_here() -> None:
    fitted = {name for name in WIDTH_MAPS if isinstance(WIDTH_MAPS[name], FittedMap)}
    assert fitted == {text.partition(":")[0] for text in FITTED}
