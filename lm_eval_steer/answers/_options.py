r"""One of several options: ARC."""

import re
from collections.abc import Sequence

from lm_eval_steer.answers._text import boxes
from lm_eval_steer.answers._thoughts import visible

# Emphasis, and LaTeX around words.
_NOISE = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|boldsymbol)(?![a-zA-Z])"
    r"|[*_`\"“”$~{}]|\\[()\[\]!,;: ]|\\q?quad\b"
)

_STATED = re.compile(
    r"\b(?:answer|(?:correct|right|best|most \w+) (?:option|choice|statement|one))\b"
    r"(?:(?!\bnot\b|n[’']t\b|\bcannot\b|\bneither\b)[^.!?\n:=\\]){0,60}?\b(?:is|are|be)\b(?!\s+not\b)\s*:?"
    r"|\banswer\b[*_]{0,2}[ \t]*[:=\n]"
    r"|\b(?:I|we) (?:would |will |should )?(?:choose|pick|select)\b",
    re.IGNORECASE,
)
# Weaker: the option comes first ("Option B is correct").
_AFTERWARDS = re.compile(
    r"(?<![\w(])(?:\(\s*([A-Za-z]|[0-9]{1,2})\s*\)|([A-Z]|[0-9]{1,2})) (?:is|must be) "
    r"(?:therefore |clearly |thus |indeed )?(?:the )?(?:(?:most \w+|only|best|correct|right) )?"
    r"(?:correct|right|best|answer)\b"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,300})\*\*")

# "Option", "The correct answer is", "therefore": words before the option itself.
_TITLE = re.compile(
    r"[\s>#]*(?:(?:(?:the |my )?(?:(?:correct|final|right|best) )?(?:answer|option|choice|letter)\b\s*(?:is\b)?\s*[:=]?"
    r"|(?:therefore|thus|hence|clearly|probably|indeed)\b,?)\s*)*",
    re.IGNORECASE,
)
_HEAD = re.compile(
    r"(?P<open>[(\[])?\s*(?P<token>[A-Za-z]|[0-9]{1,2})(?![^\W_]|[’'.]\w)(?P<close>\s*[)\]])?(?P<rest>.*)"
)
# What shows that a letter is an option and no word: the end of the line or clause, or a word that goes on about it.
_CLOSED = re.compile(r"\s*(?:$|[:,;!—–]|\.(?!\w)|-\s)")
_FOLLOWED = re.compile(r"\s+(?:\(|-|–|—|(?:because|since|as|for|which|due|rather|not|is|and|but|with)\b)")
_ITEM = re.compile(r"\.\s+\w")  # "1. First, …"
_ANOTHER = re.compile(r"\s*(?:(?:,|/|&|\band\b|\bor\b)\s*)+\(?([A-Za-z]|[0-9]{1,2})\)?\s*(?:$|[.;!,])")
_SEPARATOR = re.compile(r"(?:[\s.:,)\]]|[–-]\s)*")


def _clean(text: str) -> str:
    """The text without emphasis and LaTeX around words."""
    return _NOISE.sub("", text).strip()


def _same(text: str) -> str:
    """What two spellings of an option's text share."""
    return re.sub(r"^(?:the|an?) ", "", " ".join(_clean(text).split()).rstrip(".!;:, ").casefold())


class _Options:
    """The options of one question, and what names one of them."""

    def __init__(self, labels: Sequence[str], texts: Sequence[str]):
        self._labels = {label.casefold(): label for label in labels}
        self._in_order = list(labels)
        self._texts = [
            (_same(text), _clean(text).rstrip("."), label) for label, text in zip(labels, texts, strict=True)
        ]

    def _named(self, token: str) -> str | None:
        """The label that a letter or digit is, or the one at its place where labels are of the other kind (B for 2)."""
        if label := self._labels.get(token.casefold()):
            return label
        place = int(token) - 1 if token.isdigit() else ord(token.upper()) - ord("A")
        other_kind = token.isdigit() != self._in_order[0].isdigit()
        return self._in_order[place] if other_kind and 0 <= place < len(self._in_order) else None

    def _with_text(self, text: str) -> str | None:
        """The option whose text begins `text`, the longest; where two differ in capitals only, the one as written."""
        same = _same(text)
        found = [
            option for option in self._texts if re.match(rf"{re.escape(option[0])}(?!\w|\.\d)", same) and option[0]
        ]
        found = [option for option in found if len(option[0]) == max(len(other[0]) for other in found)]
        if len(found) > 1:
            found = [option for option in found if _clean(text).startswith(option[1])]
        return found[0][2] if len(found) == 1 else None

    def read(self, text: str) -> str | None:
        """The option that a statement begins with, by its label or its text."""
        whole = _clean(text).partition("\n")[0]
        title = _TITLE.match(whole)
        line = whole[title.end() :] if title else whole
        head, label = _HEAD.match(line), None
        if head and (named := self._named(head["token"])):
            another = _ANOTHER.match(head["rest"])
            if another and self._named(another[1]) not in (None, named):
                return None
            texted = self._with_text(_SEPARATOR.sub("", head["rest"], count=1)) == named
            item = head["token"].isdigit() and not head["close"] and _ITEM.match(head["rest"])
            bracketed = head["close"] or (_CLOSED.match(head["rest"]) and not item)
            going_on = not head["token"].islower() and _FOLLOWED.match(head["rest"])
            label = named if texted or bracketed or going_on else None
            if label and head["token"].casefold() in self._labels:
                return label
        return self._with_text(line) or self._with_text(whole) or label

    def alone(self, text: str) -> str | None:
        """The option that `text` is: its label, its text, or both, and nothing else."""
        label = self.read(text)
        if label is None:
            return None
        same, rest = next(option[0] for option in self._texts if option[2] == label), _clean(text)
        head = _HEAD.match(rest)
        after = _same(_SEPARATOR.sub("", head["rest"], count=1)) if head else None
        return label if _same(rest) == same or after in ("", same) else None


def _only(found: Sequence[str | None]) -> str | None:
    """The one option among what was found; None for a list of several, which states nothing."""
    options = {label for label in found if label}
    return options.pop() if len(options) == 1 else None


def arc_answer(response: str, labels: Sequence[str], texts: Sequence[str]) -> str | None:
    r"""The question's own label of the option that was stated last.

    Stated is \boxed{B}, "The answer is B", "Answer: (b)", "The best choice is B", each also with the option's text;
    else "Option B is correct"; else the only option in bold; else the only line that is nothing but an option. A digit
    means the option at that place where labels are letters and no option has that text, and the other way round. A
    capital that may be a word ("A community"), a denial and two options at once state nothing.
    """
    text = visible(response)
    if text is None:
        return None
    options = _Options(labels, texts)
    statements = boxes(text) + [(match.end(), text[match.end() :][:400].lstrip()) for match in _STATED.finditer(text)]
    stated = [label for _, statement in sorted(statements) if (label := options.read(statement))]
    if stated:
        return stated[-1]
    afterwards = [options.read(f"({token[0] or token[1]})") for token in _AFTERWARDS.findall(text)]
    if named := [label for label in afterwards if label]:
        return named[-1]
    bold = _only([options.read(match[1]) for match in _BOLD.finditer(text)])
    return bold or _only([options.alone(line) for line in text.splitlines()])
