r"""Mathematical expressions: MATH and MATH-500."""

import re

from lm_eval_steer.answers._text import boxes
from lm_eval_steer.answers._thoughts import visible

_MATHS = r"(?<!\\)\$\$?(?P<dollars>(?:\\.|[^$\\])+)\$|\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]"
# Outside of LaTeX: one bracket, or one word with a digit, that ends its sentence.
_PLAIN = r"(?P<plain>[(\[][^()\[\]\n$]{1,80}[)\]]|[^\s$]{0,80}[0-9][^\s$]{0,80}?)(?=[.,;!*_]*(?:\s|$))"
_STATED = re.compile(
    r"\banswer\b(?:(?!\bnot\b)[^.!?\n:=$\\]){0,60}?(?:\b(?:is|are|be)\b(?!\s+not\b)\s*:?|[*_]{0,2}[:=])"
    rf"[\s*_]{{0,8}}(?:{_MATHS}|{_PLAIN})",
    re.IGNORECASE | re.DOTALL,
)


def math_answer(response: str) -> str | None:
    r"""The LaTeX in the last \boxed{…} or \fbox{…}; without a box, what was last stated as "The answer is $…$".

    Nothing is rewritten but the dollar signs and white space around it; `math_equal` compares.
    """
    text = visible(response)
    if text is None:
        return None
    stated = [content for _, content in boxes(text)]
    if not stated:
        stated = [next(filter(None, match.groups())) for match in _STATED.finditer(text)]
    answers = [answer for content in stated if (answer := re.sub(r"^\s*\$+|(?<!\\)\$+\s*$", "", content).strip())]
    return answers[-1] if answers else None
