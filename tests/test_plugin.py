"""The plugin as a user meets it: wheels in fresh environments, each question asked in a process of its own."""

import base64
import configparser
import csv
import fnmatch
import hashlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import textwrap
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lm_eval_steer import plugin

ROOT = Path(__file__).resolve().parent.parent
PTH = "lm_eval_steer.pth"
OURS = {"gsm8k_steer", "arith_steer"}

# Scanning all of lm_eval's tasks takes ten seconds; this leaves one of its folders (a built-in task is arc_easy).
FEW_DEFAULTS = """
import lm_eval.tasks._index as _index
from pathlib import Path
_default, _all_files = Path(_index.__file__).parent, _index.TaskIndex._iter_yaml_files
def _few(root):
    return _all_files(root / "arc" if root == _default else root)
_index.TaskIndex._iter_yaml_files = staticmethod(_few)
"""
TASK = "task: {name}\ndataset_path: none\noutput_type: generate_until\ndoc_to_text: x\ndoc_to_target: x\n"


class Env:
    """A virtual environment that sees this one's packages by path, but none of this one's .pth files."""

    def __init__(self, folder: Path, deps: bool = True) -> None:
        run([sys.executable, "-m", "venv", "--without-pip", folder])
        self.python = folder / "bin" / "python"
        ask = [str(self.python), "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        self.site = Path(subprocess.check_output(ask, text=True).strip())
        if deps:
            # It follows our own folder in sys.path, so this environment's installation of the package comes second.
            (self.site / "deps.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def pip(self, *args: "str | Path") -> None:
        run([sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", "-q", *args])

    def start(self, code: str, *argv: "str | Path", **environ: str) -> "subprocess.Popen[str]":
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON") and k != plugin.DISABLE}
        return subprocess.Popen(
            [self.python, "-c", textwrap.dedent(code), *argv],
            cwd=self.site.parent,
            env=clean | environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, code: str, *argv: "str | Path", **environ: str) -> tuple[str, str]:
        """Both outputs of a process that has to succeed."""
        process = self.start(code, *argv, **environ)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out, err

    def words(self, code: str, *argv: "str | Path", **environ: str) -> list[str]:
        return self.run(code, *argv, **environ)[0].split()


def run(command: list) -> None:
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from: a build writes into its source tree."""
    copy = tmp_path_factory.mktemp("tree") / "source"
    copy.mkdir()
    for name in ("build_tools", "lm_eval_steer", "tasks", "vectors"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file() and file.suffix != ".lock":
            shutil.copy(file, copy)
    return copy


@pytest.fixture(scope="session")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, tree])
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="session")
def env(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Env:
    installed = Env(tmp_path_factory.mktemp("env") / "wheel")
    installed.pip("install", "--no-deps", "--no-index", "--ignore-installed", wheel)
    return installed


@pytest.fixture(scope="session")
def full_listing(env: Env) -> Iterator["subprocess.Popen[str]"]:
    """`lm_eval ls tasks` reads ten thousand files twice, so the first test starts it and the last one looks at it."""
    code = (
        "import sys; from lm_eval.__main__ import cli_evaluate; sys.argv = ['lm_eval', 'ls', 'tasks']; cli_evaluate()"
    )
    process = env.start(code)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin's state before a process has met lm_eval."""
    monkeypatch.setattr(plugin, "_gave_up", False)
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if f is not plugin._finder])
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)


def few_tasks(*include: str, **options: bool) -> str:
    arguments = f"include_path={list(include)!r}, **{options!r}"
    return f"{FEW_DEFAULTS}\nfrom lm_eval.tasks import TaskManager\nmanager = TaskManager({arguments})\n"


FACTS = (
    few_tasks()
    + """
import inspect, json, lm_eval.models
from lm_eval.api.registry import model_registry
T = _index.TaskIndex
print(json.dumps({
    "models": list(model_registry),
    "tasks": manager.all_tasks,
    "build": [str(inspect.signature(T.build)), T.build.__doc__, T.build.__qualname__, type(vars(T)["build"]).__name__],
}))
"""
)


@pytest.fixture(scope="session")
def enabled(env: Env) -> dict:
    return json.loads(env.run(FACTS)[0])


@pytest.fixture(scope="session")
def disabled(env: Env) -> dict:
    return json.loads(env.run(FACTS, LM_EVAL_STEER_DISABLE="1")[0])


# ------------------------------------------------------------------------------------------------- what the wheel holds


@pytest.mark.usefixtures("full_listing")
def test_wheel_holds_the_start_up_line_with_a_true_record(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names))
        content = archive.read(PTH)
        record_name = next(name for name in names if name.endswith("/RECORD"))
        rows = {
            name: (digest, size) for name, digest, size in csv.reader(io.StringIO(archive.read(record_name).decode()))
        }
    assert content == (ROOT / "lm_eval_steer" / "plugin" / PTH).read_bytes()
    assert content.startswith(b"import ")
    assert content.count(b"\n") == 1
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    assert rows[PTH] == (f"sha256={digest}", str(len(content)))
    assert set(rows) == set(names)


def test_wheel_holds_every_module_task_and_vector_of_the_tree(wheel: Path, tree: Path) -> None:
    places = {"lm_eval_steer": "lm_eval_steer", "tasks": "lm_eval_steer/tasks", "vectors": "lm_eval_steer/shipped"}
    expected = {f"{place}/{name}" for folder, place in places.items() for name in listing(tree / folder)}
    expected -= {name for name in expected if "__pycache__" in name} | {f"lm_eval_steer/plugin/{PTH}"}
    assert {f"lm_eval_steer/report/page/page.{kind}" for kind in ("html", "css", "js")} <= expected
    assert {f"lm_eval_steer/tasks/{name}/{name}_steer.yaml" for name in ("gsm8k", "arith")} <= expected
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == expected | {PTH}


def test_wheel_from_the_source_distribution_is_the_same(
    wheel: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = "import sys; sys.path.insert(0, 'build_tools'); import pth_backend; pth_backend.build_{}(sys.argv[1])"
    monkeypatch.chdir(tree)
    run([sys.executable, "-c", build.format("sdist"), tmp_path])
    (sdist,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    for folder in ("tasks", "vectors", "build_tools"):
        assert listing(source / folder) == {name for name in listing(tree / folder) if "__pycache__" not in name}
    monkeypatch.chdir(source)
    run([sys.executable, "-c", build.format("wheel"), tmp_path])
    (rebuilt,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(rebuilt) as second:
        assert set(first.namelist()) == set(second.namelist())


def test_a_failed_rewrite_leaves_the_wheel_as_it_was(tmp_path: Path) -> None:
    broken = tmp_path / "no_record.whl"
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("module.py", "")
    before = broken.read_bytes()
    code = "import pth_backend, pathlib, sys; pth_backend.add_to_root(pathlib.Path(sys.argv[1]), pth_backend.PTH)"
    failed = subprocess.run(
        [sys.executable, "-c", code, str(broken)], cwd=ROOT / "build_tools", capture_output=True, text=True
    )
    assert "StopIteration" in failed.stderr
    assert broken.read_bytes() == before
    assert list(tmp_path.iterdir()) == [broken]


def test_supported_range_is_the_declared_one() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lowest, above = (".".join(map(str, release)) for release in plugin.SUPPORTED)
    assert f"lm_eval>={lowest},<{above}" in setup["options"]["install_requires"].split()
    declared = setup["options.entry_points"]["lm_eval.models"].strip().splitlines()
    assert dict(line.replace(" ", "").split("=") for line in declared) == plugin.MODELS


# ------------------------------------------------------------------------------------------- an installed wheel at work


def test_built_in_models_stay_and_ours_joins(enabled: dict, disabled: dict) -> None:
    assert {"hf", "vllm", "steered"} <= set(disabled["models"])
    assert enabled["models"] == [*disabled["models"], "steered-hf", "steered-vllm", "steered-gguf"]


def test_ours_join_the_built_in_tasks(enabled: dict, disabled: dict) -> None:
    assert "arc_easy" in disabled["tasks"]
    assert not OURS & set(disabled["tasks"])
    assert {*disabled["tasks"], *OURS} <= set(enabled["tasks"])


def test_wrapper_looks_like_the_original(enabled: dict, disabled: dict) -> None:
    assert enabled["build"] == disabled["build"]


def test_get_model_reaches_our_class(env: Env) -> None:
    out = env.words(
        """
        import sys, types
        stand_in = types.ModuleType("lm_eval_steer.models.hf")
        stand_in.SteeredHF = type("SteeredHF", (), {})
        sys.modules["lm_eval_steer.models.hf"] = stand_in
        from lm_eval.api.registry import get_model
        print(get_model("steered-hf").__name__)
        print(get_model("dummy").__name__)
        """
    )
    assert out == ["SteeredHF", "DummyLM"]


def test_without_the_defaults_ours_stay_out_too(env: Env, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TASK.format(name="mine"))
    assert env.words(few_tasks(str(tmp_path), include_defaults=False) + "print(*manager.all_tasks)") == ["mine"]


def test_include_path_beats_ours(env: Env, tmp_path: Path) -> None:
    (tmp_path / "arith.yaml").write_text(TASK.format(name="arith_steer"))
    code = few_tasks(str(tmp_path)) + "for t in ('arith_steer', 'gsm8k_steer'): print(manager.task_index[t].yaml_path)"
    theirs, ours = env.words(code)
    assert Path(theirs) == tmp_path / "arith.yaml"
    assert env.site / "lm_eval_steer" / "tasks" in Path(ours).parents


def test_built_in_beats_ours_and_an_included_folder_is_scanned_once(env: Env, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "arc.yaml").write_text(TASK.format(name="arc_easy"))
    (ours / "more.yaml").write_text(TASK.format(name="more"))
    swap = f"import lm_eval_steer.plugin as p; from pathlib import Path; p._task_folder = lambda: Path({str(ours)!r})\n"
    show = "print(*(manager.task_index[t].yaml_path for t in ('arc_easy', 'more')))\n"
    # Asked for by the user, the folder has the rank that --include_path gives it.
    again = f"manager = TaskManager(include_path={str(ours)!r})\n"
    out, err = env.run(swap + few_tasks() + show + again + show)
    builtin, more, asked_for, more_again = map(Path, out.split())
    assert builtin.parts[-2] == "arc"
    assert asked_for == ours / "arc.yaml"
    assert more == more_again == ours / "more.yaml"
    assert "more.yaml overrides" not in err


def test_modules_keep_their_loader_source_and_resources(env: Env) -> None:
    env.run(
        """
        import importlib, importlib.resources, inspect, pickle
        from importlib.machinery import SourceFileLoader
        from lm_eval.api.registry import model_registry
        import lm_eval.models, lm_eval.tasks._index as index
        for module in (lm_eval.models, index):
            assert type(module.__loader__) is type(module.__spec__.loader) is SourceFileLoader, module.__loader__
            assert inspect.getsource(module)
        assert importlib.resources.files(lm_eval.models).joinpath("dummy.py").is_file()
        entry = index.Entry("a", index.Kind.TASK, None)
        assert pickle.loads(pickle.dumps(entry)) == entry
        for module in (lm_eval.models, index):
            assert importlib.reload(module) is module
        assert index.TaskIndex.build.scans_lm_eval_steer and "steered-hf" in model_registry
        assert importlib.util.find_spec("lm_eval.models").loader.get_source("lm_eval.models")
        """
    )


def test_install_after_lm_eval_extends_at_once_and_only_once(env: Env) -> None:
    out = env.words(
        """
        import importlib, sys, lm_eval.models, lm_eval.tasks._index as index
        from lm_eval.api.registry import model_registry
        from lm_eval_steer import plugin
        plugin.install()
        print("steered-hf" in model_registry)
        plugin.install(force=True)
        build = index.TaskIndex.build
        plugin.install(force=True)
        print("steered-hf" in model_registry, index.TaskIndex.build is build, sys.meta_path.count(plugin._finder))
        importlib.reload(plugin).install(force=True)
        print(index.TaskIndex.build is build)
        """,
        LM_EVAL_STEER_DISABLE="1",
    )
    assert out == ["False", "True", "True", "1", "True"]


def test_unrelated_process_imports_nothing_for_us(env: Env) -> None:
    code = "import sys; print(*sys.modules)"
    with_us, without = set(env.words(code)), set(env.words(code, LM_EVAL_STEER_DISABLE="1"))
    assert with_us - without <= {"lm_eval_steer", "lm_eval_steer.plugin"}
    heavy = {"torch", "transformers", "lm_eval", "importlib.metadata", "importlib.util", "logging", "typing", "pathlib"}
    assert "lm_eval_steer.plugin" in with_us
    assert not with_us & heavy


def test_import_of_the_package_imports_no_torch(env: Env) -> None:
    modules = env.words("import sys, lm_eval_steer; print(*sys.modules)")
    assert "lm_eval_steer" in modules
    assert not {"torch", "transformers", "lm_eval"} & set(modules)


def test_start_is_silent_when_the_package_is_gone_or_broken(tmp_path: Path) -> None:
    bare = Env(tmp_path / "env", deps=False)
    shutil.copy(ROOT / "lm_eval_steer" / "plugin" / PTH, bare.site)
    package = bare.site / "lm_eval_steer"
    assert bare.run("import sys; print('lm_eval_steer' in sys.modules)") == ("False\n", "")
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text("def install(: pass")
    assert bare.run("import sys; print('lm_eval_steer' in sys.modules)") == ("True\n", "")


def test_uninstall_removes_the_line(wheel: Path, tmp_path: Path) -> None:
    bare = Env(tmp_path / "env", deps=False)
    before = listing(bare.site)
    bare.pip("install", "--no-deps", "--no-index", wheel)
    assert (bare.site / PTH).is_file()
    bare.pip("uninstall", "-y", "lm_eval_steer")
    assert listing(bare.site) == before


# -------------------------------------------------------------------------------------------- an editable installation


def test_editable_installation(tree: Path, tmp_path: Path) -> None:
    before = listing(tree)
    editable = Env(tmp_path / "env")
    editable.pip("install", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "-e", tree)
    assert (editable.site / PTH).read_bytes() == (ROOT / "lm_eval_steer" / "plugin" / PTH).read_bytes()
    assert not (editable.site / "lm_eval_steer").exists()
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    for name in listing(tree) - before:
        assert any(fnmatch.fnmatch(part, pattern) for part in Path(name).parts for pattern in ignored), name

    facts = json.loads(editable.run(FACTS)[0])
    assert {"hf", "steered-hf"} <= set(facts["models"])
    assert {"arc_easy", *OURS} <= set(facts["tasks"])
    folder = editable.words("from lm_eval_steer.plugin import _task_folder; print(_task_folder())")
    assert Path(*folder) == tree.resolve() / "tasks"

    moved = tree.rename(tree.with_name("moved"))
    try:
        assert editable.run("print('started')") == ("started\n", "")
    finally:
        moved.rename(tree)


# ---------------------------------------------------------------------------------------- an lm_eval of another version

REGISTRY = """
class Registry(dict):
    def register(self, name, target):
        if self.get(name, target) != target:
            raise ValueError(f"{name} already registered")
        self[name] = target
model_registry = Registry()
"""
INDEX = """
class TaskIndex:
    @staticmethod
    def build(paths, *, resolve_includes=True):
        return list(paths)
"""
ASK = """
import lm_eval.models, lm_eval.tasks._index as index
from lm_eval.api import registry
print(*getattr(registry, "model_registry", []), hasattr(getattr(index.TaskIndex, "build", None), "scans_lm_eval_steer"))
"""


def fake_lm_eval(folder: Path, version: str, registry: str = REGISTRY, index: str = INDEX) -> dict[str, str]:
    """The environment of a process that meets this lm_eval instead of the installed one."""
    models = "from lm_eval.api.registry import *\nmodel_registry.register('hf', target='lm_eval.models.hf:HF')"
    files = {
        "lm_eval/__init__.py": "",
        "lm_eval/api/__init__.py": "",
        "lm_eval/api/registry.py": registry,
        "lm_eval/models/__init__.py": models if registry else "",
        "lm_eval/tasks/__init__.py": "",
        "lm_eval/tasks/_index.py": index,
        f"lm_eval-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: lm_eval\nVersion: {version}\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"PYTHONPATH": str(folder)}


def test_inside_the_range_the_fake_is_extended(env: Env, tmp_path: Path) -> None:
    assert env.run(ASK, **fake_lm_eval(tmp_path, "0.4.14.dev0")) == (
        "hf steered-hf steered-vllm steered-gguf True\n",
        "",
    )


def test_a_model_of_our_name_that_is_there_already_stays(env: Env, tmp_path: Path) -> None:
    theirs = REGISTRY + "model_registry['steered-hf'] = 'theirs:Model'\n"
    ask = ASK + "print(registry.model_registry['steered-hf'])"
    out, err = env.run(ask, **fake_lm_eval(tmp_path, "0.4.13", theirs))
    assert (out, err) == ("steered-hf hf steered-vllm steered-gguf True\ntheirs:Model\n", "")


@pytest.mark.parametrize("version", ["0.4.12", "0.5.0rc1", "1.0"])
def test_outside_the_range_one_sentence_and_no_change(env: Env, tmp_path: Path, version: str) -> None:
    out, err = env.run(ASK, **fake_lm_eval(tmp_path, version))
    assert out == "hf False\n"
    assert err.count("\n") == 1
    for part in (f"lm_eval {version} ", ">=0.4.13,<0.5", "pip install 'lm_eval==0.4.13'", "LM_EVAL_STEER_DISABLE=1"):
        assert part in err


def test_missing_parts_cost_one_sentence(env: Env, tmp_path: Path) -> None:
    fails = (
        "class Registry(list):\n"
        "    def register(self, name, target):\n"
        "        self.append(name) if name == 'hf' else self.gone\n"
        "model_registry = Registry()\n"
    )
    cases = {
        "lm_eval.api.registry has no model_registry": {"registry": ""},
        "lm_eval.tasks._index has no TaskIndex": {"index": ""},
        "TaskIndex has no build": {"index": "class TaskIndex: pass"},
        "TaskIndex.build is no static method": {"index": "class TaskIndex:\n    def build(self, paths): pass"},
        "AttributeError": {"registry": fails},
    }
    ask = ASK.replace("index.TaskIndex,", "getattr(index, 'TaskIndex', None),")
    for number, (reason, change) in enumerate(cases.items()):
        _, err = env.run(ask, **fake_lm_eval(tmp_path / str(number), "0.4.13", **change))
        assert err.count("\n") == 1
        assert reason in err
        assert "lm_eval 0.4.13 " in err
        assert "pip install 'lm_eval==0.4.13'" in err


@pytest.mark.parametrize("function", ["load_plugins", "import_plugins"])
def test_models_are_left_to_an_lm_eval_that_reads_entry_points(env: Env, tmp_path: Path, function: str) -> None:
    discover = f"""
def {function}():
    from importlib.metadata import entry_points
    for point in entry_points(group="lm_eval.models"):
        model_registry.register(point.name, target=point)
"""
    ask = ASK + f"registry.{function}(); print(registry.model_registry['steered-hf'].value)"
    out, err = env.run(ask, **fake_lm_eval(tmp_path, "0.4.14", REGISTRY + discover))
    assert (out, err) == ("hf True\nlm_eval_steer.models.hf:SteeredHF\n", "")


# ------------------------------------------------------------------------------------------------ the hook, in process


@pytest.mark.usefixtures("fresh")
def test_finder_answers_for_two_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Recorder:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            asked.append(name)

    monkeypatch.setattr(sys, "meta_path", [Recorder()])
    plugin.install(force=True)
    assert sys.meta_path[0] is plugin._finder
    for name in ("json", "lm_eval", "lm_eval.tasks", "lm_eval.models.huggingface", "lm_eval.models"):
        assert plugin._finder.find_spec(name) is None
    assert asked == ["lm_eval.models"]


@pytest.mark.usefixtures("fresh")
def test_finder_bears_another_hook_that_asks_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    found = types.SimpleNamespace(loader=types.SimpleNamespace(exec_module=None))

    class AsksEverybody:
        def find_spec(self, name: str, path: None = None, target: None = None) -> object:
            others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
            return next((spec for spec in others if spec), found)

    monkeypatch.setattr(sys, "meta_path", [AsksEverybody()])
    plugin.install(force=True)
    assert plugin._finder.find_spec("lm_eval.models") is found
    assert isinstance(found.loader, plugin._Loader)


@pytest.mark.parametrize(("value", "installs"), [("1", 0), ("yes", 0), ("00", 0), ("0", 1), ("", 1)])
@pytest.mark.usefixtures("fresh")
def test_disable(monkeypatch: pytest.MonkeyPatch, value: str, installs: int) -> None:
    monkeypatch.setenv(plugin.DISABLE, value)
    plugin.install()
    assert sys.meta_path.count(plugin._finder) == installs
    plugin.install(force=True)
    assert sys.meta_path.count(plugin._finder) == 1


# Near the end, because it started first and takes the longest.
def test_ls_tasks_lists_ours_and_the_built_in_ones(full_listing: "subprocess.Popen[str]") -> None:
    out, err = full_listing.communicate(timeout=300)
    assert full_listing.returncode == 0, err
    listed = {line.split("|")[1].strip() for line in out.splitlines() if line.startswith("|")}
    assert {"arc_easy", "mmlu_anatomy", "hellaswag", *OURS} <= listed
    assert "lm_eval_steer" not in err


def test_start_up_line_costs_no_more_than_a_few_small_modules(env: Env) -> None:
    """About a millisecond; machines differ, so it is measured in imports of a module of 30 words."""
    code = """
    import os, site, sys, time  # what any Python has imported before it comes to a .pth file
    line = open(sys.argv[1]).read()
    sys.path.append(sys.argv[2])
    assert "lm_eval_steer" not in sys.modules and "keyword" not in sys.modules
    times = [time.process_time()]
    for step in ("import keyword", line):
        exec(step)
        times.append(time.process_time())
    print((times[2] - times[1]) / (times[1] - times[0]))
    assert "lm_eval_steer.plugin" in sys.modules
    """
    command = [str(env.python), "-I", "-S", "-c", textwrap.dedent(code), str(env.site / PTH), str(env.site)]
    ratio = statistics.median(float(subprocess.check_output(command)) for _ in range(31))
    print(f"median: {ratio:.1f} such imports")
    assert ratio < 8
