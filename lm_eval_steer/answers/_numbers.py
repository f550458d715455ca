"""Numbers: GSM8K and problems that end as GSM8K's do."""

import re
import unicodedata
from fractions import Fraction

from lm_eval_steer.answers._thoughts import visible

LONGEST_NUMBER = 100
"""Characters; a longer run of digits is the babble of a broken model and no number."""


def canonical(value: Fraction) -> str:
    """Equal numbers, equal strings: 18, -0.5, 1/3 (the exact decimal, or where there is none, the reduced fraction)."""
    places = next((p for p in range(LONGEST_NUMBER + 1) if 10**p % value.denominator == 0), 0)
    if not places:
        return str(value)
    digits = f"{abs(value.numerator) * 10**places // value.denominator:0{places + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\.)\.[0-9]+)"
# Starts neither inside a word or number nor in an exponent. A minus between two numbers ("10-4", "(3)-4") is no sign.
_NUMBER = (
    r"(?<![^\W_])(?<![0-9]\.)(?<!\^)(?<!\^\{)"
    r"(?P<sign>[$€£]-|(?<![)\]%}-])-[$€£]?|[$€£])?"
    r"(?:(?P<whole>[0-9]{1,9}) +(?:and +)?(?=[0-9]+ ?/ ?[0-9]))?"
    rf"(?P<number>{_DECIMAL})(?: ?/ ?(?P<below>{_DECIMAL}))?"
)
_NUMBERS = re.compile(_NUMBER)

# "18." ends a sentence; "1. First, …" is an item of a list and answers nothing.
_ITEM = r"[0-9]{1,2}[.)][ \t]+[^\W\d_]"
# After these a number may come anywhere in the sentence …
_ANNOUNCED = re.compile(
    r"(?:\banswers?\b[^.!?\n:=]{0,60}?\b(?:is|are|be|equals)\b(?!\s+not\b)|\bfinal answer\b[*_\s]{0,4}[:=]|\\f?boxed\b)"
    rf"(?![^\w\n]{{0,20}}\n[\W_]{{0,20}}{_ITEM})",
    re.IGNORECASE,
)
# … after these it comes at once, or they announce something else ("#### Step-by-step derivation:", "Answer: Let us …").
_LABELLED = re.compile(
    rf"(?:\banswers?\b[*_]{{0,2}}[ \t]?[:=\n]|(?<!\#)\#{{3,6}}(?!\#))(?![\W_]{{0,20}}{_ITEM})"
    rf"(?=[\W_]{{0,20}}?(?:about |approximately |[A-Za-z] ?= ?)?[\W_]{{0,20}}?{_NUMBER})",
    re.IGNORECASE,
)
_BOLD = re.compile(rf"\*\*(?:[^*\n]{{0,60}}[=≈])?[^\w*\n]{{0,20}}?(?P<bold>{_NUMBER})(?![.)] )[^*\n0-9]{{0,30}}\*\*")
# The rest of the sentence, which may begin on a later line.
_SENTENCE = re.compile(r"[\W_]{0,40}(?:(?![.!?][*_)\"'\]}$]*(?:\s|$)).){0,200}")


def _plain(text: str) -> str:
    """Typographic and LaTeX spellings of numbers in plain characters."""
    text = re.sub("[¼-¾⅐-⅞]", lambda m: " " + unicodedata.normalize("NFKC", m[0]).replace("⁄", "/"), text)
    text = re.sub(r"(-?)\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" \1\2/\3 ", text.replace("−", "-"))
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", r" \1 ", text)
    return re.sub(r"\\([$%])", r"\1", re.sub(r"\\[!,;]", "", text.replace("{,}", ",")))


def _values(text: str) -> list[Fraction]:
    """Every number of a text, in order; mixed numbers ("1 1/2") and fractions count as one."""
    values = []
    for match in _NUMBERS.finditer(text):
        below = Fraction((match["below"] or "1").replace(",", "")) if len(match[0]) <= LONGEST_NUMBER else 0
        if below:
            value = int(match["whole"] or 0) + Fraction(match["number"].replace(",", "")) / below
            values.append(-value if "-" in (match["sign"] or "") else value)
    return values


def _first_value(sentence: str) -> list[Fraction]:
    """The number that a sentence states, as a list of one or none: behind its last equals sign if one is there."""
    return (_values(re.split("[=≈]", sentence)[-1]) or _values(sentence))[:1]


def gsm8k_answer(response: str) -> str | None:
    """The last number that is stated as the answer, else the last alone in bold, else the last of all; canonical.

    Stated is "#### 18", "The answer is 18", "Final answer: 18", "Answer: 18" and \\boxed{18}. Currency, percent signs,
    thousands commas and units are left out: "$1,800.00" and "1800 dollars" are both 1800, and 50% is 50, not 0.5.
    """
    text = visible(response)
    if text is None:
        return None
    text = _plain(text)
    ends = sorted({match.end() for marker in (_ANNOUNCED, _LABELLED) for match in marker.finditer(text)})
    sentences = [match[0] for end in ends if (match := _SENTENCE.match(text, end))]
    stated = [value for sentence in sentences for value in _first_value(sentence)]
    bold = [value for match in _BOLD.finditer(text) for value in _values(match["bold"])]
    values = stated or bold or _values(text)
    return canonical(values[-1]) if values else None


arith_answer = gsm8k_answer
"""Generated word problems end as GSM8K's do ("#### 18"), and models are shown "The answer is 18."."""
