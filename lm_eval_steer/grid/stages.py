"""What a study has to do: its stages in the order of what needs what, each named by a digest.

extract   per model x task: a vector from a parent, and the child's own
states    per model x texts: read once, however many maps and pairs of models take them
transfer  per parent x child x task x map: the vector in the child's space, and its maps of shuffled texts
sweep     per child x task: all vectors are arms of one sweep, so that baseline and controls are paid for once
then the leaderboard and the report of all sweeps.

A digest holds all that determines what a stage leaves: what the study says, what models and files hold, the stages that
it needs, and the revision of what is done. Sizes, devices and places are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lm_eval_steer import __version__
from lm_eval_steer.axis.record import digest
from lm_eval_steer.grid.identity import identity_of_files, identity_of_model
from lm_eval_steer.grid.settings import SWEEP, Settings
from lm_eval_steer.grid.stage import Stage
from lm_eval_steer.grid.study import OWN, Map, Study
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.interventions.controls import read_controls

REVISIONS: Mapping[str, Any] = {
    **dict.fromkeys(("extract", "states", "transfer", "sweep"), 1),
    **dict.fromkeys(("leaderboard", "report"), __version__),
}
"""Kind -> what changes where another release would leave something else. Tables and pages are cheap: every release."""

VECTOR = "vector.safetensors"
"""What `extract` and `transfer` leave in their folder."""

_FILES = ("pairs", "rationales", "pair_template", "include_path", "texts")
_SIZES = ("batch_size", "device")
_SHAPING = ("blocks", "system_role")
_READ_OF_VLLM = ("pretrained", "revision", "subfolder", "dtype", "tokenizer", "tokenizer_revision", "trust_remote_code")
"""Arguments of `steered-vllm` with which vectors and states of its model are read by transformers."""


def make_stages(study: Study) -> list[Stage]:
    """All stages of a study, each behind those that it needs. What two models or tasks share is one stage."""
    return list(_Maker(study).make().values())


@dataclass
class _Maker:
    study: Study
    stages: dict[str, Stage] = field(default_factory=dict)

    def make(self) -> dict[str, Stage]:
        study = self.study
        own = {
            (child, task): self._extract(child, task) for child in study.children for task in study.tasks if study.own
        }
        read = {(parent, task): self._extract(parent, task) for parent in study.parents for task in study.tasks}
        arms: dict[tuple[str, str], dict[str, Stage]] = {}
        for child in study.children:
            for task in study.tasks:
                found = arms.setdefault((child, task), {OWN: own[child, task]} if study.own else {})
                for parent in study.parents:
                    for carried in study.maps:
                        vector = read[parent, task]
                        if not carried.is_of_runs:
                            vector = self._transfer(vector, parent, child, task, carried)
                        found[study.arm(parent, carried)] = vector
        sweeps = [self._sweep(child, task, vectors) for (child, task), vectors in arms.items()]
        for kind in ("leaderboard", "report"):
            needs = [stage.folder for stage in sweeps]
            self._add(kind, {}, {"sweeps": needs}, {}, needs, study.settings())
        return {folder: stage for kind in REVISIONS for folder, stage in self.stages.items() if stage.kind == kind}

    def _add(
        self,
        kind: str,
        about: dict[str, str],
        arguments: dict[str, Any],
        decides: Mapping[str, Any],
        needs: Sequence[str],
        settings: Settings,
    ) -> Stage:
        """Enter a stage, or find the one that leaves the same."""
        needs = list(dict.fromkeys(needs))
        resources = (settings.get("resources") or {}).get(kind, {})
        key = digest([kind, REVISIONS[kind], decides, needs])
        stage = Stage(kind, about, arguments, tuple(needs), resources, key)
        return self.stages.setdefault(stage.folder, stage)

    def _extract(self, model: str, task: str) -> Stage:
        settings = self.study.settings(model, task)
        given = {"task": task, "include_path": settings.get("include_path")} | settings.get("extract", {})
        if given.get("pairs"):
            del given["task"], given["include_path"]
        model_args = read_arguments(settings)
        decides = {"model": identity_of_model(model_args), "args": _deciding(given)}
        arguments = {"model_args": model_args, "device": settings.get("device"), "args": given}
        return self._add("extract", {"model": model, "task": task}, arguments, decides, [], settings)

    def _texts(self, carried: Map) -> dict[str, Any]:
        """What models read before a map is fitted; by default the rows of all tasks that vectors are made from."""
        given = self.study.settings().get("transfer", {}) | carried.settings
        if "texts" not in given and "task" not in given:
            tasks = [self.study.settings(task=task).get("extract", {}).get("task", task) for task in self.study.tasks]
            given = given | {"task": ",".join(dict.fromkeys(tasks))}
        return given

    def _states(self, model: str, carried: Map) -> Stage:
        settings = self.study.settings(model)
        model_args, texts = read_arguments(settings), self._texts(carried)
        decides = {"model": identity_of_model(model_args), "texts": _deciding(texts)}
        arguments = {"model_args": model_args, "device": settings.get("device"), "texts": texts}
        return self._add("states", {"model": model}, arguments, decides, [], settings)

    def _transfer(self, vector: Stage, parent: str, child: str, task: str, carried: Map) -> Stage:
        settings = self.study.settings(child, task)
        parent_args = read_arguments(self.study.settings(parent, task))
        child_args, texts = read_arguments(self.study.settings(child)), self._texts(carried) if carried.reads else {}
        needs = [vector.folder]
        if carried.reads:
            needs += [self._states(parent, carried).folder, self._states(child, carried).folder]
        shuffled = (
            [one.seed for one in read_controls(settings.get("controls")) if one.files] if carried.is_fitted else []
        )
        given = {"width_map": carried.width_map, "layer_map": carried.layer_map, **texts}
        decides = {"child": identity_of_model(child_args), "args": _deciding(given), "shuffled": shuffled}
        arguments = {
            "vector": vector.folder, "parent_args": parent_args, "child_args": child_args,
            "device": settings.get("device"), "args": given, "shuffled": shuffled, "reads": carried.reads,
        }  # fmt: skip
        about = {"parent": parent, "child": child, "task": task, "map": carried.name}
        return self._add("transfer", about, arguments, decides, needs, settings)

    def _sweep(self, child: str, task: str, vectors: Mapping[str, Stage]) -> Stage:
        settings = self.study.settings(child, task)
        model_args = settings["model_args"] | settings.get("steering", {})
        options = {key: settings[key] for key in SWEEP if settings.get(key) is not None and key != "arms"}
        arms = {name: stage.folder for name, stage in vectors.items()}
        given = {"model": settings["model"], "task": task, "arms": arms, "others": settings.get("arms", {}), **options}
        decides = {"model": identity_of_model(model_args), **_deciding(given)}
        sizes = {key: settings.get(key) for key in _SIZES}
        about = {"child": child, "task": task}
        return self._add(
            "sweep", about, {"model_args": model_args, **given, **sizes}, decides, [*arms.values()], settings
        )


def read_arguments(settings: Settings) -> dict[str, Any]:
    """The arguments with which transformers reads a model that is not steered."""
    given = settings["model_args"]
    if settings["model"] == "steered-vllm":
        return {key: value for key, value in given.items() if key in _READ_OF_VLLM}
    return {key: value for key, value in given.items() if key in _SHAPING or key not in ARGUMENT_NAMES}


def _deciding(given: Mapping[str, Any]) -> dict[str, Any]:
    """What of some options decides the outcome: all but sizes, and of files what they hold."""
    return {
        key: identity_of_files(value) if key in _FILES and value else value
        for key, value in given.items()
        if key not in _SIZES and value is not None
    }
