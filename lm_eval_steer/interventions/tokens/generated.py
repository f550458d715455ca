"""`generated`: the last position of the prompt and all behind it, which are those that predict the response."""

from lm_eval_steer.interventions.tokens.rule import TokenRule

GENERATED = TokenRule(begin=-1, end=None)
