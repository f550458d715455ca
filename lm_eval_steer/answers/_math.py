r"""Mathematical expressions: MATH and MATH-500."""

import re

from lm_eval_steer.answers._text import boxes, tagged
from lm_eval_steer.answers._thoughts import visible
from lm_eval_steer.answers._turns import own_turn

_MATHS = r"(?<!\\)\$\$?(?P<dollars>(?:\\.|[^$\\])+)\$|\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]"
_FORMULA = re.compile(_MATHS, re.DOTALL)
# What a statement begins with; what is stated comes at once.
_STATED = re.compile(
    r"\bans(?:wer)?s?\b(?:(?!\bnot\b|n['’]t\b|\bcannot\b)[^.!?\n:=$\\]){0,60}?"
    r"(?:\b(?:is|are|be|equals)\b(?!\s+not\b)\s*:?|[*_]{0,2}[ \t]?[:=→⇒]|[ \t][-–—](?=[ \t]))[\s*_]{0,8}",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"(?:^|(?<=\n))[\s#>*_]{0,8}(?:(?:the|my|our)\s+)?(?:(?:final|correct|short)\s+)?(?:answer"
    r"|result)[*_: \t]*\n\s*(?P<said>[^\n]+)",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(?:\*\*|(?<!\w)__)(?P<bold>[^*\n]{1,200}?)(?:\*\*|__(?!\w))")

_OPERATOR = (
    r"(?:[-+*/^=<>≤≥≠·×÷±∪∩−]+|\\(?:cdot|times|div|pm|mp|leq?|geq?|lt|gt|neq?|cup|cap|in|equiv|le|ge)(?![a-zA-Z]))"
)
_GROUP = r"[(\[{][^()\[\]{}\n$]{0,80}[)\]}]"
_NAME = r"(?:sqrt|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|pi|infinity|infty)(?![a-zA-Z])"
_ATOM = (
    rf"(?:[-+−±]?(?:\\(?!\()[a-zA-Z]+(?:{_GROUP})*|{_NAME}(?:{_GROUP})?|√{_GROUP}|{_GROUP}"
    rf"|[1-9][0-9]{{0,2}}(?: [0-9]{{3}})+(?![0-9])"
    rf"|[0-9]+(?:[.,:][0-9]+)*|\.[0-9]+"
    r"|(?<![a-zA-Z])[a-zA-Z]{1,3}(?![a-zA-Z])|[π∞√°%!|²³½¼¾∅_$'])"
    r")"
)
# Atoms without white space between them, and such terms joined by operators and commas.
_TERM = rf"{_ATOM}{{1,40}}"
_EXPRESSION = re.compile(
    rf"\$?{_TERM}(?:\s*{_OPERATOR}\s*{_TERM}|\s*,\s*(?:and\s+|or\s+)?(?=[-−]?(?:[0-9(\[√\\]|[b-z]\s*(?:[-=^+*/,.;]|$))){_TERM}"
    rf"|\s+(?:and|or)\s+(?=[-−(\[]?[0-9]|[a-z]\s*=){_TERM}|[ ](?={_NAME}|√){_TERM}){{0,40}}"
)
_WORDY = re.compile(r"(?<![\\a-zA-Z])(?:[a-zA-Z]{2,3})(?![a-zA-Z(])")


def _expression(text: str, alone: bool = False) -> str | None:
    """The expression that a text without LaTeX begins with; None for words.

    A lone letter may be a word, so it must end its sentence. With `alone` at most a unit may follow.
    """
    found = _EXPRESSION.match(text)
    if not found:
        return None
    whole, rest = found[0].strip().rstrip(",;:!"), text[found.end() :]
    ends = re.match(r"[*_\s]*(?:[.,;!?:)*_]+(?:\s|$)|$|\n)", rest) is not None
    if _WORDY.search(re.sub(_NAME, "", whole)) and not re.search(r"[0-9=^]", whole):
        return None
    if not re.search(r"[0-9π∞∅√]|\\[a-z]", whole) and not ends:
        return None
    if re.fullmatch(r"[aI]", whole) or not re.search(r"\w|[∞∅π]", whole):
        return None
    if alone and (re.match(r"[.)]\s", rest) or not re.fullmatch(r"[^0-9\n=]{0,30}", rest)):
        return None
    return re.sub(r"\s*,?\s+(?:and|or)\s+", ", ", whole)


def _result(content: str) -> str:
    """What a chain of equations comes to (a = b = 5); an equation of a letter (x = 5) stays whole."""
    content = re.split(r"(?<=\S)\s*(?:≈|\\approx(?![a-zA-Z]))", content)[0]
    sides = re.split(r"(?<![<>!\\])=(?!=)", content)
    if len(sides) == 1 or re.search(r"[<>≤≥]|\\[lg]e?q?(?![a-zA-Z])|\\begin|\\q?quad|,\s", content):
        return content
    if len(sides) == 2 and re.fullmatch(r"\s*-?[0-9.,/]+\s*", sides[0]):
        return sides[0].strip()
    chained = len(sides) > 2 or not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", sides[0]))
    return sides[-1].strip() if chained and sides[-1].strip() else content


def _formula(text: str, place: int = 0) -> str | None:
    """The formula that begins at a place."""
    found = _FORMULA.match(text, place)
    return next(filter(None, found.groups())) if found else None


def _said(line: str) -> str | None:
    """What a line below the heading "Answer" says: an expression, else its last in bold, formula or only number."""
    line = line.strip(" \t*_")
    if stated := _formula(line) or _expression(line, alone=True):
        return stated
    found: list[str | None] = [_formula(match[0]) for match in _FORMULA.finditer(line)]
    found += [
        _formula(match["bold"].strip()) or _expression(match["bold"].strip(), alone=True)
        for match in _BOLD.finditer(line)
    ]
    if told := [one for one in found if one]:
        return told[-1]
    numbers = re.findall(r"(?<![\w.])-?[0-9]+(?:[.,/][0-9]+)*", line)
    return numbers[0] if len(numbers) == 1 else None


def _stated(text: str) -> list[str]:
    """What is stated as the answer, in order."""
    found = [
        (match.end(), _formula(text, match.end()) or _expression(text[match.end() :][:400]))
        for match in _STATED.finditer(text)
    ]
    found += [
        (match.end(), _formula(text, match.start("said")) or _said(match["said"])) for match in _HEADING.finditer(text)
    ]
    return [_result(content.strip()) for _, content in sorted(found, key=lambda one: one[0]) if content]


def _bare(content: str) -> str:
    """Without dollar signs and white space around it."""
    return re.sub(r"^\s*\$+|(?<!\\)\$+\s*$", "", content).strip()


def math_answer(response: str) -> str | None:
    r"""The LaTeX in the last \boxed{…} or \fbox{…}; without a box, what was stated last; else the last in bold.

    Stated is "The answer is $…$", "Answer: **x = 5**", what stands below the heading "Final Answer", and an expression
    without LaTeX ("The answer is x^2 + 1."); of a chain of equations its last side. In a box nothing is rewritten but
    the dollar signs and white space around it; `math_equal` compares. A response ends at a question of its own.
    """
    text = visible(response)
    if text is None:
        return None
    text = own_turn(text, lambda before: bool(boxes(before) or _stated(before)))
    found = [content for _, content in boxes(text) or tagged(text)] or _stated(text)
    if not found:
        bold = [match["bold"].strip() for match in _BOLD.finditer(text)]
        found = [_result(said) for one in bold if (said := _formula(one) or _expression(one, alone=True))]
    answers = [answer for content in found if (answer := _bare(content))]
    return answers[-1] if answers else None
