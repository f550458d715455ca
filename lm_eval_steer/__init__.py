"""Steering vectors inside EleutherAI's lm-evaluation-harness.

Importing this package imports neither torch nor transformers; ask for what you need by module:
`lm_eval_steer.vectors.vector.SteeringVector`, `lm_eval_steer.models.hf.SteeredHF`.
"""

__version__ = "0.1.0"
