"""ARC-Challenge with the paper's prompt."""
