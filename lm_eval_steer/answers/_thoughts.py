r"""What a model thinks before it speaks is no part of what it says.

Known are the marks of the families that have them: `<think>…</think>` and its like (`<thinking>`, `<seed:think>`,
`[THINK]`, `<|START_THINKING|>`, `◁think▷`, `<reasoning>`), Granite's two headings, Gemma's channel, and the channels of
harmony (gpt-oss), with their special tokens or without them.
"""

import re
from collections import deque


def _tag(names: str) -> tuple[str, str]:
    """The opening and the closing tag of these names: <think>, <seed:think>, <|think|>, ◁think▷, </think>, ◁/think▷."""
    rest = rf"(?:[a-z]\w*:)?(?:{names})(?:\s[^<>\n]{{0,40}})?\|?[>▷]"
    return rf"[<◁]\|?{rest}", rf"[<◁]\|?/\|?{rest}"


def _either(*patterns: tuple[str, str]) -> tuple[str, str]:
    return "|".join(opening for opening, _ in patterns), "|".join(closing for _, closing in patterns)


# What opens a thought and what closes it. A thought is closed by a mark of its own kind only.
_KINDS = {
    "think": _either(
        _tag(r"(?!start_|end_|begin_)[\w.-]{0,20}(?:think|thought)\w{0,20}"),
        (r"<unused94>", r"<unused95>"),
        (r"\[think(?:ing)?\]", r"\[/think(?:ing)?\]"),
        (r"<\|start_(?:of_)?think(?:ing)?\|>", r"<\|end_(?:of_)?think(?:ing)?\|>"),
        (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
        (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    ),
    "reasoning": _tag("reasoning|reason"),
    "scratchpad": _tag("scratchpad"),
    "reflection": _tag("reflection"),
    "analysis": _tag("analysis"),
    "granite": (r"Here(?:[’']s| is) my thought process:", r"Here(?:[’']s| is) my response:"),
    "gemma": (r"<\|channel>", r"<channel\|>"),
    "harmony": (
        # Without special tokens the channel's name is glued to what follows it.
        r"<\|channel\|>\s*(?:analysis|commentary)(?:[^<\n]{0,60}<\|message\|>)?"
        r"|(?-i:\A\s*analysis(?=[^\W_]|[\"“‘$\\*(])|assistant(?:analysis|commentary))",
        r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>|(?-i:assistantfinal)",
    ),
}
_MARK = re.compile(
    "|".join(rf"(?P<open_{kind}>{opening})|(?P<close_{kind}>{closing})" for kind, (opening, closing) in _KINDS.items()),
    re.IGNORECASE,
)
# A prompt that only mentions a mark goes on with another turn after it.
_TURN = re.compile(
    r"<\|?[a-z_]+\|?>|</?s>|\[/?INST\]|[\n ](?:Q|A|Question|Answer|Problem|User|Human|Assistant)\s?:", re.IGNORECASE
)


def visible(response: str, prompt: str = "") -> str | None:
    """The response without its thoughts; None where thinking never ends, so that nothing was said.

    A closing mark alone ends a thought that was opened before the response. Where the prompt is given, a response that
    goes on with a thought opened there (`opened_thought`) says nothing until that thought is closed.
    """
    text = opened_thought(prompt) + response
    parts: list[str] = []
    begin, thought = 0, ""
    for mark in _MARK.finditer(text):
        does, _, kind = str(mark.lastgroup).partition("_")
        if does == "open" and not thought:
            parts.append(text[begin : mark.start()])
            thought = kind
        elif does == "close" and thought in ("", kind):
            if not thought:
                parts.clear()
            begin, thought = mark.end(), ""
    return None if thought else " ".join([*parts, text[begin:]])


def opened_thought(prompt: str) -> str:
    """The mark of a thought that the prompt opens and leaves open, as many chat templates do; else nothing."""
    last = deque(_MARK.finditer(prompt), maxlen=1)
    if not last or not str(last[0].lastgroup).startswith("open"):
        return ""
    before, behind = prompt[: last[0].start()].rstrip(" "), prompt[last[0].end() :]
    if behind.strip() and (_TURN.search(behind) or before[-1:] not in ("", *"\n>]▷:")):
        return ""
    return last[0][0]
