"""Steering vectors shipped with the package, each with its passport as a .md file beside it."""
