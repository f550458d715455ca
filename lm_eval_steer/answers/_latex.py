r"""Expressions written so that math-verify reads them as a whole: 10 000, 4√2, \sqrt(2), 1/\mathrm{e}."""

import re
from typing import NamedTuple

_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|textrm|mbox|operatorname)\s*\{([^{}]*)\}")
_LETTER = re.compile(
    r"\\(?:text|mathrm|textbf|mathbf|textit|mathit|textrm|mathsf|operatorname|boldsymbol|bm)\s*\{\s*([a-zA-Z])\s*\}"
)
_EDGES = re.compile(r"^[\s.()]+|[\s.()]+$")
# A number of thousands: 10 000, 10\,000, 10{,}000, 10~000. Decimals come after it.
_GAP = r"(?:[ ~\u00a0\u2009\u202f]|\\[,;:! ]|\{,\}|\{ \})+"
_GROUPED = re.compile(rf"(?<![\w.,}}])([1-9][0-9]{{0,2}})((?:{_GAP}[0-9]{{3}})+)(?![0-9])")
_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "≤": r"\le ", "≥": r"\ge ",
        "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "π": r"\pi ", "θ": r"\theta ", "∞": r"\infty ", "∪": r"\cup ",
        "∩": r"\cap ", "∈": r"\in ", "°": r"^\circ ", "±": r"\pm ", "²": "^2", "³": "^3", "½": r"\frac12 ",
        "¼": r"\frac14 ", "¾": r"\frac34 ", "⅓": r"\frac13 ", "⅔": r"\frac23 ", "∅": r"\emptyset ", "\u00a0": " ",
        "\u2009": " ", "\u202f": " ",
    }
)  # fmt: skip
_ROOT = re.compile(
    r"(?:\\sqrt|(?<![\\a-zA-Z])sqrt|√)\s*(?P<index>\[[^\[\]]*\])?\s*(?P<rest>\(|\{|[0-9]+|[a-zA-Z](?![a-zA-Z]))"
)
_NAMES = re.compile(r"(?<![\\a-zA-Z{])(pi|infty|infinity|theta)(?![a-zA-Z}])")


class Words(NamedTuple):
    r"""An answer as it would be read aloud.

    Attributes:
        text: without LaTeX around words, in lower case; empty where it has other commands.
        marked: whether any of it stood in `\text{…}`.
        only: whether it begins with a letter and has no digits.
    """

    text: str
    marked: bool
    only: bool


def words(answer: str) -> Words:
    """See `Words`."""
    plain = _EDGES.sub("", " ".join(_TEXT.sub(r" \1 ", answer.replace("~", " ")).split())).casefold()
    plain = re.sub(r"\s*([,:;])\s*", r"\1 ", plain).strip()
    if re.search(r"[\\{}^_$=]", plain):
        return Words("", _TEXT.search(answer) is not None, False)
    return Words(plain, _TEXT.search(answer) is not None, re.fullmatch(r"[^\W\d_]\D*", plain) is not None)


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes; -1 where it never does."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    return -1


def _braced(text: str) -> str:
    r"""Roots and fractions with braces: \sqrt(2), sqrt(2), √2 and \frac(1)(2) lack them."""
    begin = 0
    while root := _ROOT.search(text, begin):
        place, index = root.start("rest"), root["index"] or ""
        if root["rest"] == "(" and (end := _closing(text, place)) > 0:
            text = rf"{text[: root.start()]}\sqrt{index}{{{text[place + 1 : end]}}}{text[end + 1 :]}"
        elif root["rest"] not in "({" and not root[0].startswith("\\"):
            text = rf"{text[: root.start()]}\sqrt{index}{{{root['rest']}}}{text[root.end() :]}"
        elif root["rest"] == "{" and not root[0].startswith("\\"):
            text = rf"{text[: root.start()]}\sqrt{index}{text[place:]}"
        begin = root.start() + 5
    text = re.sub(r"\\([dt]?frac)\s*\(([^()]*)\)\s*\(([^()]*)\)", r"\\\1{\2}{\3}", text)
    return re.sub(r"\^\s*\(([^()]*)\)", r"^{\1}", text)


def tidy(expression: str) -> str:
    """An expression as math-verify is asked about it, without dollar signs and with single spaces."""
    text = re.sub(r"(?<!\\)\$", "", " ".join(expression.split()))
    text = text.translate(_SIGNS)
    text = re.sub(r"\\(?:mathrm|mathbf|mathit|rm)\s+([a-zA-Z])(?![a-zA-Z])", r"\\mathrm{\1}", text)
    text = re.sub(rf"(?<![a-zA-Z]){_LETTER.pattern}(?![a-zA-Z])", r"\1", text)
    text = _LETTER.sub(r" \1 ", text)
    text = _GROUPED.sub(lambda match: match[1] + re.sub(r"[^0-9]", "", match[2]), text)
    text = _NAMES.sub(lambda match: "\\infty" if match[1].startswith("inf") else f"\\{match[1]}", text)
    return " ".join(_braced(text).split())
