"""What counts as the answer of a response. Expectations are written by hand, never taken from the code's output."""

import re
from fractions import Fraction
from pathlib import Path

import lm_eval.tasks
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.filters import build_filter_ensemble
from lm_eval.tasks._yaml_loader import load_yaml

from lm_eval_steer.answers import (
    arc_answer,
    arith_answer,
    canonical,
    gsm8k_answer,
    math_answer,
    opened_thought,
    visible,
)

PAPER = "#### Step-by-step derivation:\n1. She has 16 eggs.\n2. She sells 16 - 3 - 4 = 9.\n"
CASES = [
    # The paper's format and the few-shot format
    (PAPER + "3. 9 * 2 = 18\n#### The final answer is: 18", "18"),
    (PAPER + "#### The final answer is: $1,234.50 per day", "1234.5"),
    (PAPER + "#### The final answer is:\n18", "18"),
    (PAPER + "#### The final answer is: [18]", "18"),
    (PAPER + "#### The final answer is: [The final numerical answer only]", "9"),
    ("There are 21 - 15 = 6. The answer is 6.", "6"),
    ("the answer is 6", "6"),
    ("THE ANSWER IS 6!", "6"),
    ("The answer is 3. No, wait. The answer is 4.", "4"),
    ("#### 5\nLet me check that. The answer is 7.", "7"),
    ("The answer is 7.\n\nThe numbers 1 and 2 were not needed.", "7"),
    ("So the answer to the second question of the 3 is 12 apples.", "12"),
    ("The answer should be 12.", "12"),
    ("The correct answer is therefore 12, as 3 * 4 is 12.", "12"),
    ("The answer is 18. She checks it: 2 * 9.", "18"),
    # Labels
    ("#### 72", "72"),
    ("#### 72\n\nQuestion 2: Tom has 3 apples and eats 1.\n#### 2", "72"),
    ("####72", "72"),
    ("### 72 clips", "72"),
    ("#### **72**", "72"),
    ("#### $-72", "-72"),
    ("Final answer: 72", "72"),
    ("**Final Answer:** 72 clips", "72"),
    ("Final answer: Janet makes $18 every day.\nShe has 3 ducks.", "18"),
    ("Answer: 72\nExplanation: 48 + 24", "72"),
    ("**Answer:** $72", "72"),
    ("### Answer\n72\n(That is 48 and 24.)", "72"),
    ("Answer: x = 72", "72"),
    ("Answer: about 72 minutes, or 1 hour and 12 minutes", "72"),
    ("Answer = 72; 3 remain", "72"),
    # Headings, lists and introductions state nothing
    ("#### 1. Find the eggs\nThere are 9.\n#### 2. Sell them\n9 * 2 = 18", "18"),
    ("Answer:\n1. She has 9 eggs.\n2. She gets 9 * 2 = 18 dollars", "18"),
    ("The answer is found so:\n1. Take 9.\n2. Double it, 18", "18"),
    ("Answer: Let us see. She has 9 eggs, so 18 dollars", "18"),
    ("**1. Find the eggs** and so on: 9 * 2 = 18", "18"),
    ("The answer is not 5.", "5"),  # nothing is stated, so it is the last number
    ("The answer is 4. The answer is not 5.", "4"),
    ("The answer is 4. Is this answer correct?", "4"),
    # Boxes and bold
    (r"Hence \boxed{18}.", "18"),
    (r"Hence \(\boxed{18}\), since there are 3 ducks", "18"),
    (r"$$\boxed{\$1{,}800}$$", "1800"),
    (r"\boxed{\frac{3}{4}}", "0.75"),
    (r"\boxed{-\dfrac{1}{3}}", "-1/3"),
    (r"\boxed{\text{18 dollars}}", "18"),
    (r"\boxed{x = 18}", "18"),
    (r"\boxed 18 and 2 more words", "18"),
    (r"\boxed{12\text{ m}^2}", "12"),
    ("She makes **18** dollars from 9 eggs", "18"),
    ("She makes **$1,800** from 900 eggs", "1800"),
    ("So **9 eggs** remain of 16", "9"),
    ("The answer is 18. Each of the **3** ducks helped.", "18"),  # bold is weaker than a statement
    # Signs
    ("The answer is -5.", "-5"),
    ("The answer is −5.", "-5"),
    ("The answer is -$5.", "-5"),
    ("The answer is $-5.", "-5"),
    (r"The answer is -\$5.", "-5"),
    ("The answer is +5.", "5"),
    ("It fell by 10-4", "4"),
    ("The answer is 10 - 4 = 6 apples.", "6"),
    ("The answer is 10-4=6.", "6"),
    ("from (3)-4", "4"),
    ("a range of 10–12", "12"),
    # Thousands, decimals, currency, percent, units
    ("The answer is 1,234,567.", "1234567"),
    ("The answer is $1,000,000.00.", "1000000"),
    ("The answer is 18.00", "18"),
    ("The answer is 0018", "18"),
    ("The answer is .5", "0.5"),
    ("The answer is 2.50 dollars.", "2.5"),
    ("The answer is €3.20.", "3.2"),
    ("The answer is £ 7", "7"),
    ("The answer is 25%.", "25"),
    ("The answer is 25 percent.", "25"),
    ("The answer is 5 hours.", "5"),
    ("The answer is 18 km/h.", "18"),
    ("The answer is 12 m^2.", "12"),
    ("The area is 12 m^2", "12"),
    ("The answer is the 5th day.", "5"),
    ("The answer is 1, 2 or so", "1"),
    ("and so on...5", "5"),
    ("The answer is -0.", "0"),
    # Fractions
    ("The answer is 1/2.", "0.5"),
    ("The answer is 3/4 of the pizza.", "0.75"),
    ("The answer is 2/6.", "1/3"),
    ("The answer is 6/3.", "2"),
    ("The answer is 1 1/2 hours.", "1.5"),
    ("The answer is 1 and 1/2 hours.", "1.5"),
    ("The answer is 1½ hours.", "1.5"),
    ("The answer is ⅓.", "1/3"),
    ("The answer is -1 1/2.", "-1.5"),
    ("The answer is 48/2 = 24.", "24"),
    ("She sold 48/2 = <<48/2=24>>24 clips in May.\n#### 24", "24"),
    # Nothing stated
    ("She has 3 ducks and 18 dollars", "18"),
    ("18", "18"),
    ("The answer is five. There were 3 ducks", "3"),
    # No answer
    ("", None),
    ("I do not know.", None),
    ("The answer is five.", None),
    ("The answer is 1/0.", None),
    ("9" * 5000, None),
    # Thinking
    ("<think>The answer is 3.</think>The answer is 4.", "4"),
    ("<think>3</think>Four.", None),
    ("<think>3</think>Is it 4? <think>5</think>", "4"),
    ("<think>The answer is 3.", None),
    ("The answer is 3. <think>Or is it 4", None),
    ("maybe 3</think>The answer is 4.", "4"),
]

CASES += [
    # Expressions and sentences as statements, spellings of numbers, numbers that are none, questions of its own
    ("the answer is 9 times $2, which is $18", "18"),
    ("The answer is that she has 16 - 7 = 9 eggs left and makes $18.", "18"),
    ("#### The final answer is: 1.5 million dollars", "1500000"),
    ("The answer is 1 200 dollars", "1200"),
    ("The answer is Rs18", "18"),
    ("The answer is １８.", "18"),
    ("Rs18", "18"),
    ("The answer is 18.\n\nQuestion: A farmer has 5 cows and buys 2 more. How many?\nAnswer: … 7.", "18"),
    ("She makes 9 * 2 = 18 dollars.\nConfidence: 95%", "18"),
    ("She makes 9 * 2 = 18 dollars.\n\nRating: 10/10", "18"),
    ("She makes 9 * 2 = 18 dollars.\n\nVerification: Step 1 is right, step 2 is right.", "18"),
    ("18\nConfidence: 95%", "18"),
    ("So she makes 18 dollars. Confidence: 95%", "18"),
    ("Answer: 18\nConfidence in this answer: 95%", "18"),
    ("So 18 dollars (confidence: 0.95)", "18"),
    ("She makes 18 dollars. I am 95% confident.", "18"),
    ("She makes 18 dollars. I'm 100% sure.", "18"),
    ("She makes 18 dollars.\n\n**Confidence:** 95%", "18"),
    ("She makes 18 dollars.\nConfidence level: 9 out of 10", "18"),
    ("She makes 18 dollars.\nScore: 5/5", "18"),
    ("She makes 18 dollars.\nDifficulty: 3", "18"),
    ("She makes 18 dollars.\n\nCheck: 18 / 2 = 9.", "18"),
    ("She makes 18 dollars.\n\n**Verification**\n- Step 1: 16 - 7 = 9.\n- Step 2: ok", "18"),
    ("She makes 18 dollars.\n\n### Verification\n18/2 = 9", "18"),
    ("She makes 18 dollars.\nNote: a dozen is 12.", "18"),
    ("72 clips\nExplanation: she sold 48 in April and 24 in May.", "72"),
    ("Her score is 85", "85"),
    ("Score: 85", "85"),
    ("She makes 18 dollars. With 95% confidence.", "18"),
    ("I am 95% confident that she makes 18 dollars.", "18"),
    ("My confidence that the answer is right is 95%. She makes 18 dollars", "18"),
    ("The answer is 18. My confidence in the answer is 95%.", "18"),
    ("She makes 18 dollars. I'd rate my answer 10/10.", "18"),
    ("She makes 18 dollars. Steps used: 4", "18"),
    ("She makes 18 dollars.\nSteps 1 and 2 are correct.", "18"),
    ("18 dollars [1]", "18"),
    ("She makes 18 dollars.\n\nProof: 9 * 2.", "18"),
    ("The answer is 18, which is 2 times 9.", "18"),
    ("The answer is 9 x $2 = $18.", "18"),
    ("The answer is 9 * 2, or 18.", "18"),
    ("The answer is 9 times 2 equals 18.", "18"),
    ("The answer is 9 multiplied by 2, which equals 18 dollars.", "18"),
    ("The answer is 16 minus 7, so 9.", "9"),
    ("the answer is 9 eggs at $2 each, which makes $18", "18"),
    ("The answer is 50% of 36, which is 18.", "18"),
    ("The answer is 20 - 2, i.e. 18.", "18"),
    ("The answer is 3 + 4 + 11, which gives 18.", "18"),
    ("The answer is the sum of 9 and 9, which is 18.", "18"),
    ("The answer is the product of 9 and 2: 18.", "18"),
    ("The answer is half of 36, which is 18.", "18"),
    ("The answer is 2 dozen, which is 24.", "24"),
    ("The answer is that she makes $18 from selling 9 eggs.", "18"),
    ("The answer is that after selling 9 eggs she makes $18.", "18"),
    ("The answer is that Janet sells 9 eggs and earns 18 dollars every day.", "18"),
    ("The answer is that she makes 18 dollars because she sells 9 eggs at $2 each.", "18"),
    ("The answer is that 9 eggs at $2 each is $18.", "18"),
    ("The answer is that she sells 9 eggs, so she makes $18.", "18"),
    ("The answer is that 9 * 2 = 18 dollars are made.", "18"),
    ("The answer is that Tom has 5 apples.", "5"),
    ("The answer is that she has 16 - 7 = 9 eggs left, which makes her $18.", "18"),
    ("The answer is that Tom ate 3 of his 8 apples and has 5 left.", "5"),
    ("The answer is that she needs 4 boxes since 10 / 3 = 3.33.", "4"),
    ("The answer is that she spends 5 + 3 = 8 dollars and has 12 dollars left.", "12"),
    ("The answer is that he walks 3 miles and then runs 4 miles, for a total of 7 miles.", "7"),
    ("The answer is 18 because 9 * 2 = 18 and 16 - 7 = 9.", "18"),
    ("The answer is 18, since 9 = 16 - 7.", "18"),
    ("The answer is 18 (9 * 2 = 18; 16 - 7 = 9)", "18"),
    ("The answer is $1.5M.", "1500000"),
    ("The answer is 2 thousand.", "2000"),
    ("The answer is 3.2 billion people", "3200000000"),
    ("The answer is 1 234 567.", "1234567"),
    ("The answer is ₹1,20,000.", "120000"),
    ("The answer is 1'200 francs", "1200"),
    ("The answer is USD 18", "18"),
    ("The answer is ١٨", "18"),
    ("答案: １８", "18"),
    ("The answer is €1.200,50", "1200.5"),
    ("<answer>18</answer>", "18"),
    ("9 * 2 <answer>18</answer> done 5", "18"),
    ("Answer - 18", "18"),
    ("Ans: 18", "18"),
    ("Answer → 18", "18"),
    ("The answer is not 5 but 18.", "18"),
    ("The answer can't be 5. So 18 it is", "18"),
    ("The answer is 18. The answer is correct because 5 < 20.", "18"),
    ("The answer is less than 20. She has 18", "18"),
    ("The answer is: 18\n\nThe answer is reasonable since it is less than 20.", "18"),
    ("The answer is 5 less than 23, which is 18.", "18"),
    ("The answer is between 10 and 20, so 18.", "18"),
    ("The answer is 18. Question: Tom has 5. Answer: 7", "18"),
    ("18\n\nQ: Tom\nA: The answer is 7", "18"),
    ("There are 6 trees.\n\nProblem: Tom\nThe answer is 7", "6"),
    ("The answer is 18.\n\nProblem 2: Tom...\nThe answer is 7.", "18"),
    ("The answer is 18.\n\nTom has 4 pens and buys 3. How many pens does he have?\nThe answer is 7.", "18"),
    ("The answer is 18.<|im_end|>\n<|im_start|>user\n5+2?<|im_end|>\n<|im_start|>assistant\nThe answer is 7.", "18"),
    ("Question: Janet has 16 eggs. How many?\nAnswer: 9 * 2 = 18. The answer is 18.", "18"),
    ("The total cost is 9 * $2 = $18.", "18"),
    ("She has 18 dollars left for 2 weeks", "2"),
    ("The answer is 2 hours and 30 minutes, or 150 minutes", "2"),
    ("1 200 + 300 = 1 500", "1500"),
    ("The answer is 12 000 000 km.", "12000000"),
    ("The answer is 1.5 million.", "1500000"),
    ("1.5 million dollars", "1500000"),
    ("The answer is 18 dollars per day at 2 dollars per egg.", "18"),
    ("The final answer is 18 dollars and 50 cents.", "18"),
    ("The answer is 3/4 of 24, which is 18", "18"),
    ("The answer is 16-3-4=9 eggs, and 9 eggs x $2 = $18", "18"),
    ("The answer is the number of eggs left (9) times the price ($2), which is $18.", "18"),
    ("The answer is that, out of 16 eggs, 9 are left.", "9"),
    ("The answer is that it takes 3 hours to fill 2 tanks.", "3"),
    ("The answer is that the total is 18 dollars for the 9 eggs.", "18"),
    ("The answer is that each of the 3 children gets 6 sweets.", "6"),
    ("The answer is that Janet will have $18 at the end of the day.", "18"),
    ("The answer is that there are 4 rows with 6 chairs, so 24 chairs in total.", "24"),
    ("The answer is that she earns 9 dollars on Monday and 9 dollars on Tuesday, 18 dollars in total.", "18"),
    ("The answer is 5 plus 13, that is 18.", "18"),
    ("the answer is 6 × 3, which makes 18 dollars", "18"),
    ("The answer is (16 − 7) × 2 = 18", "18"),
    ("The answer is $2 times 9 eggs, or $18 per day", "18"),
    ("The answer is that Tom, who is 12, has 18 marbles.", "18"),
    ("The answer is: Janet sells 9 eggs for $2 each and earns $18.", "18"),
    ("#### The final answer is: 2.5 thousand", "2500"),
    ("#### 3 million", "3000000"),
    ("The answer is $2.5 billion.", "2500000000"),
    ("Total: 1 200", "1200"),
    ("The answer is Rs.18/-", "18"),
    ("The answer is Rs 1,800/-.", "1800"),
    ("The answer is 18₹.", "18"),
    ("The answer is eighteen (18).", "18"),
    ("Answer：１８", "18"),
    ("答案是１８。", "18"),
    ("9*2=18\nConfidence score: 0.95", "18"),
    ("9*2=18\nCertainty: high (95%)", "18"),
    ("9*2=18\nSelf-assessment: 8/10", "18"),
    ("9*2=18\nRating: ★★★★★ 5/5", "18"),
    ("9*2=18\n(Confidence: 95%)", "18"),
    ("9*2=18\n[Confidence: 95%]", "18"),
    ("9*2=18\nQuality score: 9/10", "18"),
    ("9*2=18\nTokens: 123", "18"),
    ("9*2=18\nVerification: 9 × 2 = 18, and 16 - 7 = 9 ✓.", "18"),
    ("9*2=18\nDouble-check: 3 + 4 = 7, 16 - 7 = 9.", "18"),
    ("9*2=18\nSources: [1], [2]", "18"),
    ("9*2=18 (see step 3).", "18"),
    ("9*2=18.\nNote: Prices as of 2023.", "18"),
    ("9*2=18.\n\nLet me know if you need help with question 2!", "18"),
    ("9*2=18.\n\nAll 3 steps are correct.", "18"),
    ("9*2=18.\n\nAccuracy: 100%", "18"),
    ("9*2=18.\nI am 100% certain of this.", "18"),
    ("9*2=18.\nProbability of being correct: 0.9", "18"),
    ("9*2=18.\nMy rating: 9/10", "18"),
    ("9*2=18.\nSelf-check: steps 1 to 3 are fine.", "18"),
    ("She earns 18 dollars.\n\nCheck:\n1. 16 - 7 = 9\n2. fine", "18"),
    ("She earns 18 dollars.\n\nStep 1: correct. Step 2: correct.", "18"),
    ("The answer is that 3 boxes of 6 is 18.", "18"),
    ("The answer is that he needs 18 more dollars.", "18"),
    ("The answer is that the 4 friends pay $18 each.", "18"),
    ("The answer is 4 + 5 = 9 apples, and he has 3 * 9 = 27 pears.", "27"),
    ("The answer is 7 times 8, giving 56.", "56"),
    ("The answer is twelve times 3, so 36.", "36"),
    ("the answer is 100 divided by 4, which equals 25", "25"),
    ("the answer is 20% of 50, or 10", "10"),
    ("The answer is that it costs 3 * 4 = 12 dollars and leaves him with $8.", "8"),
    ("The answer is that he ran 3 miles on Monday, 4 miles on Tuesday, and 7 miles in total.", "7"),
    ("The answer is 2 m 50 cm", "2"),
    ("The answer is 0.5 million", "500000"),
    ("The answer is 2 million and 5 apples", "2000000"),
    ("The answer is ৳18", "18"),
    ("The answer is S$18", "18"),
    ("The answer is 18 USD", "18"),
    ("The answer is ₤1 234.56", "1234.56"),
    ("The answer is １２．５", "12.5"),
    ("The answer is −１８", "-18"),
    ("The answer is 18.0 million", "18000000"),
    ("The answer is 5 hundred", "500"),
    ("the answer is 18 eggs, not 16", "18"),
    ("She has 9. The answer: 18", "18"),
    ("So the final answer should be around 18 dollars.", "18"),
    ("The answer is 18.\n\nUser: what about 5?\nAssistant: 5", "18"),
    ("The answer is 18.\n\nInstruction: add 2 and 3\nResponse: 5", "18"),
    ("The answer is 18.\n\n### Question\nTom has 5.\n### Answer\n7", "18"),
    (
        "The answer is 18.\n\nNext, a farmer has 5 cows and buys 2 more. How many cows are there?\nThe answer is 7.",
        "18",
    ),
    ("The answer is 18.\n\n[Question] Tom has 5\n[Answer] 7", "18"),
    ("The answer is 18.\n\nQuestion (2): Tom has 5\nAnswer: 7", "18"),
    ("The answer is 18.\n\nNow try this: Tom has 5 pens and loses 2. How many pens?\nAnswer: 3", "18"),
    ("18\n\nQuestion:\nTom has 5...\nAnswer:\n7", "18"),
    ("The answer is 18.\n\nProblem #2: Tom has 5. Answer: 7", "18"),
    ("The answer is 18.\n\nAnother question: Tom has 5. Answer: 7", "18"),
    ("The answer is 18.\n\nBonus: How many cows? Answer: 7", "18"),
    ("The answer is 18. What is 5 + 2? The answer is 7.", "18"),
    ("The answer is 18.\nWhat is 5 + 2?\nThe answer is 7.", "18"),
    ("The answer is 18.\n\nTest your understanding: Tom has 5. The answer is 7.", "18"),
    ("The answer is 18.\n\nA: 7", "18"),
    ("The answer is 18.\nassistant\nThe answer is 7.", "18"),
    ("The answer is 18.\n\n1. Question: Tom has 5. Answer: 7", "18"),
    ("The answer is 18.\n\nQuestion 2 - Tom has 5\nAnswer: 7", "18"),
    ("The answer is 18.\n\nIf Tom has 5 apples and buys 2, how many does he have?\nThe answer is 7.", "18"),
    ("The answer is 18.\n\nExample: Tom has 5. The answer is 7.", "18"),
    ("The answer is 18.\n\nExercise: Tom has 5. The answer is 7.", "18"),
    ("The answer is 18.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n5+2<|eot_id|>The answer is 7", "18"),
    ("The answer is 18.<end_of_turn>\n<start_of_turn>user\nx\nThe answer is 7", "18"),
    ("The answer is 18. [INST] x [/INST] The answer is 7", "18"),
    ("The answer is 18.\n\nHuman: x\n\nAssistant: The answer is 7", "18"),
    ("The answer is that Svetlana needed 132 spoons to make 16 muffins.", "132"),
    ("The answer is that, since the 20 pizzas had 6 pieces each, there are 20*6 = 120 pieces.", "120"),
    ("The answer is that she needs 84 ounces, 100-84 = 16 more to make it to 100 ounces.", "16"),
]

CASES += [
    (
        "The answer is 18.\n\nTom has 5 pens. He loses 2 in a bus. Calculate what he has left.\nThe answer is 3.",
        "18",
    ),
    ("The answer is 18.\nTom has 5 pens and loses 2, so what's the number that he has?\nThe answer is 3.", "18"),
    ("To find it divide 100 by 4, which = 25.\n\nQuestion: Tom has 5 pens.\nThe answer is 3.", "25"),
]


def test_the_table_is_long_and_says_everything_once():
    assert len(CASES) >= 60
    assert len({response for response, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("response", "answer"), CASES)
def test_answer(response, answer):
    assert gsm8k_answer(response) == answer
    assert arith_answer(response) == answer


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(18), "18"),
        (Fraction(-7), "-7"),
        (Fraction(0), "0"),
        (Fraction(1, 2), "0.5"),
        (Fraction(-1, 200), "-0.005"),
        (Fraction(157, 50), "3.14"),
        (Fraction(5, 3), "5/3"),
        (Fraction(-1, 7), "-1/7"),
    ],
)
def test_canonical(value, text):
    assert canonical(value) == text


@given(st.fractions(), st.fractions())
def test_canonical_strings_are_equal_exactly_where_numbers_are(one, other):
    assert (canonical(one) == canonical(other)) == (one == other)
    assert Fraction(canonical(one)) == one


FRAMES = st.sampled_from(
    [
        "The answer is {}.",
        "#### The final answer is: {}",
        "#### {}",
        "Final answer: {} dollars",
        "**Answer:** {}",
        "There were 3 of 7.\nThe answer is: {} hours.\n\nThat was it.",
        "\\boxed{{{}}}",
        "<think>The answer is 1.</think>\nSo it is **{}**",
        "{}",
    ]
)


@given(
    FRAMES,
    st.integers(-(10**12), 10**12),
    st.booleans(),
    st.sampled_from(["", "$", "€"]),
    st.sampled_from(["", ".0", ".00"]),
)
def test_integers_in_any_dress(frame, number, commas, currency, zeros):
    digits = f"{abs(number):,}" if commas else str(abs(number))
    assert gsm8k_answer(frame.format(f"{'-' if number < 0 else ''}{currency}{digits}{zeros}")) == str(number)


@given(FRAMES, st.integers(-(10**9), 10**9), st.integers(1, 6), st.booleans(), st.integers(0, 3))
def test_decimals_in_any_dress(frame, number, places, commas, zeros):
    value = Fraction(number, 10**places)
    whole, rest = divmod(abs(number), 10**places)
    sign = "-" if number < 0 else ""
    dressed = f"{sign}{format(whole, ',') if commas else whole}.{rest:0{places}d}{'0' * zeros}"
    plain = f"{sign}{whole}.{rest:0{places}d}".rstrip("0").rstrip(".")
    assert gsm8k_answer(frame.format(dressed)) == ("0" if value == 0 else plain)


@given(FRAMES, st.integers(1, 999), st.integers(1, 999))
def test_fractions_equal_their_reduced_selves(frame, above, below):
    assert gsm8k_answer(frame.format(f"{above}/{below}")) == canonical(Fraction(above, below))


@given(st.text() | st.text(alphabet="0123456789.,-$/ \n*#:=\\{}<>thinkanswer"))
def test_any_text_gives_a_canonical_number_or_none(text):
    answer = gsm8k_answer(text)
    assert answer is None or canonical(Fraction(answer)) == answer


@pytest.mark.parametrize(
    "unit",
    [
        "answer is ",
        "answer: ",
        "#",
        "#### ",
        "**",
        "1,",
        "1/",
        "1 1/",
        "\\frac{",
        "\n",
        "\n-",
        "=",
        "9",
        "Question: ",
    ],
)
def test_long_babble_takes_no_time(unit):
    # 20 000 characters are more than any task lets a model write; quadratic matching would take minutes.
    assert gsm8k_answer(unit * (20_000 // len(unit))) in {None, "1"}


def test_visible_keeps_what_stands_around_a_thought():
    assert visible("a<think>b</think>c") == "a c"


HARMONY = "<|channel|>analysis<|message|>It is 3.<|end|><|start|>assistant"
MARKS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<Thought>\n", "</Thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<seed:think>", "</seed:think>"),
    ("<antThinking>", "</antThinking>"),
    ("<mm:think>", "</mm:think>"),
    ("<|think|>", "<|/think|>"),
    ('<think effort="low">', "</think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<reasoning>", "</reasoning>"),
    ("<scratchpad>", "</scratchpad>"),
    ("Here is my thought process: ", "Here is my response:"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary to=python<|message|>", "<|channel|>final <|constrain|>json<|message|>"),
    ("analysis", "assistantfinal"),
    ("analysisassistantcommentary", "assistantanalysisassistantfinal"),
]


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_nothing_inside_a_thought_is_an_answer(opening, closing):
    for reader in (gsm8k_answer, math_answer, lambda text: arc_answer(text, "12345", "vwxyz")):
        thought = f"{opening}We see. The answer is 3. \\boxed{{3}}\n#### 3"
        assert reader(thought) is None
        assert reader(f"{thought}\n{closing}\n\nThe answer is 5.") == "5"
        assert reader(f"{thought}\n{closing}") is None
        # the prompt opened the thought: alone its end ends it, and without its end nothing was said
        assert reader(f"Let us see, 3. The answer is 3.\n{closing}\nThe answer is 5.") == "5"
    if not opening.startswith("analysis"):
        prompt = f"<|im_start|>user\n2 + 3?<|im_end|>\n<|im_start|>assistant\n{opening}"
        assert visible("The answer is 3.", prompt) is None
        assert visible("The answer is 3.", prompt + " \n") is None
        assert visible(f"It is 3.{closing}The answer is 5.", prompt).strip() == "The answer is 5."
        assert visible("The answer is 3.", f"{prompt}\n\n{closing}\n\n") == "The answer is 3."
        assert visible(f"3{closing}5 {opening}6{closing}7", prompt).split() == ["5", "7"]


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("<think>a <think> tag</think>b", " b"),  # a mark in a thought opens no other
        ("<think>a<reflection>b</reflection>c", None),  # and another kind's end does not end it
        ("<think>a<reflection>b</reflection>c</think>d", " d"),
        ("<think>a</thinking>b", " b"),
        ("analysis of the problem: 5", "analysis of the problem: 5"),
        ("The analysis: 5", "The analysis: 5"),
        ("The final answer of the assistant is 5", "The final answer of the assistant is 5"),
        ("5 < 7 and 7 > think", "5 < 7 and 7 > think"),
        ("I think [think of it] 5", "I think [think of it] 5"),
        (HARMONY + "<|channel|>commentary<|message|>4", None),
        (HARMONY + "<|channel|>final<|message|>5", " 5"),
        ("<|channel|>final<|message|>5", "5"),
        (HARMONY, None),
        ("analysis", "analysis"),
    ],
)
def test_visible_of_marks_that_meet(response, said):
    assert visible(response) == said


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("Q: 1 + 1\nA:", ""),
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("<｜Assistant｜><think>\n", "<think>"),
        ("[INST] 1 + 1 [/INST][THINK]", "[THINK]"),
        ("<|im_start|>assistant\n<think>\nOkay, let me", "<think>"),
        ("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>analysis<|message|>"),
        ("<|start|>assistant", ""),
        ("<|start|>assistant<|channel|>analysis<|message|>1<|end|><|start|>assistant<|channel|>final<|message|>", ""),
        ("Think between <think> and </think>.\n\nQ: 1 + 1\nA:", ""),
        ("Write your thoughts behind <think> first.\n\nQ: 1 + 1\nA:", ""),
        ("<|im_start|>system\n<think> comes first.<|im_end|>\n<|im_start|>assistant\n", ""),
        ("What does the tag <think> mean in a prompt?", ""),
        ("Q: 1 + 1\nA: <think>1 is 1</think> 2\n\nQ: 1 + 2\nA: <think>", "<think>"),
        ("", ""),
    ],
)
def test_a_prompt_opens_a_thought_where_it_ends_in_one(prompt, mark):
    assert opened_thought(prompt) == mark


def harness_answers(response: str) -> dict[str, str]:
    """What lm_eval's own gsm8k_cot extracts, cleaned as its metric cleans it, per filter."""
    config = load_yaml(Path(lm_eval.tasks.__file__).parent / "gsm8k" / "gsm8k-cot.yaml", resolve_func=False)
    instance = Instance(request_type="generate_until", doc={}, arguments=(), idx=0, resps=[response])
    for pipeline in config["filter_list"]:
        steps = [[step["function"], {k: v for k, v in step.items() if k != "function"}] for step in pipeline["filter"]]
        build_filter_ensemble(pipeline["name"], steps).apply([instance])
    for pattern in config["metric_list"][0]["regexes_to_ignore"]:
        instance.filtered_resps = {name: re.sub(pattern, "", text) for name, text in instance.filtered_resps.items()}
    return instance.filtered_resps


@pytest.mark.parametrize(
    "response",
    [
        "There are 15 trees originally. So there must have been 21 - 15 = 6. The answer is 6.",
        "There are originally 3 cars. 2 more cars arrive. 3 + 2 = 5. The answer is 5.",
        "Originally 32, then 42. 32 + 42 = 74. 74 - 35 = 39. The answer is 39.",
        "He earned 1,000 a month, so 12,000. The answer is 12,000.",
        "It dropped by 7 from 4. The answer is -3.",
    ],
)
def test_agrees_with_the_harness_on_ordinary_responses(response):
    assert set(harness_answers(response).values()) == {gsm8k_answer(response)}


@pytest.mark.parametrize(
    ("response", "strict", "flexible", "ours"),
    [
        # Trailing zeros: the harness compares strings, we compare numbers.
        ("The answer is 18.00.", "18.00", "18.00", "18"),
        # Strict ends in an unescaped full stop, which takes any character: without a full stop it is the last digit.
        ("The answer is 18", "1", "18", "18"),
        # Strict knows no currency.
        ("The answer is $18.", "[invalid]", "18", "18"),
        # Strict takes the first statement, flexible whatever number comes last; we take the last statement.
        ("The answer is 3. Sorry. The answer is 4.", "3", "4", "4"),
        ("The answer is 18. She has 3 ducks.", "18", "3", "18"),
        # Flexible takes a lone full stop pair or dollar sign for a number.
        ("The answer is 18. And so on ...", "18", "..", "18"),
        # The format that the paper's system prompt asks for is unknown to strict.
        ("#### The final answer is: 18", "[invalid]", "18", "18"),
        # Neither knows fractions.
        ("The answer is 1/2.", "1", "2", "0.5"),
        # The harness reads unfinished thoughts.
        ("<think>The answer is 3.", "3", "3", None),
    ],
)
def test_differs_from_the_harness_where_it_should(response, strict, flexible, ours):
    assert harness_answers(response) == {"strict-match": strict, "flexible-extract": flexible}
    assert gsm8k_answer(response) == ours
