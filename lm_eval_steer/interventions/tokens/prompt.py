"""`prompt`: the positions of the prompt, or of the context of a continuation."""

from lm_eval_steer.interventions.tokens.rule import TokenRule

PROMPT = TokenRule(begin=None, end=0)
