"""The engine of `steered-hf`: transformers, requests x interventions as rows of one batch."""
