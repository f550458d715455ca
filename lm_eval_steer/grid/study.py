"""A study: the YAML file that says which parents, children, tasks and maps, and how all is run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import read_text
from lm_eval_steer.grid.settings import KEYS, TRANSFER, Settings, check_keys, check_settings, joined
from lm_eval_steer.interventions.layer_maps import read_layer_map
from lm_eval_steer.interventions.width_maps import FittedMap, read_width_map
from lm_eval_steer.text import nearest, quoted, shortened

OWN = "own"
"""What the child's own vector is called in every sweep."""

_OF_STUDY = ("parents", "children", "tasks", "maps", OWN, "overrides")
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_DEFAULTS: Settings = {
    "model": "steered-hf",
    "batch_size": "auto",
    "alpha": "paper",
    "resources": {
        **{kind: {"gpus": 1, "hours": 1} for kind in ("extract", "states", "transfer")},
        "sweep": {"gpus": 1, "hours": 12},
        **{kind: {"gpus": 0, "hours": 1} for kind in ("leaderboard", "report")},
    },
}


@dataclass(frozen=True)
class Map:
    """How vectors come from parents to children.

    Attributes:
        name: in the study, and in the names of arms where there are several maps.
        width_map: as `read_width_map` takes it.
        layer_map: as `read_layer_map` takes it.
        settings: of the texts, over those of the study's `transfer`.
    """

    name: str
    width_map: str
    layer_map: str
    settings: Settings

    @property
    def is_fitted(self) -> bool:
        """Whether its width map is fitted on texts."""
        return isinstance(read_width_map(self.width_map).entry, FittedMap)

    @property
    def reads(self) -> bool:
        """Whether it takes states of both models."""
        return self.is_fitted or read_layer_map(self.layer_map).entry.path is not None

    @property
    def is_of_runs(self) -> bool:
        """Whether any run does it with a parent's own file: the paper's `cut` of block l to block l."""
        return (self.width_map, self.layer_map) == ("cut", "greedy")


@dataclass(frozen=True)
class Study:
    """A study, checked. What its parts mean, docs/GRID.md says.

    Attributes:
        parents: name -> what is said of it, keys of `KEYS`.
        children: likewise.
        tasks: likewise.
        maps: how vectors are carried.
        own: whether each child's own vector is an arm.
        overrides: pattern -> settings for whatever it matches, in order.
        common: said of everything.
    """

    parents: Mapping[str, Settings]
    children: Mapping[str, Settings]
    tasks: Mapping[str, Settings]
    maps: Sequence[Map]
    own: bool
    overrides: Mapping[str, Settings]
    common: Settings

    def settings(self, model: str = "", task: str = "") -> Settings:
        """What holds for a model on a task: of the study, over it of the model, of the task, then overrides in order.

        Args:
            model: name of a parent or child; empty for what is done once for all.
            task: likewise.
        """
        of_model = self.parents.get(model) or self.children.get(model) or {}
        layers = [_DEFAULTS, self.common, of_model, self.tasks.get(task, {})]
        return joined([*layers, *(told for one, told in self.overrides.items() if _matches(one, model, task))])

    def arm(self, parent: str, carried: Map) -> str:
        """What the sweep of a child calls a parent's vector behind a map: a word."""
        parts = [parent] if len(self.maps) == 1 else [parent, carried.name]
        return re.sub(r"[^\w-]", "-", "-".join(parts), flags=re.ASCII)


def read_study(path: str | Path) -> Study:
    """Read and check a study.

    Raises:
        SteeringError: one sentence per way to be wrong, with the file's name.
    """
    text = read_text(path, "a study")
    shown = shortened(path)
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SteeringError(f"{shown} is no YAML ({' '.join(str(error).split())}): correct it") from None
    try:
        return make_study(given)
    except SteeringError as error:
        raise SteeringError(f"{shown}: {error}") from None


def make_study(given: Any) -> Study:
    """The study of a file's content.

    Raises:
        SteeringError: as `read_study`, without the file's name.
    """
    check_keys(given, (*_OF_STUDY, *KEYS), "the study")
    given = dict(given or {})
    parts = {key: given.pop(key, None) for key in _OF_STUDY}
    models = {section: _named(parts[section], section) for section in ("parents", "children", "tasks")}
    for section in ("children", "tasks"):
        if not models[section]:
            raise SteeringError(f"it names no {section}: name at least one below `{section}:`")
    if both := sorted(models["parents"].keys() & models["children"].keys()):
        raise SteeringError(f"parents and children both have the name {both[0]}: give one model two names")
    own = True if parts[OWN] is None else parts[OWN]
    if not isinstance(own, bool):
        raise SteeringError(f"own is {quoted(own)}: give true or false")
    if not models["parents"] and not own:
        raise SteeringError("it names no parents and no own vectors: name a parent, or set `own: true`")
    overrides = {
        pattern: check_settings(told, f"overrides: {pattern}")
        for pattern, told in check_keys(parts["overrides"], None, "overrides").items()
    }
    maps = list(_maps(["cut"] if parts["maps"] is None else parts["maps"]))
    study = Study(**models, maps=maps, own=own, overrides=overrides, common=check_settings(given, "the study"))
    _refuse_strangers(study)
    _refuse_equal_arms(study)
    return study


def _named(given: Any, section: str) -> dict[str, Settings]:
    """Names with what is said of them; a list is of names alone."""
    if isinstance(given, list):
        given = dict.fromkeys(given) if all(isinstance(name, str) for name in given) else given
    found = {
        name: check_settings(told, f"{section}: {name}") for name, told in check_keys(given, None, section).items()
    }
    for name, told in found.items():
        if section == "tasks":
            continue
        if not _NAME.fullmatch(name) or name == OWN:
            raise SteeringError(
                f"{section} has the name {quoted(name)}: use letters, digits, - . and _, another word than {OWN}"
            )
        if not told.get("model_args", {}).get("pretrained"):
            raise SteeringError(
                f"{section}: {name} says no model: add `model_args: {{pretrained: ID_OR_FOLDER}}` below it"
            )
    return found


def _maps(given: Any) -> Iterator[Map]:
    """The maps of a list of width maps, or of a mapping of names to what each is.

    Raises:
        SteeringError: for anything else, and for a map that there is not.
    """
    if isinstance(given, list):
        texts = [str(one) for one in given]
        given = {re.sub(r"[^\w-]+", "-", text, flags=re.ASCII): {"width_map": text} for text in texts}
        if len(given) < len(texts):
            raise SteeringError(f"maps has two of one name among {', '.join(texts)}: name every map once")
    given = check_keys(given, None, "maps")
    if not given:
        raise SteeringError("maps is empty: name one, as in `maps: [cut]`")
    for name, told in given.items():
        if not re.fullmatch(r"[\w-]+", name, re.ASCII):
            raise SteeringError(f"maps has the name {quoted(name)}: use letters, digits, - and _")
        settings = dict(check_keys(told, ("width_map", "layer_map", *TRANSFER), f"maps: {name}"))
        width = str(settings.pop("width_map", name))
        layers = str(settings.pop("layer_map", "greedy" if width.startswith("cut") else "proportional"))
        found = Map(name, width, layers, settings)
        _ = found.reads  # refuses names that there are not
        yield found


def _matches(pattern: str, model: str, task: str) -> bool:
    """Whether an override is about a model on a task: `*-1.5b` about a model or a task, `gemma*/arith*` about both."""
    if "/" in pattern:
        one, other = pattern.rsplit("/", 1)
        return fnmatchcase(model, one) and fnmatchcase(task, other)
    return fnmatchcase(model, pattern) or fnmatchcase(task, pattern)


def _refuse_strangers(study: Study) -> None:
    """Refuse an override that is about nothing."""
    models = [*study.parents, *study.children]
    for pattern in study.overrides:
        if not any(_matches(pattern, model, task) for model in models for task in study.tasks):
            near = nearest(pattern, [*models, *study.tasks])
            raise SteeringError(
                f"overrides: {pattern} matches nothing{near}: use a name of a model or task, with * and ? where there "
                "are several, or MODEL/TASK"
            )


def _refuse_equal_arms(study: Study) -> None:
    """Refuse parents and maps whose names make one word."""
    arms: dict[str, str] = {OWN: OWN} if study.own else {}
    for parent in study.parents:
        for carried in study.maps:
            arm = study.arm(parent, carried)
            if arm in arms:
                raise SteeringError(f"{arms[arm]} and {parent} would both be the arm {arm} of a sweep: rename one")
            arms[arm] = parent
