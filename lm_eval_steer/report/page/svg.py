"""A figure within a page: an SVG element of its own names, without what belongs to a file."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_LEFT_OUT = {f"{_SVG}metadata", f"{_SVG}style"}
"""The style is one rule for all elements of the page; page.css has it for figures."""


def inline(content: bytes, prefix: str, label: str) -> str:
    """An SVG file as an element for HTML.

    Args:
        content: of the file.
        prefix: before every id, so that two figures of a page share none.
        label: what a screen reader says.
    """
    root = ElementTree.fromstring(content)
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in _LEFT_OUT]:
            parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            element.attrib[key.removeprefix(_XLINK)] = _own(key, value, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _own(key: str, value: str, prefix: str) -> str:
    """An attribute whose ids bear the prefix."""
    if key == "id":
        return prefix + value
    if key.removeprefix(_XLINK) == "href":
        return re.sub(r"^#", f"#{prefix}", value)
    return re.sub(r"url\(#", f"url(#{prefix}", value)
