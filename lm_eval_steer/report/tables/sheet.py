"""CSV's flat layout: one line per row, one column per number."""

from __future__ import annotations

from typing import Any

_ARMS = ("best", "vote")
_CHANGE = ("change", "percent", "low", "high", "mcnemar_p", "holm_p", "mde", "verdict")
_RANDOM = ("seeds", "mean", "least", "most", "difference", "low", "high", "p", "verdict")
_KEYS = ("child", "parent", "vector", "task", "group", "metric", "n", "baseline", "best", "best_alpha", "unit", "vote")


def sheet(entries: list[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Columns and lines. Arms but `best` and `vote` have a score, a p by Holm and a verdict each."""
    others = list(dict.fromkeys(arm for one in entries for arm in one["scores"] if arm not in ("baseline", *_ARMS)))
    columns = [*_KEYS, "vote_size", "baseline_low", "baseline_high"]
    columns += [f"{arm}_{name}" for arm in _ARMS for name in _CHANGE]
    columns += [f"{arm}_random_{name}" for arm in _ARMS for name in _RANDOM]
    columns += [f"{arm} {name}" for arm in others for name in ("score", "change", "holm_p", "verdict")]
    columns += ["baseline_tokens", "best_tokens", "vote_tokens", "seconds"]
    lines = []
    for one in entries:
        baseline = one["scores"].get("baseline", {})
        line: list[object] = [one[key] for key in (*_KEYS, "vote_size")]
        line += [baseline.get("low"), baseline.get("high")]
        line += [one["changes"].get(arm, {}).get(name) for arm in _ARMS for name in _CHANGE]
        line += [one["random"].get(arm, {}).get(name) for arm in _ARMS for name in _RANDOM]
        for arm in others:
            line.append(one["scores"].get(arm, {}).get("score"))
            line += [one["changes"].get(arm, {}).get(name) for name in ("change", "holm_p", "verdict")]
        line += [one["tokens"].get(arm) for arm in ("baseline", *_ARMS)]
        line.append(round(sum(one["seconds"].values()), 1) if one["seconds"] else None)
        lines.append(line)
    return columns, lines
