"""Neutral stems with a positive and a negative ending, made by this project: the positive control."""
