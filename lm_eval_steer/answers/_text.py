r"""What every kind of answer shares: the word for none, boxes and tags."""

import re

NO_ANSWER = "[no answer]"
"""What a task writes for None; no target equals it."""

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])[ \t]*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace, and the second backslash of a line break, open nothing
_BARE = re.compile(r"[^\s${}]+")


def tagged(text: str) -> list[tuple[int, str]]:
    """Where each <answer>…</answer> begins and what it holds; up to the end where the last is not closed."""
    found = re.finditer(r"<(?:final[_ ]?)?answer>(.*?)(?:</(?:final[_ ]?)?answer>|\Z)", text, re.IGNORECASE | re.DOTALL)
    return [(match.start(), content) for match in found if (content := match[1].strip())]


def boxes(text: str) -> list[tuple[int, str]]:
    r"""Where each \boxed{…} and \fbox{…} begins and what it holds, inner boxes after those around them.

    Braces may nest. A box that never closes is left out, and so is an empty one (an echo of the instruction). Without
    braces (`\boxed 2`, as two solutions of MATH have it) a box holds the next word.
    """
    closing: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif brace[0] == "}" and opened:
            closing[opened.pop()] = brace.start()
    found = []
    for box in _BOX.finditer(text):
        start = box.end()
        if text[start : start + 1] == "{":
            content = text[start + 1 : closing.get(start, start + 1)]
        else:
            bare = _BARE.match(text, start)
            content = bare[0].rstrip(".,;:") if bare else ""
        if content := content.strip():
            found.append((box.start(), content))
    return found
