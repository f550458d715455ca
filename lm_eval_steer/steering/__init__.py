"""Adding a vector to the residual stream of a transformers model."""
