"""Vectors for other tools, one format a file: numbers that make the other program compute what was measured here."""

from __future__ import annotations

from lm_eval_steer.table import Table
from lm_eval_steer.vectors.exports.activation_steering import ACTIVATION_STEERING
from lm_eval_steer.vectors.exports.aisteer360 import AISTEER360
from lm_eval_steer.vectors.exports.caa import CAA
from lm_eval_steer.vectors.exports.easyedit import EASYEDIT
from lm_eval_steer.vectors.exports.easysteer import EASYSTEER
from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.hotwire import HOTWIRE
from lm_eval_steer.vectors.exports.llama_cpp import LLAMA_CPP
from lm_eval_steer.vectors.exports.lm_eval_steered import LM_EVAL_STEERED
from lm_eval_steer.vectors.exports.persona_vectors import PERSONA_VECTORS
from lm_eval_steer.vectors.exports.repeng import REPENG
from lm_eval_steer.vectors.exports.saklas import SAKLAS
from lm_eval_steer.vectors.exports.steering_lite import STEERING_LITE
from lm_eval_steer.vectors.exports.steering_vectors import STEERING_VECTORS
from lm_eval_steer.vectors.exports.unlock import UNLOCK
from lm_eval_steer.vectors.exports.vllm_lens import VLLM_LENS
from lm_eval_steer.vectors.exports.write import write_export

__all__ = ["EXPORTS", "Export", "ExportFormat", "write_export"]

EXPORTS: Table[ExportFormat] = Table(
    "export format",
    {
        "llama.cpp": LLAMA_CPP,
        "repeng": REPENG,
        "easysteer": EASYSTEER,
        "steering-vectors": STEERING_VECTORS,
        "lm-eval": LM_EVAL_STEERED,
        "vllm-lens": VLLM_LENS,
        "hotwire": HOTWIRE,
        "steering-lite": STEERING_LITE,
        "aisteer360": AISTEER360,
        "activation-steering": ACTIVATION_STEERING,
        "caa": CAA,
        "easyedit": EASYEDIT,
        "persona-vectors": PERSONA_VECTORS,
        "unlock": UNLOCK,
        "saklas": SAKLAS,
    },
)
