"""`last`: the last position of the prompt, once."""

from lm_eval_steer.interventions.tokens.rule import TokenRule

LAST = TokenRule(begin=-1, end=0)
