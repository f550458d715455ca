"""GSM8K with the paper's prompt."""
