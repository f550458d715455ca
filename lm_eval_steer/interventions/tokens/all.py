"""`all`: every position of prompt and response."""

from lm_eval_steer.interventions.tokens.rule import TokenRule

ALL = TokenRule(begin=None, end=None)
