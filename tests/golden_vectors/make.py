"""Writes the golden files as docs/FORMAT.md says, without lm_eval_steer: run it in this folder, once per version."""

import json

import numpy as np
import torch
from safetensors.numpy import save_file

DIRECTIONS = {
    "direction.0": [1, 0, 0, 0, 0, 0, 0, 0],
    "direction.2": [0, -0.6, 0, 0, 0.8, 0, 0, 0],
    "direction.10": [0.5, 0.5, -0.5, -0.5, 0, 0, 0, 0],
}
PASSPORT = {
    "parent": {"name": "golden/père", "revision": "main", "hidden_size": 8, "num_blocks": 12},
    "site": "block_output",
    "layer_base": 0,
    "method": {"method": "pca", "normalize_differences": False, "seed": 0},
    "data": {"source": "file", "n_pairs": 2},
    "token_read": "last",
    "blocks": [{"block": block, "explained_variance": 0.1, "mean_norm": 1e-07} for block in (0, 2, 10)],
    "created": "2025-01-01T00:00:00+00:00",
}

if __name__ == "__main__":
    content = {"format": "lm_eval_steer.vector", "format_version": 1, "passport": PASSPORT}
    header = json.dumps(content, ensure_ascii=False, sort_keys=True)
    arrays = {name: np.array(numbers, dtype=np.float32) for name, numbers in DIRECTIONS.items()}
    save_file(arrays, "v1.safetensors", metadata={"lm_eval_steer": header})
    with open("v1.pt", "wb") as file:
        torch.save({"lm_eval_steer": header} | {name: torch.tensor(array) for name, array in arrays.items()}, file)
