"""Running a steered model on many rows, without running twice what rows have in common."""
