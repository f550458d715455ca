"""What is said beside an answer: how sure a model is, how it rates itself, and how it checks its work."""

import re
from collections.abc import Callable

_NUMBER = r"(?<![0-9])[-+~≈<>]?[ ]?(?<![0-9])[0-9]{1,20}(?:[.,][0-9]{1,20}){0,4}"
_BEGUN = r"(?:^|(?<=\n)|(?<=[.!?)] )|(?<=[(\[]))[\W_]{0,8}"
_SHARE = rf"{_NUMBER}[ ]?(?:%|percent\b|/[ ]?[0-9]+|out of [0-9]+|of [0-9]+)?"

# "Confidence: 95%", "**Rating:** 10/10", "Difficulty level: 3", "Time taken: 5 seconds": to the end of the line.
_LABELLED = re.compile(
    rf"{_BEGUN}(?:(?:my|the|your|our|overall|self|estimated|answer|final)[- ]){{0,3}}"
    r"(?:(?:confiden\w*|certainty|rating|self[- ]?\w+|difficulty|probability of (?:being )?correct\w*"
    r"|likelihood of (?:being )?\w+"
    r"|(?:word|token|step|character) count|(?:number of )?(?:steps|tokens|words|attempts|tries)(?: used"
    r"| taken| needed)?"
    r"|time (?:taken|spent|used|needed|elapsed)|elapsed|sources?|references?|citations?|page|version|date"
    r"|hints?|level|points earned"
    r"|(?:problem|question|task|example) (?:id|number|no\.?|type|level))"
    r"(?:\s+(?:in|of|for|level|score|on|that|the|this|my|answer|solution|is|scale|correct|being|percentage|rating)){0,7}"
    rf"[*_]{{0,3}}\s?[:=][^\n]*"
    # These two may be the answer, unless they are a share.
    rf"|(?:score|grade|quality|accuracy|clarity|correctness|completeness|rate|points?|marks?"
    rf"|evaluation)[*_]{{0,3}}\s?[:=][*_ ]*"
    rf"(?:{_NUMBER}[ ]?(?:%|/[ ]?[0-9]+|out of [0-9]+)|100)[^\n]*)",
    re.IGNORECASE,
)
# The same within a sentence: "I am 95% sure", "with 95% confidence", "I'd rate this answer 10/10".
_SURE = re.compile(
    rf"{_SHARE}[ ](?:\w+[ ])?(?:confiden\w*|certain(?:ty)?|sure|positive)\b"
    rf"|\b(?:confiden\w*|certain(?:ty)?|sure(?:ness)?)\b[^.!?\n0-9]{{0,50}}?{_NUMBER}[ ]?(?:%|percent\b"
    rf"|/[ ]?[0-9]+|out of [0-9]+)"
    rf"|\bconfidence\b[^.!?\n0-9]{{0,30}}?(?:is|of|at|level|score|[:=])[ ]?{_SHARE}"
    rf"|\b(?:rat(?:e|ed|ing)|score|grade|evaluate)\b[^.!?\n0-9]{{0,50}}?{_NUMBER}[ ]?(?:/[ ]?(?:5|10|100)\b"
    rf"|out of (?:5|10|100|five|ten)\b)",
    re.IGNORECASE,
)

# A check of what was said before: to the end of the response.
_CHECK = re.compile(
    r"(?:^|(?<=\n)|(?<=[.!?] ))(?P<head>[\s>#*_\-–—✓✔✅]{0,12})(?:(?:self|final|quick|sanity|cross|double"
    r"|re|let me|let's|to)[- ]?){0,2}"
    r"(?:verif(?:ication|y|ying)|(?:double[- ]?)?check(?:ing|s|ed)?|validation|proof|test)"
    r"(?:[ ](?:of|the|my|our|your|this|answer|solution|result|work|steps?|calculations?|by|with|substitution)){0,5}"
    r"(?:[*_]{0,3}[ ]?[:：]|[*_]{1,3}[ \t]*(?=\n)|(?<=\w)[ \t]*(?=\n)(?<!test))",
    re.IGNORECASE,
)
# What is told beside the story: to the end of the line.
_NOTE = re.compile(
    rf"{_BEGUN}(?:(?:side|important|please) )?(?:note|remark|n\.?b|p\.?s|tip|disclaimer|fun fact"
    rf"|footnote)[*_]{{0,3}}\s?[:.][^\n]*",
    re.IGNORECASE,
)
_EXPLAINED = re.compile(
    r"\n[\s>#*_]{0,8}(?:explanation|reasoning|reason|justification|rationale|here(?:['’]s| is) (?:how"
    r"|why))\b[^:\n]{0,30}:",
    re.I,
)
# "Step 1", "steps 2 and 3", "Method 2", "[1]", and the numbers of a list's items.
_COUNTED = re.compile(
    r"\b(?:steps?|methods?|equations?|eqs?\.|parts?|cases?|lines?|problems?|questions?|examples?|figures?|tables?|sections?|formulas?|rules?"
    r"|options?|approach(?:es)?|exercises?|checks?|hints?|instructions?|verification|no\.|version"
    r"|chapters?|pages?)[ ]?\#?\(?[0-9]{1,3}\)?(?![0-9.,]*[0-9%])"
    r"(?:(?:[ ]?(?:,|and|or|to|&|-|–)[ ]?){1,2}[0-9]{1,3}\b(?![.,]?[0-9]))*"
    r"|\b(?:all|these|those|both|my|our|in|used)[ ][0-9]{1,2}[ ](?:steps|checks|calculations|parts)\b"
    r"|\[[0-9]{1,2}\](?!\()|(?:^|(?<=\n))[ \t>*_#\-]*[0-9]{1,2}[.)](?=[ \t]+[*_]*[^\W\d_])",
    re.IGNORECASE,
)


def unmarked(text: str) -> str:
    """A text without what says how sure the model is of it."""
    return _SURE.sub(" ", _LABELLED.sub(" ", text))


def aside(text: str, tells: Callable[[str], bool]) -> str:
    """A text without its checks, notes and counted steps, as far as what remains still tells something.

    Args:
        text: after `unmarked`.
        tells: whether a part of the text holds what is looked for.
    """
    for check in _CHECK.finditer(text):
        if tells(_COUNTED.sub(" ", text[: check.start()])):
            text = text[: check.start()]
            break
    explained = _EXPLAINED.search(text)
    if explained and "\n" not in text[: explained.start()].strip() and tells(text[: explained.start()]):
        text = text[: explained.start()]
    for pattern in (_NOTE, _COUNTED):
        rest = pattern.sub(" ", text)
        text = rest if tells(rest) else text
    return text
