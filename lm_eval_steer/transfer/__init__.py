"""From the parent's space to the child's: which block feeds which, and how widths are matched."""
