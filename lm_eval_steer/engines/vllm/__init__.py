"""The engine of `steered-vllm`; nothing else imports vLLM."""
