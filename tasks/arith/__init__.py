"""Arithmetic word problems made by this project."""
