"""The table of formats of other tools, the more particular ones first: the first that knows a file reads it."""

from __future__ import annotations

from lm_eval_steer.table import Table
from lm_eval_steer.vectors.foreign.activation_steering import ACTIVATION_STEERING
from lm_eval_steer.vectors.foreign.aisteer360 import AISTEER360
from lm_eval_steer.vectors.foreign.caa import CAA
from lm_eval_steer.vectors.foreign.cvector_generator import CVECTOR_GENERATOR
from lm_eval_steer.vectors.foreign.easyedit import EASYEDIT
from lm_eval_steer.vectors.foreign.easysteer import EASYSTEER
from lm_eval_steer.vectors.foreign.format import ForeignFormat
from lm_eval_steer.vectors.foreign.hotwire import HOTWIRE
from lm_eval_steer.vectors.foreign.jukofyork import JUKOFYORK
from lm_eval_steer.vectors.foreign.llamacpp import LLAMACPP
from lm_eval_steer.vectors.foreign.lm_eval_steered import LM_EVAL_STEERED
from lm_eval_steer.vectors.foreign.lm_steer import LM_STEER
from lm_eval_steer.vectors.foreign.low_rank import LOW_RANK_FILES
from lm_eval_steer.vectors.foreign.neuronpedia import NEURONPEDIA
from lm_eval_steer.vectors.foreign.persona_vectors import PERSONA_VECTORS
from lm_eval_steer.vectors.foreign.psyctl import PSYCTL
from lm_eval_steer.vectors.foreign.repeng import REPENG
from lm_eval_steer.vectors.foreign.rl_bias import RL_BIAS
from lm_eval_steer.vectors.foreign.sae import SAE
from lm_eval_steer.vectors.foreign.saklas import SAKLAS
from lm_eval_steer.vectors.foreign.steering_lite import STEERING_LITE
from lm_eval_steer.vectors.foreign.steering_vectors import STEERING_VECTORS
from lm_eval_steer.vectors.foreign.tensors import TENSORS
from lm_eval_steer.vectors.foreign.unlock import UNLOCK
from lm_eval_steer.vectors.foreign.vllm_hook import VLLM_HOOK
from lm_eval_steer.vectors.foreign.vllm_lens import VLLM_LENS

FOREIGN: Table[ForeignFormat] = Table(
    "foreign format",
    {
        "easysteer": EASYSTEER,
        "cvector-generator": CVECTOR_GENERATOR,
        "jukofyork": JUKOFYORK,
        "low-rank": LOW_RANK_FILES,
        "repeng": REPENG,
        "llama.cpp": LLAMACPP,
        "aisteer360": AISTEER360,
        "activation-steering": ACTIVATION_STEERING,
        "vllm-lens": VLLM_LENS,
        "neuronpedia": NEURONPEDIA,
        "steering-lite": STEERING_LITE,
        "psyctl": PSYCTL,
        "saklas": SAKLAS,
        "sae": SAE,
        "rl-bias": RL_BIAS,
        "lm-eval": LM_EVAL_STEERED,
        "lm-steer": LM_STEER,
        "vllm-hook": VLLM_HOOK,
        "steering-vectors": STEERING_VECTORS,
        "persona-vectors": PERSONA_VECTORS,
        "caa": CAA,
        "easyedit": EASYEDIT,
        "hotwire": HOTWIRE,
        "unlock": UNLOCK,
        "tensors": TENSORS,
    },
)
