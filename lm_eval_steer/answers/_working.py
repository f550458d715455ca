"""Whether a response reasons: it works towards its answer before it states it."""

import re

from lm_eval_steer.answers._plain import plain, values
from lm_eval_steer.answers._turns import own_turn

_NUMBER = r"\$?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)%?"
# What may stand between a number and its operator: a unit of up to two words ("3 eggs + 4 eggs"), a closing bracket.
_UNIT = r"(?:[ ]?[A-Za-z]{1,15}){0,2}[ ]?\)?"
_SIGN = r"(?:[+*/×÷·]|(?<=[ )])[-−–](?=[ (])|\*\*|\b(?:plus|minus|times|multiplied by|divided by|added to|x)\b)"
_COMBINED = re.compile(
    # "16 - 3", "9 * $2", "3 eggs + 4 eggs"; a date and a fraction ("1/2") have neither spaces nor a result
    rf"{_NUMBER}{_UNIT}[ ]{_SIGN}[ ]\(?{_NUMBER}"
    # the same without spaces where a result follows: "9*2=18", "10-4 = 6"
    rf"|{_NUMBER}[ ]?[-−–+*/×÷x·][ ]?\(?{_NUMBER}[^=≈\n.]{{0,20}}[=≈][ ]?{_NUMBER}",
    re.IGNORECASE,
)
_STATES = (
    r"(?:\b(?:answer|result|solution)s?\b(?:[ ](?:is|are)\b(?:[ ]that\b)?|[*_ ]{0,3}[:=])|\\boxed\b|<answer>|\#{3,6})"
    rf"(?=[\W_]{{0,12}}{_NUMBER}"
)
_ENDED = re.compile(rf"{_STATES})", re.IGNORECASE)
# An answer that is stated, and no expression that goes on: "The answer is 9 * 2 = 18" works.
_STATED = re.compile(rf"{_STATES}(?![0-9.,]*[0-9])(?!{_UNIT}[ ]?{_SIGN}))", re.IGNORECASE)
# An answer that stands alone at the beginning: "18", "$18 per day.", "**18**"; "1. First" is an item of a list.
_ALONE = re.compile(rf"(?!\s*1[.)][ ])[\W_]*{_NUMBER}(?:[ ][A-Za-z]+){{0,4}}[\W_]*(?:\Z|\n|(?<=[.!])[ ])")
_SENTENCE = re.compile(r"(?<=[.!?])[*_)\"'\]]*\s+|\n+")
_ITEM = re.compile(r"^[\s>*_#-]*(?:step[ ]?)?[0-9]{1,2}[.):](?=\s|\Z)[\s*_]*", re.IGNORECASE)


def reasons(response: str, question: str = "") -> bool:
    """Whether something is worked out before the answer is stated.

    The working is what stands before the first stated answer ("The answer is 18", "#### 18", \\boxed{18}, or a line or
    sentence at the beginning that is a number and at most a unit), thoughts included. It reasons if it combines numbers
    ("16 - 3 = 13", "9 times $2"), or if at least two of its sentences, which are none of the question's, hold two
    numbers together. So a bare number, an answer that is explained afterwards, a repeated question, and equations that
    come to no answer are no reasoning.

    Args:
        response: of a model, up to a question that it asks itself.
        question: that it was asked.
    """
    text = own_turn(plain(response), lambda before: bool(_STATED.search(before) or values(before)))
    if _ALONE.match(text) or not _ENDED.search(text):
        return False
    stated = _STATED.search(text)
    work = text[: stated.start()] if stated else text
    if _COMBINED.search(work):
        return True
    asked = _words(plain(question))
    said = [one for one in (_ITEM.sub("", part) for part in _SENTENCE.split(work)) if _words(one).strip()]
    said = [one for one in said if _words(one) not in asked]
    return len(said) > 1 and len(values(" ".join(said))) > 1


def _words(text: str) -> str:
    """The words of a text in lower case, between spaces."""
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "
