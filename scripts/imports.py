"""Reads which module of the package imports which, for the tests and for the picture of the rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"lm_eval_steer": ROOT / "lm_eval_steer", "lm_eval_steer.tasks": ROOT / "tasks"}


def read_imports(folders: dict[str, Path] = FOLDERS) -> dict[str, set[str]]:
    """Every module below some packages with the names that it imports, inside functions and for annotations alike.

    `from package import name` gives `package.name` where that is a module or where the package is not of ours, and the
    package itself otherwise.
    """
    files = {
        ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"): path
        for package, folder in folders.items()
        for path in sorted(folder.rglob("*.py"))
    }
    return {
        module: {target for name in _imported(path) for target in [_module(name, files)] if target != module}
        for module, path in files.items()
    }


def room(module: str) -> str:
    """The folder of the package that a module is in; nothing for the modules that lie in no folder."""
    names = module.removeprefix("lm_eval_steer").removeprefix(".").split(".")
    return names[0] if len(names) > 1 or module in FOLDERS or (FOLDERS["lm_eval_steer"] / names[0]).is_dir() else ""


def _imported(path: Path) -> Iterator[str]:
    """The dotted names in a file's import statements, each with what is taken from the module behind it."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full, from lm_eval_steer on"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(name: str, files: dict[str, Path]) -> str:
    """The module of ours that a dotted name is or is in; a name from elsewhere as it is."""
    if name.split(".")[0] != "lm_eval_steer":
        return name
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name
