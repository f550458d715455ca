r"""Which option a response states. Expectations are written by hand, never taken from the code's output."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_steer.answers import arc_answer

LETTERS, TEXTS = list("ABCD"), ["a warm coat", "Mercury", "an ice cube", "a cup of tea"]
CASES = [
    # Boxes
    (r"\boxed{B}", "B"),
    (r"So it is $\boxed{B}$.", "B"),
    (r"\boxed{b}", "B"),
    (r"\boxed{(B)}", "B"),
    (r"\boxed{\text{B}}", "B"),
    (r"\boxed{\textbf{(B)}}", "B"),
    (r"\boxed{\mathrm{B}}", "B"),
    (r"\boxed{ B. }", "B"),
    (r"\boxed B", "B"),
    (r"\boxed{\text{B. Mercury}}", "B"),
    (r"\boxed{B) Mercury}", "B"),
    (r"\boxed{\text{Mercury}}", "B"),
    (r"\boxed{mercury.}", "B"),
    (r"\boxed{\text{Answer: B}}", "B"),
    (r"\boxed{\text{Option B}}", "B"),
    (r"\boxed{2}", "B"),
    (r"\boxed{A}. No: \boxed{B}", "B"),
    (r"\boxed{B} (the box is \boxed{})", "B"),
    (r"\boxed{\boxed{B}}", "B"),
    (r"\boxed{5}", None),
    (r"\boxed{E}", None),
    (r"\boxed{A, C}", None),
    (r"\boxed{A and C}", None),
    (r"\boxed{AC}", None),
    (r"\boxed{A community}", None),
    (r"\boxed{A warm coat}", "A"),
    (r"\boxed{B", None),
    # Statements
    ("The answer is B", "B"),
    ("The answer is B.", "B"),
    ("the answer is b.", "B"),
    ("The answer is (b)", "B"),
    ("The answer is: **B**", "B"),
    ("The correct answer is therefore B.", "B"),
    ("The answer to this question is B, because the others are wrong.", "B"),
    ("The answer is B because it is a planet", "B"),
    ("The answer is B) Mercury", "B"),
    ("The answer is option B.", "B"),
    ("The answer must be B!", "B"),
    ("The answer is Mercury, the planet.", "B"),
    ("The answer is an ice cube.", "C"),
    ("The answer is ice cube", "C"),
    ("The best choice is (D).", "D"),
    ("The most plausible option would be D.", "D"),
    ("Answer: B", "B"),
    ("Answer: (b)", "B"),
    ("**Final Answer:** B", "B"),
    ("**Answer**: B. Mercury", "B"),
    ("### Final Answer\n\nB", "B"),
    ("Final answer: the correct option is C", "C"),
    ("I would choose C.", "C"),
    ("The answer is A. No, wait. The answer is B.", "B"),
    ("The answer is B. A and C are too cold.", "B"),
    ("The answer is B: A is too warm.", "B"),
    ("The answer is A; B is a planet.", "A"),
    # No statements
    ("The answer is a mixture of things", None),
    ("The answer is A mixture of things", None),
    ("The answer is not B.", None),
    ("The answer cannot be B.", None),
    ("The answer isn't B.", None),
    ("Is the answer B?", None),
    ("The answer is A or B.", None),
    ("The answer is either A or B.", None),
    ("Answer:\n1. First, consider the coat.", None),
    ("A coat keeps heat in. A planet is far away.", None),
    ("I do not know.", None),
    ("", None),
    # Weaker signs
    ("So option B is correct.", "B"),
    ("Clearly (b) is the best answer here", "B"),
    ("B is the right choice, as A is the wrong one", "B"),
    ("A is correct? No. B is correct", "B"),
    ("A is not correct.", None),
    ("It is **B**", "B"),
    ("It is **B. Mercury**, of course", "B"),
    ("**A:** too warm\n**B:** a planet", None),
    ("B", "B"),
    ("(B)", "B"),
    ("B. Mercury\n\nIt is a planet.", "B"),
    ("Let me think.\nMercury", "B"),
    ("(A) a warm coat\n(B) Mercury\n(C) an ice cube\n(D) a cup of tea", None),
    (r"Option A is correct. \boxed{B}", "B"),
    # Thoughts
    ("<think>The answer is A.</think>The answer is B.", "B"),
    ("<think>The answer is A.</think>", None),
    ("The answer is A. <think>Or B", None),
    (r"maybe \boxed{A}</think>\boxed{B}", "B"),
]
CASES += [
    # Adverbs, the only one, emphasis, tags, labels, headings, conclusions, lists of several, questions of its own
    ("The answer is definitely C.", "C"),
    ("most likely C", "C"),
    ("Only option C works.", "C"),
    ("**C** is the best answer, because **A** is too warm.", "C"),
    ("<answer>C</answer>", "C"),
    ("Correct option: C", "C"),
    ("Answer - C", "C"),
    ("#### C", "C"),
    ("C (an ice cube)", "C"),
    ("Hence (C).", "C"),
    ("The answer is A, B and C.", None),
    ("The answer is most likely C.", "C"),
    ("The answer is almost certainly (C).", "C"),
    ("It is most likely C.", "C"),
    ("The answer is probably C because it is cold", "C"),
    ("The answer is, without a doubt, C.", "C"),
    ("The correct answer is obviously C", "C"),
    ("I think it's C.", "C"),
    ("It must be C.", "C"),
    ("I believe C.", "C"),
    ("I'd go with C.", "C"),
    ("This leaves only C.", "C"),
    ("This leaves us with (C).", "C"),
    ("Only C fits.", "C"),
    ("Only (C) makes sense.", "C"),
    ("Only choice C is true.", "C"),
    ("Only C is wrong.", None),
    ("Only option C does not work.", None),
    ("Only option C doesn't work.", None),
    ("Option C is the only one that works", "C"),
    ("C is the only correct option", "C"),
    ("__C__ is correct.", "C"),
    ("*C* is the right answer since **B** is hot.", "C"),
    ("**(C)** is the correct answer. **A** is warm, **B** is a planet.", "C"),
    ("**Option C** is the best choice; **Option A** is too warm.", "C"),
    ("<answer>(C)</answer>", "C"),
    ("<answer>\nC\n</answer>", "C"),
    ("<answer>an ice cube</answer>", "C"),
    ("<answer>C. an ice cube</answer>", "C"),
    ("<ANSWER>C", "C"),
    ("Correct choice: C", "C"),
    ("Correct answer - C", "C"),
    ("Best option: **C**", "C"),
    ("Final choice: C", "C"),
    ("My choice: C", "C"),
    ("Incorrect option: C", None),
    ("Wrong answer: C", None),
    ("Answer – C", "C"),
    ("Answer — (C)", "C"),
    ("Answer → C", "C"),
    ("Answer = C", "C"),
    ("Ans: C", "C"),
    ("Answer: C - an ice cube", "C"),
    ("### C", "C"),
    ("#### (C)", "C"),
    ("#### **C**", "C"),
    ("#### C. an ice cube", "C"),
    ("(C) (an ice cube)", "C"),
    ("C - an ice cube", "C"),
    ("C: an ice cube", "C"),
    ("**C (an ice cube)**", "C"),
    ("Option C (an ice cube)", "C"),
    ("Therefore, C.", "C"),
    ("Thus (C)", "C"),
    ("So C.", "C"),
    ("So, option C.", "C"),
    ("Hence, the answer is (C).", "C"),
    ("Therefore option (C).", "C"),
    ("Hence A community", None),
    ("So A and C.", None),
    ("The answer is A, B, and C.", None),
    ("The answer is (A), (B) and (C).", None),
    ("The answer is A and C.", None),
    ("The answer is A, B, C.", None),
    ("The answer is A/C", None),
    ("The answer is A & C.", None),
    ("Answer: A, C", None),
    ("The answer is A, B and C are wrong.", "A"),
    ("The answer is both A and C.", None),
    (r"\boxed{A, B, C}", None),
    ("The answer is A (a warm coat) and C (an ice cube).", None),
    ("Both A and C are correct.", None),
    ("A and C are the best answers", None),
    ("The answer is all of A, B and C.", None),
    ("It is not C.", None),
    ("I don't think it's C.", None),
    ("It can't be C", None),
    ("The answer is definitely not C.", None),
    ("C is not the best answer.", None),
    ("C is definitely the best answer.", "C"),
    ("An ice cube is the correct answer.", "C"),
    ("Mercury is the best choice here.", "B"),
    ("an ice cube is not the correct answer", None),
    ("The answer is C.\n\nQuestion: Which is a planet?\n(A) x\n(B) y\nAnswer: B", "C"),
    ("The answer is C.\n\nQ: Which is hot?\nA: The answer is A.", "C"),
    ("Question: Which is cold?\n(A) x\nAnswer: C", "C"),
    ("The answer is C.\n\nWhich of these is a planet?\n(A) x\n(B) y\nThe answer is B.", "C"),
    ("The answer is likely an ice cube.", "C"),
    ("Answer C", "C"),
    ("The answer is C, definitely.", "C"),
    ("I would say C.", "C"),
    ("The best answer is clearly C: it is cold.", "C"),
    ("It's (C).", "C"),
    ("C is true.", "C"),
    ("It is A planet", None),
    ("So it is a planet", None),
    ("The answer is simply C", "C"),
    ("The answer is therefore most probably C.", "C"),
    ("C is likely the correct answer.", "C"),
    ("Therefore, the correct choice would be C", "C"),
    ("Clearly, C.", "C"),
    ("C!", "C"),
    ("Option C", "C"),
    ("option (c)", "C"),
    ("The answer is option C (an ice cube), not A.", "C"),
    ("The least likely answer is A. The answer is C", "C"),
    ("The answer is C, A and B are too warm.", "C"),
    ("My answer is C", "C"),
    ("The answer is clearly A or B.", None),
]
# response, labels, texts, answer
OTHERS = [
    (r"\boxed{3}", "1234", ["x", "y", "z", "w"], "3"),
    (r"\boxed{C}", "1234", ["x", "y", "z", "w"], "3"),
    ("The answer is 3.", "1234", ["x", "y", "z", "w"], "3"),
    ("Answer: 3) z", "1234", ["x", "y", "z", "w"], "3"),
    (r"\boxed{\text{z}}", "1234", ["x", "y", "z", "w"], "3"),
    (r"\boxed{5}", "1234", ["x", "y", "z", "w"], None),
    (r"\boxed{E}", "1234", ["x", "y", "z", "w"], None),
    ("Answer:\n1. First, look at it.", "1234", ["x", "y", "z", "w"], None),
    ("The answer is 1.5", "1234", ["x", "y", "z", "w"], None),
    (r"\boxed{4}", "123", ["x", "y", "z"], None),
    (r"\boxed{E}", "ABCDE", ["v", "w", "x", "y", "z"], "E"),
    (r"\boxed{5}", "ABCDE", ["v", "w", "x", "y", "z"], "E"),
    (r"\boxed{D}", "ABC", ["x", "y", "z"], None),
    # A number is an option's text before it is a place, but a label before it is a text.
    (r"\boxed{4}", "ABCD", ["2", "4", "8", "16"], "B"),
    (r"\boxed{3}", "ABCD", ["2", "4", "8", "16"], "C"),
    (r"\boxed{16}", "ABCD", ["2", "4", "8", "16"], "D"),
    (r"\boxed{2}", "1234", ["2", "4", "8", "16"], "2"),
    (r"\boxed{8}", "1234", ["2", "4", "8", "16"], "3"),
    # Letters as texts (blood groups): the label wins.
    (r"\boxed{B}", "ABCD", ["B", "A", "AB", "O"], "B"),
    (r"\boxed{AB}", "ABCD", ["B", "A", "AB", "O"], "C"),
    # Texts that differ in capitals only, and a text that begins another.
    ("The answer is Ww only.", "ABCD", ["WW or ww", "WW or Ww", "WW only", "Ww only"], "D"),
    (r"\boxed{WW or Ww}", "ABCD", ["WW or ww", "WW or Ww", "WW only", "Ww only"], "B"),
    (r"\boxed{ww only}", "ABCD", ["WW or ww", "WW or Ww", "WW only", "Ww only"], None),
    ("The answer is plants and animals.", "ABCD", ["plants", "plants and animals", "fungi", "algae"], "B"),
    ("The answer is 0.5 m.", "ABCD", ["0", "0.5", "0.5 m", "5 m"], "C"),
    (r"\boxed{\text{carbon dioxide } (\text{CO}_2)}", "AB", ["oxygen", "carbon dioxide (CO_{2})"], "B"),
    (r"\boxed{\text{(B) O_{2}}}", "AB", ["CO_{2}", "O_{2}"], "B"),
    ("B) -10°C", "AB", ["10°C", "-10°C"], "B"),
    ("The answer is clearly labeled jars.", "AB", ["jars", "clearly labeled jars"], "B"),
    (r"\boxed{\text{B}}", "AB", ["oxygen", "carbon dioxide (CO_2)"], "B"),
]


def test_the_table_is_long_and_says_everything_once():
    assert len(CASES) + len(OTHERS) >= 60
    assert len({response for response, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("response", "answer"), CASES)
def test_answer(response, answer):
    assert arc_answer(response, LETTERS, TEXTS) == answer


@pytest.mark.parametrize(("response", "labels", "texts", "answer"), OTHERS)
def test_answer_with_other_labels_and_texts(response, labels, texts, answer):
    assert arc_answer(response, list(labels), texts) == answer


LABELS = st.sampled_from(["ABCD", "1234", "ABC", "123", "ABCDE"])


@given(st.text() | st.text(alphabet="AaBb12.,:;() \n*#\\{}$boxedtheanswrilc"), LABELS)
def test_any_text_gives_a_label_or_none(text, labels):
    assert arc_answer(text, list(labels), [f"text {label}" for label in labels]) in {None, *labels}


@given(
    st.text(), st.text(), LABELS, st.integers(0, 2), st.sampled_from(["{}", "({})", r"\text{{{}}}", " {}. ", "text {}"])
)
def test_a_box_is_found_in_any_text_without_another_statement(before, after, labels, index, dress):
    statements = (
        "answer",
        "option",
        "choice",
        "statement",
        "one",
        "choose",
        "pick",
        "select",
        "boxed",
        "think",
        "fbox",
    )
    if any(word in (before + after).casefold() for word in statements):
        return
    response = f"{before}\\boxed{{{dress.format(labels[index])}}}{after}"
    assert arc_answer(response, list(labels), [f"text {label}" for label in labels]) == labels[index]


@given(
    st.sampled_from(["The answer is {}.", "Answer: ({})", "**{}**", "Option {} is correct", "{}"]),
    LABELS,
    st.integers(0, 2),
)
def test_every_label_in_any_dress(frame, labels, index):
    texts = [f"text {label}" for label in labels]
    assert arc_answer(frame.format(labels[index]), list(labels), texts) == labels[index]


@pytest.mark.parametrize(
    "unit", ["answer is ", "answer: ", "\\boxed{", "**A**", "(A) is ", "A, ", "the answer ", "A\n", "{", "\n"]
)
def test_long_babble_takes_no_time(unit):
    # 20 000 characters are more than any task lets a model write; quadratic matching would take minutes.
    assert arc_answer(unit * (20_000 // len(unit)), LETTERS, TEXTS) in {None, "A"}
