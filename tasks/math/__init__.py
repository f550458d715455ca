"""MATH and MATH-500 with the paper's prompt."""
