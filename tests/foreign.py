"""Files of other tools, written as those tools write them: with their libraries, and without this project."""

from __future__ import annotations

import base64
import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

BLOCKS, WIDTH = 4, 6


def rows(count: int = BLOCKS, width: int = WIDTH, seed: int = 0, unit: bool = False) -> np.ndarray:
    """Random rows, float32 [count, width], of lengths about 3, or of length 1."""
    found = np.random.default_rng(seed).normal(size=(count, width)) * 1.2
    if unit:
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)


def write_gguf(
    path: Path,
    tensors: Sequence[tuple[str, np.ndarray]],
    metadata: Mapping[str, Any] | None = None,
    arch: str = "controlvector",
) -> Path:
    """A GGUF file; whole numbers become u32, or i32 where they are wrapped in np.int32."""
    writer = gguf.GGUFWriter(str(path), arch)
    for key, value in (metadata or {}).items():
        if isinstance(value, np.int32):
            writer.add_int32(key, int(value))
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_string(key, value)
    for name, tensor in tensors:
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def control(
    path: Path, found: Mapping[int, np.ndarray], count: Any = None, hint: str | None = "llama", **others: Any
) -> Path:
    """A control vector whose tensors stand in the order of `found`."""
    metadata = {"controlvector.layer_count": len(found) if count is None else count}
    metadata |= {} if hint is None else {"controlvector.model_hint": hint}
    tensors = [(f"direction.{block}", row) for block, row in found.items()]
    return write_gguf(path, tensors, metadata | {f"controlvector.{key}": value for key, value in others.items()})


def torch_save(path: Path, content: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_safetensors(path: Path, tensors: Mapping[str, Any], metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.as_tensor(tensor) for name, tensor in tensors.items()}, path, metadata=metadata)
    return path


def raw_zstd(raw: bytes) -> bytes:
    """A zstd frame (RFC 8878) of one raw block: what a compressor writes where nothing can be saved."""
    head = b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + len(raw).to_bytes(4, "little")
    return head + ((len(raw) << 3) | 1).to_bytes(3, "little") + raw


def lens(found: np.ndarray, layers: Sequence[int], kind: str = "float32", **others: Any) -> dict[str, Any]:
    """A vector of vllm-lens; bfloat16 as whole numbers, as it writes them."""
    tensor = torch.from_numpy(found).to(getattr(torch, kind))
    array = tensor.view(torch.int16).numpy() if kind == "bfloat16" else tensor.numpy()
    activations = {
        "data": base64.b64encode(raw_zstd(array.tobytes())).decode(),
        "dtype": str(array.dtype),
        "original_dtype": f"torch.{kind}",
        "shape": list(found.shape),
        "compression": "zstd",
    }
    return {"activations": activations, "layer_indices": list(layers), "scale": 1.0, "norm_match": False} | others


def checkpoint(folder: Path, found: Mapping[int, np.ndarray], architecture: str = "qwen2", **others: Any) -> Path:
    """A checkpoint of transformers with trained biases."""
    tensors = {f"model.layers.{block}.mlp.down_proj.bias": row for block, row in found.items()} | others
    write_safetensors(folder / "model.safetensors", tensors)
    config = {"model_type": architecture, "num_hidden_layers": BLOCKS, "hidden_size": WIDTH}
    write_json(folder / "config.json", config)
    return folder


def by_block(found: np.ndarray) -> dict[int, np.ndarray]:
    return dict(enumerate(found))


Make = Callable[[Path], Path]
"""Writes a file into a folder and says where."""


def _saklas(folder: Path) -> Path:
    sidecar = {"format_version": 6, "saklas_version": "4", "method": "pca", "tensor_sha256": "0", "provenance": {}}
    write_json(folder / "p.json", sidecar)
    return write_safetensors(folder / "p.safetensors", {f"layer_{n}": row for n, row in enumerate(rows())})


def _hotwire(folder: Path) -> Path:
    write_json(folder / "manifest.json", {"model": "org/m", "directions": [{"name": "calm", "recommended_layer": 2}]})
    return torch_save(folder / "calm.pt", torch.from_numpy(rows()).half())


def _sae(folder: Path) -> Path:
    write_json(folder / "cfg.json", {"model_name": "org/m", "hook_name": "blocks.2.hook_resid_post"})
    weights = {"W_dec": rows(5), "W_enc": rows(WIDTH, 5), "b_dec": rows(1)[0]}
    write_safetensors(folder / "sae_weights.safetensors", weights)
    return folder


def _easyedit(folder: Path) -> Path:
    for block in (1, 3):
        torch_save(folder / "caa_vector" / f"layer_{block}.pt", torch.from_numpy(rows()[block]).bfloat16())
    return folder / "caa_vector"


def _caa(folder: Path) -> Path:
    for block, row in enumerate(rows()):
        torch_save(folder / "vectors" / "sycophancy" / f"vec_layer_{block}_m.pt", torch.from_numpy(row))
    return folder / "vectors" / "sycophancy"


def lm_steer(path: Path, told: Mapping[str, Any] | None = None, **parameters: torch.Tensor) -> Path:
    """A checkpoint of LM-Steer, as its train.py writes one."""
    arguments = {"model_name": "org/m", "adapted_component": "final_layer", "epsilon": 0.5, "n_steps": 1000}
    state = {name: torch.nn.Parameter(one) for name, one in parameters.items()}
    return torch_save(path, [Namespace(**(arguments | dict(told or {}))), state, 1000])


FILES: dict[str, Make] = {
    "easysteer": lambda at: control(at / "v.gguf", by_block(rows()), method="pca", normalize=1.0),
    "cvector-generator": lambda at: control(
        at / "v.gguf", {n + 1: row for n, row in enumerate(rows(3, unit=True))}, np.int32(3)
    ),
    "jukofyork": lambda at: control(at / "m-axis__high.gguf", {1: rows()[1], 3: rows()[3]}, BLOCKS),
    "repeng": lambda at: control(at / "v.gguf", {n: rows()[n] for n in (3, 2, 1)}),
    "llama.cpp": lambda at: control(at / "v.gguf", by_block(rows())),
    "aisteer360": lambda at: write_json(
        at / "v.svec",
        {"model_type": "llama", "directions": {str(n): [row.tolist()] for n, row in enumerate(rows())}},
    ),
    "activation-steering": lambda at: write_json(
        at / "v.svec",
        {
            "model_type": "llama",
            "directions": {str(n): row.tolist() for n, row in enumerate(rows(unit=True))},
            "explained_variances": {str(n): 0.5 for n in range(BLOCKS)},
        },
    ),
    "vllm-lens": lambda at: write_json(at / "v.json", lens(rows(), [0, 1, 2, 3], "bfloat16")),
    "neuronpedia": lambda at: write_json(
        at / "v.json",
        {"modelId": "m", "hookName": "blocks.3.hook_resid_pre", "vector": rows()[2].tolist(), "label": "x"},
    ),
    "steering-lite": lambda at: write_safetensors(
        at / "v.safetensors",
        {f"layer{n}.v": row for n, row in enumerate(rows())},
        {"cfg": json.dumps({"method": "mean_diff", "coeff": 2.5})},
    ),
    "psyctl": lambda at: write_safetensors(
        at / "v.safetensors",
        {"layer_0": rows()[1], "layer_1": rows()[3]},
        {"layer_names": "['model.layers.1', 'model.layers[3]']", "method": "mean"},
    ),
    "saklas": _saklas,
    "sae": _sae,
    "rl-bias": lambda at: checkpoint(at / "trained", {1: rows()[1], 3: rows()[3]}),
    "lm-eval": lambda at: torch_save(
        at / "v.pt",
        {
            f"layers.{n}": {
                "steering_vector": torch.from_numpy(rows()[n]),
                "steering_coefficient": 2.0,
                "action": "add",
            }
            for n in (1, 3)
        },
    ),
    "lm-steer": lambda at: lm_steer(at / "v.pt", add_vec=torch.from_numpy(rows(3))),
    "vllm-hook": lambda at: torch_save(at / "v.pt", {"dir": rows()[2], "avg_proj": torch.tensor(0.5)}),
    "persona-vectors": lambda at: torch_save(at / "evil_response_avg_diff.pt", torch.from_numpy(rows(BLOCKS + 1))),
    "caa": _caa,
    "easyedit": _easyedit,
    "hotwire": _hotwire,
    "tensors": lambda at: torch_save(at / "v.pt", torch.from_numpy(rows(BLOCKS + 1))),
}
"""Format -> how a file of it is made."""

ANSWERS: dict[str, dict[str, Any]] = {
    "cvector-generator": {"method": "pca", "sign": "-", "site": "output"},
    "jukofyork": {"debias": "none"},
    "aisteer360": {"site": "output"},
    "activation-steering": {"site": "input"},
    "neuronpedia": {"method": "W_dec"},
    "saklas": {"scale": "keep"},
    "sae": {"row": 3},
    "lm-steer": {"row": 1},
    "vllm-hook": {"layer": 2},
}
"""Format -> answers that its file above needs, besides the parent."""


def expected() -> dict[str, dict[int, np.ndarray]]:
    """Format -> what strength 1 adds at each block, by hand from FORMATS of those tools."""
    raw, unit, more = rows(), rows(unit=True), rows(BLOCKS + 1)
    halves = torch.from_numpy(raw).bfloat16().float().numpy()
    return {
        "easysteer": by_block(raw),
        "cvector-generator": {n + 1: -row for n, row in enumerate(rows(3, unit=True))},
        "jukofyork": {1: raw[1], 3: raw[3]},
        "repeng": {1: raw[1], 2: raw[2], 3: raw[3]},
        "llama.cpp": by_block(raw),
        "aisteer360": by_block(raw),
        "activation-steering": {0: unit[1], 1: unit[2], 2: unit[3]},
        "vllm-lens": by_block(halves),
        "neuronpedia": {2: raw[2]},
        "steering-lite": by_block(raw),
        "psyctl": {1: raw[1], 3: raw[3]},
        "saklas": by_block(raw),
        "sae": {2: rows(5)[3]},
        "rl-bias": {1: raw[1], 3: raw[3]},
        "lm-eval": {1: 2 * raw[1], 3: 2 * raw[3]},
        "lm-steer": {0: rows(3)[1] / 2},
        "vllm-hook": {2: raw[2]},
        "persona-vectors": {n: more[n + 1] for n in range(BLOCKS)},
        "caa": by_block(raw),
        "easyedit": {1: halves[1], 3: halves[3]},
        "hotwire": by_block(torch.from_numpy(raw).half().float().numpy()),
        "tensors": {n: more[n + 1] for n in range(BLOCKS)},
    }
