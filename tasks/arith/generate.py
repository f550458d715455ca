"""Write the arith splits: `python -m lm_eval_steer.tasks.arith.generate FOLDER`.

One- and two-step word problems with whole numbers and their worked solutions, in GSM8K's schema. The same seed gives
the same bytes on every Python: of `random.Random` only `.random()` is used, whose sequence Python guarantees.
"""

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from lm_eval_steer.tasks.arith.task import FIELDS
from lm_eval_steer.tasks.splits import SPLITS, Manifest, row_hash

SEED = 251219069
ROWS_PER_SPLIT = 300

PEOPLE = (
    ("Anna", "she"), ("Ben", "he"), ("Carla", "she"), ("David", "he"), ("Elena", "she"), ("Felix", "he"),
    ("Grace", "she"), ("Hugo", "he"), ("Irene", "she"), ("Jonas", "he"), ("Kira", "she"), ("Leo", "he"),
    ("Maya", "she"), ("Noah", "he"), ("Olga", "she"), ("Peter", "he"), ("Rosa", "she"), ("Samuel", "he"),
)  # fmt: skip
THINGS = (
    ("apple", "apples"), ("book", "books"), ("button", "buttons"), ("candle", "candles"), ("coin", "coins"),
    ("crayon", "crayons"), ("eraser", "erasers"), ("marble", "marbles"), ("muffin", "muffins"), ("orange", "oranges"),
    ("pencil", "pencils"), ("postcard", "postcards"), ("shell", "shells"), ("sticker", "stickers"),
    ("toy car", "toy cars"),
)  # fmt: skip


@dataclass(frozen=True)
class Template:
    """One kind of problem.

    `ranges` gives the inclusive bounds of each number; `steps` are (left, operator, right), whose results are r1, r2;
    the last one is the answer. Numbers are drawn again until every result is a whole number of at least 2, so that a
    plural noun is always right.
    """

    question: str
    solution: str
    ranges: dict[str, tuple[int, int]]
    steps: tuple[tuple[str, str, str], ...]


ADD, SUBTRACT, MULTIPLY, DIVIDE = ("a", "+", "b"), ("a", "-", "b"), ("a", "*", "b"), ("a", "/", "b")

TEMPLATES = (
    Template(
        "{name} has {a} {things}. {friend} gives {name} {b} more. How many {things} does {name} have now?",
        "{name} starts with {a} {things} and gets {b} more. {a} + {b} = {r1}.",
        {"a": (2, 12), "b": (2, 9)},
        (ADD,),
    ),
    Template(
        "{name} has {a} {things} and gives {b} of them to {friend}. How many {things} does {name} have left?",
        "{name} gives away {b} of {a} {things}. {a} - {b} = {r1}.",
        {"a": (5, 15), "b": (2, 9)},
        (SUBTRACT,),
    ),
    Template(
        "{name} buys {a} boxes of {things}. There are {b} {things} in each box. How many {things} does {name} buy?",
        "{name} buys {a} boxes with {b} {things} each. {a} * {b} = {r1}.",
        {"a": (2, 10), "b": (2, 10)},
        (MULTIPLY,),
    ),
    Template(
        "{name} has {a} {things} and gets {b} more. Then {he} gives {c} of them to {friend}. "
        "How many {things} does {name} have left?",
        "{name} has {a} + {b} = {r1} {things}. After giving {c} away, {he} has {r1} - {c} = {r2} left.",
        {"a": (2, 10), "b": (2, 10), "c": (2, 6)},
        (ADD, ("r1", "-", "c")),
    ),
    Template(
        "There are {a} boats in a harbor. Then {b} more boats arrive. How many boats are in the harbor now?",
        "There were {a} boats and {b} more arrived. {a} + {b} = {r1}.",
        {"a": (2, 12), "b": (2, 9)},
        (ADD,),
    ),
    Template(
        "{name} reads {a} pages every day. How many pages does {name} read in {b} days?",
        "{name} reads {a} pages on each of {b} days. {a} * {b} = {r1}.",
        {"a": (2, 12), "b": (2, 9)},
        (MULTIPLY,),
    ),
    Template(
        "{name} has {a} red {things} and {b} blue {things}. How many {things} does {name} have in total?",
        "{name} has {a} red and {b} blue {things}. {a} + {b} = {r1}.",
        {"a": (2, 12), "b": (2, 12)},
        (ADD,),
    ),
    Template(
        "{name} has {a} bags with {b} {things} in each bag. {He} also has {c} other {things}. "
        "How many {things} does {name} have in total?",
        "The bags hold {a} * {b} = {r1} {things}. With the {c} others that is {r1} + {c} = {r2}.",
        {"a": (2, 6), "b": (2, 6), "c": (2, 10)},
        (MULTIPLY, ("r1", "+", "c")),
    ),
    Template(
        "{name} has {a} balloons. {b} of them pop. How many balloons does {name} have left?",
        "{name} loses {b} of {a} balloons. {a} - {b} = {r1}.",
        {"a": (5, 15), "b": (2, 9)},
        (SUBTRACT,),
    ),
    Template(
        "One {thing} costs {a} dollars. How many dollars do {b} {things} cost?",
        "Each of the {b} {things} costs {a} dollars. {a} * {b} = {r1}.",
        {"a": (2, 10), "b": (2, 10)},
        (MULTIPLY,),
    ),
    Template(
        "{a} children are playing in a park. Then {b} more children come. How many children are in the park now?",
        "There were {a} children and {b} more came. {a} + {b} = {r1}.",
        {"a": (2, 12), "b": (2, 9)},
        (ADD,),
    ),
    Template(
        "{name} has {a} dollars. {He} buys {b} {things} for {c} dollars each. How many dollars does {name} have left?",
        "The {things} cost {b} * {c} = {r1} dollars. {name} has {a} - {r1} = {r2} dollars left.",
        {"a": (10, 30), "b": (2, 5), "c": (2, 5)},
        (("b", "*", "c"), ("a", "-", "r1")),
    ),
    Template(
        "A garden has {a} rows of trees with {b} trees in each row. How many trees are in the garden?",
        "There are {a} rows with {b} trees each. {a} * {b} = {r1}.",
        {"a": (2, 10), "b": (2, 10)},
        (MULTIPLY,),
    ),
    Template(
        "{name} bakes {a} cookies and eats {b} of them. How many cookies are left?",
        "{name} eats {b} of {a} cookies. {a} - {b} = {r1}.",
        {"a": (5, 20), "b": (2, 6)},
        (SUBTRACT,),
    ),
    Template(
        "{name} shares {a} {things} equally among {b} friends. How many {things} does each friend get?",
        "The {a} {things} are shared among {b} friends. {a} / {b} = {r1}.",
        {"a": (4, 60), "b": (2, 6)},
        (DIVIDE,),
    ),
    Template(
        "There are {a} people on a bus. {b} people get off and {c} people get on. How many people are on the bus now?",
        "After {b} people get off, {a} - {b} = {r1} are on the bus. After {c} get on, there are {r1} + {c} = {r2}.",
        {"a": (6, 15), "b": (2, 5), "c": (2, 8)},
        (SUBTRACT, ("r1", "+", "c")),
    ),
    Template(
        "{name} walks {a} miles on Monday and {b} miles on Tuesday. How many miles does {name} walk in total?",
        "{name} walks {a} miles and then {b} miles. {a} + {b} = {r1}.",
        {"a": (2, 12), "b": (2, 9)},
        (ADD,),
    ),
    Template(
        "{name} earns {a} dollars an hour. How many dollars does {he} earn in {b} hours?",
        "{name} earns {a} dollars in each of {b} hours. {a} * {b} = {r1}.",
        {"a": (4, 15), "b": (2, 9)},
        (MULTIPLY,),
    ),
    Template(
        "{name} needs {a} {things} and already has {b} of them. How many more {things} does {name} need?",
        "{name} has {b} of the {a} {things}. {a} - {b} = {r1}.",
        {"a": (5, 20), "b": (2, 9)},
        (SUBTRACT,),
    ),
    Template(
        "{name} has {a} {things}. {friend} has {b} more {things} than {name}. How many {things} do they have together?",
        "{friend} has {a} + {b} = {r1} {things}. Together they have {a} + {r1} = {r2}.",
        {"a": (2, 12), "b": (2, 9)},
        (ADD, ("a", "+", "r1")),
    ),
    Template(
        "A coach puts {a} children into teams of {b} children. How many teams are there?",
        "Each team has {b} of the {a} children. {a} / {b} = {r1}.",
        {"a": (6, 60), "b": (2, 6)},
        (DIVIDE,),
    ),
    Template(
        "{name} picks {a} apples and {b} pears. How many pieces of fruit does {name} pick in total?",
        "{name} picks {a} apples and {b} pears. {a} + {b} = {r1}.",
        {"a": (2, 15), "b": (2, 9)},
        (ADD,),
    ),
    Template(
        "{name} buys {a} packs of {things} with {b} {things} in each pack. {He} uses {c} {things}. "
        "How many {things} are left?",
        "{name} buys {a} * {b} = {r1} {things}. After {he} uses {c}, {r1} - {c} = {r2} are left.",
        {"a": (2, 6), "b": (3, 8), "c": (2, 6)},
        (MULTIPLY, ("r1", "-", "c")),
    ),
    Template(
        "{name} puts {a} {things} on each of {b} shelves. How many {things} does {name} put on the shelves?",
        "There are {b} shelves with {a} {things} each. {a} * {b} = {r1}.",
        {"a": (2, 12), "b": (2, 9)},
        (MULTIPLY,),
    ),
    Template(
        "{name} has {a} {things}. {friend} has {b} times as many {things}. How many {things} do they have together?",
        "{friend} has {a} * {b} = {r1} {things}. Together they have {a} + {r1} = {r2}.",
        {"a": (2, 12), "b": (2, 6)},
        (MULTIPLY, ("a", "+", "r1")),
    ),
)


class Dice:
    """Draws that depend on nothing but `random.Random(seed).random()`."""

    def __init__(self, seed: int):
        self._random = random.Random(seed).random

    def between(self, low: int, high: int) -> int:
        """A whole number, low <= n <= high."""
        return low + int(self._random() * (high - low + 1))

    def choice(self, options):
        return options[self.between(0, len(options) - 1)]


def solve(numbers: dict[str, int], steps: tuple[tuple[str, str, str], ...]) -> dict[str, int] | None:
    """The numbers with the results r1, r2; None where a result is not a whole number of at least 2."""
    known = dict(numbers)
    for index, (left, operator, right) in enumerate(steps, start=1):
        x, y = known[left], known[right]
        if operator == "/" and x % y:
            return None
        known[f"r{index}"] = {"+": x + y, "-": x - y, "*": x * y, "/": x // y}[operator]
        if known[f"r{index}"] < 2:
            return None
    return known


def problem(template: Template, dice: Dice, taken: set[tuple[str, tuple[int, ...]]]) -> dict[str, str]:
    """One row whose numbers this template has not used yet; they are added to `taken`."""
    while True:
        numbers = {key: dice.between(*bounds) for key, bounds in template.ranges.items()}
        known, key = solve(numbers, template.steps), (template.question, tuple(numbers.values()))
        if known is not None and key not in taken:
            break
    taken.add(key)
    name, he = dice.choice(PEOPLE)
    friend, _ = dice.choice([person for person in PEOPLE if person[0] != name])
    thing, things = dice.choice(THINGS)
    words = {"name": name, "friend": friend, "he": he, "He": he.capitalize(), "thing": thing, "things": things, **known}
    answer = known[f"r{len(template.steps)}"]
    return {
        "question": template.question.format(**words),
        "answer": f"{template.solution.format(**words)}\n#### {answer}",
    }


def generate(seed: int = SEED, rows: int = ROWS_PER_SPLIT) -> dict[str, list[dict[str, str]]]:
    """The rows of every split; templates take turns, and no two rows share template and numbers."""
    dice = Dice(seed)
    taken: set[tuple[str, tuple[int, ...]]] = set()
    return {split: [problem(TEMPLATES[i % len(TEMPLATES)], dice, taken) for i in range(rows)] for split in SPLITS}


def main(folder: Path) -> None:
    """Write <split>.jsonl for every split and manifest.json into `folder`."""
    generated = generate()
    for split, rows in generated.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_bytes(text.encode())
    Manifest(
        dataset="arith",
        source="the output of tasks/arith/generate.py, MIT",
        rule=f"each split is {ROWS_PER_SPLIT} rows of one random stream; no two rows share template and numbers",
        seed=SEED,
        fields=FIELDS,
        splits={split: tuple(row_hash(row, FIELDS) for row in rows) for split, rows in generated.items()},
    ).write(folder / "manifest.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
