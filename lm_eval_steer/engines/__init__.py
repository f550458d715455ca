"""Programs that run a steered model: they know tokens, tensors and interventions, and nothing of the harness."""
