"""Extraction from pairs to file: what is read, from where, and what the passport says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import models
from drawn import task_pairs
from lm_eval_steer.cli.main import main
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.capture import capture_pairs
from lm_eval_steer.extraction.extract import extract, load_parent
from lm_eval_steer.extraction.keep import keep
from lm_eval_steer.extraction.pairs import candidates, load_task, pair_template, read_pairs
from lm_eval_steer.extraction.prompts import ParentTemplate
from lm_eval_steer.extraction.report import make_table
from lm_eval_steer.extraction.source import load_source, make_pairs
from lm_eval_steer.models.checkpoint import weights_digest
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.vectors.vector import SteeringVector


def run(args: ExtractionArgs, parent: SteeredHF) -> SteeringVector:
    return extract(args, load_source(args), parent)


TEXTS = [
    ("The sky is blue, and so is the sea.", "No."),
    ("a", "A much longer text than the other side has"),
    ("x y", "z"),
]


AXIS = np.random.default_rng(3).normal(size=models.WIDTH).astype(np.float32)


@pytest.mark.parametrize("shared", ["", "A system prompt that every text begins with. "])
@pytest.mark.parametrize("family", [*models.FAMILIES, *models.OTHERS])
def test_capture_reads_block_outputs_at_the_last_token(family: str, shared: str) -> None:
    """Against one text at a time and transformers' own hidden states, which are block outputs up to the last block;
    that one is checked with a hook, since its hidden state is taken behind the final norm in most families."""
    model, tokenizer = models.make_model(family), models.make_tokenizer()
    blocks = find_blocks(model)
    pairs = [(tokenizer.encode(shared + a), tokenizer.encode(shared + b)) for a, b in TEXTS]
    captured = capture_pairs(model, dict(enumerate(blocks)), pairs, 4, torch.device("cpu"))
    differences, norms = captured.differences, captured.norms
    assert differences.shape == (3, models.DEPTH, models.WIDTH)
    assert differences.dtype == np.float32
    last: list[torch.Tensor] = []
    blocks[-1].register_forward_hook(lambda m, a, out: last.append(out if torch.is_tensor(out) else out[0]))
    lengths = []
    for pair, sides in enumerate(pairs):
        outputs = []
        for ids in sides:
            with torch.no_grad():
                states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            first = 0 if family in ("mamba", "rwkv") else 1  # behind the embeddings, which these leave out
            others = states[first : first + models.DEPTH - 1]
            outputs.append(torch.stack([*(state[0, -1] for state in others), last[-1][0, -1]]))
            lengths.append(outputs[-1].norm(dim=-1).numpy())
        assert np.allclose(differences[pair], (outputs[0] - outputs[1]).numpy(), atol=1e-4)
        along = np.array([projected[pair] for projected in captured.projections(1, AXIS)])
        assert np.allclose(along, [float(output[1] @ AXIS) for output in outputs[::-1]], atol=1e-4)
    assert np.allclose(norms, np.mean(lengths, axis=0), rtol=1e-4)


def test_a_parent_that_looks_ahead_is_refused() -> None:
    config = transformers.BertConfig(**models.COMMON, intermediate_size=48)
    parent = SteeredHF(transformers.BertLMHeadModel(config), tokenizer=models.make_tokenizer(), alpha=0)
    with pytest.raises(SteeringError, match="BertLMHeadModel looks at the tokens to come"):
        run(ExtractionArgs(task="arith_steer", n=4), parent)


def test_capture_leaves_no_hooks_and_refuses_other_modules() -> None:
    model = models.make_model("llama")
    ids = models.make_tokenizer().encode("abc")
    with pytest.raises(SteeringError, match="set blocks= in --model_args"):
        capture_pairs(model, {0: model.model.rotary_emb}, [(ids, ids)], 2, torch.device("cpu"))
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(SteeringError, match="pair 1 holds a text without tokens"):
        capture_pairs(model, {0: find_blocks(model)[0]}, [(ids, ids), (ids, [])], 2, torch.device("cpu"))


def test_texts_that_memory_does_not_hold_are_read_in_halves(caplog: pytest.LogCaptureFixture) -> None:
    model, tokenizer = models.make_model("llama"), models.make_tokenizer()
    blocks, sizes = find_blocks(model), []

    def hold_three(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def exhaust() -> None:
        torch.empty(2**60)

    pairs = [(tokenizer.encode(a + "." * i), tokenizer.encode(b)) for i, (a, b) in enumerate(TEXTS * 2)]
    want = capture_pairs(model, dict(enumerate(blocks)), pairs, 12, torch.device("cpu"))
    guard = blocks[1].register_forward_pre_hook(hold_three)
    got = capture_pairs(model, dict(enumerate(blocks)), pairs, 12, torch.device("cpu"))
    guard.remove()
    assert sizes[-4:] == [3, 3, 3, 3]
    assert np.allclose(got.differences, want.differences, atol=1e-5)
    assert np.allclose(got.norms, want.norms, rtol=1e-5)
    assert "Memory does not hold 12 texts: going on with 6 at a time" in caplog.text
    blocks[0].register_forward_pre_hook(lambda module, args: exhaust() if args[0].shape[1] == 42 else None)
    with pytest.raises(SteeringError, match="memory does not hold a single text of 42 tokens"):
        capture_pairs(model, dict(enumerate(blocks)), pairs[1:2], 4, torch.device("cpu"))


def test_a_block_that_never_runs_is_named() -> None:
    model, ids = models.make_model("llama"), models.make_tokenizer().encode("abc")
    spare = models.make_model("llama").model.layers[0]
    with pytest.raises(SteeringError, match=r"block 7 \(LlamaDecoderLayer\) did not run .*leave it out with --layers"):
        capture_pairs(model, {0: find_blocks(model)[0], 7: spare}, [(ids, ids)], 2, torch.device("cpu"))


def test_rows_that_are_too_long_are_replaced_and_told(tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The texts are one token a byte, so the rows that fit can be counted by hand."""
    task, template = load_task("arith_steer"), pair_template("arith_steer")
    every = list(candidates(task, template, 12, 0, None))
    assert len(every) == len({pair.row for pair in every}) == 300
    assert every[:12] == task_pairs(task, template, 12, 0, None)
    lengths = [len(pair.positive.encode()) for pair in every]
    limit = sorted(lengths[:12])[-3]  # two of the first twelve are longer, or more where lengths are equal
    long = [pair.row for pair, length in zip(every[:12], lengths[:12], strict=True) if length > limit]
    assert long
    parent = load_parent({"pretrained": str(tiny_folder), "max_length": limit}, "cpu")
    args = ExtractionArgs(task="arith_steer", n=12)
    _, data = make_pairs(args, load_source(args), parent)
    assert data["rows_too_long"][: len(long)] == long
    fit = [pair.row for pair, length in zip(every, lengths, strict=True) if length <= limit]
    assert data["rows"] == fit[:12]
    assert f"do not fit into the {limit} tokens that" in caplog.text
    assert long[0] in caplog.text
    parent = load_parent({"pretrained": str(tiny_folder), "max_length": 20}, "cpu")
    with pytest.raises(
        SteeringError, match=r"12 pairs are wanted, and 0 fit into the 20 tokens that .* \(the longest is"
    ):
        run(ExtractionArgs(task="arith_steer", n=12), parent)


@pytest.mark.parametrize(
    ("end", "closed"),
    [
        ("<think>\n", "<think>\n</think>\n\n"),
        ("[THINK]", "[THINK]\n[/THINK]\n\n"),
        ("<think></think>", None),
        ("", None),
    ],
)
def test_a_thought_that_the_template_opens_is_closed(end: str, closed: str | None, tiny_folder: Path) -> None:
    parent = load_parent({"pretrained": str(tiny_folder)}, "cpu")
    parent.tokenizer.chat_template = "{% for turn in messages %}{{ turn.content }}|{% endfor %}{{ '" + end + "' }}"
    args = ExtractionArgs(task="arith_steer", n=2, apply_chat_template=True)
    pairs, data = make_pairs(args, load_source(args), parent)
    prompt = ParentTemplate(parent)([{"role": "user", "content": "Hi"}])
    assert prompt == "Hi|" + (closed or end)
    mark = closed and closed.strip().split("\n")[1]
    assert all((closed or end) in pair.negative for pair in pairs)
    assert data.get("thought") == (f"closed with {mark}" if mark else None)


def test_task_pairs_share_the_prompt_and_the_answer() -> None:
    task, template = load_task("arith_steer"), pair_template("arith_steer")
    pairs = task_pairs(task, template, 5, seed=1, render=None)
    docs = {doc["row"]: doc for doc in task.training_docs()}
    for pair in pairs:
        doc = docs[pair.row]
        reasoning, answer = (part.strip() for part in doc["answer"].split("####"))
        prompt = f"{task.config.description}Q: {doc['question']}\nA: "
        assert pair.negative == f"{prompt}The answer is {answer}."
        assert pair.positive == f"{prompt}{reasoning} The answer is {answer}."
    assert [pair.row for pair in task_pairs(task, template, 5, seed=1, render=None)] == [pair.row for pair in pairs]
    assert [pair.row for pair in task_pairs(task, template, 5, seed=2, render=None)] != [pair.row for pair in pairs]


def test_task_pairs_through_a_chat_template_end_in_the_answer() -> None:
    task, template = load_task("arith_steer"), pair_template("arith_steer")
    (pair,) = task_pairs(task, template, 1, 0, lambda turns: "|".join(t["role"] for t in turns) + "|assistant:")
    assert pair.negative.startswith("system|user|assistant:The answer is ")
    assert pair.positive.endswith(pair.negative.split("assistant:")[1])


def test_calculator_annotations_are_cut_from_gsm8k() -> None:
    from lm_eval.utils import apply_template

    doc = {"answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n#### 24"}
    sides = {side: apply_template(text, doc) for side, text in pair_template("gsm8k_steer").items()}
    assert sides["positive"] == "Natalia sold 48/2 = 24 clips in May.\n#### The final answer is: 24"
    assert sides["negative"] == "#### The final answer is: 24"


def test_pairs_of_arc_and_math_end_in_the_same_answer() -> None:
    from lm_eval.utils import apply_template

    arc = {"rationale": "Iron is drawn by magnets.", "answerKey": "B"}
    sides = {side: apply_template(text, arc) for side, text in pair_template("arc_challenge_steer").items()}
    assert sides["negative"] == "**Final Answer:** \\boxed{B}"
    assert sides["positive"] == "Iron is drawn by magnets.\n**Final Answer:** \\boxed{B}"
    math = {"solution": "Half is $\\boxed{\\frac12}$. ", "answer": "\\frac12"}
    sides = {side: apply_template(text, math) for side, text in pair_template("math_steer").items()}
    assert sides["negative"] == "The final answer is $\\boxed{\\frac12}$."
    assert sides["positive"] == "Half is $\\boxed{\\frac12}$.\nThe final answer is $\\boxed{\\frac12}$."


def write_pairs(path: Path, pairs: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"positive": positive, "negative": negative}) for positive, negative in pairs]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_read_pairs(tmp_path: Path) -> None:
    odd = [("one\u2028line", "b"), ("c", "d")]
    read = read_pairs(write_pairs(tmp_path / "pairs.jsonl", odd))
    assert [(pair.positive, pair.negative) for pair in read] == odd
    bad = tmp_path / "bad.jsonl"
    for line, sentence in [
        ("not json", "line 2: expected"),
        ('{"positive": "a"}', "line 2: expected"),
        ('{"positive": 1, "negative": "b"}', "line 2: expected"),
        ('["a", "b"]', "line 2: expected"),
        ('{"positive": "a", "negative": "a"}', "line 2: positive and negative are the same text"),
    ]:
        bad.write_text('{"positive": "a", "negative": "b"}\n' + line + "\n")
        with pytest.raises(SteeringError, match=sentence):
            read_pairs(bad)
    with pytest.raises(SteeringError, match="no such file of pairs"):
        read_pairs(tmp_path / "missing.jsonl")


def test_a_parent_with_an_encoder_is_refused(tmp_path: Path) -> None:
    parent = load_parent({"pretrained": str(models.save_model(tmp_path / "t5", "t5"))}, None)
    with pytest.raises(SteeringError, match="T5ForConditionalGeneration is an encoder-decoder"):
        run(ExtractionArgs(task="arith_steer", n=4), parent)


def test_refusals(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="nothing to extract from"):
        ExtractionArgs()
    with pytest.raises(SteeringError, match=r"^there is no extraction method 'svd': use one of pca, mean$"):
        ExtractionArgs(task="arith_steer", method="svd")
    with pytest.raises(SteeringError, match="n=0 is not positive"):
        ExtractionArgs(task="arith_steer", n=0)
    with pytest.raises(SteeringError, match="no pair template for task 'hellaswag'"):
        pair_template("hellaswag")
    with pytest.raises(SteeringError, match=r"n=999 pairs, but arith_steer has \d+ extraction rows"):
        task_pairs(load_task("arith_steer"), pair_template("arith_steer"), 999, 0, None)
    with pytest.raises(SteeringError, match="must name the model"):
        load_parent({}, None)
    parent = load_parent({"pretrained": str(tiny_folder)}, "cpu")
    with pytest.raises(SteeringError, match="has no chat template"):
        run(ExtractionArgs(task="arith_steer", n=2, apply_chat_template=True), parent)
    pairs = write_pairs(tmp_path / "long.jsonl", [("a" * 3000, "b"), ("c", "d")])
    with pytest.raises(SteeringError, match=r"2 pairs are wanted, and 1 fit .* 3000 tokens long"):
        run(ExtractionArgs(pairs=str(pairs)), parent)
    with pytest.raises(SteeringError, match=r"n=5 pairs, but .* holds 2"):
        run(ExtractionArgs(pairs=str(pairs), n=5), parent)
    with pytest.raises(SteeringError, match="block 9, but the model has blocks 0 to 2"):
        run(ExtractionArgs(task="arith_steer", n=2, layers="9"), parent)


def last_states(parent: SteeredHF) -> list[list[np.ndarray]]:
    """Outputs [blocks, hidden] at the last token of each text, of positive and negative sides, one text at a time."""
    args = ExtractionArgs(task="arith_steer", n=12, layers=[0, 2], seed=4, batch_size=3)
    pairs, _ = make_pairs(args, load_source(args), parent)
    found: list[list[np.ndarray]] = []
    for texts in ([pair.positive for pair in pairs], [pair.negative for pair in pairs]):
        seen: list[np.ndarray] = []

        def read(module: torch.nn.Module, given: Any, output: Any, seen: list[np.ndarray] = seen) -> None:
            hidden = output if torch.is_tensor(output) else output[0]
            seen.append(hidden[0, -1].float().numpy())

        handles = [block.register_forward_hook(read) for block in find_blocks(parent.model)]
        with torch.no_grad():
            for text in texts:
                parent.model(torch.tensor([parent.tok_encode(text)]))
        for handle in handles:
            handle.remove()
        found.append(list(np.stack(seen).reshape(len(texts), models.DEPTH, -1)))
    return found


def test_passport_and_table(tiny_folder: Path) -> None:
    parent = load_parent({"pretrained": str(tiny_folder), "dtype": "bfloat16"}, "cpu")
    vector = run(ExtractionArgs(task="arith_steer", n=12, layers=[0, 2], seed=4, batch_size=3), parent)
    passport = vector.passport
    assert vector.layers == (0, 2)
    assert passport["parent"]["architecture"] == "llama"
    assert (passport["parent"]["hidden_size"], passport["parent"]["num_blocks"]) == (models.WIDTH, models.DEPTH)
    assert passport["parent"]["dtype"] == "bfloat16"
    assert passport["parent"]["digest"] == weights_digest({"pretrained": str(tiny_folder)})
    assert passport["method"] == {
        "method": "pca", "normalize_differences": False, "seed": 4, "orders": "half", "apply_chat_template": False,
    }  # fmt: skip
    data = passport["data"]
    assert (data["task"], data["split"], data["n_pairs"], len(set(data["rows"]))) == (
        "arith_steer",
        "extraction",
        12,
        12,
    )
    assert [block["block"] for block in passport["blocks"]] == [0, 2]
    for direction, said in zip(vector.directions, passport["blocks"], strict=True):
        sides = [[float(state[said["block"]] @ direction) for state in one] for one in last_states(parent)]
        assert said["projection_positive"] == pytest.approx(np.mean(sides[0]), abs=0.02)  # bfloat16
        assert said["projection_negative"] == pytest.approx(np.mean(sides[1]), abs=0.02)
        assert said["projection_deviation"] == pytest.approx(np.std(sides[0] + sides[1]), abs=0.02)
        assert said["projection_positive"] > said["projection_negative"]
    table = make_table(vector)
    assert table.row_count == 2
    assert [str(c.header) for c in table.columns][1:4] == [
        "explained variance", "cos with mean difference", "held-out pairs separated",
    ]  # fmt: skip


def test_the_batch_size_does_not_matter(tiny_folder: Path) -> None:
    parent = load_parent({"pretrained": str(tiny_folder)}, "cpu")
    one, many = (run(ExtractionArgs(task="arith_steer", n=10, batch_size=b), parent) for b in (1, 7))
    assert np.all((one.directions * many.directions).sum(axis=1) > 0.99999)


def test_extract_command(tiny_folder: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", [(f"Yes, {i} is right.", f"{i}") for i in range(8)])
    out = tmp_path / "v.pt"
    command = [
        sys.executable, "-m", "lm_eval_steer.cli", "extract", "--model_args", f"pretrained={tiny_folder},dtype=float32",
        "--pairs", str(pairs), "--out", str(out), "--method", "mean", "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "explained" in done.stdout
    assert f"vectors={out},alpha=0.04" in done.stdout
    vector = SteeringVector.load(out)
    assert vector.passport["data"]["n_pairs"] == 8
    assert vector.passport["method"]["method"] == "mean"


def test_extract_command_tells_bad_input_in_one_sentence(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["extract", "--model_args", f"pretrained={tiny_folder}", "--task", "arith_steer", "--out"]
    (tmp_path / "pairs.pt").mkdir()
    (tmp_path / "pairs.pt" / "file").write_text("")
    for out, more, sentence in [
        ("v.gguf", [], "name a .safetensors or a .pt file"),
        ("v.pt", ["--method", "svd"], "there is no extraction method 'svd': use one of pca, mean"),
        ("v.pt", ["--layers", "[1,"], "layers"),
        ("pairs.pt", [], "is a folder: name a file"),
        ("pairs.pt/file/v.pt", [], "cannot be written ("),
    ]:
        with pytest.raises(SystemExit) as stopped:
            sys.exit(main([*arguments, str(tmp_path / out), *more]))
        assert stopped.value.code == 2
        told = capsys.readouterr().err
        assert sentence in told
        assert "Traceback" not in told
        assert not (tmp_path / out).is_file()


def test_what_is_wrong_is_told_before_a_parent_is_loaded(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    attack = "{{ cycler.__init__.__globals__.os.system('touch RAN') }}"
    one, two = '{"positive": "a", "negative": "b"}\n', '{"positive": "c", "negative": "d"}\n'
    files = {
        "3.yaml": b"arith_steer: 3",
        "list.yaml": b"[arith_steer]",
        "date.yaml": b"arith_steer: 2001-99-99",
        "deep.yaml": b"[" * 5000,
        "latin.yaml": b"arith_steer: \xe9",
        "syntax.yaml": b"arith_steer: {positive: 'a{{ x', negative: a}",
        "name.yaml": b"arith_steer: {positive: '{{ nope }}', negative: a}",
        "zero.yaml": b"arith_steer: {positive: '{{ 1 / 0 }}', negative: a}",
        "attack.yaml": f'arith_steer: {{positive: "{attack}", negative: a}}'.encode(),
        "same.yaml": b"arith_steer: {positive: a, negative: a}",
        "one.jsonl": one.encode(),
        "utf16.jsonl": (one + two).encode("utf-16"),
        "latin.jsonl": (one + two).encode() + b"\xe9",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    task = ["--task", "arith_steer"]
    for arguments, sentence in [
        ([*task, "--seed", "-1"], "seed=-1 is negative"),
        ([*task, "--n", "1"], "1 pair is not enough"),
        ([*task, "--n", "301"], "n=301 pairs, but arith_steer has 300 extraction rows"),
        ([*task, "--layers", "x"], "layers='x' is not understood"),
        ([*task, "--out", "x" * 300 + ".pt"], "cannot be written (File name too long)"),
        ([*task, "--pair_template", "3.yaml"], "must have the texts `positive` and `negative`, got 3"),
        ([*task, "--pair_template", "list.yaml"], "expected tasks, each with the texts"),
        ([*task, "--pair_template", "date.yaml"], "not a YAML file of pair templates (month must be"),
        ([*task, "--pair_template", "deep.yaml"], "not a YAML file of pair templates"),
        ([*task, "--pair_template", "latin.yaml"], "latin.yaml, line 1: byte 0xe9 is no UTF-8"),
        ([*task, "--pair_template", "syntax.yaml"], "`positive` of arith_steer, line 1: not a Jinja template"),
        (
            [*task, "--pair_template", "name.yaml"],
            "(UndefinedError: 'nope' is undefined); a row has answer, question, row",
        ),
        ([*task, "--pair_template", "zero.yaml"], "cannot be filled in (ZeroDivisionError"),
        ([*task, "--pair_template", "attack.yaml"], "cannot be filled in (SecurityError"),
        ([*task, "--pair_template", "same.yaml"], "gives the same text on both sides"),
        ([*task, "--rationales", "latin.jsonl"], "latin.jsonl, line 3: byte 0xe9 is no UTF-8"),
        (["--pairs", "one.jsonl"], "1 pair in one.jsonl is not enough"),
        (["--pairs", "utf16.jsonl"], "looks like UTF-16): save it as UTF-8"),
        (["--pairs", "/dev/zero"], "this is a device"),
        ([*task, "--model_args", f"pretrained={tiny_folder},alpha=1"], "has alpha=1, and this model is not steered"),
        (
            [*task, "--model_args", f"pretrained={tiny_folder},vectors=v"],
            "has vectors=v, and this model is not steered",
        ),
        ([*task, "--model_args", "pretrained=3"], "must name the model"),
        ([*task, "--model_args", f"pretrained={tiny_folder},max_length=long"], "max_length=long, which is no number"),
        (task, "the model './no/model' cannot be loaded: "),
        ([*task, "--model_args", f"pretrained={tiny_folder},colour=red"], "'colour' (TypeError)"),
    ]:
        command = ["extract", "--model_args", "pretrained=./no/model", "--out", "v.pt", "--n", "4", *arguments]
        assert main(command[: -len(arguments) - 2] + arguments if "--pairs" in arguments else command) == 2
        (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lm-eval-steer extract:")]
        assert sentence in told
    assert not (tmp_path / "RAN").exists()
    (tmp_path / "bom.jsonl").write_text(one + two, encoding="utf-8-sig")
    assert [pair.positive for pair in read_pairs("bom.jsonl")] == ["a", "c"]


def test_a_vector_whose_place_is_gone_is_kept_elsewhere(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    place = tmp_path / "gone" / "v 1.pt"
    command = ["extract", "--model_args", f"pretrained={tiny_folder}", "--task", "arith_steer", "--n", "4", "--out"]
    assert main([*command, str(place)]) == 0
    assert f"--model_args 'pretrained=CHILD,vectors={place},alpha=0.04' --tasks" in capsys.readouterr().out
    whole, read = place.read_bytes(), SteeringVector.load(place)
    place.unlink()
    place.parent.rmdir()
    place.parent.write_text("a file where the folder was")
    with pytest.raises(
        SteeringError, match=r"v 1.pt cannot be written \(.*\), so the vector was kept as .*/v 1.pt: make"
    ):
        keep(read, place)
    (kept,) = (tmp_path / "work").rglob("v 1.pt")
    assert kept.read_bytes() == whole
