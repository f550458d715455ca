"""Write the politeness splits: `python -m lm_eval_steer.tasks.politeness.generate FOLDER`.

A row is a stem after which somebody speaks, with two endings, something polite and something rude of about the same
length. Every split has templates of its own, and words of its own but for the smallest ones (`SMALL`).
"""

import sys
from pathlib import Path

from lm_eval_steer.tasks import endings
from lm_eval_steer.tasks.endings import Kind

SEED = 251219070

# fmt: off
SMALL = frozenset({
    "a", "about", "all", "am", "an", "and", "are", "as", "at", "be", "do", "for", "have", "how", "i", "if",
    "in", "is", "it", "like", "me", "my", "no", "not", "of", "on", "so", "that", "the", "this", "to", "up",
    "us", "we", "what", "who", "with", "you", "your",
})
# fmt: on
"""Words that say nothing by themselves, which splits may share."""

THINGS = (
    "bill", "blanket", "bus", "chair", "coat", "doctor", "elevator", "heating", "invoice", "key", "ladder", "lamp",
    "laundry", "map", "menu", "newspaper", "parcel", "receipt", "room", "soup", "table", "ticket", "train", "window",
)  # fmt: skip

KINDS = (
    Kind(  # somebody asks
        {
            "extraction": (
                "{name} came about the {thing} and said:",
                "At the entrance, {name} pointed towards the {thing} and began:",
                "Because of the {thing}, {name} called the office and started:",
            ),
            "validation": (
                "{name} wrote a note about the {thing}:",
                "Standing by the {thing}, {name} spoke:",
            ),
            "test": (
                "The {thing} was not there, so {name} turned to the porter:",
                "{name} leaned over the desk to ask for the {thing}:",
                "With regard to the {thing}, {name} told the caretaker:",
            ),
        },
        {
            "extraction": (
                ("Please pass it to me", "Just throw it to me"),
                ("Could I kindly have it", "Shut up and give it"),
                ("May I trouble you for it", "Hurry up, you idiot"),
                ("I wonder if you have it", "I want it, you moron"),
                ("Excuse me, is it yours", "Out with you, fat fool"),
                ("I am grateful for it", "I am sick of you"),
                ("Thank you so much for it", "Work harder, you lazy dog"),
                ("It is very kind of you", "It is your damn job"),
            ),
            "validation": (
                ("Would you be willing to help", "Do it right now, you dummy"),
                ("I humbly request it of you", "Surrender it, you crook"),
                ("Pardon, might I borrow it", "Stop wasting our time"),
                ("Many thanks in advance", "Such stupid excuses"),
                ("It is an honor to see you", "It is trash like you are"),
            ),
            "test": (
                ("Do you mind if I take it", "Do not argue, bring it"),
                ("I appreciate it sincerely", "I hate it, you big loser"),
                ("Sorry to bother you with it", "Quit talking and fetch it"),
                ("If it is convenient to you", "Drop it, you pathetic rat"),
                ("I should be glad of it", "Shove it, you clown"),
                ("With your permission, sir", "Beat it, you little creep"),
                ("It is a pleasure to meet you", "What the hell is this mess"),
                ("Let me apologize to you", "Cut the crap, you pig"),
            ),
        },
    ),
    Kind(  # somebody answers
        {
            "extraction": (
                "Somebody complained about the {thing}, and {name} answered:",
                "When a neighbor offered the {thing}, {name} replied:",
                "{name} was shown the {thing} once more and said:",
            ),
            "validation": (
                "After the mistake with the {thing}, {name} informed the guest:",
                "{name} read the letter about the {thing} and sent these words:",
            ),
            "test": (
                "The visitor mentioned the {thing} again, and {name} responded:",
                "When a stranger moved the {thing}, {name} remarked:",
                "On the phone about the {thing}, {name} declared to the customer:",
            ),
        },
        {
            "extraction": (
                ("You are most welcome", "You are so annoying"),
                ("Certainly, my dear friend", "Never, you ugly liar"),
                ("Of course, no problem", "Go away, you nuisance"),
                ("I beg your forgiveness", "I spit on your nonsense"),
                ("Gladly, at your leisure", "Nobody invited you, jerk"),
                ("Bless you, gentle soul", "Screw you, dirty thief"),
                ("Good day and all the best", "Who needs your old junk"),
                ("That is thoughtful of you", "That is typical of a brat"),
            ),
            "validation": (
                ("I understand completely", "You sound ridiculous"),
                ("Always happy to oblige", "Leave us alone, weirdo"),
                ("We deeply regret it", "We laugh at it, peasant"),
                ("Enjoy your evening, madam", "Choke on it, nasty witch"),
                ("Your patience is valued", "Your whining is awful"),
            ),
            "test": (
                ("My apologies for the delay", "My God, are you totally deaf"),
                ("At your service, as ever", "Keep your mouth closed"),
                ("I am delighted to assist", "I despise you, coward"),
                ("You have my sympathy", "You have no brain"),
                ("How considerate of you", "How dumb and dull of you"),
                ("I respect your wishes", "I refuse, you freak"),
                ("Feel free to stay", "Shame on you, bum"),
                ("Warm regards to your family", "Curse you and your gang"),
            ),
        },
    ),
)


def generate() -> dict[str, list[dict[str, str]]]:
    """The rows of each split."""
    return endings.generate(KINDS, THINGS, SEED)


def main(folder: Path) -> None:
    """Write the three files and their manifest."""
    rule = (
        "templates and pairs of endings in turn, the rest is drawn; no two splits share a template, or a word but for "
        "the smallest"
    )
    endings.write(folder, generate(), "politeness", rule, SEED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
