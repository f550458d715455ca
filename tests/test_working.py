"""Whether a response reasons: responses as models write them, published solutions, and their bare answers."""

from __future__ import annotations

import pytest

from lm_eval_steer.answers import reasons
from lm_eval_steer.tasks.arith import generate

DUCKS = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg. How much in "
    "dollars does she make every day at the farmers' market?"
)

BARE = [
    "",
    "18",
    " 18.",
    "$18",
    "**18**",
    "18 dollars",
    "18 dollars per day.",
    "#### 18",
    "The answer is 18.",
    " The answer is $18.00.\n\n",
    "The final answer is: 18",
    "Answer: 18",
    "So the answer is 18.",
    r"\boxed{18}",
    "<answer>18</answer>",
    "She makes $18 every day at the farmers' market.",
    "Janet makes 18 dollars.",
    "The answer is 18.\n\nExplanation: 16 - 3 - 4 = 9 and 9 * 2 = 18.",
    "18\n\nJanet has 16 - 7 = 9 eggs. She makes 9 * 2 = 18 dollars.",
    "18. She has 16 - 7 = 9 eggs and sells them for $2.",
    "The answer is 18. The answer is 18. The answer is 18.",
    "Janet's ducks lay 16 eggs per day. The answer is 18.",
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. The answer is 18.",
    "I do not know. It is hard to say. The answer is 18.",
    "It is between 10-20 dollars.",
    "In 2020 she made 1/2 of it.",
    "The answer is 18.\nQ: Tom has 3 + 4 = 7 apples. How many?\nA: 3 + 4 = 7. The answer is 7.",
    "18\n\nQuestion: What is 2 + 2 = 4?\nAnswer: 2 + 2 = 4",
    "She makes her money. The market is open. She has 16 eggs.",
    "The answer is 18 - no, wait.",
    "There are 9 eggs left because 16 minus 7 is 9.",
    "First, I add what she uses: 3 + 4.\nThen",
    " 9 + 8 = 17, 17 + 1 = 20, 20 + 1 = 21, 21 + 1 = 22, 22 + 1 = 23, 23 + 1 = 24, 24 + 1",
    " 12 x 3 = 36. 36 - 12 = 12. 12 + 12 = 24. 24 - 12 = 12. 12 + 12",
    "She eats 3 eggs and bakes with 4. That leaves 9 eggs. So she makes $18.",
]
WORKED = [
    "9 * 2 = 18. The answer is 18.",
    "(16-7)*2=18\n#### 18",
    "16-3-4=9, 9*2=18. Answer: 18",
    "She eats 3 eggs and bakes with 4. That leaves 9 eggs. So the answer is 18.",
    "16 - 3 - 4 = 9. 9 * 2 = 18. The answer is 18.",
    " Janet has 16 - 7 = 9 eggs left. The answer is 18.",
    "The answer is 9 * $2 = $18.",
    "Nine eggs are left, and 9 times 2 is 18. The answer is 18.",
    "3 eggs + 4 eggs = 7 eggs, so 9 are left. #### 18",
    "She eats 3 and bakes with 4, which leaves 9. She sells them for $2 each. The answer is 18.",
    "1. Eggs left: 9\n2. Price of each: $2\n#### The final answer is: 18",
    "#### Step-by-step derivation:\n1. She uses 3 + 4 = 7 eggs.\n#### The final answer is: 18",
    r"$16 - 7 = 9$, $9 \times 2 = 18$, so \boxed{18}",
    "<think>16 - 7 = 9, and 9 * 2 = 18.</think>The answer is 18.",
    "１６ − 7 = 9. The answer is 18.",
    "Janet's ducks lay 16 eggs per day. She keeps 7 of them. So 9 are sold for $2 each. The answer is 18.",
]


@pytest.mark.parametrize("response", BARE)
def test_no_working(response: str) -> None:
    assert not reasons(response, DUCKS)


@pytest.mark.parametrize("response", WORKED)
def test_a_working(response: str) -> None:
    assert reasons(response, DUCKS)


def test_published_solutions_reason_and_their_bare_answers_do_not() -> None:
    for row in [one for rows in generate.generate().values() for one in rows]:
        work, answer = row["answer"].split("####")
        assert reasons(f"{work.strip()} The answer is {answer.strip()}.", row["question"]), row
        for bare in (f" {answer}", f" The answer is {answer}.", row["question"] + f" The answer is {answer}."):
            assert not reasons(bare, row["question"]), bare
