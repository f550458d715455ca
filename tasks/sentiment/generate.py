"""Write the sentiment splits: `python -m lm_eval_steer.tasks.sentiment.generate FOLDER`.

A row is a neutral stem with two endings, a positive and a negative word that are about as long and as frequent. Every
split has templates and words of its own. The same seed gives the same bytes on every Python: of `random.Random` only
`.random()` is used, whose sequence Python guarantees.
"""

import sys
from pathlib import Path

from lm_eval_steer.tasks import endings
from lm_eval_steer.tasks.endings import PEOPLE, ROWS, Kind

__all__ = ["KINDS", "PEOPLE", "ROWS", "SEED", "THINGS", "generate", "main"]

SEED = 251219069

THINGS = (
    "book", "class", "concert", "dinner", "exhibition", "festival", "film", "game", "garden", "hotel", "lecture",
    "meal", "museum", "novel", "painting", "park", "party", "play", "restaurant", "show", "song", "speech", "tour",
    "trip",
)  # fmt: skip

KINDS = (
    Kind(  # a thing
        {
            "extraction": (
                "{name} thought that the {thing} was",
                "In a single word, the {thing} was",
                "The whole town agreed that the {thing} was",
                "When somebody asked about the {thing}, {name} called it",
            ),
            "validation": (
                "To {name}, the {thing} seemed",
                "Looking back at it now, the {thing} was really",
                "{name} wrote in a letter that the {thing} was",
            ),
            "test": (
                "Most visitors found the {thing}",
                "{name} told a friend that the {thing} had been",
                "If you ask {name}, the {thing} is",
                "The newspaper described the {thing} as",
                "What {name} remembers about the {thing} is that it was",
            ),
        },
        {
            "extraction": (
                ("wonderful", "terrible"), ("awesome", "stupid"), ("exciting", "boring"), ("gorgeous", "horrible"),
                ("magical", "useless"), ("enjoyable", "unpleasant"), ("splendid", "dreadful"),
                ("refreshing", "worthless"), ("superb", "dull"), ("satisfying", "unacceptable"),
            ),
            "validation": (
                ("brilliant", "awful"), ("fascinating", "disappointing"), ("terrific", "horrific"),
                ("memorable", "frustrating"), ("elegant", "messy"), ("delightful", "disastrous"),
            ),
            "test": (
                ("nice", "bad"), ("amazing", "poor"), ("incredible", "ridiculous"), ("impressive", "offensive"),
                ("glorious", "miserable"), ("pleasant", "nasty"), ("remarkable", "embarrassing"),
                ("magnificent", "terrifying"), ("rewarding", "irritating"), ("marvelous", "unbearable"),
                ("heavenly", "hopeless"), ("thrilling", "tedious"),
            ),
        },
    ),
    Kind(  # how somebody feels
        {
            "extraction": (
                "After the phone call, {name} felt",
                "{name} came home from the {thing} and was",
                "All through the {thing}, {name} looked",
            ),
            "validation": (
                "On the way back from the {thing}, {name} was quite",
                "When the letter arrived, {name} felt very",
            ),
            "test": (
                "At the end of the day, {name} was feeling",
                "When the {thing} was over, {name} seemed",
                "{name} spoke about the {thing} and sounded",
            ),
        },
        {
            "extraction": (
                ("excited", "worried"), ("proud", "afraid"), ("calm", "upset"), ("grateful", "nervous"),
                ("relaxed", "anxious"), ("joyful", "gloomy"),
            ),
            "validation": (
                ("glad", "sad"), ("satisfied", "depressed"), ("peaceful", "bitter"), ("thankful", "furious"),
            ),
            "test": (
                ("lucky", "angry"), ("pleased", "scared"), ("confident", "disappointed"), ("delighted", "frustrated"),
                ("optimistic", "devastated"), ("thrilled", "annoyed"), ("hopeful", "frightened"),
                ("cheerful", "irritated"),
            ),
        },
    ),
    Kind(  # what somebody is like
        {
            "extraction": (
                "The neighbors describe {name} as",
                "To anyone who knows {name}, {name} is",
                "People say that {name} has always been",
            ),
            "validation": (
                "As a colleague, {name} is",
                "In the village {name} is known for being",
            ),
            "test": (
                "Everybody at the office says that {name} is",
                "Those who meet {name} for the first time find {her}",
                "As a guest, {name} can be",
            ),
        },
        {
            "extraction": (
                ("friendly", "violent"), ("honest", "evil"), ("generous", "selfish"), ("gentle", "brutal"),
                ("polite", "foolish"), ("competent", "vicious"),
            ),
            "validation": (
                ("brave", "rude"), ("loyal", "jealous"), ("humble", "cruel"), ("sincere", "careless"),
            ),
            "test": (
                ("wise", "weak"), ("helpful", "aggressive"), ("caring", "lazy"), ("faithful", "hostile"),
                ("sensible", "wicked"), ("gifted", "stubborn"), ("thoughtful", "arrogant"),
                ("courageous", "incompetent"),
            ),
        },
    ),
)  # fmt: skip


def generate() -> dict[str, list[dict[str, str]]]:
    """The rows of each split."""
    return endings.generate(KINDS, THINGS, SEED)


def main(folder: Path) -> None:
    """Write the three files and their manifest."""
    rule = "templates and pairs of words in turn, the rest is drawn; no two splits share a template or a word"
    endings.write(folder, generate(), "sentiment", rule, SEED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
