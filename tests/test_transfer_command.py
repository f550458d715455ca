"""`lm-eval-steer transfer` from end to end: a parent that is the child in another basis must give the child's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import lm_eval_steer
import twins
from conftest import make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.child import into_child
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.transfer.cache import Writer
from lm_eval_steer.transfer.model import Model
from lm_eval_steer.vectors.vector import SteeringVector
from transfers import DEPTH, WIDTH, cosines, extract, make_child, save_llama, sentences, write_jsonl

TEXTS = 320


@dataclass(frozen=True)
class Family:
    """Models, what they read, and the vector of each from the same pairs, all in one folder.

    `rotated` is the `child` in another basis; `doubled` that with a block behind every block that adds nothing;
    `stranger` a model of other weights.
    """

    folder: Path

    def vector(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def told(self, *parents: str, out: Path) -> list[str]:
        """The command from the vectors of these parents to the child."""
        vectors = [str(self.vector(name)) for name in parents]
        return ["transfer", *vectors, "--child", str(self.folder / "child"), "--device", "cpu", "--out", str(out)]

    def reading(self, *parents: str, out: Path) -> list[str]:
        """The same with texts that the models read, and no time spent on comparing them with rows of tasks."""
        models = [word for name in parents for word in ("--parent_args", f"pretrained={self.folder / name}")]
        read = ["--texts", str(self.folder / "texts.jsonl"), "--cache", str(self.folder / "cache"), "--allow_leak"]
        read += ["--tokens", "last"]
        return [*self.told(*parents, out=out), *models, *read]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    folder = tmp_path_factory.mktemp("family")
    child = make_child()
    rotated = twins.rotated(child)
    built = {"child": child, "rotated": rotated, "doubled": twins.doubled(rotated), "stranger": make_child(seed=1)}
    write_jsonl(folder / "texts.jsonl", [{"text": text} for text in sentences(TEXTS, seed=1)])
    pairs = [{"positive": f"{text}. Fine!", "negative": f"{text}. Alas?"} for text in sentences(8, seed=2)]
    write_jsonl(folder / "pairs.jsonl", pairs)
    found = Family(folder)
    for name, model in built.items():
        save_llama(model, folder / name)
        extract(folder / name, folder / "pairs.jsonl", found.vector(name))
    return found


@pytest.mark.parametrize(
    ("width_map", "least"), [("procrustes", 0.999), ("lstsq", 0.999), ("ridge:0.05", 0.95), ("ridge:0.0005", 0.999)]
)
def test_the_vector_of_a_rotated_twin_comes_back(family: Family, tmp_path: Path, width_map: str, least: float) -> None:
    """Ridge as far as its λ lets it: the largest components set the mean eigenvalue, and λ is a share of that."""
    out = tmp_path / "back.pt"
    assert main([*family.reading("rotated", out=out), "--width_map", width_map]) == 0
    got = cosines(out, family.vector("child"))
    assert len(got) == DEPTH
    assert got.min() >= least
    transfer = SteeringVector.load(out).transfer
    assert transfer is not None
    assert min(block["r2"] for block in transfer["blocks"]) > 0.9
    first = SteeringVector.load(family.vector("rotated"))
    assert [block["cos_cut"] for block in transfer["blocks"]] == pytest.approx(cosines(out, first).tolist(), abs=1e-6)


def test_the_first_components_of_a_twin_are_another_direction(family: Family, tmp_path: Path) -> None:
    """And so are those of a map that is fitted on texts paired at random: of 128 components, cosines are about 0.09."""
    assert main([*family.told("rotated", out=tmp_path / "cut.pt"), "--width_map", "cut"]) == 0
    assert np.abs(cosines(tmp_path / "cut.pt", family.vector("child"))).max() < 0.3
    shuffled = [*family.reading("rotated", out=tmp_path / "shuffled.pt"), "--shuffle_texts", "1"]
    assert main([*shuffled, "--width_map", "procrustes"]) == 0
    assert np.abs(cosines(tmp_path / "shuffled.pt", family.vector("child"))).max() < 0.3
    transfer = SteeringVector.load(tmp_path / "shuffled.pt").transfer
    assert transfer is not None
    assert transfer["shuffled"] == 1
    assert max(block["r2"] for block in transfer["blocks"]) < 0.1


@pytest.mark.parametrize("layer_map", ["proportional", "cka", "0:1,1:2,2:5,3:6"])
def test_blocks_that_add_nothing_are_found(family: Family, tmp_path: Path, layer_map: str) -> None:
    out = tmp_path / "back.pt"
    told = ["--width_map", "procrustes", "--layer_map", layer_map]
    assert main([*family.reading("doubled", out=out), *told]) == 0
    vector = SteeringVector.load(out)
    assert vector.transfer is not None
    assert [block["source"] // 2 for block in vector.transfer["blocks"]] == list(range(DEPTH))
    assert cosines(vector, family.vector("child")).min() >= 0.999
    if layer_map == "cka":
        cka = np.array(vector.transfer["cka"])
        assert cka.shape == (2 * DEPTH, DEPTH)
        assert np.allclose([cka[2 * block + more, block] for block in range(DEPTH) for more in (0, 1)], 1, atol=1e-3)
    else:
        assert vector.transfer["cka"] is None


def test_greedy_takes_the_wrong_blocks_of_a_doubled_twin(family: Family, tmp_path: Path) -> None:
    out = tmp_path / "greedy.pt"
    told = ["--width_map", "procrustes", "--layer_map", "greedy"]
    assert main([*family.reading("doubled", out=out), *told]) == 0
    assert cosines(out, family.vector("child"))[2:].max() < 0.99


def test_the_child_takes_the_file_as_it_stands_and_another_model_refuses_it(family: Family, tmp_path: Path) -> None:
    out = tmp_path / "back.pt"
    assert main([*family.reading("rotated", out=out), "--width_map", "procrustes"]) == 0
    child = AutoModelForCausalLM.from_pretrained(family.folder / "child")
    ids = torch.randint(0, 256, (1, 12), generator=torch.Generator().manual_seed(0))

    def logits(vector: Path) -> torch.Tensor:
        with lm_eval_steer.steer(child, str(vector), alpha=4), torch.no_grad():
            return child(ids).logits

    own = logits(family.vector("child"))
    assert (logits(out) - own).abs().max() < 0.05
    assert (logits(family.vector("rotated")) - own).abs().max() > 1
    SteeredHF(str(family.folder / "child"), device="cpu", vectors=str(out), alpha=4)
    with pytest.raises(SteeringError, match=r"\bchild\b.*\bstranger\b"):
        SteeredHF(str(family.folder / "stranger"), device="cpu", vectors=str(out), alpha=4)


def test_cut_is_what_a_run_makes_of_the_parents_vector(family: Family, tmp_path: Path) -> None:
    """Bit for bit, and without a text or the parent."""
    narrow = make_vector(blocks=3, width=WIDTH + 40).save(tmp_path / "wide.pt")
    for width_map in ("cut", "cut-raw"):
        out = tmp_path / f"{width_map}.pt"
        told = ["--child", str(family.folder / "child"), "--width_map", width_map, "--layer_map", "greedy"]
        assert main(["transfer", str(narrow), *told, "--out", str(out)]) == 0
        vector = SteeringVector.load(out)
        assert vector.transfer is not None
        assert vector.transfer["texts"] is None
        want = into_child(
            SteeringVector.load(narrow), DEPTH, WIDTH, layers="all", layer_map="greedy", width_map=width_map
        )
        got = into_child(vector, DEPTH, WIDTH, layers="all", layer_map="greedy", width_map="cut")
        assert list(got.directions) == list(want.directions) == [0, 1, 2]
        for block, direction in want.directions.items():
            if width_map == "cut":
                assert np.array_equal(got.directions[block], direction)
            else:
                assert np.linalg.norm(direction) < 0.99
                assert np.allclose(got.directions[block], direction, atol=1e-6)


def test_several_parents_become_one_in_any_order(family: Family, tmp_path: Path) -> None:
    """The mean of unit directions, each through its parent's own map: by hand from what each gives alone."""
    told = ["--width_map", "ridge:0.01"]
    alone = {}
    for name in ("rotated", "stranger", "doubled"):
        assert main([*family.reading(name, out=tmp_path / f"{name}.pt"), *told]) == 0
        alone[name] = SteeringVector.load(tmp_path / f"{name}.pt").directions
    both = {}
    for names, weights in ((("rotated", "stranger"), "2,1"), (("stranger", "rotated"), "1,2")):
        assert main([*family.reading(*names, out=tmp_path / "both.pt"), *told, "--weights", weights]) == 0
        both[names] = SteeringVector.load(tmp_path / "both.pt")
    one, other = both.values()
    assert np.allclose(one.directions, other.directions, atol=1e-6)
    by_hand = 2 * alone["rotated"] + alone["stranger"]
    assert np.allclose(one.directions, by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True), atol=1e-5)
    transfer = one.transfer
    assert transfer is not None
    assert [(parent["name"], parent["weight"]) for parent in transfer["parents"]] == [("rotated", 2), ("stranger", 1)]
    assert transfer["parents"][1]["passport"] == SteeringVector.load(family.vector("stranger")).passport
    assert [len(block["length"]) for block in transfer["blocks"]] == [2] * DEPTH
    assert main([*family.reading("rotated", "doubled", out=tmp_path / "equal.pt"), *told]) == 0
    mean = alone["rotated"] + alone["doubled"]
    got = SteeringVector.load(tmp_path / "equal.pt").directions
    assert np.allclose(got, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("width_map", ["anchors:100", "lowrank:40", "cut"])
def test_every_map_joins_vectors_of_one_parent_or_two(family: Family, tmp_path: Path, width_map: str) -> None:
    told, reading = ["--width_map", width_map], family.told if width_map == "cut" else family.reading
    for names in (("rotated", "doubled"), ("rotated", "rotated")):
        command = reading(*names, out=tmp_path / "both.pt") if names[0] != names[1] else None
        if command is None:  # one parent, named once
            command = reading("rotated", out=tmp_path / "both.pt")
            command.insert(1, str(family.vector("rotated")))
        assert main([*command, *told]) == 0
        vector = SteeringVector.load(tmp_path / "both.pt")
        assert vector.layers == tuple(range(DEPTH))


def test_what_the_cache_holds_is_not_read_again(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [*family.reading("rotated", out=tmp_path / "first.pt"), "--width_map", "lstsq"]
    assert main(first) == 0

    def fail(model: Model) -> SteeredHF:
        raise AssertionError(f"{model.name} is loaded")

    monkeypatch.setattr(Model, "load", fail)
    again = [*family.reading("rotated", out=tmp_path / "again.pt"), "--width_map", "lstsq"]
    assert main(again) == 0
    assert (tmp_path / "again.pt").read_bytes() == (tmp_path / "first.pt").read_bytes()
    told = capsys.readouterr().out
    assert f"pretrained={family.folder}/child,vectors={tmp_path}/again.pt,alpha=0.04 --tasks TASK\n" in told
    assert f"  --shuffle_texts 1 --out {tmp_path}/again.map-shuffled-1.pt\n" in told
    with pytest.raises(AssertionError, match="rotated is loaded"):
        main([*again, "--tokens", "mean"])


def test_a_run_that_was_stopped_goes_on_and_gives_the_same_file(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, stopped while the child reads: the parent is not loaded again, and not one of its texts read."""

    def transfer(name: str) -> tuple[int, bytes]:
        told = [*family.reading("rotated", out=tmp_path / f"{name}.safetensors"), "--cache", str(tmp_path / name)]
        code = main([*told, "--batch_size", "16", "--width_map", "procrustes", "--n", "160"])
        out = tmp_path / f"{name}.safetensors"
        return code, out.read_bytes() if out.exists() else b""

    loaded, load = [], Model.load
    written, add = [], Writer.add

    def watched(model: Model) -> SteeredHF:
        loaded.append(model.name)
        return load(model)

    def add_or_stop(writer: Writer, texts: int, outputs: np.ndarray) -> None:
        if len(written) == stop_at:
            raise KeyboardInterrupt
        written.append(writer.meta.model["name"])
        add(writer, texts, outputs)

    monkeypatch.setattr(Model, "load", watched)
    monkeypatch.setattr(Writer, "add", add_or_stop)
    stop_at = -1
    whole = transfer("whole")
    assert whole[0] == 0
    assert (loaded, written) == (["rotated", "child"], ["rotated"] * 10 + ["child"] * 10)
    loaded.clear(), written.clear()
    stop_at = 14
    assert transfer("stopped") == (130, b"")
    loaded.clear(), written.clear()
    stop_at = -1
    assert transfer("stopped") == whole
    assert (loaded, written) == (["child"], ["child"] * 6)


def test_parents_that_do_not_go_together_with_the_vectors_are_refused(
    family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(command: list[str]) -> str:
        assert main(command) == 2
        assert not (tmp_path / "x.pt").exists()
        return capsys.readouterr().err

    told = family.reading("rotated", out=tmp_path / "x.pt")
    other = [word.replace("/rotated", "/stranger") if word.startswith("pretrained=") else word for word in told]
    assert "rotated.safetensors was read from rotated (llama, 4 blocks of width 128" in refused(other)
    twice = [*told, "--parent_args", f"pretrained={family.folder / 'rotated'}"]
    assert "--parent_args is given 2 times, and the parents of the vectors are rotated: give it once" in refused(twice)
    assert main(told) == 0
    (tmp_path / "x.pt").rename(tmp_path / "mapped.pt")
    again = [*told]
    again[1] = str(tmp_path / "mapped.pt")
    assert "mapped.pt was transferred to child already" in refused(again)
    two = family.reading("rotated", "doubled", out=tmp_path / "x.pt")
    assert "anchors are the same states for all" in refused([*two, "--width_map", "anchors:9", "--tokens", "all"])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--n", "100", "--width_map", "lstsq"], "needs at least 129 rows of states to fit on and has 90"),
        (["--n", "60", "--width_map", "lowrank:100"], "lowrank:100"),
        (["--width_map", "lowrank:500", "--tokens", "all"], "lowrank:500"),
        (["--n", "400"], "n=400 texts, but"),
        (["--n", "1"], "1 text is not enough: a map is fitted on some texts and judged on others, so give at least 2"),
        (["--texts", "nowhere.jsonl"], "nowhere.jsonl: no such file of texts"),
        (["--task", "arith_steer"], "name a --task whose"),
        (["--width_map", "cut"], "--parent_args has no meaning for --width_map cut with --layer_map proportional"),
        (["--width_map", "spline"], "width_map='spline' is not understood: use one of cut, cut-raw, lstsq"),
        (["--layer_map", "0:9"], "layer_map takes block 0 of the child from block 9 of the parent"),
        (["--layer_map", "9:0"], "layer_map names block 9 of the child, which has blocks 0 to 3"),
        (["--tokens", "first"], "--tokens first is not understood: use one of last, mean, all"),
        (["--weights", "1,2"], "--weights has 2 numbers for 1 vectors"),
        (["--weights", "-1"], "--weights holds -1, which is no weight"),
        (["--shuffle_texts", "0"], "--shuffle_texts 0 is no seed"),
        (["--seed", "-1"], "--seed -1 is negative"),
        (["--batch_size", "many"], "--batch_size many is not understood"),
        (["--child_args", "pretrained=x"], "name the child once"),
        (["--out", "x.txt"], "--out x.txt: name a .safetensors or a .pt file"),
    ],
)
def test_bad_input_is_one_sentence(
    more: list[str], sentence: str, family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a model is loaded."""
    assert main([*family.reading("rotated", out=tmp_path / "x.pt"), *more]) == 2
    told = capsys.readouterr().err
    assert told.startswith("lm-eval-steer transfer: ")
    assert sentence in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ([], "reads texts: name a --task whose extraction rows they are, or a file of --texts"),
        (["--width_map", "cut", "--shuffle_texts", "1"], "--shuffle_texts is the control of a fitted map"),
        (["--width_map", "cut", "--n", "5"], "--n has no meaning for --width_map cut"),
        (["--width_map", "cut-raw"], "cut-raw keeps the length that falls to a direction, and 2 vectors are averaged"),
        (
            ["--texts", "x.jsonl"],
            "the vector was read from rotated, which is not here: say where it is, as in --parent",
        ),
    ],
)
def test_maps_and_what_they_read_belong_together(
    more: list[str], sentence: str, family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = family.told("rotated", "doubled", out=tmp_path / "x.pt")
    assert main([*command, *more]) == 2
    assert sentence in capsys.readouterr().err
