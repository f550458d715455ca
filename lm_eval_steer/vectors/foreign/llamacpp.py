"""llama.cpp: a control vector as its loader takes it, whoever wrote it (saklas, this project)."""

from __future__ import annotations

from lm_eval_steer.vectors.foreign.control_vectors import is_control_vector, read_plain
from lm_eval_steer.vectors.foreign.format import ForeignFormat

LLAMACPP = ForeignFormat("a control vector as llama.cpp reads it (.gguf)", read_plain, is_control_vector)
