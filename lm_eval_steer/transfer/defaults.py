"""What a transfer does where nothing is said. The help of the command shows it, so nothing is imported here."""

from __future__ import annotations

WIDTH_MAP = "procrustes"
LAYER_MAP = "proportional"
TOKENS = "all"
TOKEN_RULES = ("last", "mean", "all")
"""Which states of a text are read (transfer/tokens.py)."""
TEXTS = 1400
"""How many texts are read, or all that there are where a task or a file has fewer."""
HELD_OUT = 0.1
"""The share of the texts that no map is fitted on."""
