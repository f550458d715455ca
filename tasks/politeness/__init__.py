"""Stems of talk with a polite and a rude ending, made by this project: a second concept whose answer is known."""
