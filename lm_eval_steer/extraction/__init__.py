"""From a parent model and a task to a steering vector (Algorithm 1 of the paper)."""
