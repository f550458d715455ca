"""Numbers: GSM8K and problems that end as GSM8K's do."""

import re
from fractions import Fraction

from lm_eval_steer.answers._plain import LONGEST_NUMBER, NUMBER, canonical, numbers, plain, values
from lm_eval_steer.answers._sentences import aside, unmarked
from lm_eval_steer.answers._thoughts import visible
from lm_eval_steer.answers._turns import own_turn

__all__ = ["LONGEST_NUMBER", "arith_answer", "canonical", "gsm8k_answer"]

# "18." ends a sentence; "1. First, …" is an item of a list and answers nothing.
_ITEM = r"[0-9]{1,2}[.)][ \t]+[^\W\d_]"
_NOT = r"(?!\bnot\b|n['’]t\b|\bcannot\b|\bnever\b)"
_ANSWER = r"(?<!wrong )(?<!incorrect )(?<!intermediate )\bans(?:wer)?s?\b"
# After these a number may come anywhere in the sentence …
_ANNOUNCED = re.compile(
    rf"(?:{_ANSWER}(?:{_NOT}[^.!?\n:=]){{0,60}}?\b(?:is|are|be|equals)\b(?!\s+not\b)"
    r"|\bfinal (?:answer|result|solution)\b[*_\s]{0,4}[:=]|\\f?boxed\b|<answer>)"
    rf"(?![^\w\n]{{0,20}}\n[\W_]{{0,20}}{_ITEM})",
    re.IGNORECASE,
)
# … after these it comes at once, or they announce something else ("#### Step-by-step derivation:", "Answer: Let us …").
_LABELLED = re.compile(
    rf"(?:\bans(?:wer)?s?\b[*_]{{0,2}}(?:[ \t]?[:=\n]|[ \t]?[→⇒]|[ \t][-–—][ \t]|\.[ \t])|(?<!\#)\#{{3,6}}(?!\#))"
    rf"(?![\W_]{{0,20}}{_ITEM})"
    rf"(?=[\W_]{{0,20}}?(?:about |approximately |[A-Za-z] ?= ?)?[\W_]{{0,20}}?{re.sub('[?]P<[a-z]+>', '?:', NUMBER)})",
    re.IGNORECASE,
)
_BOLD = re.compile(rf"\*\*(?:[^*\n]{{0,60}}[=≈])?[^\w*\n]{{0,20}}?(?P<bold>{NUMBER})(?![.)] )[^*\n0-9]{{0,30}}\*\*")
# The rest of the sentence, which may begin on a later line.
_SENTENCE = re.compile(r"[\W_]{0,40}(?:(?![.!?][*_)\"'\]}$]*(?:\s|$)|[。！？]).){0,200}")

# What is said about an answer, and what bounds one, states none.
_ABOUT = re.compile(
    r"[\W_]*(?:also |indeed |clearly |therefore |thus )?(?:correct|right|wrong|incorrect|reasonable|valid"
    r"|verified|plausible"
    r"|consistent|sensible|likely to be right|less than|fewer than|smaller than|greater than|more than"
    r"|larger than|bigger than"
    r"|between|at most|at least|no more than|close to|in the range)\b",
    re.IGNORECASE,
)
# What may stand between "is" and a number that is stated at once.
_AT_ONCE = re.compile(
    r"(?:[^\w]|\b(?:then|therefore|thus|hence|indeed|about|approximately|around|roughly|nearly|almost|exactly|simply|just|only"
    r"|clearly|now|the|an?|equal to|given by|to be|[a-z]\s?=|_))*",
    re.IGNORECASE,
)
_OPERATOR = re.compile(
    r"[-+*/×÷x^−]|(?:%|\bpercent) of\b"
    r"|\b(?:times|plus|minus|multiplied|divided|added|subtracted|less than|more than|over|at|each|per)\b",
    re.IGNORECASE,
)
_SHARE = re.compile(r"\s*(?:dozens?\b|%\s+of\b|percent of\b)|\s+of\b", re.IGNORECASE)
_IN_ALL = re.compile(r"\s*(?:\w+ ){0,2}(?:in total|altogether|in all|overall)\b", re.IGNORECASE)
_SUM = re.compile(
    r"\b(?:sum|product|difference|quotient|total|average|mean|half|twice|double|triple|third|quarter)\b", re.I
)
# Where the first clause of a sentence ends.
_CLAUSE = re.compile(
    r",(?!\d)|[;:(]|\b(?:because|since|as|so|for|which|and|but|given|if|when|where|while|not|or|from"
    r"|that is|rather|making|giving)\b",
    re.IGNORECASE,
)
_REASON = re.compile(r"\b(?:because\b|due to\b|(?:since|given that|,\s*as)\b(?![^,]*,(?!\d)))", re.IGNORECASE)
_EQUALS = (
    r"(?:is|are|was|be|equals?|equal to|makes?|made|gives?|gave|yields?|totals?|comes? (?:out )?to|becomes?"
    r"|leaves?|adds? up to|works? out (?:to|as))"
)
_RESULT = re.compile(rf"[=≈]|(?<!to )\b{_EQUALS}\b", re.IGNORECASE)
_FOLLOWS = re.compile(
    rf"\b(?:which|that|this|it)\s+(?:\w+\s+)?{_EQUALS}\b|[=≈]|\bor\b|\bso\b|\bmaking\b|\bgiving\b|\bthat is\b"
    r"|\bto (?:get|give|make|obtain)\b|\bfor a total of\b|\bresulting in\b|\btotal(?:l?ing)?\b|:|\(",
    re.IGNORECASE,
)
# A clause that goes on with the story: "and makes $18", not "and 12 minutes".
_VERB = (
    r"(?:\w{2,}(?:s|ed)|ha[sd]|have|will|would|can|could|must|do|did|make|earn|need|pay|get|got|spend|spent|sold|sell|left|made"
    r"|gave|give|took|take|ran|run|ate|eat|bought|buy|paid|won|lost|kept|saved?)"
)
_GOES_ON = re.compile(
    r"(?:[,;]\s*)?\b(?:(?:and|but)(?:\s+(?:so|then|thus|therefore|hence|finally|also))?"
    rf"(?=\s+(?:(?:he|she|it|they|we|you|I|there|this|that|[A-Z]\w+)\s+)?{_VERB}\b)"
    r"|so|then|therefore|thus|hence|which means|meaning|making|leaving|giving|earning|resulting in"
    r"|totall?ing|for a total of"
    r"|(?:which|that)\s+(?:makes|gives|leaves|brings|results in|adds up to|comes to)"
    r"|to (?:get|give|obtain)(?=\s+(?:a total of\s+)?\$?[0-9]))\b",
)
# A number that only qualifies: "after selling 9 eggs", "of the 16 eggs", "at $2 each".
_BESIDE = re.compile(
    r"(?:\b(?:after|before|from|of|at|by|with|in|per|than|out of|on|every|each|over|during|within|using)\s+"
    r"(?:\w+ing\s+)?|\b\w{2,}ing\s+)(?:(?:the|all|her|his|its|their|these|those|about|only|first|last|other)\s+)*\$?\Z",
    re.IGNORECASE,
)


def _last_result(text: str) -> list[Fraction]:
    """The first number behind the last equals sign that has one behind it."""
    for part in reversed(re.split("[=≈]", text)[1:]):
        if found := values(part):
            return found[:1]
    return []


def _expressed(text: str, end: int) -> list[Fraction]:
    """The result of an expression whose first number ends at `end`: what is said to equal it, or to follow from it."""
    for match in _FOLLOWS.finditer(text, end):
        if found := values(text[match.end() :]):
            return _last_result(text[match.start() :]) or found[:1]
    return []


def _value(sentence: str) -> list[Fraction]:
    """The number that a sentence states, as a list of one or none."""
    found = numbers(sentence)
    if not found:
        return []
    start, end, first = found[0]
    if _AT_ONCE.fullmatch(sentence, 0, start):
        stop = _CLAUSE.search(sentence, end)
        clause = sentence[start : stop.start() if stop else len(sentence)]
        if "=" in clause or "≈" in clause:
            reason = _REASON.search(sentence, end)
            return _last_result(sentence[start : reason.start() if reason else None]) or [first]
        if _SHARE.match(sentence, end) and ("/" in sentence[start:end] or sentence[end : end + 3] != " of"):
            return _expressed(sentence, end) or [first]
        inside = numbers(clause)
        between = clause[inside[0][1] : inside[1][0]] if len(inside) > 1 else ""
        if _OPERATOR.search(between) and not re.fullmatch(r"\s*[-–—]\s*", between.replace(" - ", "+")):
            result = [
                value for match in _RESULT.finditer(clause, inside[1][1]) for value in values(clause[match.end() :])
            ]
            return (result or _expressed(sentence, start + inside[1][1]) or [first])[:1]
        return [first]
    if _SUM.search(sentence, 0, start) and (told := _expressed(sentence, end)):
        return told
    if reason := _REASON.search(sentence, end):
        sentence = sentence[: reason.start()]
    if values(bare := re.sub(r",\s*(?:who|whose)\b[^,]{0,60},", "", sentence)):
        sentence = bare
    begins = [0, *(match.end() for match in _GOES_ON.finditer(sentence))]
    clauses = [sentence[begin:stop] for begin, stop in zip(begins, [*begins[1:], len(sentence)], strict=True)]
    clause = next(clause for clause in reversed(clauses) if values(clause))
    if result := _last_result(clause):
        return result
    inside = numbers(clause)
    for match in reversed(list(_RESULT.finditer(clause, inside[0][1]))):
        next_to = numbers(clause[match.end() :])[:1]
        if next_to and next_to[0][0] <= 20:
            return [next_to[0][2]]
    if whole := [value for _, stop, value in inside if _IN_ALL.match(clause, stop)]:
        return whole[-1:]
    core = [one for one in inside if not _BESIDE.search(clause, 0, one[0])] or inside[-1:]
    money = [one for one in core if "$" in clause[one[0] : one[1]]]  # of 4 friends who pay $18, the money is asked for
    return [(money or core)[0][2]]


def _stated(text: str) -> list[Fraction]:
    """What is stated as the answer, in order."""
    ends = sorted({match.end() for marker in (_ANNOUNCED, _LABELLED) for match in marker.finditer(text)})
    sentences = [match[0] for end in ends if (match := _SENTENCE.match(text, end))]
    return [value for sentence in sentences if not _ABOUT.match(sentence) for value in _value(sentence)]


def gsm8k_answer(response: str) -> str | None:
    """The last number that is stated as the answer, else the last alone in bold, else the last of all; canonical.

    Stated is "#### 18", "The answer is 18", "Final answer: 18", "Answer: 18" and \\boxed{18}; of an expression or a
    whole sentence what it comes to ("9 times $2, which is $18"). Currency, percent signs, thousands separators and
    units are left out: "$1,800.00" and "1 800 dollars" are both 1800, 1.5 million is 1500000, and 50% is 50, not 0.5.
    Numbers that say how sure the model is, check the answer or count steps are none. A response ends at a question of
    its own.
    """
    text = visible(response)
    if text is None:
        return None
    text = re.sub(r"\bi\.e\.", "that is", re.sub(r"\bapprox\.", "about", plain(text)))
    text = unmarked(own_turn(text, lambda before: bool(_stated(before))))
    stated = _stated(text)
    told = aside(text, lambda part: bool(values(part)))
    if stated and told != text:
        stated = _stated(told) or stated
    bold = [value for match in _BOLD.finditer(told) for value in values(match["bold"])]
    found = stated or bold or values(told) or values(text)
    return canonical(found[-1]) if found else None


arith_answer = gsm8k_answer
"""Generated word problems end as GSM8K's do ("#### 18"), and models are shown "The answer is 18."."""
