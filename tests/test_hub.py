"""Vectors on the Hub: found, cached, offline, refused, and in the result file with their commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

import hub_server
from conftest import make_vector
from hub_server import Hub, Repo
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.hub import Reference, download, origin, read_reference
from lm_eval_steer.vectors.load import load_vector
from models import save_model


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with hub_server.in_reach(monkeypatch, tmp_path / "cache") as found:
        yield found


def raw(seed: int = 0, suffix: str = ".safetensors", folder: Path = Path()) -> bytes:
    return make_vector(seed=seed).save(folder / f"raw{suffix}").read_bytes()


def refusal(name: str) -> str:
    with pytest.raises(SteeringError) as caught:
        find_vector(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/name", Reference("org/name")),
        ("org/name@v1.0", Reference("org/name", None, "v1.0")),
        ("org/name:a/v.safetensors", Reference("org/name", "a/v.safetensors")),
        ("org/name:v@refs/pr/1", Reference("org/name", "v", "refs/pr/1")),
        *(
            (path, None)
            for path in ("v", "v.pt", "org/v.pt", "org/v.gguf", "a/b/c", "./v", "../v", "/v", "~/v", "a/b:")
        ),
    ],
)
def test_what_names_a_vector_on_the_hub(name: str, expected: Reference | None) -> None:
    assert read_reference(name) == expected


def test_the_only_vector_of_a_repository_is_found_and_knows_its_commit(hub: Hub) -> None:
    repo = hub.repos["org/name"] = Repo()
    first = repo.commit({"v.safetensors": raw(0), "README.md": b"", "v.gguf": b"", "v.png": b""})
    path = find_vector("org/name")
    assert path.read_bytes() == raw(0)
    vector = load_vector(path)
    assert vector.fingerprint == make_vector().fingerprint
    assert vector.passport["hub"] == {"repo": "org/name", "file": "v.safetensors", "commit": first} == origin(path)
    second = repo.commit({"v.safetensors": raw(1)})
    assert find_vector("org/name") == path  # a process asks once
    download.cache_clear()
    assert load_vector(find_vector("org/name")).passport["hub"]["commit"] == second
    assert load_vector(find_vector(f"org/name@{first}")).fingerprint == make_vector().fingerprint


def test_a_file_or_a_name_of_here_comes_before_one_of_the_hub(hub: Hub) -> None:
    hub.repos["org/name"] = Repo()
    hub.repos["org/name"].commit({"v.safetensors": raw()})
    Path("vectors/org").mkdir(parents=True)
    Path("vectors/org/name.pt").touch()
    assert find_vector("org/name") == Path("vectors/org/name.pt")
    Path("org").mkdir()
    Path("vectors/org/name.pt").unlink()
    assert "looked at ./org/name" in refusal("org/name")  # whose first part is a folder here
    assert not hub.asked
    assert find_vector("org/name:v").name == "v.safetensors"


def test_several_vectors_have_to_be_named_and_what_is_missing_is_told(hub: Hub) -> None:
    repo = hub.repos["org/name"] = Repo()
    repo.commit({"a.safetensors": raw(0), "b/c.safetensors": raw(1), "d.pt": raw(2, ".pt"), "e.txt": b""})
    repo.commit({"f.pt": raw(3, ".pt")}, "other")
    hub.repos["org/none"] = Repo()
    hub.repos["org/none"].commit({"README.md": b""})
    assert refusal("org/name").endswith(
        "org/name has a.safetensors, b/c.safetensors: name one, as in org/name:a.safetensors"
    )
    assert load_vector(find_vector("org/name:b/c")).fingerprint == make_vector(seed=1).fingerprint
    assert load_vector(find_vector("org/name:d")).fingerprint == make_vector(seed=2).fingerprint
    assert load_vector(find_vector("org/name@other")).fingerprint == make_vector(seed=3).fingerprint
    assert "org/name has no file 'x', but a.safetensors, b/c.safetensors" in refusal("org/name:x")
    assert "org/name has no revision 'v9'" in refusal("org/name:a@v9")
    assert refusal("org/none").endswith("org/none has no vector file")
    told = refusal("org/nobody")
    assert told.startswith(
        "no steering vector 'org/nobody': it is neither ./org/nobody nor ./vectors/org/nobody, and as"
    )
    assert f"there is no repository org/nobody at {hub.url}, or it is private" in told


def test_a_private_one_takes_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["org/name"] = Repo(private=True)
    hub.repos["org/name"].commit({"v.safetensors": raw()})
    assert "there is no repository org/name" in refusal("org/name")
    monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
    assert find_vector("org/name").is_file()


def test_offline_and_out_of_reach_is_what_the_cache_holds(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.repos["org/name"] = Repo()
    commit = repo.commit({"v.safetensors": raw(), "w.pt": raw(1, ".pt")})
    path = find_vector("org/name")
    hub.broken = 503
    download.cache_clear()
    assert find_vector("org/name") == path
    hub.broken, asked = 0, len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("org/name", "org/name:v", "org/name@main", f"org/name@{commit}"):
        download.cache_clear()
        assert find_vector(name) == path
    for name, why in {
        "org/name@other": "the cache",
        "org/name:w": "in the cache org/name has no file 'w', but v.safetensors",
        "org/other": "holds none of its files",
        "org/name@../../x": "holds none of its files",
    }.items():
        told = refusal(name)
        assert "HF_HUB_OFFLINE=1 does not let the Hub be asked" in told
        assert why in told
    assert len(hub.asked) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    download.cache_clear()
    assert find_vector("org/name") == path
    assert "http://127.0.0.1:9 cannot be reached" in refusal("org/other")


def test_a_file_too_large_for_directions_is_not_downloaded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["org/model"] = Repo()
    hub.repos["org/model"].commit({"model.safetensors": raw()})
    monkeypatch.setattr("lm_eval_steer.vectors.hub._LARGEST", 100)
    assert "model.safetensors of org/model has 0.0 GiB, more than any file of directions" in refusal("org/model")
    assert not any("resolve" in one for one in hub.asked)


def test_a_damaged_file_of_the_hub_is_one_sentence_and_a_pickle_is_not_run(hub: Hub) -> None:
    hub.repos["org/name"] = Repo()
    hub.repos["org/name"].commit({"v.pt": b"cos\nsystem\n(S'touch hacked'\ntR."})
    with pytest.raises(SteeringError, match=r"v\.pt: "):
        load_vector(find_vector("org/name"))
    assert not Path("hacked").exists()


def test_a_run_a_command_and_a_program_take_it_and_results_name_the_commit(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    import lm_eval_steer
    from lm_eval_steer.models.hf import SteeredHF
    from lm_eval_steer.sweep.contenders import find_contenders

    child = save_model(tmp_path / "child", "llama")
    hub.repos["org/name"] = Repo()
    commit = hub.repos["org/name"].commit({"v.safetensors": raw(), "w.safetensors": raw(1)})
    where = {"repo": "org/name", "file": "v.safetensors", "commit": commit}
    steered = SteeredHF(pretrained=str(child), vectors="org/name:v", alpha=1, device="cpu", batch_size=1)
    told = steered.get_model_info()["steering"]
    assert (told["passport"]["hub"], told["vector"]) == (where, make_vector().fingerprint)
    first, second = find_contenders({"own": "org/name:v", "other": "org/name:w@main"}, None, ())
    assert [one.loaded and one.loaded.passport["hub"]["file"] for one in (first, second)] == [
        "v.safetensors",
        "w.safetensors",
    ]
    assert main(["vectors", "show", "org/name:v"]) == 0
    assert commit in capsys.readouterr().out
    model, ids = AutoModelForCausalLM.from_pretrained(child), torch.tensor([[5, 6, 7]])
    with torch.no_grad(), lm_eval_steer.steer(model, "org/name:v", alpha=1):
        by_name = model(ids).logits
    with torch.no_grad(), lm_eval_steer.steer(model, make_vector(), alpha=1):
        assert torch.equal(model(ids).logits, by_name)


def test_a_transferred_vector_says_where_its_parents_vector_came_from(hub: Hub, tmp_path: Path) -> None:
    hub.repos["org/name"] = Repo()
    commit = hub.repos["org/name"].commit({"v.safetensors": raw()})
    child = save_model(tmp_path / "child", "llama")
    argv = ["transfer", "org/name", "--child", str(child), "--width_map", "cut", "--layer_map", "greedy"]
    assert main([*argv, "--out", "mapped.safetensors"]) == 0
    passport = load_vector(Path("mapped.safetensors")).passport
    assert "hub" not in passport
    assert passport["transfer"]["parents"][0]["hub"]["commit"] == commit
