"""llama.cpp's cvector-generator: read one block before the one that it is added at, and of `pca` without a sign."""

from __future__ import annotations

from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.control_vectors import directions, is_control_vector, layer_count, say
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import at_output_or_input
from lm_eval_steer.vectors.foreign.source import Source


def recognises(source: Source) -> bool:
    """It alone writes its layer_count as a signed number."""
    return is_control_vector(source) and layer_count(source.content)[0] == "i32"


def read(source: Source, answers: Answers) -> Said:
    """Asks for the method, for the sign that `pca` leaves to chance, and for the block."""
    why = "the file does not say how cvector-generator made it"
    method = answers.choose("method", why, {"mean": "mean difference", "pca": "its default, of a random sign"})
    found = directions(source.content)
    if method == "pca":
        sign = answers.choose(
            "sign",
            "the sign of cvector-generator's pca is random, and the file does not say which it got",
            {"+": "as it stands", "-": "turned round"},
        )
        found = {block: shift if sign == "+" else -shift for block, shift in found.items()}
    shifts, notes = at_output_or_input(
        found,
        answers,
        "cvector-generator reads the output of block N-1 and names it N, and llama.cpp adds it at the output of "
        "block N",
        {"output": "where llama.cpp adds it", "input": "where it was read"},
    )
    return say(source.content, shifts, method, notes)


CVECTOR_GENERATOR = ForeignFormat("a control vector of llama.cpp's cvector-generator (.gguf)", read, recognises)
