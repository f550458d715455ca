r"""What counts as an expression, and when two are the same. Expectations are written by hand."""

from __future__ import annotations

import logging
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lm_eval.tasks.minerva_math import utils as minerva

from lm_eval_steer.answers import _equality, math_answer, math_equal, math_unfinished
from lm_eval_steer.errors import SteeringError

CASES = [
    # Boxes
    (r"\boxed{5}", "5"),
    (r"So $x = \boxed{5}$.", "5"),
    (r"\boxed{ 5 }", "5"),
    (r"\boxed{$5$}", "5"),
    (r"\boxed{\$5}", r"\$5"),
    (r"\boxed{15\%}", r"15\%"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\frac{\sqrt{3}}{2}}", r"\frac{\sqrt{3}}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\left\{ x : x > 1 \right.}", r"\left\{ x : x > 1 \right."),
    (r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"\boxed{\begin{pmatrix} 1 \\{} 2 \end{pmatrix}}", r"\begin{pmatrix} 1 \\{} 2 \end{pmatrix}"),
    (r"\boxed{(-\infty, 3]}", r"(-\infty, 3]"),
    (r"\boxed{\text{Friday}}", r"\text{Friday}"),
    (r"\boxed{x^2 - 1}", "x^2 - 1"),
    ("\\boxed{\n5\n}", "5"),
    (r"\boxed 2", "2"),
    (r"$\boxed 2$.", "2"),
    (r"\boxed 12.", "12"),
    (r"\boxed{1} or \boxed{2}", "2"),
    (r"\boxed{\boxed{5}}", "5"),
    (r"\fbox{5}", "5"),
    (r"\boxed{1} and \fbox{2}", "2"),
    (r"\boxed{5} as asked: \boxed{}", "5"),
    (r"\boxed{5} and so on, \boxed{\frac{1}{", "5"),
    (r"a { b \boxed{5}", "5"),
    (r"a } b \boxed{5}", "5"),
    (r"\boxed{5}}", "5"),
    (r"The answer is $4$. \boxed{5}", "5"),
    (r"\boxed{5}. The answer is $4$.", "5"),
    (r"\boxed{}", None),
    (r"\boxed{5", None),
    (r"\boxedtext{5}", None),
    # Statements, where there is no box
    ("The final answer is $5$. I hope it is correct.", "5"),
    ("Final Answer: The final answer is $5$. I hope it is correct.", "5"),
    (r"The final answer is $\frac{1}{2}$.", r"\frac{1}{2}"),
    ("The answer is: $x+1$", "x+1"),
    ("The answer is $$x+1$$", "x+1"),
    (r"The answer is \(x+1\).", "x+1"),
    (r"The answer is \[x+1\]", "x+1"),
    ("**Final Answer:** $5$", "5"),
    ("Answer: $5$", "5"),
    ("Answer:\n$$5$$", "5"),
    ("The answer is 5.", "5"),
    ("The answer is 1/2", "1/2"),
    ("The answer is 2.5.", "2.5"),
    ("The answer is (3, 4).", "(3, 4)"),
    ("The answer is [0,1)", "[0,1)"),
    ("The answer is **5**.", "5"),
    ("The answer is $3$. No, the answer is $4$.", "4"),
    ("The answer to the question of the sum is $4$.", "4"),
    ("The answer should be $4$", "4"),
    (r"The answer is $\$4$", r"\$4"),
    ("The answer is not $4$.", None),
    ("The answer is correct.", None),
    ("The answer is x squared", None),
    ("So $x = 4$.", None),
    ("4", None),
    ("", None),
    # Thoughts
    (r"<think>\boxed{1}</think>\boxed{2}", "2"),
    (r"<think>\boxed{1}</think>", None),
    (r"\boxed{2} <think>or", None),
    (r"\boxed{1}</think>\boxed{2}", "2"),
]

EQUAL = [
    ("5", "5"),
    ("5", "5.0"),
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", "1/2"),
    (r"\frac{3}{4}", r"\dfrac{3}{4}"),
    (r"\frac{3}{4}", r"\frac34"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    ("x^2+2x+1", "(x+1)^2"),
    ("z^2 - 3z - 10", "(z+2)(z-5)"),
    ("[2,5)", r"\left[2, 5\right)"),
    (r"(-1,2)\cup(3,4)", r"(3,4)\cup(-1,2)"),
    (r"\{-3, 5\}", r"\{5, -3\}"),
    (r"\{-3, 5\}", "5, -3"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"),
    (r"12\text{ inches}", "12"),
    ("12", r"12\text{ inches}"),
    (r"80^\circ", "80"),
    (r"15\%", "15"),
    (r"\$30", "30"),
    ("6000", r"6,\!000"),
    ("1234", "1,234"),
    ("5", "x = 5"),
    ("2+3i", "3i+2"),
    (r"\text{Friday}", "Friday"),
    (r"\text{Friday}", r"\text{ friday. }"),
    (r"\text{(A)}", "A"),
    ("5", "$5$"),
    # Lenient beyond mathematics: a base is ignored, and a pair may be a set.
    ("1101_2", "1101_3"),
    (r"\{1,2\}", "(1,2)"),
]
UNEQUAL = [
    ("5", "6"),
    ("5", ""),
    ("5", "[no answer]"),
    (r"\frac{1}{3}", "0.33"),
    ("(0,1)", "[0,1]"),
    ("(1,2)", "(2,1)"),
    (r"\text{east}", "seat"),
    (r"\text{Friday}", r"\text{Monday}"),
    (r"\text{Friday}", "5"),
    ("x+1", "y+1"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"\frac{", "5"),
    ("}{", "{}"),
]

EQUAL += [
    # Intervals and inequalities, groups of digits, roots and powers without braces, words with numbers, single letters
    ("[-2,7]", r"-2 \le x \le 7"),
    (r"-2 \le x \le 7", "[-2,7]"),
    (r"(-\infty,3)", "x<3"),
    ("x<3", r"(-\infty,3)"),
    ("10000", "10 000"),
    ("10 000", "10000"),
    (r"4\sqrt{2}", r"4\sqrt(2)"),
    (r"\text{June 20}", "June 20"),
    ("7", "10 - 3 = 7"),
    ("293", "m+n=293"),
    (r"1 - 1/\mathrm{e}", "1-1/e"),
    (r"1-\frac{1}{e}", r"1 - 1/\mathrm{e}"),
    ("2^{-99}", r"\frac{1}{2^{99}}"),
    (r"[2,\infty)", r"x \ge 2"),
    (r"(2,\infty)", "2 < x"),
    ("(1,2)", "1<x<2"),
    (r"12\,345", "12345"),
    ("1 234 567", "1234567"),
    (r"4\sqrt2", "4√2"),
    (r"4\sqrt{2}", "4sqrt(2)"),
    (r"\frac{1}{2}", r"\frac(1)(2)"),
    ("2^{10}", "2^(10)"),
    (r"\text{June 20}", r"\text{June } 20"),
    (r"\text{6:00 PM}", "6:00 PM"),
    (r"x \in [1,2]", "[1,2]"),
    ("[1,2]", r"x \in [1,2]"),
    (r"2\pi", "2π"),
    (r"2\pi", "2pi"),
    ("[0,1)", "0 ≤ x < 1"),
    (r"(-\infty,1)\cup(3,\infty)", r"x<1 \text{ or } x>3"),
    (r"x<1 \text{ or } x>3", r"(-\infty,1)\cup(3,\infty)"),
    (r"\sqrt[3]{2}", r"\sqrt[3](2)"),
    ("0.333333", r"\frac13"),
    ("15", r"15\%"),
    (r"3\sqrt{x+1}", r"3\sqrt(x+1)"),
    ("10 000", "10,000"),
    (r"10\,000.5", "10000.5"),
    ("1.5", "1.50"),
    (r"y \ge 2", r"[2,\infty)"),
    (r"\text{Friday}", "friday"),
    ("5,000", "5 000"),
    (r"\text{May 3, 2020}", "May 3,2020"),
    ("0.5", r"\frac12"),
    ("e^2", r"\mathrm{e}^2"),
    ("3i", r"3\mathrm{i}"),
    ("1+i", r"1+\text{i}"),
    (r"(-\infty, 3)", "x < 3"),
    (r"\{x | x<3\}", "x<3"),
    (r"(-\infty,3]", r"3 \ge x"),
    ("2^{-99}", "2^{-99}+0"),
]
EQUAL += [(r"e^{2}", r"\mathrm e^2"), (r"\text{10:30 a.m.}", "10:30 a.m."), (r"\text{July 4}", "July 4")]
UNEQUAL += [
    ("2^{100}", "2^{100}+1"),
    ("0", "10^{-12}"),
    (r"\text{June 20}", "May 20"),
    # Exact numbers that round to the same; what math-verify would not read to the end
    (r"1 - 1/\mathrm{e}", r"1+1/\mathrm{e}"),
    ("2^{-99}", "2^{-98}"),
    ("4", r"4\sqrt(2)"),
    ("4", "4√2"),
    ("4", "4sqrt(2)"),
    ("e^{-200}", "e^{-201}"),
    ("10^{-20}", "10^{-21}"),
    ("10^{-20}", "0"),
    ("1+2^{-99}", "1+2^{-98}"),
    ("3", r"3\sqrt(5)"),
    ("[-2,7]", "-2<x<7"),
    ("(-2,7)", r"-2 \le x \le 7"),
    (r"(-\infty,3)", r"x \le 3"),
    (r"(-\infty,3)", "x>3"),
    ("10 000", "1000"),
    (r"\text{June 20}", "June 21"),
    (r"\text{June 20}", "20"),
    (r"\text{June 20}", r"\text{July 20}"),
    (r"1-\frac1e", r"1+\frac1e"),
    (r"\mathrm{e}", r"\mathrm{f}"),
    ("(2^{-99},1)", "(2^{-98},1)"),
    ("2^{-99}x", "2^{-98}x"),
    ("10 000", "0"),
    (r"1 - 1/\operatorname{e}", "1"),
    ("1", r"1 - 1/\mathrm{e}"),
    (r"2\sqrt(3)", r"2\sqrt(5)"),
    ("3", r"3\hbar"),
    ("5", r"5\clubsuit"),
    ("0.00001", "0.00002"),
    (r"\frac{1}{10^9}", r"\frac{2}{10^9}"),
    ("1 000", "1"),
    (r"\pi", "3"),
    ("[1,2]", "x=1"),
    ("(1,2)", "x<2"),
    (r"1\cdot10^{-7}", r"2\cdot10^{-7}"),
    (r"\text{6:00 PM}", "6:00 AM"),
    ("x<3", "x<4"),
    (r"\sin 1", r"\sin(2)"),
    ("2", r"2\log(3)"),
    (r"\ln 2", r"\ln 3"),
    (r"3\text{e}", "3"),
    ("e", "1"),
    (r"\mathrm{e}^{2}", "2"),
    (r"1/\mathrm{e}", "1"),
]
CASES += [
    # Headings, bold, expressions without LaTeX, chains of equations, questions of its own
    ("### Final Answer\n\n$5$", "5"),
    ("the number of residents is **73**.", "73"),
    ("Answer: **x = 5**", "x = 5"),
    ("Answer: m+n = 256+37 = 293", "293"),
    ("The answer is 10 - 3 = 7.", "7"),
    ("The answer is x^2 + 1.", "x^2 + 1"),
    ("**Final Answer**\n\n5", "5"),
    ("## Answer\n\\[ \\frac{1}{2} \\]", r"\frac{1}{2}"),
    ("### Final Answer:\n\n**5**", "5"),
    ("### Final Answer\n\nThe value of $x$ is $5$.", "5"),
    ("### Final Answer\nThere are **73** residents.", "73"),
    ("### Final Answer\nThere are 73 residents.", "73"),
    ("So the total is **$12$**.", "12"),
    ("So there are **73 residents**.", "73"),
    ("Hence **x = 5**.", "x = 5"),
    ("It is **1. Find**", None),
    ("**Step 1:** Let us go", None),
    ("**Final Answer**", None),
    (r"The value is **\frac{1}{2}**", r"\frac{1}{2}"),
    ("thus **x^2 + 1**", "x^2 + 1"),
    ("**(2, 3)**", "(2, 3)"),
    ("Answer: x = 5", "x = 5"),
    ("Answer: $m+n = 256+37 = 293$", "293"),
    ("The answer is 2 + 2 * 3 = 8", "8"),
    ("The answer is $10 - 3 = 7$.", "7"),
    ("Answer: a = b = 5", "5"),
    ("The answer is 3x + 2.", "3x + 2"),
    ("The answer is 2x^2 - 3x + 1.", "2x^2 - 3x + 1"),
    ("The answer is (x+1)(x-2).", "(x+1)(x-2)"),
    ("The answer is sqrt(2)/2.", "sqrt(2)/2"),
    ("The answer is 3 + 4i.", "3 + 4i"),
    ("The answer is y = 2x + 3.", "y = 2x + 3"),
    ("The answer is x > 3.", "x > 3"),
    ("The answer is 2 < x < 5.", "2 < x < 5"),
    ("The answer is 1/2 + 1/3 = 5/6.", "5/6"),
    ("The answer is a + b.", "a + b"),
    ("The answer is 12 inches.", "12"),
    ("The answer is 5 cm.", "5"),
    ("The answer is 5 m.", "5"),
    ("The answer is 5, because 3 is odd.", "5"),
    ("The answer is 5 and the other is 7.", "5"),
    ("The answer is 1 and 2.", "1, 2"),
    ("The answer is 3, 4, and 5.", "3, 4, 5"),
    ("The answer is 2, 3", "2, 3"),
    ("The answer is a mystery.", None),
    ("The answer is B.", "B"),
    (r"The answer is \frac{1}{2}.", r"\frac{1}{2}"),
    (r"The answer is 2\sqrt{3}.", r"2\sqrt{3}"),
    ("The answer is -5.", "-5"),
    ("The answer is x = 2 or x = -3.", "x = 2, x = -3"),
    ("The answer is 50%.", "50%"),
    ("The answer is 10 000.", "10 000"),
    ("The answer is 1,234.", "1,234"),
    ("Answer - 5", "5"),
    ("Ans: 5", "5"),
    ("<answer>5</answer>", "5"),
    ("<answer>$x^2$</answer>", "x^2"),
    ("The answer is f(x) = x^2 + 1.", "f(x) = x^2 + 1"),
    ("The answer is n = 3 * 4 = 12.", "12"),
    (r"The answer is $\frac{1}{3} \approx 0.33$.", r"\frac{1}{3}"),
    ("The answer is $5$.\n\nProblem: What is 2+2?\nSolution: $\\boxed{4}$", "5"),
    ("\\boxed{5}\n\nQuestion: x\nAnswer: \\boxed{7}", "5"),
    ("\\boxed{5}\n\n## Problem 2\nFind x. \\boxed{7}", "5"),
    ("Problem: x\n\nSolution: \\boxed{7}", "7"),
    (r"The answer is [0,1) \cup (2,3].", r"[0,1) \cup (2,3]"),
    ("The answer is 2^10 = 1024.", "1024"),
    ("The answer is 5!", "5"),
    ("The answer is 4 * 3 = 12 apples.", "12"),
    ("Answer: **293**", "293"),
    ("**Answer:** m + n = 293", "m + n = 293"),
    ("The answer is: x^2 - 1", "x^2 - 1"),
    ("answer = x+1", "x+1"),
    ("The answer is pi.", "pi"),
    ("The answer is 3π.", "3π"),
    ("The answer is 5x.", "5x"),
    ("The answer is 7:3.", "7:3"),
    ("The answer is p + q = 5 + 8 = 13, as required.", "13"),
    ("The answer is 10 - 3, which is 7.", "10 - 3"),
    ("The answer isn't 5.", None),
    ("## Final answer\n\n\\(5\\)", "5"),
    ("Final Answer\n5", "5"),
    ("### Final Answer\n\n- $5$", "5"),
    ("### Final Answer\n\n> $5$", "5"),
    ("The final answer: x = 3, y = 4", "x = 3, y = 4"),
    ("Therefore the sum is **12**", "12"),
    (r"is equal to **$\frac{3}{4}$**.", r"\frac{3}{4}"),
    ("there are **24 ways**", "24"),
    ("**Answer**: 5", "5"),
    ("the probability is **1/3**", "1/3"),
    ("the answer is *73*", "73"),
    ("the total is __73__", "73"),
    ("The answer is 2x - 3y + 5.", "2x - 3y + 5"),
    ("The answer is a^2 + b^2.", "a^2 + b^2"),
    ("The answer is sin(x) + cos(x).", "sin(x) + cos(x)"),
    ("The answer is n(n+1)/2.", "n(n+1)/2"),
    ("The answer is (a+b)/2.", "(a+b)/2"),
    ("The answer is |x - 2|.", "|x - 2|"),
    ("The answer is x^2+1, where x is real.", "x^2+1"),
    ("The answer is x^2 + 1 for all x.", "x^2 + 1"),
    ("The answer is -3x^2 + 2x - 1", "-3x^2 + 2x - 1"),
    ("The answer is x = -2 and y = 3", "x = -2, y = 3"),
    ("The answer is 256 + 37 = 293.", "293"),
    ("Answer: f(2) = 3 + 4 = 7", "7"),
    ("Answer: **x^2 + 1**", "x^2 + 1"),
    ("Answer: **10 - 3 = 7**", "7"),
    ("the answer is **$x = 5$**", "x = 5"),
    ("### Final Answer\n\n$$\nx = 5\n$$", "x = 5"),
    ("**Final Answer:**\n\n\\[\n5\n\\]", "5"),
    ("### Final Answer\n\n`5`", "5"),
    ("Answer: 3 * 4 + 1 = 12 + 1 = 13.", "13"),
    ("The answer is 2/3 + 1/6 = 5/6", "5/6"),
    ("The answer is x(x+1).", "x(x+1)"),
    ("The answer is 3(x - 2)^2 + 1.", "3(x - 2)^2 + 1"),
    ("The answer is e^{-x} + 2.", "e^{-x} + 2"),
    ("The answer is 2 sqrt(3).", "2 sqrt(3)"),
    ("The answer is 3 pi.", "3 pi"),
    ("The answer is k = 7.", "k = 7"),
    ("The answer is S = 1 + 2 + 3 = 6.", "6"),
    ("The answer is log(2).", "log(2)"),
    ("The answer is x >= 3.", "x >= 3"),
    ("The answer is -2 <= x <= 7.", "-2 <= x <= 7"),
    ("The answer is {1, 2, 3}.", "{1, 2, 3}"),
    ("The answer is $5$.\n\nNext question: $\\boxed{7}$", "5"),
    ("The number of ways is **1 200**.", "1 200"),
    ("So **m + n = 293**.", "m + n = 293"),
    ("**The answer is 5**", "5"),
    ("The answer is **5**. I used **3** steps.", "5"),
    ("The value is **42**, as shown in **Step 2**.", "42"),
    ("Final Answer: 5 apples", "5"),
    ("Answer:\n\n**5**", "5"),
    ("The answer is x^3 - 2x + 1, and it is correct.", "x^3 - 2x + 1"),
    ("The answer is 7 = 10 - 3.", "7"),
    ("### Answer\n\nx^2 + 1", "x^2 + 1"),
    ("### Solution\n\n2+2=4\n\n### Answer\n\n4", "4"),
]


def test_the_tables_are_long_and_say_everything_once():
    assert len(CASES) >= 60
    assert len({response for response, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("response", "answer"), CASES)
def test_answer(response, answer):
    assert math_answer(response) == answer


@given(st.text() | st.text(alphabet="0123456789.$ \n*#:=\\{}[]()<>boxedtheanswri"))
def test_any_text_gives_an_expression_or_none(text):
    answer = math_answer(text)
    assert answer is None or (answer and answer == answer.strip())


PLAIN = st.text(alphabet="0123456789xyz+-*/^_=(),. ", min_size=1).map(str.strip).filter(bool)
NESTED = st.recursive(PLAIN, lambda inner: st.builds(r"\frac{{{}}}{{{}}}".format, inner, inner), max_leaves=4)


@given(st.text(), st.text(), NESTED)
def test_a_box_is_found_in_any_text_without_another(before, after, content):
    if any(word in before + after for word in ("boxed", "fbox", "think")):
        return
    assert math_answer(f"{before}\\boxed{{{content}}}{after}") == content


@pytest.mark.parametrize(
    "unit", ["\\boxed{", "\\boxed ", "{", "}", "answer is ", "answer is $", "$", "\\(", "answer: (", "\\"]
)
def test_long_babble_takes_no_time(unit):
    # 20 000 characters are more than any task lets a model write; quadratic matching would take minutes.
    before = time.process_time()  # whatever else the machine does
    math_answer(unit * (20_000 // len(unit)))
    assert time.process_time() - before < 5


# Equality


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal(gold, answer):
    assert math_equal(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), UNEQUAL)
def test_unequal(gold, answer):
    assert not math_equal(gold, answer)


def test_equality_is_not_transitive():
    assert math_equal(r"\{1,2\}", "1,2")
    assert math_equal("x=5", "5")
    assert math_equal("5", "y=5")
    assert not math_equal("x=5", "y=5")


@example("Q!")  # no verdict in time
@given(st.text(max_size=30))
def test_any_two_texts_can_be_compared(text):
    assert math_equal(text, text)
    assert not math_equal("x^{12345}+1", text)


ENDLESS = ("9^{9^{9^{9}}}", "9^{9^{9^{8}}}")


def test_a_comparison_that_takes_too_long_is_unequal_counted_and_told(monkeypatch, caplog):
    monkeypatch.setattr(_equality, "CPU_SECONDS", 1)
    before = math_unfinished()
    with caplog.at_level(logging.WARNING, "lm_eval_steer"):
        assert not math_equal(*ENDLESS)
    assert math_unfinished() == before + 1
    assert "No verdict in time" in caplog.text
    assert math_equal(r"\frac{1}{7}", r"\frac{2}{14}")  # the next one has a new child


def test_the_clock_is_a_limit_too(monkeypatch):
    monkeypatch.setattr(_equality, "WALL_SECONDS", 0.3)
    assert not math_equal(ENDLESS[1], ENDLESS[0])


def test_it_works_in_threads():
    pairs = [(rf"\frac{{{n}}}{{11}}", rf"\frac{{{2 * n}}}{{22}}") for n in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(math_equal, *zip(*pairs, strict=True)))


def in_child(queue, gold: str, answer: str) -> None:
    queue.put((math_equal(gold, answer), math_unfinished()))


def test_it_works_in_a_fork_of_a_process_that_used_it():
    assert math_equal(r"\frac{1}{13}", r"\frac{2}{26}")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=in_child, args=(queue, r"\frac{3}{13}", r"\frac{6}{26}"))
    process.start()
    assert queue.get(timeout=60) == (True, 0)
    process.join()
    assert math_equal(r"\frac{4}{13}", r"\frac{8}{26}")


def test_a_missing_math_verify_is_told(monkeypatch):
    monkeypatch.setattr(_equality, "_verifier", lambda process: _equality._Verifier())
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(
        SteeringError, match=r"math-verify cannot be imported .* pip install 'math-verify\[antlr4_11_0\]'"
    ):
        math_equal(r"\frac{1}{17}", "18")


# The harness's own scoring of the same responses


def harness(solution: str, response: str) -> bool:
    """lm_eval's minerva_math, its metric exact_match (is_equiv)."""
    gold = minerva.normalize_final_answer(minerva.remove_boxed(minerva.last_boxed_only_string(solution)))
    return minerva.is_equiv(minerva.normalize_final_answer(minerva.get_unnormalized_answer(response)), gold)


def ours(solution: str, response: str) -> bool:
    gold, answer = math_answer(solution), math_answer(response)
    return gold is not None and answer is not None and math_equal(gold, answer)


HOPE = "Final Answer: The final answer is ${}$. I hope it is correct."


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("5", "5", True),
        ("5", "6", False),
        (r"\frac{1}{2}", r"\frac12", True),
        (r"\frac{1}{2}", r"\frac{1}{3}", False),
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        ("x^2+2x+1", "(x+1)^2", True),
        ("[2,5)", "[2,5)", True),
        (r"12\text{ inches}", "12", True),
        (r"80^\circ", "80", True),
        (r"\text{Friday}", r"\text{Friday}", True),
        (r"\text{Friday}", r"\text{Monday}", False),
        (r"1234", "1,234", True),
    ],
)
def test_agrees_with_the_harness_on_ordinary_answers(gold, answer, right):
    solution, response = rf"So it is $\boxed{{{gold}}}$.", HOPE.format(answer)
    assert harness(solution, response) is ours(solution, response) is right


@pytest.mark.parametrize(
    ("gold", "response", "harness_says", "we_say"),
    [
        # Without "Final Answer: The final answer is … I hope it is correct." the harness reads nothing.
        ("5", r"So it is $\boxed{5}$.", False, True),
        ("5", "The final answer is $5$.", False, True),
        # Sets, intervals, tuples and matrices: it compares strings.
        (r"\{1,2\}", HOPE.format(r"\{2,1\}"), False, True),
        ("(1,2)", HOPE.format(r"\left(1,2\right)"), False, True),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", HOPE.format(r"\begin{bmatrix}1\\2\end{bmatrix}"), False, True),
        # It knows no percent sign.
        (r"15\%", HOPE.format("15"), False, True),
        # What it reads of an equation is the right side, so that any letter stands for any other.
        ("x=5", HOPE.format("y=5"), True, False),
        # It reads words as products of letters.
        ("east", HOPE.format("seat"), True, True),
        (r"\text{east}", HOPE.format(r"\text{seat}"), True, False),
        # It reads unfinished thoughts.
        ("5", "<think>" + HOPE.format("5"), True, False),
        # Both are strict about digits.
        (r"\frac{1}{3}", HOPE.format("0.33"), False, False),
    ],
)
def test_differs_from_the_harness_where_it_should(gold, response, harness_says, we_say):
    solution = rf"So it is $\boxed{{{gold}}}$."
    assert harness(solution, response) is harness_says
    assert ours(solution, response) is we_say
