"""`map-shuffled:N`: the parent's vector, carried by a map that was fitted on texts paired at random with seed N.

The map saw the same states of both models as the vector's own, but not which belong together: what it makes of the
parent's direction has the child's geometry and nothing of the concept. It is a file like any other, whose passport says
so (`transfer.shuffled`, docs/FORMAT.md).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from lm_eval_steer.interventions.controls.kind import Files, Kind
from lm_eval_steer.interventions.width_maps import WIDTH_MAPS, FittedMap

_SAME = ("width_map", "layer_map", "tokens", "apply_chat_template", "seed")
"""What a map and its shuffled twin share beside parents and texts; the seed says which of the texts were held out."""


def origin(passport: Mapping[str, Any]) -> str | None:
    """What makes a fitted map but the pairs of its texts: parents, maps, texts, seed; None where no map was fitted."""
    carried = passport.get("transfer")
    texts = carried.get("texts") if isinstance(carried, Mapping) else None
    if not isinstance(carried, Mapping) or not isinstance(texts, Mapping) or not _is_fitted(carried):
        return None
    parents = [
        [one.get("digest") or one.get("name"), one.get("fingerprint"), round(one.get("weight") or 0, 6)]
        for one in _parents(carried)
    ]
    told = {key: value for key, value in texts.items() if key not in ("name", "rows")}  # rows_sha256 is of the rows
    return json.dumps([parents, told, [carried.get(key) for key in _SAME]], sort_keys=True)


def seed(passport: Mapping[str, Any]) -> int | None:
    """The seed by which texts were paired; None where each was paired with itself."""
    carried = passport.get("transfer")
    found = carried.get("shuffled") if isinstance(carried, Mapping) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def command(passport: Mapping[str, Any], number: int, file: str) -> str:
    """The `lm-eval-steer transfer` command that writes the shuffled twin of a vector; VECTOR is what was carried."""
    carried = passport["transfer"]
    texts, parents = carried["texts"], _parents(carried)
    given = ["VECTOR", *(f"VECTOR{place}" for place in range(2, len(parents) + 1))]
    options = {"child": (carried.get("child") or {}).get("name")}
    weights = [one.get("weight") for one in parents]
    if len(parents) > 1 and len(set(weights)) > 1:
        options["weights"] = ",".join(map(str, weights))
    options |= {"width_map": _choice(carried.get("width_map")), "layer_map": _choice(carried.get("layer_map"))}
    if texts.get("source") == "file":
        options["texts"] = texts.get("name")
    else:
        options["task"] = ",".join(texts.get("tasks") or ())
    options |= {"n": texts.get("n"), "tokens": carried.get("tokens"), "seed": carried.get("seed")}
    switches = [f"--{name}" for name in ("apply_chat_template", "allow_leak") if carried.get(name)]
    said = [f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value not in (None, "")]
    last = [f"--shuffle_texts {number}", f"--out {shlex.quote(file)}"]
    return " ".join(["lm-eval-steer transfer", *given, *said, *switches, *last])


def _is_fitted(carried: Mapping[str, Any]) -> bool:
    """Whether its width map hangs on texts; `cut` does not, even where texts chose the blocks."""
    name = str((carried.get("width_map") or {}).get("name"))
    return name not in WIDTH_MAPS or isinstance(WIDTH_MAPS[name], FittedMap)


def _parents(carried: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parents = carried.get("parents")
    return [one for one in parents if isinstance(one, Mapping)] if isinstance(parents, list) else []


def _choice(told: Any) -> str | None:
    """A map as its option takes it: `ridge:0.05`, `cka`, `0:0,5:3`."""
    if not isinstance(told, Mapping):
        return None
    if isinstance(blocks := told.get("blocks"), Mapping):
        return ",".join(f"{child}:{parent}" for child, parent in blocks.items())
    parameters = [value for key, value in told.items() if key != "name"]
    return ":".join(map(str, [told.get("name"), *parameters]))


MAP_SHUFFLED = Kind(seeded=True, files=Files(origin, seed, command, "a map that was fitted from parent to child"))
