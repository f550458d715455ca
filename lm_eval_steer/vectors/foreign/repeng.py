"""repeng: a control vector whose directions stand in descending order of their blocks."""

from __future__ import annotations

from lm_eval_steer.vectors.foreign.control_vectors import is_control_vector, layer_count, read_plain
from lm_eval_steer.vectors.foreign.format import ForeignFormat
from lm_eval_steer.vectors.foreign.source import Source


def recognises(source: Source) -> bool:
    """Its layer_count is the number of tensors, which descend."""
    if not is_control_vector(source):
        return False
    names = list(source.content.tensors)
    blocks = [int(end) for end in (name.removeprefix("direction.") for name in names) if end.isdecimal()]
    descend = len(blocks) == len(names) > 1 and blocks == sorted(blocks, reverse=True)
    return descend and layer_count(source.content) == ("u32", len(names))


REPENG = ForeignFormat("a control vector of repeng (.gguf)", read_plain, recognises)
