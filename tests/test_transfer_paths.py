"""Which blocks go together where vectors have gaps or several parents, and the cosine with `cut`, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.layer_maps import read_layer_map
from lm_eval_steer.transfer.carry import cos_with_cut
from lm_eval_steer.transfer.paths import paths_by_number, paths_by_similarity
from lm_eval_steer.vectors.vector import SteeringVector


def some_blocks(layers: tuple[int, ...], blocks: int) -> SteeringVector:
    """A vector of a parent of `blocks` blocks that has directions for some of them."""
    whole = make_vector(blocks=blocks, width=4)
    return SteeringVector(whole.directions[list(layers)], layers, whole.passport)


def test_paths_of_several_vectors_cover_the_blocks_that_all_reach() -> None:
    vectors = [some_blocks((0, 1, 3), blocks=4), some_blocks((1, 2, 3, 4, 5), blocks=6)]
    greedy = paths_by_number(read_layer_map("greedy"), vectors, child_blocks=4)
    assert greedy == ({1: 1, 3: 3}, {1: 1, 3: 3})
    assert paths_by_number(read_layer_map("proportional"), vectors, child_blocks=4) == ({1: 1, 3: 3}, {1: 2, 3: 5})
    assert paths_by_number(read_layer_map("[3:3,0:1]"), vectors, child_blocks=4) == ({0: 1, 3: 3}, {0: 1, 3: 3})
    assert paths_by_number(read_layer_map("cka"), vectors, child_blocks=4) is None
    apart = [some_blocks((0,), blocks=4), some_blocks((3,), blocks=4)]
    with pytest.raises(SteeringError, match=r"greedy \(block l to block l\) takes no block .* 0 and 3 for which"):
        paths_by_number(read_layer_map("greedy"), apart, child_blocks=4)


def test_a_path_by_similarity_passes_only_blocks_that_have_directions() -> None:
    """Block 1 of the parent is most alike to both blocks of the child, and the vector has none there."""
    alike = np.array([[0.5, 0.1], [0.9, 0.9], [0.2, 0.6]])
    cka = read_layer_map("cka")
    assert paths_by_similarity(cka, [some_blocks((0, 1, 2), blocks=3)], [alike]) == ({0: 1, 1: 1},)
    assert paths_by_similarity(cka, [some_blocks((0, 2), blocks=3)], [alike]) == ({0: 0, 1: 2},)
    both = paths_by_similarity(cka, [some_blocks((0, 2), blocks=3), some_blocks((1,), blocks=3)], [alike, alike])
    assert both == ({0: 0, 1: 2}, {0: 1, 1: 1})


def test_the_cosine_with_cut_is_that_with_the_mean_of_first_components() -> None:
    wide, narrow = np.array([3.0, 4.0, 0.0, 12.0]), np.array([0.0, 2.0])
    child = np.array([0.0, 1.0, 0.0], dtype=np.float32)
    assert cos_with_cut(child, [wide], [1.0]) == pytest.approx(0.8)
    assert cos_with_cut(child, [narrow], [1.0]) == pytest.approx(1.0)
    # 2 · (0.6, 0.8, 0) + 1 · (0, 1, 0), of length √(1.2² + 2.6²)
    assert cos_with_cut(child, [wide, narrow], [2.0, 1.0]) == pytest.approx(2.6 / np.hypot(1.2, 2.6))
    assert cos_with_cut(child, [np.array([0.0, 0.0, 0.0, 1.0])], [1.0]) == 0
