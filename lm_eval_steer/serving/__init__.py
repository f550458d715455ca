"""Steering inside `vllm serve`: vectors of a folder, chosen and scaled by each request of the OpenAI API."""
