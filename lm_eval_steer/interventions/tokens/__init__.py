"""Token rules: which positions are steered, the table of the `tokens` argument, one file each.

| tokens    | generate_until                        | loglikelihood                                              |
|-----------|---------------------------------------|------------------------------------------------------------|
| all       | every prompt and generated position   | every context and continuation position                    |
| prompt    | prompt positions                      | context positions                                          |
| generated | last prompt position, generated ones  | last context position to the last but one continuation one |
| last      | last prompt position                  | last context position                                      |

Padding is never steered. loglikelihood_rolling has no prompt and takes `all` only, and `match:`. Windows (windows.py)
are rules by number: `first:N`, `after:N`, `last:-N`. `match:` (match.py) keeps of a rule's positions those whose tokens
are some, or complete a text.
"""

from __future__ import annotations

from lm_eval_steer.interventions.tokens.masks import generation_mask, scoring_mask
from lm_eval_steer.interventions.tokens.names import TOKENS, canonical, token_rule, token_rules
from lm_eval_steer.interventions.tokens.rule import TokenRule

__all__ = ["TOKENS", "TokenRule", "canonical", "generation_mask", "scoring_mask", "token_rule", "token_rules"]
