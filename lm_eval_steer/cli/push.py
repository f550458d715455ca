"""`lm-eval-steer vectors push`: a vector to the Hugging Face Hub, with a card made of its passport and of a sweep."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import quote
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import read_bytes
from lm_eval_steer.text import printable


def add(actions: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        actions,
        "push",
        push,
        "put a vector on the Hugging Face Hub, with a card made of its passport and of a sweep",
        "lm-eval-steer vectors push phi4_gsm8k.safetensors org/name --sweep sweep --private",
        "vectors push",
    )
    option = parser.add_argument
    option("vector", type=read_path, metavar="FILE", help="a vector file, or the name of one as for `vectors=`")
    option("repo", metavar="ORG/NAME", help="the repository; it is made where there is none")
    option("--as", dest="name", metavar="NAME", help="the file there (default: its own name)")
    option(
        "--sweep",
        nargs="+",
        type=read_path,
        metavar="DIR",
        help="what sweep wrote with --output_path: its rows of this vector and a figure go into the card",
    )
    option("--base_model", metavar="ID", help="the model that is steered, where the passport names a folder")
    option("--licence", metavar="NAME", help="as the Hub names it, such as mit")
    option("--private", action="store_true", help="make the repository private")
    option("--revision", metavar="BRANCH", help="another branch than main; it is made where there is none")
    option("--message", metavar="TEXT", help="of the commit")
    option("--dry_run", action="store_true", help="print the card, and send nothing")


def push(args: argparse.Namespace) -> None:
    """Make the card, and send it with the vector and the figure."""
    from lm_eval_steer.report.vectors.card import Card, base_model_of
    from lm_eval_steer.vectors.catalog import find_vector
    from lm_eval_steer.vectors.hub_push import check_name, look_at, shown
    from lm_eval_steer.vectors.hub_push import push as send
    from lm_eval_steer.vectors.several import read_vector

    path = find_vector(args.vector)
    vector, name = read_vector(path), check_name(args.name or path.name)
    if args.base_model is not None and not _is_id(args.base_model):
        raise SteeringError(f"--base_model {printable(args.base_model)}: name a model on the Hub, as in org/name")
    base = args.base_model or base_model_of(vector)
    stem = name.rpartition(".")[0]
    table, figure, files = None, None, {name: read_bytes(path, "directions")}
    if args.sweep:
        table, title, png = _measured(args.sweep, vector.fingerprint)
        figure, files[f"{stem}.png"] = (title, f"{stem}.png".rpartition("/")[2]), png
    text = Card(vector, args.repo, name, base, args.licence, table, figure).text()
    if args.dry_run:
        sys.stdout.write(text)
        return
    remote = look_at(args.repo, args.private, args.revision)
    card = remote.card_of(name)
    if card == "README.md" and figure is not None and "/" in name:  # which lies above the figure
        text = Card(vector, args.repo, name, base, args.licence, table, (figure[0], f"{stem}.png")).text()
    files[card] = text.encode()
    url = send(remote, files, args.message or f"Add {name}", args.revision)
    print(printable(f"Pushed to {url}:"))
    for line in shown(files):
        print(printable(line))
    if base is None:
        print("The card names no base model, since the passport names a folder: --base_model ID says which one it is.")
    at = f"@{args.revision}" if args.revision else ""
    print("Use it:")
    print(f"  lm-eval-steer vectors show {quote([f'{args.repo}:{name}{at}'])}")


def _measured(folders: list[str], fingerprint: str) -> tuple[str, str, bytes]:
    """Table and figure of a vector's rows."""
    from lm_eval_steer.cli.results import expanded
    from lm_eval_steer.report.tables import read_leaderboard
    from lm_eval_steer.report.vectors.measured import of_vector, table_and_figure

    places = expanded([Path(folder) for folder in folders])
    return table_and_figure(of_vector(read_leaderboard(places), fingerprint), places)


def _is_id(name: str) -> bool:
    from lm_eval_steer.vectors.hub import read_reference

    said = read_reference(name)
    return said is not None and str(said) == said.repo
