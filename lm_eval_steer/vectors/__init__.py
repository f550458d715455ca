"""Steering vectors as files: where they come from, what they hold, and how alike they are."""
