r"""Where a response ends: models go on with a question of their own, or with the user's next turn."""

import re
from collections.abc import Callable
from itertools import islice

_MOST = 16
"""How many marks are looked at. A response with more of them before its end says nothing that could be read."""

_WORDS = (
    r"(?:question|problem|exercise|puzzle|riddle|query|task|prompt|input|frage|aufgabe|pregunta|problema|ejercicio|pergunta|domanda"
    r"|вопрос|задача|问题|問題|题目|題目|質問|问|問)s?"
)
_OTHER = r"(?:next|new|another|one more|second|third|follow[- ]?up|similar|bonus|practice|extra|additional|related)"
_COUNT = r"(?:[ \t]*(?:no\.?|number|\#)?[ \t]*\(?[0-9]{1,3}\)?)"
_LINE = r"(?:^|(?<=\n))[ \t>\#*_\-–—=]{0,12}(?:[0-9]{1,2}[.)][ \t]{1,4})?[*_]{0,3}"
_ENDED = r"(?<=[.!?)}\]\"”$*。！？])[ \t]{1,4}[*_]{0,3}"
_COLON = r"[*_ \t]{0,4}[:：]"

# "Question:", "**Problem 2:**", "Next question: …", "Q3.", "## Another problem", "Example 2:"
_LABEL = re.compile(
    rf"(?:{_LINE}|{_ENDED})(?P<label>(?:{_OTHER}[ \t]+)?(?:(?:example|sample|test|math|word|input)[ \t]+)?"
    rf"(?:{_WORDS}|(?-i:Q))(?P<count>{_COUNT})?{_COLON}|(?:{_OTHER}[ \t]+example|example{_COUNT}){_COLON}"
    rf"|(?-i:Q)[0-9]{{0,3}}[.)](?=[ \t])"
    rf"|(?:{_WORDS}|(?-i:Q)){_COUNT}[ \t]+[-–—][ \t]|(?:bonus|follow[- ]?up|your turn|try it yourself"
    rf"|now you try|practice"
    rf"|test your(?:self| \w+)){_COLON}|(?P<weak>example{_COLON}))"
    # a heading of one word
    rf"|(?:^|(?<=\n))[ \t]*(?:\#{{1,6}}[ \t]*[*_]{{0,3}}|\*\*|\[){_WORDS}{_COUNT}?[*_\] \t]*(?=\n|$|(?<=\])[ ])"
    # alone on its line
    rf"|{_LINE}(?P<alone>{_OTHER}[ \t]+(?:{_WORDS}|example|one){_COUNT}?"
    rf"|{_WORDS}{_COUNT})[*_ \t]*[.!…]*[*_ \t]*(?=\n|$)"
    # "Here is another problem for you:", "Let's try a similar one."
    r"|(?:^|(?<=\n)|(?<=[.!?][ ]))[ \t>\#*_]{0,12}(?P<told>(?:(?:ok(?:ay)?|great|good|now|next|so|and)[,!]?[ ]+)*"
    r"(?:here(?:[’']s|[ ]is|[ ]are)|let(?:[’']s|[ ]us|[ ]me)|try|solve|answer|consider|can[ ]you|now)\b[^.:!?\n]{0,30}?"
    r"\b(?:another|one[ ]more|next|new|similar|related|different|following)\b[^.:!?\n]{0,20}?"
    r"\b(?:question|problem|example|exercise|puzzle|one)s?\b[^.:!?\n]{0,30}(?::|[.!]?[*_ \t]*(?=\n|$)))",
    re.IGNORECASE,
)
# Tokens between turns as text, and turns of a user without them.
_TURN = re.compile(
    r"<[|｜](?!start_response|begin_of_solution|message|channel|constrain)[^|｜<>\n]{1,40}[|｜]>"
    r"|</?s>|<eos>|<(?:start|end)_of_turn>|\[/?INST\]"
    rf"|(?:^|(?<=\n))[ \t\#*_>]*(?:user|human|instruction|(?:the )?user says){_COLON}|(?:^"
    rf"|(?<=\n))(?-i:user|human|assistant)[ \t]*(?=\n)",
    re.IGNORECASE,
)
# A question without a label: a line of its own behind an answer.
_ASKED = re.compile(
    r"(?:(?<=\n)|(?<=[.!] ))[ \t*_\-]{0,8}(?-i:How|What(?!\s+if\b)|Which|Who|Where|When|Why|(?:If|In|On|At"
    r"|An?|The|There|[A-Z]\w+)\b"
    r"[^\n]{10,400}?\b(?:[Hh]ow\s+(?:many|much|far|long|old|tall|fast)|[Ww]hat(?:['’]s)?(?!\w|\s+(?:if|she|he|they|we|it|you|I)\b)"
    r"|[Ww]hich))\b[^\n?]{0,400}\?"
    # "Tom has 5 pens and loses 2. Calculate what he has left."
    r"|(?<=\n)[A-Z][^\n]{20,500}?[.,][ ](?:[Cc]alculate|[Ff]ind|[Dd]etermine|[Cc]ompute)[ ]\w",
)
# What a response may begin with before it repeats the question that it was asked.
_OPENING = re.compile(
    r"[\W_]*(?:(?:sure|certainly|of course|ok|okay|yes|absolutely|great)\b|let(?:[’']s| us| me)\b"
    r"|i(?:[’']ll|[’']m| will| am| need)\b"
    r"|we(?:[’']ll|[’']re| will| need| have to| want| are (?:given|asked|told))\b|to (?:solve|find|answer"
    r"|determine|calculate)\b"
    r"|here(?:[’']s| is| are)\b|(?:the|this) (?:question|problem) (?:is|asks|wants|gives|states|says)\b"
    r"|first\b|step [0-9]"
    r"|given\b|understand|read|deconstruct)[^.!?=\n]*[.!?:]?",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^[ \t]*(?:\#+[^\n]*|\*\*[^*\n]*\*\*:?|[^\n]{0,80}:)[ \t]*$", re.MULTILINE)


def _speaks(text: str) -> bool:
    """Whether a text says anything but headings and what introduces a solution."""
    text = _HEADING.sub("", text).strip()
    while opening := _OPENING.match(text):
        text = text[opening.end() :].strip()
    return bool(re.search(r"\w", text))


def own_turn(text: str, answers: Callable[[str], bool]) -> str:
    """A response up to the question that the model asks itself next, or to a user's next turn.

    The question that it was asked may be repeated first: a label ends a response only behind something said, which is
    an answer or stands apart by a blank line; a question without a label, only behind an answer.

    Args:
        text: the response.
        answers: whether a text states an answer.
    """
    for turn in _TURN.finditer(text):
        if _TURN.sub("", text[: turn.start()]).strip().removeprefix("assistant"):
            text = text[: turn.start()]
            break
    first = len(text)
    counted = False
    for label in islice(_LABEL.finditer(text), _MOST):
        before = text[: label.start()].rstrip(" \t>#*_-–—=")
        numbered = bool(label["count"])
        if label["weak"] and not answers(before):
            continue
        if not (_speaks(before) or answers(before)) or (counted and numbered):
            counted = counted or (numbered and label["count"].strip(" \t#().") == "1")
            continue
        if before.endswith("\n\n") or label["alone"] or label["told"] or "=" in before or answers(before):
            first = label.start()
            break
    for asked in islice(_ASKED.finditer(text, 0, first), _MOST):
        if answers(text[: asked.start()]):
            return text[: asked.start()]
    return text[:first]
