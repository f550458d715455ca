"""Token rules: which positions are steered, the table of the `tokens` argument, one file each.

| tokens    | generate_until                        | loglikelihood                                              |
|-----------|---------------------------------------|------------------------------------------------------------|
| all       | every prompt and generated position   | every context and continuation position                    |
| prompt    | prompt positions                      | context positions                                          |
| generated | last prompt position, generated ones  | last context position to the last but one continuation one |
| last      | last prompt position                  | last context position                                      |

Padding is never steered. loglikelihood_rolling has no prompt and takes `all` only.
"""

from __future__ import annotations

from lm_eval_steer.interventions.tokens.all import ALL
from lm_eval_steer.interventions.tokens.generated import GENERATED
from lm_eval_steer.interventions.tokens.last import LAST
from lm_eval_steer.interventions.tokens.masks import generation_mask, scoring_mask
from lm_eval_steer.interventions.tokens.prompt import PROMPT
from lm_eval_steer.interventions.tokens.rule import TokenRule
from lm_eval_steer.table import Table

__all__ = ["TOKENS", "TokenRule", "generation_mask", "scoring_mask"]

TOKENS: Table[TokenRule] = Table("token rule", {"all": ALL, "prompt": PROMPT, "generated": GENERATED, "last": LAST})
