"""Token rules: which positions are steered, the table of the `tokens` argument, one file each.

| tokens    | generate_until                        | loglikelihood                                              |
|-----------|---------------------------------------|------------------------------------------------------------|
| all       | every prompt and generated position   | every context and continuation position                    |
| prompt    | prompt positions                      | context positions                                          |
| generated | last prompt position, generated ones  | last context position to the last but one continuation one |
| last      | last prompt position                  | last context position                                      |

Padding is never steered. loglikelihood_rolling has no prompt and takes `all` only. Windows (windows.py) are rules by
number: `first:N`, `after:N`, `last:-N`.
"""

from __future__ import annotations

from lm_eval_steer.interventions.tokens.all import ALL
from lm_eval_steer.interventions.tokens.generated import GENERATED
from lm_eval_steer.interventions.tokens.last import LAST
from lm_eval_steer.interventions.tokens.masks import generation_mask, scoring_mask
from lm_eval_steer.interventions.tokens.prompt import PROMPT
from lm_eval_steer.interventions.tokens.rule import TokenRule
from lm_eval_steer.interventions.tokens.windows import canonical, window
from lm_eval_steer.table import Table

__all__ = ["TOKENS", "TokenRule", "canonical", "generation_mask", "scoring_mask", "token_rule"]

TOKENS: Table[TokenRule] = Table("token rule", {"all": ALL, "prompt": PROMPT, "generated": GENERATED, "last": LAST})


def token_rule(name: str) -> TokenRule:
    """The rule of a name: a window, or an entry of the table.

    Raises:
        SteeringError: where there is none.
    """
    return window(name) or TOKENS[name]
