"""Ship the vectors of the study: copies into vectors/, each with a page that says what its passport says.

python benchmarks/study/ship.py --from study
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cells import MODELS

from lm_eval_steer.cli.main import main as command
from lm_eval_steer.vectors.vector import SteeringVector

ROOT = Path(__file__).parents[2]
LICENCES = {"gemma3-270m": "Gemma Terms of Use"}
ABOUT = {
    "gsm8k_direct_steer": "working towards an answer from answering at once, read on GSM8K (`openai/gsm8k`, MIT): the "
    "same question behind five worked examples against behind five bare ones",
    "gsm8k_steer": "worked reasoning from a bare answer, read on GSM8K (`openai/gsm8k`, MIT)",
    "sentiment_steer": "a positive from a negative ending, read on generated sentences",
    "arith_steer": "worked reasoning from a bare answer, read on generated word problems",
    "arc_challenge_steer_mc": "the right option from a wrong one, read on ARC-Challenge (CC-BY-SA 4.0)",
}


def page(name: str, vector: SteeringVector) -> Iterator[str]:
    """The page of a vector."""
    passport, transfer, data = vector.passport, vector.transfer, vector.passport["data"]
    parent = passport["parent"]
    yield f"# {name}"
    yield ""
    if transfer is None:
        yield f"Directions that tell {ABOUT[data['task']]}; read from {MODELS[parent['name']]}."
    else:
        yield (
            f"The directions of `{name.partition('_for_')[0]}` as {MODELS[vector.space['name']]} would have them: "
            f"carried over, block by block, by a map fitted on states of both models on {transfer['texts']['n']:,} "
            "questions" + (", paired at random: the control." if transfer["shuffled"] else ".")
        )
    yield ""
    yield f"- file: `{name}.safetensors`, fingerprint `{vector.fingerprint}`"
    if transfer is not None:
        child = transfer["child"]
        yield (
            f"- child: {MODELS[child['name']]} ({_licence(child['name'])}), dequantised, as `lm-eval-steer model "
            f"{child['name']}` writes it: {child['num_blocks']} blocks of width {child['hidden_size']}, weights "
            f"`{child['digest'][:16]}`"
        )
    yield (
        f"- parent: {MODELS[parent['name']]} ({_licence(parent['name'])}), dequantised, in {parent['dtype']}: "
        f"{parent['num_blocks']} blocks of width {parent['hidden_size']}"
        + (f", weights `{parent['digest'][:16]}`" if "digest" in parent else "")
    )
    yield f"- pairs: {data['n_pairs']} extraction rows of `{data['task']}`, plain text, seed 0"
    yield f"- method: `{passport['method']['method']}` of differences, at the last token's block output"
    if transfer is not None:
        texts = transfer["texts"]
        yield (
            f"- map: `{transfer['width_map']['name']}`, layer map `{transfer['layer_map']['name']}`, states of "
            f"`{transfer['tokens']}` tokens of {texts['n']} extraction rows of {' and '.join(texts['tasks'])}, "
            f"{texts['held_out']} of them held out, seed 0"
        )
    yield ""
    yield "Made by"
    yield ""
    for model in dict.fromkeys([parent["name"], *([] if transfer is None else [vector.space["name"]])]):
        yield f"    lm-eval-steer model {model} models/{model}"
    given = f"pretrained=models/{parent['name']},dtype={parent['dtype']}"
    if transfer is None:
        method = "" if passport["method"]["method"] == "pca" else f"--method {passport['method']['method']} "
        yield (
            f"    lm-eval-steer extract --model_args {given} --task {data['task']} {method}--n {data['n_pairs']} "
            f"--out vectors/{name}.safetensors"
        )
        return
    shuffle = "" if transfer["shuffled"] is None else f" --shuffle_texts {transfer['shuffled']}"
    yield (
        f"    lm-eval-steer transfer {name.partition('_for_')[0]} --parent_args {given} "
        f"--child models/{vector.space['name']} --width_map {transfer['width_map']['name']} "
        f"--layer_map {transfer['layer_map']['name']} --tokens {transfer['tokens']} "
        f"--task {','.join(transfer['texts']['tasks'])} --n {transfer['texts']['n']}{shuffle} "
        f"--out vectors/{name}.safetensors"
    )
    yield ""
    yield f"with the child in {transfer['child']['dtype']} (`--child_args pretrained=...,dtype=...` in place of it)."
    yield ""
    yield "| block | parent's block | held-out R² | length | cos with cut |"
    yield "|---|---|---|---|---|"
    for block in transfer["blocks"]:
        numbers = f"{block['r2']:.3f} | {block['length']:.3f} | {block['cos_cut']:+.3f}"
        yield f"| {block['block']} | {block['source']} | {numbers} |"


def _licence(model: str) -> str:
    return LICENCES.get(model, "Apache-2.0")


def main() -> None:
    """Copy vectors, and write their pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, required=True, metavar="DIR", help="folder of the study")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which of its vectors (default: all)")
    args = parser.parse_args()
    for file in sorted((args.folder / "vectors").glob("*.safetensors")):
        name = file.name.removesuffix(".safetensors")
        if not args.names or name in args.names:
            shutil.copyfile(file, ROOT / "vectors" / file.name)
            text = "\n".join(page(name, SteeringVector.load(file))) + "\n"
            (ROOT / "vectors" / f"{name}.md").write_text(text, encoding="utf-8")
            print(f"vectors/{name}.md")
    os.chdir(ROOT)
    command(["vectors", "list", "vectors", "--out", "vectors/README.md"])


if __name__ == "__main__":
    main()
