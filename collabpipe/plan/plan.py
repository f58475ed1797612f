"""From settings to runs: the one place that expands a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from collabpipe.common.files import expand_user
from collabpipe.common.validation import Place, lasting, merge_files, option_places, place_of
from collabpipe.methods.baselines import Baseline
from collabpipe.methods.resolve import Variants, candidate, involved, own_training, tuned_controls
from collabpipe.methods.search import Searched
from collabpipe.plan.composed import Compositions, compositions_of, plugins_behind, variants_of
from collabpipe.plan.controls import matched_controls
from collabpipe.plan.data_recipes import LabelsKey, data_recipes, label_recipes
from collabpipe.plan.declared import declared_claims
from collabpipe.plan.noise_files import NoiseFiles
from collabpipe.plan.paths import Paths, study_folder
from collabpipe.plan.recipes import (
    Candidate,
    ChoiceOf,
    DataRecipe,
    FurtherRecipe,
    LabelsRecipe,
    RunName,
    SelectionRecipe,
    TrainRecipe,
    TrainSeeds,
    Undecided,
)
from collabpipe.plan.study_recipes import MeasuredMethod, OverheadRecipe, StudyRecipe
from collabpipe.settings.study import Settings, check_settings
from collabpipe.settings.test_sets import GENERATED

Cell = tuple[str, str, str]
"""Data set, noise, network."""
ChoiceKey = tuple[str, str, str, str]
"""Data set, noise, network, method."""


@dataclass(frozen=True)
class Plan:
    """The recipes of a study."""

    settings: Settings
    results: Path = Paths.root
    """The results folder."""
    places: Mapping[Place, str] = field(default_factory=dict)
    """At which file and line each key of the configuration stands."""
    files: tuple[Path, ...] = ()
    """The YAML files that the study comes from."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The merged configuration as it was written, which the settings come from."""

    def __post_init__(self) -> None:
        if self.settings.plugins:
            self.study  # noqa: B018 (all recipes are made while the study's plugins are in use)

    @classmethod
    def from_files(cls, files: Sequence[Path], results: Path) -> Plan:
        """The plan of the study in the YAML `files`."""
        values, places = merge_files(files)
        return cls(check_settings(values, places), results, places, tuple(files), values)

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        files: Sequence[str | Path],
        options: Mapping[str, Any] = MappingProxyType({}),
        results: Path = Paths.root,
        module: str | None = None,
    ) -> Plan:
        """The plan of a configuration that Snakemake has merged.

        Args:
            config: the merged configuration.
            files: what it was merged from, for error messages and for paths relative to them.
            options: what `--config` gave, which wins over the files.
            results: the results folder.
            module: the name of the module that the workflow is, whose configuration another workflow gives.

        Raises:
            CollabpipeError: a file is a pipe, or the configuration is wrong.
        """
        paths = () if module is not None else tuple(Path(file) for file in files)
        if module is not None:
            places: dict[Place, str] = {(): f"config of module {module}"}
        else:
            given = option_places(options)
            # The items of a list that an option gives stand in no file.
            whole = {place for place in given if not any(place == other[:-1] for other in given)}
            held = merge_files([lasting(file) for file in paths])[1]
            places = {at: line for at, line in held.items() if whole.isdisjoint(at[:n] for n in range(len(at)))} | given
        return cls(check_settings(config, places), results, places, paths, config)

    @cached_property
    def paths(self) -> Paths:
        """The study's files."""
        return Paths(self.results, study_folder(self.settings.study))

    @cached_property
    def data(self) -> dict[str, DataRecipe]:
        """The recipe of each data set and of each set that runs are only tested on, by its name."""
        return data_recipes(self.settings)

    def data_dir(self, dataset: str) -> Path | None:
        """The folder with the user's own copies of a data set's files; None: they are downloaded."""
        folder = self.settings.image_sets[dataset].data_dir
        return None if folder is None else expand_user(folder).resolve()

    def place(self, *keys: str) -> str:
        """`file:line: key` of a key of the configuration, for an error about its value."""
        return place_of(keys, self.places)

    @cached_property
    def noise_files(self) -> NoiseFiles:
        """The user's own label files."""
        return NoiseFiles(self.settings, self.places)

    @cached_property
    def labels(self) -> dict[LabelsKey, LabelsRecipe]:
        """The recipe of each label file, by (data set, noise, seed): of the study's seeds, then of its searches'."""
        return label_recipes(self.settings, self.data, self.noise_files)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every data set with each of its kinds of noise and each network."""
        settings = self.settings
        return tuple(
            (dataset, noise, network)
            for dataset in settings.datasets
            for noise in settings.noise_of(dataset)
            for network in settings.networks
        )

    @cached_property
    def _variants(self) -> Variants:
        return variants_of(self.settings)

    @cached_property
    def compositions(self) -> Compositions:
        """What each method and candidate asks of a training, by data set, network and name."""
        return compositions_of(self.settings, self._variants)

    def undecided(self, cell: Cell, name: str) -> Undecided | None:
        """The choices that a method's (or candidate's) training waits for."""
        dataset, noise, network = cell
        method, methods = self._variants[name]
        kinds = {other: methods[other] for other in involved(methods, method)}
        if not any(isinstance(kind, Searched) for kind in kinds.values()):
            return None
        definitions, choices = {}, {}
        for other, kind in kinds.items():
            if isinstance(kind, Searched):
                source = kind.select.carry.get(noise, noise)
                selection = self._selection((dataset, source, network), other).digest
                choices[other] = ChoiceOf(noise=source, selection=selection)
            else:
                definitions[other] = kind.model_dump(mode="json")
        stages = self.settings.stages_of(dataset, network)
        return Undecided(method=method, definitions=definitions, choices=choices, stages=stages)

    def _train_recipe(self, cell: Cell, name: str, undecided: Undecided | None, seed: int) -> TrainRecipe:
        dataset, noise, network = cell
        data, training = self.settings.datasets[dataset], self.settings.training_of(dataset)
        composition = self.compositions[dataset, network, name]
        if undecided is None:
            method, methods = self._variants[name]
            training = training.model_copy(update=own_training(methods, method))
        return TrainRecipe(
            run=RunName(dataset=dataset, noise=noise, network=network, method=name, seed=seed),
            labels=self.labels[dataset, noise, seed],
            network=self.settings.networks[network],
            composition=composition,
            undecided=undecided,
            training=training,
            plugins=plugins_behind(self.settings, [network], [composition], undecided is not None),
            crop=data.crop,
            flip=data.flip,
            refit=self.settings.refits(dataset) and name in self.settings.methods,
            seeds=TrainSeeds(
                initialisation=self.settings.derived_seed("initialisation", seed),
                order=self.settings.derived_seed("order", seed),
                augmentation=self.settings.derived_seed("augmentation", seed),
                dropout=self.settings.derived_seed("dropout", seed),
                method=self.settings.derived_seed("method", seed),
            ),
        )

    def _recipes(self, cell: Cell, name: str, seeds: Sequence[int]) -> list[TrainRecipe]:
        undecided = self.undecided(cell, name)
        return [self._train_recipe(cell, name, undecided, seed) for seed in seeds]

    @cached_property
    def runs(self) -> dict[str, TrainRecipe]:
        """The recipe of each run, by the run's name, in the order of the configuration."""
        recipes = (
            self._recipes(cell, name, self.settings.seeds) for cell in self.cells for name in self.settings.methods
        )
        return {str(recipe.run): recipe for of_method in recipes for recipe in of_method}

    @cached_property
    def tests(self) -> dict[str, FurtherRecipe]:
        """The recipe of each evaluation on a further test set, by run and test set, in the order of the runs."""
        recipes = (
            FurtherRecipe(
                name=name,
                trained=run,
                data=run.labels.data if name == GENERATED else self.data[name],
                corruptions=self.settings.corruptions if name == GENERATED else None,
            )
            for run in self.runs.values()
            for name in self.settings.datasets[run.run.dataset].test_on
        )
        return {str(recipe): recipe for recipe in recipes}

    @cached_property
    def _selected(self) -> dict[tuple[Cell, str], tuple[SelectionRecipe, list[TrainRecipe]]]:
        return {}  # filled by _selection, members before those that build on them

    def _selection(self, cell: Cell, method: str) -> SelectionRecipe:
        if (cell, method) not in self._selected:
            kind = self.settings.searches[method]
            candidates, trainings = [], []
            for number, (values, one) in enumerate(zip(kind.values, kind.candidates, strict=True)):
                recipes = self._recipes(cell, f"{method}.candidate{number}", kind.select.seeds)
                runs = tuple((recipe.run, recipe.digest) for recipe in recipes)
                candidates.append(Candidate(values=values, definition=one.model_dump(mode="json"), runs=runs))
                trainings += recipes
            names = dict(zip(("dataset", "noise", "network"), cell, strict=True))
            recipe = SelectionRecipe(
                **names,
                method=method,
                on=kind.select.on,
                candidates=tuple(candidates),
                plugins=plugins_behind(self.settings, [cell[2]], [], undecided=True),
            )
            self._selected[cell, method] = recipe, trainings
        return self._selected[cell, method][0]

    @cached_property
    def selections(self) -> dict[ChoiceKey, SelectionRecipe]:
        """The recipe of each choice by (data set, noise, network, method), those that others build on first."""
        for cell in self.cells:
            for method, kind in self.settings.searches.items():
                if cell[1] not in kind.select.carry:
                    self._selection(cell, method)
        return {(*cell, method): recipe for (cell, method), (recipe, _) in self._selected.items()}

    @cached_property
    def candidates(self) -> dict[str, TrainRecipe]:
        """The recipe of each candidate's training, by the run's name."""
        selected = (
            self._selected[(dataset, noise, network), method] for dataset, noise, network, method in self.selections
        )
        return {str(recipe.run): recipe for _, trainings in selected for recipe in trainings}

    @cached_property
    def trainings(self) -> dict[str, TrainRecipe]:
        """Candidates and runs."""
        return self.candidates | self.runs

    @cached_property
    def study(self) -> StudyRecipe:
        """The recipe of the tables."""
        return StudyRecipe(
            study=self.settings.study,
            runs=tuple((recipe.run, recipe.digest) for recipe in self.runs.values()),
            baseline=next((n for n, m in self.settings.methods.items() if isinstance(candidate(m), Baseline)), None),
            controls=matched_controls(self.settings, self._variants, self.compositions),
            selections=tuple(recipe.digest for recipe in self.selections.values()),
            tuned_controls=tuned_controls(self.settings.methods),
            tests=tuple((recipe.run, recipe.name, recipe.digest) for recipe in self.tests.values()),
            claims=declared_claims(self.settings, {r.run.method: r.composition for r in self.runs.values()}),
            rival=self.settings.rival,
            overhead=self.overhead.digest,
        )

    @cached_property
    def overhead(self) -> OverheadRecipe:
        """The recipe of the overhead table: every method and network, on the first data set's images."""
        dataset, noise, _ = self.cells[0]
        networks, searched = self.settings.networks, bool(self.settings.searches)
        return OverheadRecipe(
            data=self.data[dataset],
            training=self.settings.training_of(dataset),
            plugins=plugins_behind(self.settings, networks, self.compositions.values(), searched),
            methods=tuple(
                MeasuredMethod(
                    network_name=network,
                    network=settings,
                    method=method,
                    composition=self.compositions[dataset, network, method],
                    undecided=self.undecided((dataset, noise, network), method),
                )
                for network, settings in networks.items()
                for method in self.settings.methods
            ),
        )
