"""How many rows a batch has: what the user chose, or `auto`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval_steer.errors import is_lm_eval_command


def chosen_batch_size(arguments: Mapping[str, Any]) -> Any:
    """The batch size that the user gave a model class of the harness; None where nobody gave one.

    The command `lm_eval` hands on the number 1 where none is given, and text where one is (0.4.13, _cli/run.py:
    `--batch_size` is of type str, EvaluatorConfig's default of type int). A 1 in the file of its `--config` cannot be
    told from its default, and counts as given.
    """
    size = arguments.get("batch_size")
    is_default = type(size) is int and size == 1 and is_lm_eval_command() and not _has_config(sys.argv)
    return None if is_default else size


def _has_config(argv: Sequence[str]) -> bool:
    return any(word.startswith(("--config", "-C")) for word in argv)


def bounded(lengths: Sequence[int], bytes_each: int, limit: int, most: int | None = None) -> list[list[int]]:
    """Numbers of rows in their order, in batches of `most` rows whose rows x longest row stay below a limit.

    Args:
        lengths: positions of each row.
        bytes_each: that a position takes.
        limit: bytes of a batch; a row that takes more by itself is a batch.
        most: rows of a batch; None for no such bound.
    """
    batches: list[list[int]] = []
    longest = 0
    for number, length in enumerate(lengths):
        if batches and len(batches[-1]) != most:
            longest = max(longest, length)
            if (len(batches[-1]) + 1) * longest * bytes_each <= limit:
                batches[-1].append(number)
                continue
        batches.append([number])
        longest = length
    return batches
