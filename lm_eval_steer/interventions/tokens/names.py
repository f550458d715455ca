"""Token rules by name: entries of the table, windows, and either of them with what tokens have to match."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.tokens.all import ALL
from lm_eval_steer.interventions.tokens.generated import GENERATED
from lm_eval_steer.interventions.tokens.last import LAST
from lm_eval_steer.interventions.tokens.match import KIND, read_match
from lm_eval_steer.interventions.tokens.prompt import PROMPT
from lm_eval_steer.interventions.tokens.rule import TokenRule
from lm_eval_steer.interventions.tokens.windows import window, window_name
from lm_eval_steer.table import Table

TOKENS: Table[TokenRule] = Table("token rule", {"all": ALL, "prompt": PROMPT, "generated": GENERATED, "last": LAST})


def canonical(name: str) -> str | None:
    """The one spelling of a window or a match, or the name of the rule that it is; None for what is neither."""
    among, said = _parts(name)
    if said is None:
        return window_name(name)
    among = window_name(among) or among
    match = read_match(said)
    if match is None or not (among in TOKENS or window(among)):
        return None
    return match.spelt if among == "all" else f"{among}:{match.spelt}"


def token_rule(name: str, tokenizer: Callable[[], Any] | None = None) -> TokenRule:
    """The rule of a name in its one spelling.

    Args:
        name: of a window, an entry of the table, or one of them with a match.
        tokenizer: gives the tokenizer that says what tokens stand for, where texts are matched.

    Raises:
        SteeringError: where there is none.
    """
    among, said = _parts(name)
    rule = window(among) or TOKENS[among]
    if said is None:
        return rule
    match = read_match(said)
    if match is None:
        raise SteeringError(f"{KIND}{said} matches nothing: give token ids, as in match:[198,271], or a text in quotes")
    return replace(rule, match=replace(match, tokenizer=tokenizer))


def token_rules(names: Iterable[str], tokenizer: Callable[[], Any] | None = None) -> list[TokenRule]:
    """The rules of several names, each made once.

    Raises:
        SteeringError: where there is none, and for a text to be matched that `tokenizer` cannot tell.
    """
    names = list(names)
    found = {name: token_rule(name, tokenizer) for name in dict.fromkeys(names)}
    for rule in found.values():
        _ = rule.match and rule.match.automaton  # so that what is wrong is told before a model runs
    return [found[name] for name in names]


def _parts(name: str) -> tuple[str, str | None]:
    """The rule that says among which positions, and what is to be matched; None for the second where nothing is."""
    if name.strip().startswith(KIND):
        return "all", name.strip().removeprefix(KIND)
    among, colon, said = name.partition(f":{KIND}")
    return (among.strip(), said) if colon else (name, None)
