"""Who may import what. The rules keep the harness, vLLM and the screen out of the rooms that must not know them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from imports import PICTURE, ROOMS, between_rooms, draw, read_imports, room, without_implied

VLLM = "lm_eval_steer.engines.vllm"
LLAMA_CPP = "lm_eval_steer.engines.llama_cpp"
ROOMS_ABOVE_ENGINES = (
    "models",
    "serving",
    "axis",
    "extraction",
    "transfer",
    "folding",
    "sweep",
    "compare",
    "report",
    "grid",
    "cli",
    "plugin",
    "tasks",
)
KNOWS_LM_EVAL = (
    "lm_eval_steer.plugin",
    "lm_eval_steer.models",
    "lm_eval_steer.sweep",
    "lm_eval_steer.cli",
    "lm_eval_steer.tasks",
    "lm_eval_steer.extraction.pairs",
    # Any task of the harness is found by its manager, and its filters read an answer out of a request of it.
    "lm_eval_steer.extraction.tasks",
    "lm_eval_steer.extraction.contrasts",
    # A model writes rationales as it answers a task: by the harness's requests and its models.
    "lm_eval_steer.extraction.rationales",
    # A pair template is rendered by the very Jinja filter that task files have.
    "lm_eval_steer.extraction.templates",
)
PURE = (
    "lm_eval_steer.answers",
    "lm_eval_steer.axis.tally",
    "lm_eval_steer.axis.voting",
    "lm_eval_steer.compare.stats",
    "lm_eval_steer.interventions.alphas",
    "lm_eval_steer.interventions.argument",
    "lm_eval_steer.interventions.controls",
    "lm_eval_steer.interventions.intervention",
    "lm_eval_steer.interventions.layer_maps",
    "lm_eval_steer.interventions.layers",
    "lm_eval_steer.interventions.operators",
    "lm_eval_steer.interventions.profiles",
    "lm_eval_steer.interventions.tokens",
    "lm_eval_steer.interventions.units",
    "lm_eval_steer.interventions.width_maps",
    "lm_eval_steer.sites",
)
OPEN_TO_ALL = ("lm_eval_steer.errors", "lm_eval_steer.svd", "lm_eval_steer.table", "lm_eval_steer.text")
# math-verify may calculate for ever, so it compares in a process that can be ended.
NOT_PURE = ("lm_eval_steer.answers._equality", "lm_eval_steer.answers._verifier")
# Of input and output, and of models.
IMPURE = (
    *("os", "io", "pathlib", "shutil", "tempfile", "glob", "subprocess", "socket", "urllib", "fcntl", "filelock"),
    *("safetensors", "datasets", "huggingface_hub", "accelerate", "transformers", "lm_eval", "vllm"),
)


def _below(name: str, *prefixes: str) -> bool:
    """Whether a dotted name is one of these or inside of one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


# Each rule is told a module and a name that it imports, and says whether that breaks it.


def _harness(module: str, target: str) -> bool:
    return _below(target, "lm_eval") and not _below(module, *KNOWS_LM_EVAL)


def _vllm(module: str, target: str) -> bool:
    return _below(target, "vllm") and not _below(module, VLLM)


def _llama_cpp(module: str, target: str) -> bool:
    return _below(target, "llama_cpp") and module not in (f"{LLAMA_CPP}.file", f"{LLAMA_CPP}.context")


def _private_vllm(module: str, target: str) -> bool:
    """`from vllm import LLM` is its public face; what lies deeper moves with every release."""
    return target.startswith("vllm.") and target[len("vllm.")].islower() and module != f"{VLLM}.versions"


def _engine(module: str, target: str) -> bool:
    return _below(module, "lm_eval_steer.engines") and _below(
        target, *(f"lm_eval_steer.{name}" for name in ROOMS_ABOVE_ENGINES)
    )


def _pure(module: str, target: str) -> bool:
    if not _below(module, *PURE) or module in NOT_PURE:
        return False
    return _below(target, *IMPURE) or (_below(target, "lm_eval_steer") and not _below(target, *PURE, *OPEN_TO_ALL))


def _rendering(module: str, target: str) -> bool:
    return _below(module, "lm_eval_steer.compare") and _below(target, "rich", "matplotlib", "jinja2")


def _upwards(module: str, target: str) -> bool:
    return _below(target, "lm_eval_steer") and ROOMS.index(room(target)) > ROOMS.index(room(module))


RULES: dict[str, Callable[[str, str], bool]] = {
    "only the rooms that meet the harness import lm_eval": _harness,
    "only engines/vllm imports vllm": _vllm,
    "only two files of engines/llama_cpp import llama_cpp": _llama_cpp,
    "only engines/vllm/versions.py imports what is private in vllm": _private_vllm,
    "engines know interventions and tokens, and no room above them": _engine,
    "pure rooms import pure rooms, and nothing that reads, writes or loads models": _pure,
    "compare/ renders nothing": _rendering,
    "a room imports the rooms before it in ROOMS, so there are no circles": _upwards,
}


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return read_imports()


@pytest.mark.parametrize("rule", RULES)
def test_every_module_imports_what_its_room_may(rule: str, imports: dict[str, set[str]]) -> None:
    breaks = RULES[rule]
    found = {name: sorted(target for target in targets if breaks(name, target)) for name, targets in imports.items()}
    assert {name: targets for name, targets in found.items() if targets} == {}, rule


@pytest.mark.parametrize(
    ("breaks", "module", "target"),
    [
        (_harness, "axis.axis", "lm_eval.api.instance.Instance"),
        (_vllm, "models.vllm", "vllm.LLM"),
        (_llama_cpp, "models.gguf", "llama_cpp.Llama"),
        (_private_vllm, "engines.vllm.rows", "vllm.exceptions.VLLMClientError"),
        (_engine, "engines.vllm.start", "lm_eval_steer.models.load"),
        (_pure, "interventions.width_maps.cut", "pathlib.Path"),
        (_pure, "axis.voting", "lm_eval_steer.axis.record"),
        (_rendering, "compare.rows", "rich.table.Table"),
        (_upwards, "interventions.plan", "lm_eval_steer.axis.record"),
    ],
)
def test_a_rule_sees_what_breaks_it(breaks: Callable[[str, str], bool], module: str, target: str) -> None:
    assert breaks in RULES.values()
    assert breaks(f"lm_eval_steer.{module}", target)


def test_every_module_that_a_rule_names_is_there(imports: dict[str, set[str]]) -> None:
    named = {*KNOWS_LM_EVAL, *PURE, *OPEN_TO_ALL, *NOT_PURE, VLLM, f"{VLLM}.versions"}
    named |= {f"{LLAMA_CPP}.file", f"{LLAMA_CPP}.context"}
    assert named - set(imports) == set()
    assert {room(module) for module in imports} == set(ROOMS)
    assert set(ROOMS_ABOVE_ENGINES) <= set(ROOMS)


def test_every_import_statement_is_read(tmp_path: Path) -> None:
    """Also those inside a function, for annotations alone, and of a name that is a module."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text("from lm_eval_steer.room.noun import verb\n")
    (tmp_path / "room" / "noun.py").write_text(
        "from typing import TYPE_CHECKING\nimport lm_eval.tasks as t\nif TYPE_CHECKING:\n    import vllm\n"
        "def verb():\n    from lm_eval_steer import room\n    from lm_eval_steer.room import noun, other, name\n"
    )
    (tmp_path / "room" / "other.py").write_text("")
    assert read_imports({"lm_eval_steer": tmp_path}) == {
        "lm_eval_steer.room": {"lm_eval_steer.room.noun"},
        "lm_eval_steer.room.noun": {
            "typing.TYPE_CHECKING",
            "lm_eval.tasks",
            "vllm",
            "lm_eval_steer.room",
            "lm_eval_steer.room.other",
        },
        "lm_eval_steer.room.other": set(),
    }


def test_the_picture_leaves_out_what_other_arrows_imply_and_sets_each_room_above_what_it_imports() -> None:
    alone: dict[str, set[str]] = {name: set() for name in ROOMS}
    edges = alone | {"answers": {""}, "tasks": {"answers", ""}, "cli": {"tasks", "plugin", ""}}
    assert without_implied(edges) == alone | {"answers": {""}, "tasks": {"answers"}, "cli": {"tasks", "plugin"}}
    picture = draw(edges)
    assert picture == draw(dict(reversed(edges.items())))
    assert picture.count('<path d="M') == 4 + 1  # and the head of the arrows
    heights = {name: int(y) for y, name in re.findall(r'y="(\d+)">(cli|tasks|answers|plugin)</text>', picture)}
    assert heights["cli"] < heights["tasks"] < heights["answers"] < heights["plugin"]
    with pytest.raises(ValueError, match="tasks imports cli, which does not stand before it"):
        draw(alone | {"tasks": {"cli"}})


def test_the_picture_in_the_docs_is_of_these_imports(imports: dict[str, set[str]]) -> None:
    """`python scripts/imports.py` draws it anew."""
    assert PICTURE.read_text(encoding="utf-8") == draw(between_rooms(imports))


def test_the_package_itself_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, lm_eval_steer; print({'torch', 'transformers', 'lm_eval', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
