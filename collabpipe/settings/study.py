"""The settings of a study: one YAML file, every key checked, every error with its place and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from collabpipe.catalogue.stages import Stages
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.plugins import faults_with_lines
from collabpipe.common.seeds import Purpose, derive_seed
from collabpipe.common.validation import (
    Place,
    Strict,
    Wrong,
    beside,
    explain,
    merge_files,
)
from collabpipe.methods.base import Kind
from collabpipe.methods.composition import Composition, Passes, problem
from collabpipe.methods.derived import Control
from collabpipe.methods.resolve import candidate, compose, involved, read_methods
from collabpipe.methods.search import Searched, Seeds
from collabpipe.settings.claims import ReadRivals, Rivals
from collabpipe.settings.data import NAME, DatasetSettings, NoiseSettings, SourceSettings, parse_noises
from collabpipe.settings.plugins import plugin_paths, use_plugins
from collabpipe.settings.test_sets import CorruptionSettings, check_test_sets
from collabpipe.settings.training import ExecutionSettings, NetworkSettings, TrainingSettings

CANDIDATE = re.compile(r"\.candidate\d+$")


class Settings(Strict):
    """A whole study."""

    study: str
    """The study's name. Its results lie in a folder of that name below `results`."""
    datasets: dict[str, DatasetSettings]
    """The data sets by name, at least one."""
    test_sets: dict[str, SourceSettings] = Field(default_factory=dict)
    """Images that runs are only tested on, where a data set's `test_on` names them."""
    corruptions: CorruptionSettings = CorruptionSettings()
    """What the test set `corruptions` consists of."""
    noise: dict[str, NoiseSettings]
    """The label noise, at least one."""
    noise_files: dict[str, str] = Field(default_factory=dict)
    """Label files by name, for the noise `file-NAME`; `{seed}` in a path stands for the seed of a replicate's noise."""
    networks: dict[str, NetworkSettings]
    """The networks by name, at least one."""
    methods: dict[str, SerializeAsAny[Kind]]
    """The methods by name, at least one."""
    seeds: Seeds
    """One replicate per seed; no two are equal."""
    replicates: dict[Purpose, tuple[Annotated[int, Field(ge=0, lt=2**31)], ...]] = Field(default_factory=dict)
    """Seeds of single purposes, each list as long as `seeds`; a purpose that is left out follows the run's seed."""
    training: TrainingSettings
    """How networks are trained, the same for all methods."""
    refit: bool = False
    """Whether final trainings also use the validation images. These then choose hyper-parameters and no epoch: `best`
    equals `last`, and the tables show the last epoch alone. Candidates never train on them."""
    execution: ExecutionSettings = ExecutionSettings()
    """How jobs are cut and saved. It changes no result."""
    plugins: tuple[str, ...] = ()
    """Python files that register networks, terms, kinds of method, noise or sources; relative to the file that names
    them (docs/plugins.md)."""
    claims: str | None = None
    """A file of published claims to judge (docs/claims.md); a path is relative to the file that names it. None: no
    claims."""
    rival: Annotated[Rivals, ReadRivals] = ()
    """Methods of one pass without collaboration, by name or with the epoch at which they are read. The tables compare
    each method with the best of them on validation labels (docs/claims.md). Those that the claims name count too."""

    @field_validator("datasets", "test_sets", "networks", mode="before")
    @classmethod
    def _name_is_default(cls, value: Any, info: Any) -> Any:
        """`resnet18: {}` is a network of kind resnet18: the name is used if the kind is missing."""
        key = "kind" if info.field_name == "networks" else "source"
        if not isinstance(value, Mapping):
            return value
        return {k: {key: k, **v} if isinstance(v, Mapping) else v for k, v in value.items()}

    @field_validator("noise", mode="before")
    @classmethod
    def _noise_names(cls, value: Any) -> Any:
        return parse_noises(value)

    @field_validator("methods", mode="before")
    @classmethod
    def _method_kinds(cls, value: Any) -> Any:
        return read_methods(value) if isinstance(value, Mapping) else value

    @field_validator("datasets", "test_sets", "noise", "noise_files", "networks", "methods")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise Wrong("{}", ("at least one entry",), "value")
        for name in value:
            # Candidates' names are longer.
            if not NAME.fullmatch(name) or CANDIDATE.search(name) or len(name) > 80:
                allowed = ("at most 80 letters, digits and _ . -, as it names a folder, not ending in .candidateN",)
                raise Wrong(name, allowed, "name", (name,))
        return value

    @model_validator(mode="after")
    def _replicates_fit(self) -> Settings:
        for purpose, listed in self.replicates.items():
            if len(listed) != len(self.seeds):
                allowed = (f"{len(self.seeds)}, one beside each of the study's seeds",)
                raise Wrong(len(listed), allowed, "number of seeds", ("replicates", purpose))
        return self

    @model_validator(mode="after")
    def _methods_fit(self) -> Settings:
        places = (
            (network, self.stages_of(dataset, network)) for dataset, network in product(self.datasets, self.networks)
        )
        for network, stages in dict.fromkeys(places):
            for name in self.methods:
                self._fits(compose(self.methods, name, stages), name, self.networks[network])
                for other in involved(self.methods, name):
                    kind = self.methods[other]
                    for one in kind.candidates if isinstance(kind, Searched) else ():
                        self._fits(compose({**self.methods, other: one}, name, stages), name, self.networks[network])
        return self

    def _fits(self, composition: Composition, name: str, network: NetworkSettings) -> None:
        found = problem(composition, network.stages)
        if found:
            raise found.wrong(network.kind, ("methods", name, found.key))
        # Independent views of images that are neither cropped nor flipped are one view.
        still = [other for other, data in self.datasets.items() if not (data.crop or data.flip)]
        passes = composition.passes
        if still and isinstance(passes, Passes) and passes.views == "independent":
            alike = passes.model_copy(update={"views": "same"})
            if problem(composition.model_copy(update={"passes": alike}), network.stages):
                allowed = (f"dropout behind the split, or crop or flip for data set {still[0]}: else heads are equal",)
                raise Wrong("independent", allowed, "value", ("methods", name, "views"))

    @model_validator(mode="after")
    def _rivals_fit(self) -> Settings:
        stages = self.stages_of(next(iter(self.datasets)), next(iter(self.networks)))
        composed = {name: compose(self.methods, name, stages) for name in self.methods if self.rival}
        plain = tuple(name for name, one in composed.items() if one.passes.heads == 1 and not one.terms)
        for position, rival in enumerate(self.rival):
            if rival.method not in plain:
                raise Wrong(rival.method, plain, "method of one pass without collaboration", ("rival", position))
        return self

    @model_validator(mode="after")
    def _searches_fit(self) -> Settings:
        for name, kind in self.searches.items():
            place = ("methods", name, "select")
            for seed in set(kind.select.seeds) & set(self.seeds):
                raise Wrong(seed, ("seeds that the final runs do not use",), "seed", (*place, "seeds"))
            known = {noise for data in self.datasets for noise in self.noise_of(data)}
            for carried in kind.select.carry.keys() - known:
                raise Wrong(carried, tuple(known), "noise", (*place, "carry"))
            for data in self.datasets:
                self._carries_fit(kind.select.carry, self.noise_of(data), (*place, "carry"))
            self._same_budget(name, kind)
        return self

    def _carries_fit(
        self, carry: Mapping[str, str], noise: Mapping[str, NoiseSettings], place: tuple[str, ...]
    ) -> None:
        for carried, source in carry.items():
            allowed = tuple(set(noise) - set(carry))
            if carried in noise and source not in allowed:
                raise Wrong(source, allowed, "noise", (*place, carried))

    def _same_budget(self, name: str, kind: Searched) -> None:
        control = candidate(kind)
        if not isinstance(control, Control):
            return
        method = self.methods[control.control_of]
        if not any(isinstance(self.methods[other], Searched) for other in involved(self.methods, control.control_of)):
            allowed = (f"no search: {control.control_of} has none",)
            raise Wrong(len(kind.values), allowed, "number of candidates", ("methods", name))
        if isinstance(method, Searched):
            budget, own = ((len(k.values), k.select.seeds) for k in (method, kind))
            if budget != own:
                allowed = (f"{budget[0]} with seeds {list(budget[1])}, as for what it controls",)
                raise Wrong(f"{own[0]} with seeds {list(own[1])}", allowed, "number of candidates", ("methods", name))

    @model_validator(mode="after")
    def _datasets_fit(self) -> Settings:
        for name, data in self.datasets.items():
            for noise_name, noise in self.noise_of(name).items():
                if noise.kind == "file" and label_file_name(noise_name) not in self.noise_files:
                    place = ("noise",) if data.noise is None else ("datasets", name, "noise")
                    known = tuple(f"file-{file}" for file in self.noise_files)
                    raise Wrong(noise_name, known or ("file-NAME, with NAME: PATH under noise_files",), "noise", place)
                wrong = data.refuses(noise)
                if wrong:
                    wrong.place = ("datasets", name, *wrong.place)
                    raise wrong
            self.training_of(name)
        return self

    @model_validator(mode="after")
    def _test_sets_fit(self) -> Settings:
        check_test_sets(self.datasets, self.test_sets, self.corruptions)
        keep = self.execution.keep_weights
        if keep != "all" and self.tests_further:
            allowed = ("all: further test sets (test_on) are evaluated with the weights of finished runs",)
            raise Wrong(keep, allowed, "value", ("execution", "keep_weights"))
        return self

    @property
    def tests_further(self) -> bool:
        """Whether any run is evaluated on a further test set."""
        return any(data.test_on for data in self.datasets.values())

    @property
    def image_sets(self) -> Mapping[str, SourceSettings]:
        """Data sets and the test sets that one of them is tested on, by name."""
        named = {name for data in self.datasets.values() for name in data.test_on}
        return self.datasets | {name: one for name, one in self.test_sets.items() if name in named}

    def noise_of(self, dataset: str) -> dict[str, NoiseSettings]:
        """The noise on a data set, by name."""
        own = self.datasets[dataset].noise
        return self.noise if own is None else own

    def training_of(self, dataset: str) -> TrainingSettings:
        """The training of a data set: the study's, with the data set's own keys in their place."""
        own = self.datasets[dataset].training
        if not own:
            return self.training
        try:
            return TrainingSettings.model_validate(self.training.model_dump() | own)
        except ValidationError as error:
            raise Wrong.first_of(error, ("datasets", dataset, "training"), TrainingSettings) from None

    def seed_for(self, purpose: Purpose, seed: int) -> int:
        """The seed that a purpose is derived from in the run of `seed`."""
        own = self.replicates.get(purpose)
        return own[self.seeds.index(seed)] if own and seed in self.seeds else seed

    def derived_seed(self, purpose: Purpose, seed: int) -> int:
        """The seed of a purpose's generator in the run of `seed`."""
        return derive_seed(self.seed_for(purpose, seed), purpose)

    def refits(self, dataset: str) -> bool:
        """Whether the final trainings on a data set also use its validation images."""
        own = self.datasets[dataset].refit
        return self.refit if own is None else own

    def stages_of(self, dataset: str, network: str) -> Stages:
        """The stages of a network when it trains on a data set."""
        return self.networks[network].stages_of(self.datasets[dataset].pixels, self.training_of(dataset).batch_size)

    @property
    def searches(self) -> dict[str, Searched]:
        """The methods whose hyper-parameters the pipeline chooses."""
        return {name: kind for name, kind in self.methods.items() if isinstance(kind, Searched)}


def label_file_name(noise: str) -> str:
    """The NAME in `file-NAME`."""
    return noise.removeprefix("file-")


def load_settings(files: Sequence[Path]) -> Settings:
    """The study that the YAML `files` describe, later files over earlier ones.

    Raises:
        CollabpipeError: with file, line, key, value and what is allowed.
    """
    values, places = merge_files(files)
    return check_settings(values, places)


def check_settings(values: Mapping[str, Any], places: Mapping[Place, str]) -> Settings:
    """`values` as settings; `places` says at which file and line a key stands.

    Raises:
        CollabpipeError: with file, line, key, value and what is allowed.
    """
    use_plugins(values.get("plugins"), places)
    try:
        with faults_with_lines():
            settings = Settings.model_validate(dict(values))
    except ValidationError as error:
        raise CollabpipeError(explain(error, Settings, places)) from None
    return _with_paths_beside(settings, places)


def _with_paths_beside(settings: Settings, places: Mapping[Place, str]) -> Settings:
    sets = {
        section: {
            name: one.model_copy(update={"data_dir": beside(one.data_dir, (section, name, "data_dir"), places)})
            if one.data_dir
            else one
            for name, one in named.items()
        }
        for section, named in (("datasets", settings.datasets), ("test_sets", settings.test_sets))
    }
    claims = beside(settings.claims, ("claims",), places) if settings.claims else None
    files = {name: beside(path, ("noise_files", name), places) for name, path in settings.noise_files.items()}
    plugins = plugin_paths(settings.plugins, places)
    own = {**sets, "claims": claims, "noise_files": files, "plugins": plugins}
    return settings.model_copy(update=own)
