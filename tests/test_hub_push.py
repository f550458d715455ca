"""Vectors to the Hub with their card, and the page of a folder of vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import hub_server
import reports
from conftest import ROOT, make_transferred, make_vector
from hub_server import Hub, Repo
from lm_eval_steer.cli.main import main
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.hub import download
from lm_eval_steer.vectors.load import load_vector
from lm_eval_steer.vectors.vector import SteeringVector
from models import WIDTH


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with hub_server.in_reach(monkeypatch, tmp_path / "cache") as found:
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        yield found


def push(*words: object) -> int:
    return main(["vectors", "push", *map(str, words)])


def of(parent: str = "org/parent", **more: Any) -> SteeringVector:
    one = make_vector()
    passport = {**one.passport, "parent": one.passport["parent"] | {"name": parent}, **more}
    return SteeringVector(one.directions, one.layers, passport)


def swept(folder: Path, vector: SteeringVector) -> Path:
    """A sweep whose vector is this one."""
    reports.write(folder)
    for file in folder.rglob("results_*.json"):
        said = json.loads(file.read_text())
        said["config"]["steering"]["vector"] = vector.fingerprint
        file.write_text(json.dumps(said))
    return folder


def header(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def test_a_pushed_vector_comes_back_with_a_card_of_its_passport(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"source": "task", "task": "gsm8k_steer", "contrast": "shots"}
    vector = of(data=data, method={"method": "pca"}, steering={"tokens": "last", "dose": 0.1})
    vector.save("v.safetensors")
    assert push("v.safetensors", "org/name", "--private", "--licence", "mit") == 0
    repo = hub.repos["org/name"]
    files = repo.commits[repo.branches["main"]]
    assert set(files) == {".gitattributes", "README.md", "v.safetensors"}
    assert repo.private
    assert files["v.safetensors"] == Path("v.safetensors").read_bytes()
    assert any("/lfs/objects/batch" in one for one in hub.asked)
    card = files["README.md"].decode()
    assert header(card) == {
        "library_name": "lm_eval_steer",
        "license": "mit",
        "base_model": "org/parent",
        "base_model_relation": "adapter",
        "tags": ["steering-vector", "activation-steering", "lm-evaluation-harness"],
    }
    assert "pretrained=org/parent,vectors=org/name:v.safetensors,dose=0.1,tokens=last --tasks TASK" in card
    assert r"read from contrast pairs of gsm8k\_steer (shots)." in card
    assert "It is meant to act under `dose=0.1`, `tokens=last`." in card
    assert "| method.method | pca |" in card
    assert card.count("\n| 0 |") == card.count("\n| 1 |") == 1
    told = capsys.readouterr().out
    assert f"Pushed to {hub.url}/org/name/commit/{repo.branches['main']}:" in told
    assert load_vector(find_vector("org/name")).fingerprint == vector.fingerprint


def test_a_sweep_gives_the_card_its_table_and_a_figure(hub: Hub, tmp_path: Path) -> None:
    vector, sweep = of(), tmp_path / "sweep"
    vector.save("v.safetensors")
    swept(sweep, vector)
    assert push("v.safetensors", "org/name", "--as", "a/w.safetensors", "--sweep", sweep) == 0
    repo = hub.repos["org/name"]
    files = repo.commits[repo.branches["main"]]
    assert set(files) == {".gitattributes", "README.md", "a/w.safetensors", "a/w.png"}
    assert files["a/w.png"].startswith(b"\x89PNG")
    card = files["README.md"].decode()
    assert "](a/w.png)" in card
    assert "| best, " in card
    assert "| vote of 3 |" in card


def test_a_sweep_of_another_vector_is_none_of_this_one(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of().save("v.safetensors")
    swept(tmp_path / "sweep", make_vector(seed=1))
    assert push("v.safetensors", "org/name", "--sweep", tmp_path / "sweep") == 2
    assert "has no run of this vector, by its fingerprint" in capsys.readouterr().err
    assert not hub.repos


def test_a_second_vector_of_a_repository_leaves_the_page_of_the_first(hub: Hub) -> None:
    of().save("v.safetensors")
    make_transferred(child={"name": "org/child"}).save("w.safetensors")
    assert push("v.safetensors", "org/name") == 0
    assert push("v.safetensors", "org/name", "--message", "again") == 0  # nothing is new
    assert push("w.safetensors", "org/name", "--revision", "more") == 0
    repo = hub.repos["org/name"]
    assert set(repo.branches) == {"main", "more"}
    files = repo.commits[repo.branches["more"]]
    assert {"README.md", "v.safetensors", "w.md", "w.safetensors"} <= set(files)
    assert "# v\n" in files["README.md"].decode()
    card = files["w.md"].decode()
    assert header(card)["base_model"] == "org/child"
    assert "brought there by a map: org/child (ridge:0.05)." in card
    download.cache_clear()
    assert load_vector(find_vector("org/name:w@more")).transfer is not None


def test_what_cannot_be_pushed_is_one_sentence(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of("a folder").save("v.safetensors")
    hub.repos["org/public"] = Repo()
    hub.repos["org/public"].commit({})
    for words, sentence in {
        ("name",): "name is no repository on the Hub: name it org/name",
        ("org/name@x",): "org/name@x is no repository on the Hub",
        ("org/name", "--as", "../v.safetensors"): "--as ../v.safetensors: name a .safetensors or .pt file",
        ("org/name", "--as", "v.bin"): "--as v.bin: name a",
        ("org/name", "--base_model", "smollm2"): "--base_model smollm2: name a model on the Hub, as in org/name",
        ("org/public", "--private"): "org/public is there already, and public",
    }.items():
        assert push("v.safetensors", *words) == 2
        assert sentence in capsys.readouterr().err
    assert push("v.safetensors", "org/public") == 0
    assert "The card names no base model, since the passport names a folder: --base_model ID" in capsys.readouterr().out
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert push("v.safetensors", "org/name") == 2
    assert "log" in capsys.readouterr().err
    hub.broken = 503
    assert push("v.safetensors", "org/name") == 2
    assert "answers with an error (status 503)" in capsys.readouterr().err


def test_a_dry_run_prints_the_card_and_sends_nothing(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    of("a | folder\n# x").save("v.safetensors")
    assert push("v.safetensors", "org/name", "--dry_run", "--base_model", "org/other") == 0
    told = capsys.readouterr().out
    assert header(told)["base_model"] == "org/other"
    assert "| parent.name | a \\| folder\\\\n# x |" in told
    assert not hub.asked


def test_a_folder_has_a_page_in_markdown_and_html(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "vectors"
    own = of(data={"source": "task", "task": "gsm8k_steer"}, method={"method": "mean"})
    own.save(folder / "own.safetensors")
    make_transferred(child={"name": "c<b>|"}).save(folder / "deep" / "mapped.pt")
    long = f"{'a' * 90}_by_ridge.safetensors"
    own.save(folder / long)
    (folder / "own.md").write_text("# own")
    (folder / "bad.pt").write_text("")
    swept(tmp_path / "sweep", own)
    listing = ["vectors", "list", str(folder)]
    assert main(listing) == 0
    told = capsys.readouterr().out
    assert "3 steering vectors" in told
    assert long in "".join(line.split(" ")[0] for line in told.splitlines())  # over lines, and whole
    assert main([*listing, "--out", str(folder / "README.md"), "--sweeps", str(tmp_path / "sweep")]) == 0
    assert "not read: " in capsys.readouterr().out
    text = (folder / "README.md").read_text()
    assert (
        "| file | parent | concept | blocks | width | method | site | transferred to | accuracy on validation rows |"
        in text
    )
    assert f"| [own.safetensors](own.md) | org/parent | gsm8k\\_steer | 0-2 of 3 | {WIDTH} | mean | block | - |" in text
    assert "toy: 60.0% of 20 at alpha=0.5, unsteered 50.0% |" in text
    assert "| [deep/mapped.pt](deep/mapped.pt) |" in text
    assert "c&lt;b&gt;\\|" in text
    assert main([*listing, "--out", str(folder / "index.html")]) == 0
    page = (folder / "index.html").read_text()
    assert '<td><a href="own.md">own.safetensors</a></td>' in page
    assert "c&lt;b&gt;|" in page
    assert main([*listing, "--out", "x.txt"]) == 2
    assert "an index is a .md or .html file" in capsys.readouterr().err
    assert main(["vectors", "list", str(tmp_path / "sweep")]) == 2
    assert "holds no vector file" in capsys.readouterr().err


def test_the_page_of_the_shipped_vectors_is_what_the_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lm-eval-steer vectors list vectors --out vectors/README.md`, from the top of the repository."""
    from lm_eval_steer.report.vectors.index import read_index, to_markdown

    monkeypatch.chdir(ROOT)
    made = to_markdown(read_index("vectors", command="lm-eval-steer vectors list vectors --out vectors/README.md"))
    assert Path("vectors/README.md").read_text(encoding="utf-8") == made
