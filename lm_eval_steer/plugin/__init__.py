"""Let an unchanged lm_eval find this package's model and tasks, with no extra flag.

lm_eval 0.4.13 discovers no plugins. A start-up line (`lm_eval_steer.pth`, installed into site-packages) calls
`install()` in every Python process of the environment, so this module imports nothing but `sys` and only waits:
once `lm_eval.models` or `lm_eval.tasks._index` has been executed, it adds ours, and once `lm_eval.api.task` has, tasks
can be found by name (known_tasks.py). `LM_EVAL_STEER_DISABLE=1` keeps it out.
"""

import sys

TYPE_CHECKING = False  # `typing.TYPE_CHECKING` to a type checker, without the price of importing `typing`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType
    from typing import Any

MODELS = {
    "steered-hf": "lm_eval_steer.models.hf:SteeredHF",
    "steered-vllm": "lm_eval_steer.models.vllm:SteeredVLLM",
    "steered-gguf": "lm_eval_steer.models.gguf:SteeredGGUF",
}
"""Name for `--model` -> where its class lives, imported when the model is asked for."""

SUPPORTED = ((0, 4, 13), (0, 5))
"""The lm_eval releases that this file knows: from the first, below the second. The same range is in setup.cfg."""

DISABLE = "LM_EVAL_STEER_DISABLE"


def install(force: bool = False) -> None:
    """Start to wait for lm_eval; extend at once what it has already imported. Calling it again changes nothing.

    `force` disregards `LM_EVAL_STEER_DISABLE`: our own command needs our tasks whatever the environment says.
    """
    import os

    if not force and os.environ.get(DISABLE, "") not in ("", "0"):
        return
    if _finder in sys.meta_path:
        return
    sys.meta_path.insert(0, _finder)
    for name in _EXTENSIONS:
        module = sys.modules.get(name)
        if module is not None:
            _extend(module)


class _Finder:
    """Asks the real finders for the modules that we wait for, and attaches `_extend` to what they find."""

    def __init__(self) -> None:
        self._searching: set[tuple[str, int]] = set()

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name not in _EXTENSIONS:
            return None
        from _thread import get_ident

        search = (name, get_ident())
        if search in self._searching:  # we are in sys.meta_path too, and other hooks may search all of it again
            return None
        self._searching.add(search)
        try:
            specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if hasattr(finder, "find_spec"))
            spec = next((spec for spec in specs if spec is not None), None)
        finally:
            self._searching.discard(search)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Stands in for a module's loader until the module is executed, then gives its place back for good.

    `inspect`, `importlib.resources` and `importlib.reload` therefore meet the real loader.
    """

    def __init__(self, loader: "Any") -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def exec_module(self, module: "ModuleType") -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _extend(module)


def _add_models(models: "ModuleType") -> None:
    """Register `MODELS`. It runs after lm_eval's own registration, which takes place only in an empty registry."""
    from lm_eval.api import registry

    known = _expect(registry, "model_registry")
    if _discovers_entry_points(registry):
        return
    for name, target in MODELS.items():
        if name not in known:
            known.register(name, target=target)


def _discovers_entry_points(registry: "ModuleType") -> bool:
    """Whether this lm_eval reads the entry points that setup.cfg declares (its docs/plugins.md, after 0.4.13).

    A string that we register and an entry point of the same name would collide, so the models are left to it then.
    """
    return hasattr(registry, "load_plugins") or hasattr(registry, "import_plugins")


def _add_tasks(index: "ModuleType") -> None:
    """Let `TaskIndex.build` scan our folder wherever it scans lm_eval's own.

    Ours comes first, because later folders override earlier ones: a built-in task of the same name wins, and so does
    one from --include_path.
    """
    import functools
    from pathlib import Path

    task_index = _expect(index, "TaskIndex")
    build = _expect(task_index, "build")
    if not isinstance(vars(task_index).get("build"), staticmethod):
        raise _Unsupported("TaskIndex.build is no static method")
    if hasattr(build, "scans_lm_eval_steer"):
        return
    ours = _task_folder()
    default = Path(_expect(index, "__file__")).resolve().parent

    @functools.wraps(build)
    def build_with_ours(paths: "Iterable[Path]", *args: "Any", **kwargs: "Any") -> "Any":
        paths = list(paths)
        scanned = [Path(path).resolve() for path in paths]
        if default in scanned and ours not in scanned:
            paths = [ours, *paths]
        return build(paths, *args, **kwargs)

    build_with_ours.scans_lm_eval_steer = True  # type: ignore[attr-defined]
    task_index.build = staticmethod(build_with_ours)


def _remember_tasks(api: "ModuleType") -> None:
    """Let a task be found by the name that its requests carry, as soon as it has built them or read them from a cache.

    A class that overrides `build_all_requests` (none in lm_eval 0.4.13) takes part if it calls this one, too.
    """
    import functools
    from types import FunctionType

    from lm_eval_steer.plugin.known_tasks import remember

    task_class = _expect(api, "Task")
    build = _expect(task_class, "build_all_requests")
    if not isinstance(vars(task_class).get("build_all_requests"), FunctionType):
        raise _Unsupported("Task.build_all_requests is no method")
    if hasattr(build, "tells_lm_eval_steer"):
        return

    @functools.wraps(build)
    def build_and_remember(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        built = build(self, *args, **kwargs)
        name = getattr(getattr(self, "config", None), "task", None)
        if isinstance(name, str):
            remember(name, self)
        return built

    build_and_remember.tells_lm_eval_steer = True  # type: ignore[attr-defined]
    task_class.build_all_requests = build_and_remember


def _task_folder() -> "Path":
    """Where `lm_eval_steer.tasks` lies: beside this file in a wheel, elsewhere in an editable installation."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("lm_eval_steer.tasks")
    if spec is None or not spec.submodule_search_locations:
        raise _Unsupported("the package lm_eval_steer.tasks is not installed")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


_EXTENSIONS: "dict[str, Callable[[ModuleType], None]]" = {
    "lm_eval.models": _add_models,
    "lm_eval.tasks._index": _add_tasks,
    "lm_eval.api.task": _remember_tasks,
}
_finder = _Finder()
_gave_up = False
_shows_sentences = False


class _Unsupported(Exception):
    """What this lm_eval lacks, as the end of a sentence."""


def _expect(owner: "Any", name: str) -> "Any":
    if not hasattr(owner, name):
        raise _Unsupported(f"{owner.__name__} has no {name}")
    return getattr(owner, name)


def _extend(module: "ModuleType") -> None:
    """Add ours to a module of lm_eval. Whatever fails costs one sentence, never the process, which may be another's."""
    global _gave_up
    if _gave_up:
        return
    version = "of unknown version"
    try:
        from importlib.metadata import version as version_of

        version = version_of("lm_eval")
        if not _is_supported(version):
            raise _Unsupported("this version is outside the range")
        _EXTENSIONS[module.__name__](module)
        _show_sentences()
    except Exception as error:
        import logging

        _gave_up = True
        reason = str(error) if isinstance(error, _Unsupported) else f"{type(error).__name__}: {error}"
        lowest, above = (".".join(map(str, release)) for release in SUPPORTED)
        logging.getLogger("lm_eval_steer").warning(
            "lm_eval_steer supports lm_eval >=%s,<%s and cannot extend %s of lm_eval %s (%s): "
            "run pip install 'lm_eval==%s', or set %s=1 to do without lm_eval_steer.",
            *(lowest, above, module.__name__, version, reason, lowest, DISABLE),
        )


def _show_sentences() -> None:
    """Under the `lm_eval` command, bad input to our model or tasks ends in its sentence, not in a traceback."""
    global _shows_sentences
    from lm_eval_steer.errors import is_lm_eval_command, show_sentences

    if is_lm_eval_command() and not _shows_sentences:
        _shows_sentences = True
        show_sentences()


def _is_supported(version: str) -> bool:
    """A pre-release counts as the release that it leads to, so that 0.5.0rc1 is refused as 0.5 is."""
    import re

    lowest, above = SUPPORTED
    return lowest <= tuple(map(int, re.findall(r"\d+", version))) < above
