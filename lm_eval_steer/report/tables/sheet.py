"""CSV's flat layout: one line per row, one column per number."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

_ARMS = ("best", "vote")
_CHANGE = ("change", "percent", "low", "high", "mcnemar_p", "holm_p", "mde", "verdict")
_RANDOM = ("seeds", "mean", "least", "most", "difference", "low", "high", "p", "verdict")
_SHUFFLED = ("seeds", "mean", "least", "most", "difference", "low", "high", "p", "holm_p", "verdict")
_LENGTHS = ("mean_tokens", "cut")
_METRIC = ("score", "change", "low", "high", "p")
_RIVAL = ("difference", "low", "high", "p", "holm_p", "mde", "verdict", "rival_tokens", "rival_prompt_tokens")
_SHARE = {"share": "share_of_own", "low": "share_of_own_low", "high": "share_of_own_high"}
_COST = {"value": "cost_nll", "low": "cost_nll_low", "high": "cost_nll_high"}
_KEYS = ("child", "parent", "vector", "task", "group", "metric", "n", "baseline", "best", "best_alpha", "unit", "vote")


def sheet(entries: list[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Columns and lines. Arms but `best` and `vote` have a score, a p by Holm and a verdict each.

    Behind them stand rivals, the metrics beside the first, shares of own's effect and costs, where there are such.
    """
    others = list(dict.fromkeys(arm for one in entries for arm in one["scores"] if arm not in ("baseline", *_ARMS)))
    lines = [_line(one, others) for one in entries]
    beside = [_beside(one) for one in entries]
    more = list(dict.fromkeys(name for line in beside for name in line))
    columns = [*lines[0], *more]
    return columns, [
        [*line.values(), *(found.get(name) for name in more)] for line, found in zip(lines, beside, strict=True)
    ]


def _beside(one: dict[str, Any]) -> dict[str, object]:
    """Column, as in `best log_odds,none change`, -> what an entry says of rivals, other metrics, shares, costs."""
    line: dict[str, object] = {
        f"{arm} - {rival} {name}": found[name]
        for arm, against in one["rivals"].items()
        for rival, found in against.items()
        for name in _RIVAL
    }
    for metric, found in one["metrics"].items():
        for arm, score in found["scores"].items():
            told = score | found["changes"].get(arm, {})  # ends are those of the change, where there is one
            line |= {f"{arm} {metric} {name}": told.get(name) for name in _METRIC}
    for arm, shares in one["shares"].items():
        for metric, share in shares.items():
            line |= {f"{arm} {metric} {name}": share[key] for key, name in _SHARE.items()}
    for arm, cost in one["cost_nll"].items():
        line |= {f"{arm} {name}": cost[key] for key, name in _COST.items()}
    return line


def _line(one: dict[str, Any], others: list[str]) -> dict[str, object]:
    """Column -> what an entry has there; None where it has nothing."""
    scores, changes, random, shuffled = (
        defaultdict(dict, one[key]) for key in ("scores", "changes", "random", "map_shuffled")
    )
    line: dict[str, object] = {key: one[key] for key in (*_KEYS, "vote_size")}
    line |= {f"baseline_{end}": scores["baseline"].get(end) for end in ("low", "high")}
    line |= {f"{arm}_{name}": changes[arm].get(name) for arm in _ARMS for name in _CHANGE}
    line |= {f"{arm}_random_{name}": random[arm].get(name) for arm in _ARMS for name in _RANDOM}
    line |= {f"{arm}_map_shuffled_{name}": shuffled[arm].get(name) for arm in _ARMS for name in _SHUFFLED}
    for arm in others:
        line[f"{arm} score"] = scores[arm].get("score")
        line |= {f"{arm} {name}": changes[arm].get(name) for name in ("change", "holm_p", "verdict")}
    line |= {f"{arm}_tokens": one["tokens"].get(arm) for arm in ("baseline", *_ARMS)}
    line |= {f"{arm}_prompt_tokens": one["prompt_tokens"].get(arm) for arm in ("baseline", *_ARMS)}
    for arm in ("baseline", *_ARMS):
        line |= {f"{arm}_{key}": one["lengths"].get(arm, {}).get(key) for key in _LENGTHS}
    for arm in others:
        line |= {f"{arm} {key}": one[key].get(arm) for key in ("tokens", "prompt_tokens")}
        line |= {f"{arm} {key}": one["lengths"].get(arm, {}).get(key) for key in _LENGTHS}
    return line | {"seconds": round(sum(one["seconds"].values()), 1) if one["seconds"] else None}
