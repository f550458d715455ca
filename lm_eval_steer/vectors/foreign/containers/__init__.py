"""Containers that vectors come in, each read without running code and without room that the file does not fill."""
