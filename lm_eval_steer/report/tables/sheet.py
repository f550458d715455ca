"""CSV's flat layout: one line per row, one column per number."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

_ARMS = ("best", "vote")
_CHANGE = ("change", "percent", "low", "high", "mcnemar_p", "holm_p", "mde", "verdict")
_RANDOM = ("seeds", "mean", "least", "most", "difference", "low", "high", "p", "verdict")
_KEYS = ("child", "parent", "vector", "task", "group", "metric", "n", "baseline", "best", "best_alpha", "unit", "vote")


def sheet(entries: list[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Columns and lines. Arms but `best` and `vote` have a score, a p by Holm and a verdict each."""
    others = list(dict.fromkeys(arm for one in entries for arm in one["scores"] if arm not in ("baseline", *_ARMS)))
    lines = [_line(one, others) for one in entries]
    return list(lines[0]), [list(line.values()) for line in lines]


def _line(one: dict[str, Any], others: list[str]) -> dict[str, object]:
    """Column -> what an entry has there; None where it has nothing."""
    scores, changes, random = (defaultdict(dict, one[key]) for key in ("scores", "changes", "random"))
    line: dict[str, object] = {key: one[key] for key in (*_KEYS, "vote_size")}
    line |= {f"baseline_{end}": scores["baseline"].get(end) for end in ("low", "high")}
    line |= {f"{arm}_{name}": changes[arm].get(name) for arm in _ARMS for name in _CHANGE}
    line |= {f"{arm}_random_{name}": random[arm].get(name) for arm in _ARMS for name in _RANDOM}
    for arm in others:
        line[f"{arm} score"] = scores[arm].get("score")
        line |= {f"{arm} {name}": changes[arm].get(name) for name in ("change", "holm_p", "verdict")}
    line |= {f"{arm}_tokens": one["tokens"].get(arm) for arm in ("baseline", *_ARMS)}
    return line | {"seconds": round(sum(one["seconds"].values()), 1) if one["seconds"] else None}
