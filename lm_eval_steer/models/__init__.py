"""Model classes of the harness (hf.py) and the plan that all of them serve (plan.py)."""
