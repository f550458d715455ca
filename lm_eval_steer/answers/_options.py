r"""One of several options: ARC."""

import re
from collections.abc import Sequence
from itertools import islice

from lm_eval_steer.answers._text import boxes, tagged
from lm_eval_steer.answers._thoughts import visible
from lm_eval_steer.answers._turns import own_turn

# Emphasis, and LaTeX around words.
_NOISE = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|boldsymbol)(?![a-zA-Z])"
    r"|[*_`\"“”$~{}]|\\[()\[\]!,;: ]|\\q?quad\b"
)

_NOUN = r"(?:answer|option|choice|letter|statement|pick|selection|guess|conclusion|one)"
_GOOD = r"(?:correct|right|best|final|selected|chosen|accurate|most \w+|only|my)"
_STATED = re.compile(
    r"(?<!wrong )(?<!incorrect )(?<!worst )(?<!if the )(?<!if the correct )"
    rf"\b(?:answer|{_GOOD} {_NOUN})\b"
    r"(?:(?!\bnot\b|n[’']t\b|\bcannot\b|\bneither\b)[^.!?\n:=\\]){0,60}?\b(?:is|are|be)\b(?!\s+not\b)\s*:?"
    rf"|(?<!wrong )(?<!incorrect )\b(?:ans(?:wer)?|{_GOOD} {_NOUN})\b[*_]{{0,3}}(?:[ \t]*(?:[-=]{{1,2}}>|[:=\n→⇒])"
    rf"|[ \t]+[-–—]{{1,3}}[ \t])"
    r"|(?:^|(?<=\n))[ \t>#*_]{0,8}(?:(?:option|choice|answer|letter)(?: (?:chosen|selected))?"
    r"|correct)[*_]{0,3}[ \t]*[:=]"
    r"|\A\s*A:\s(?=\s*[*_]*\(?[A-Z]\)?[*_. ]*(?:\n|\Z))"
    r"|(?:^|(?<=\n))[ \t>*_]{0,8}(?:final )?answer[*_]{0,3}\.?[ \t]+(?=\(?[A-Z]\)?[*_. ]*(?:\n|$))"
    r"|(?<!\#)\#{3,6}(?!\#)(?=[ \t]*[*_]*[(\[]?(?:[A-Z]|[0-9])[)\]]?[*_.]*[ \t]*(?:\n|$))"
    r"|\b(?:I|we)(?:[’']d| would| will|[’']ll| should| must)? (?:choose|pick|select|go with)\b",
    re.IGNORECASE,
)
_LETTER = r"(?:\(\s*(?P<{0}>[A-Za-z]|[0-9]{{1,2}})\s*\)|(?P<{0}bare>[A-Z]|[0-9]{{1,2}}))"
# Weaker: the option comes first ("Option B is correct"), or is the only one of which something is said.
_AFTERWARDS = re.compile(
    rf"(?<![\w(])(?:{_LETTER.format('first')}|(?P<text>\x00[0-9]+\x00)\.?) (?:alone )?(?:is|must be|would be"
    rf"|has to be|seems(?: to be)?) "
    r"(?:therefore |clearly |thus |indeed |definitely |probably |most likely |likely )?(?:the )?"
    r"(?:(?:most \w+|only|best|single|one) )?(?:correct|right|best|true|answer|option|choice|one that|most \w+)\b"
    rf"|\b[Oo]nly (?:(?:the )?(?:option|choice|answer|statement"
    rf"|letter) )?{_LETTER.format('only')}(?!\s*(?:,|and\b|or\b|&|/))"
    r"(?! (?:is|are|was|seems) (?:not|never|wrong|incorrect|false|untrue|too|un\w+|im\w+|in\w+)\b"
    r"| (?:\w+n[’']t|cannot|can not|does not|fails?)\b)"
    r" [a-z]\w*",
)
_CONCLUDED = re.compile(
    r"(?:\b(?:hence|therefore|thus|so|consequently|it(?:[’']s| is| must be| has to be| should be"
    r"| would be)|that(?:[’']s| is)"
    r"|must be|I(?:[’']d| would)? (?:think|believe|guess|say)(?: (?:that )?it(?:[’']s| is| would be| must be))?"
    r"|leav(?:es|ing)(?: us)?(?: with)?(?: only)?|left with(?: only)?|(?:^|(?<=[\n.!] ))(?:choose|pick"
    r"|select)|all but|go(?:ing)? with|(?:most "
    r"|very )?(?:likely|probably)"
    r"|definitely|certainly|surely|clearly|obviously)\b[:,]?\s*)+(?:(?:the )?(?:answer|option|choice|letter)\s+)?"
    r"(?:\(\s*(?P<round>[A-Za-z]|[0-9]{1,2})\s*\)|(?P<bare>[A-Z]|[0-9]))"
    r"(?=\s*(?:$|\n|[.,;:!](?!\w)|\)|\(|\bbecause\b|\bsince\b|\bas\b))",
    re.IGNORECASE,
)
# "not A but B", of which B is left.
_CORRECTED = re.compile(
    r"\bnot (?:(?:option|choice) )?\(?[A-Z0-9]\)?,? but (?:rather )?(?=(?:option |choice )?\(?[A-Z0-9]\)?(?!\w))"
)
_LISTED = re.compile(r"(?<!\w)\(?[A-Z0-9]\)?\s*(?:,|/|&|and|or)+\s*\(?\Z")
_DENIED = re.compile(r"(?:n[’']t|\bnot|\bcannot|\bnever|\bdoubt)\s+(?:\w+\s+){0,2}\Z", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,300})\*\*")

# "Option", "The correct answer is", "therefore": words before the option itself.
_TITLE = re.compile(
    r"[\s>#,∴✅✓☑→]*(?:(?:(?:the |my )?(?:(?:correct|final|right|best) )?(?:answer|option|choice"
    r"|letter)\b\s*(?:is\b)?\s*[:=]?"
    r"|(?:therefore|thus|hence|indeed|most|very|almost|likely|just|only|of course|in fact|without (?:a "
    r"|any )?doubt|still|actually"
    r"|[a-z]{3,}ly)\b,?)\s*)*",
    re.IGNORECASE,
)
_HEAD = re.compile(
    r"(?P<open>[(\[])?\s*(?P<token>[A-Za-z]|[0-9]{1,2})(?![^\W_]|[’'.]\w)(?P<close>\s*[)\]])?(?P<rest>.*)"
)
# What shows that a letter is an option and no word: the end of the line or clause, or a word that goes on about it.
_CLOSED = re.compile(r"\s*(?:$|[:,;!—–]|\.(?!\w)|-\s)")
_FOLLOWED = re.compile(r"\s+(?:\(|-|–|—|(?:because|since|as|for|which|due|rather|not|is|and|but|with)\b)")
_ITEM = re.compile(r"\.\s+\w")  # "1. First, …"
# One more option, or several, up to the sentence's end: "A or B", "A, B and C", "(A) a coat and (C) a cube".
_MORE = (
    r"(?:\([^()\n]{{1,80}}\)\s*)?(?:(?:,|/|&|\band\b|\bor\b)\s*)+(?:(?:option|choice|also"
    r"|both)\s+)?\(?(?P<{}>[A-Za-z]|[0-9]{{1,2}})\)?\s*"
)
_ANOTHER = re.compile(
    rf"\s*{_MORE.format('one')}(?:{_MORE.format('last')})*(?:\([^()\n]{{1,80}}\)\s*)?(?:$|[.;!,](?!\s*[A-Za-z]\b))"
)
_SEPARATOR = re.compile(r"(?:[\s.:,)\](\[]|[–—-]\s)*")
_SURELY = re.compile(
    r"[,\s]*(?:(?:most |very |almost )?(?:likely|[a-z]{3,}ly)|for sure|✓|✅|✔)[.!\s]*\Z", re.IGNORECASE
)


def _clean(text: str) -> str:
    """The text without emphasis and LaTeX around words."""
    return _NOISE.sub("", text).strip()


def _same(text: str) -> str:
    """What two spellings of an option's text share."""
    return re.sub(r"^(?:the|an?) ", "", " ".join(_clean(text).split()).rstrip(".!;:,)] ").casefold())


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
            if another and any(self._named(one) not in (None, named) for one in another.group("one", "last") if one):
                return None
            texted = self._with_text(_SEPARATOR.sub("", head["rest"], count=1)) == named
            item = head["token"].isdigit() and not head["close"] and _ITEM.match(head["rest"])
            bracketed = head["close"] or (_CLOSED.match(head["rest"]) and not item)
            going_on = not head["token"].islower() and _FOLLOWED.match(head["rest"])
            label = named if texted or bracketed or going_on else None
            if label and head["token"].casefold() in self._labels:
                return label
        # Words before an option may be its own: "definitely only the Sun".
        cut = title.end() if title else 0
        starts = (0, *(word.end() for word in islice(re.finditer(r"\s+", whole[:cut]), 4)))
        return (
            self._with_text(line) or next(filter(None, (self._with_text(whole[at:]) for at in starts)), None) or label
        )

    def label(self, token: str) -> str | None:
        """The label that a token means: a letter, a digit, or the place of an option that `marked` wrote."""
        return self._in_order[int(token.strip("\x00"))] if token.startswith("\x00") else self._named(token)

    def marked(self, text: str) -> str:
        """A text with the texts of options as their places between two signs that no text has; the longest first."""
        text = text.replace("\x00", "")
        places = {option[1]: place for place, option in enumerate(self._texts) if len(option[0]) > 2}
        if not places:
            return text
        words = "|".join(re.escape(words) for words in sorted(places, key=len, reverse=True))
        folded = {words.casefold(): place for words, place in places.items()}
        return re.sub(
            rf"(?<!\w)(?:(?:the|an?) )?({words})(?!\w)(?=\.? (?:is|must|would|has|seems)\b)",
            lambda match: (
                f"\x00{folded.get(match[1].casefold(), 0)}\x00" if match[1].casefold() in folded else match[0]
            ),
            text,
            flags=re.IGNORECASE,
        )

    def alone(self, text: str) -> str | None:
        """The option that `text` is: its label, its text, or both, and nothing else but how sure it is."""
        return self._alone(text) or self._alone(_SURELY.sub("", text))

    def _alone(self, text: str) -> str | None:
        label = self.read(text)
        if label is None:
            return None
        same, rest = next(option[0] for option in self._texts if option[2] == label), _clean(text).lstrip("#> ")
        title = _TITLE.match(rest)
        head = _HEAD.match(rest, title.end() if title else 0)
        after = _same(_SEPARATOR.sub("", head["rest"], count=1)) if head else None
        return label if _same(rest) == same or after in ("", same) else None


def _only(found: Sequence[str | None]) -> str | None:
    """The one option among what was found; None for a list of several, which states nothing."""
    options = {label for label in found if label}
    return options.pop() if len(options) == 1 else None


def _strong(text: str, options: _Options) -> list[str]:
    """What is stated as the answer, in order."""
    statements = boxes(text) + [(match.end(), text[match.end() :][:400].lstrip()) for match in _STATED.finditer(text)]
    statements += tagged(text)
    return [label for _, statement in sorted(statements) if (label := options.read(statement))]


def _weak(text: str, options: _Options) -> list[str]:
    """What is called right, or is concluded, in order; the former counts more."""
    clean = options.marked(re.sub(r"[*_`]", "", text))
    called = [
        (match, match["first"] or match["firstbare"] or match["only"] or match["onlybare"] or match["text"])
        for match in _AFTERWARDS.finditer(clean)
    ]
    named = [
        options.label(token)
        for match, token in called
        if not _DENIED.search(clean, max(0, match.start() - 40), match.start())
        and (token.startswith("\x00") or not _LISTED.search(clean, max(0, match.start() - 20), match.start()))
    ]
    if found := [label for label in named if label]:
        return found
    concluded = [
        options.label(match["round"] or match["bare"])
        for match in _CONCLUDED.finditer(clean)
        if (match["round"] or match["bare"].isupper() or options.label(match["bare"]) == match["bare"])
        and not _DENIED.search(clean, max(0, match.start() - 40), match.start())
        and not _ANOTHER.match(clean, match.end())
    ]
    return [label for label in concluded if label]


def arc_answer(response: str, labels: Sequence[str], texts: Sequence[str]) -> str | None:
    r"""The question's own label of the option that was stated last.

    Stated is \boxed{B}, "The answer is B", "Answer: (b)", "The best choice is B", "#### B", <answer>B</answer>, each
    also with the option's text; else "Option B is correct" and "Only B works"; else "Hence (B)." and "most likely B";
    else the only option in bold; else the only line that is nothing but an option. A digit means the option at that
    place where labels are letters and no option has that text, and the other way round. A capital that may be a word
    ("A community"), a denial and several options at once state nothing. A response ends at a question of its own.
    """
    text = visible(response)
    if text is None:
        return None
    options = _Options(labels, texts)
    text = _CORRECTED.sub("", text)
    text = own_turn(text, lambda before: bool(_strong(before, options)))
    if found := _strong(text, options) or _weak(text, options):
        return found[-1]
    bold = _only([options.read(match[1]) for match in _BOLD.finditer(text)])
    return bold or _only([options.alone(line) for line in text.splitlines()])
