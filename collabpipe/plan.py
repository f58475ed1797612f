"""From settings to runs: the one place that expands a configuration."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from collabpipe.composition import Composition
from collabpipe.kinds import Baseline, Control
from collabpipe.paths import Paths
from collabpipe.recipe import DataRecipe, LabelSeeds, LabelsRecipe, Recipe, RunName, TrainRecipe, TrainSeeds
from collabpipe.seeds import derive_seed
from collabpipe.settings import Settings, check_settings, load_settings
from collabpipe.settings_errors import merge_files

TABLES_NUMERICS = 1
"""Raised whenever the same runs would give other tables or figures; then they are made anew."""


class StudyRecipe(Recipe):
    """What the tables were asked to show: the runs in order, with the digests of their recipes."""

    kind: Literal["study"] = "study"
    study: str
    runs: tuple[tuple[RunName, str], ...]
    baseline: str | None
    """The name of the method that is cross-entropy alone."""
    tables_numerics: int = TABLES_NUMERICS
    controls: dict[str, str]
    """The matched control of each network/method that has one, by name."""


@dataclass(frozen=True)
class Plan:
    """The recipes of a study."""

    settings: Settings
    paths: Paths

    @classmethod
    def from_files(cls, files: Sequence[Path], results: Path) -> Plan:
        """The plan of the study in the YAML `files`."""
        return cls(load_settings(files), Paths(results))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], files: Sequence[str | Path]) -> Plan:
        """The plan of a configuration that Snakemake has merged; `files` serve its error messages."""
        places = merge_files([Path(file) for file in files])[1]
        return cls(check_settings(config, places), Paths())

    @cached_property
    def data(self) -> dict[str, DataRecipe]:
        """The recipe of each data set, by its name."""
        return {
            name: DataRecipe(dataset=name, source=data.source, image_size=data.image_size)
            for name, data in self.settings.datasets.items()
        }

    @cached_property
    def labels(self) -> dict[tuple[str, str, int], LabelsRecipe]:
        """The recipe of each label file, by (data set, noise, seed)."""
        return {
            (name, noise_name, seed): LabelsRecipe(
                data=self.data[name],
                noise_name=noise_name,
                noise=noise,
                train_size=data.train_size,
                validation_size=data.validation_size,
                replicate=seed,
                seeds=LabelSeeds(
                    subset=derive_seed(seed, "subset"),
                    noise=derive_seed(seed, "noise"),
                    split=derive_seed(seed, "split"),
                ),
            )
            for name, data in self.settings.datasets.items()
            for noise_name, noise in self.settings.noise.items()
            for seed in self.settings.seeds
        }

    @cached_property
    def runs(self) -> dict[str, TrainRecipe]:
        """The recipe of each run, by the run's name, in the order of the configuration."""
        found = {}
        composed = self._compositions()
        for (dataset, noise, seed), labels in self.labels.items():
            for network, methods in composed.items():
                for method, composition in methods.items():
                    run = RunName(dataset=dataset, noise=noise, network=network, method=method, seed=seed)
                    found[str(run)] = TrainRecipe(
                        run=run,
                        labels=labels,
                        network=self.settings.networks[network],
                        composition=composition,
                        training=self.settings.training,
                        crop=self.settings.datasets[dataset].crop,
                        flip=self.settings.datasets[dataset].flip,
                        seeds=TrainSeeds(
                            initialisation=derive_seed(seed, "initialisation"),
                            order=derive_seed(seed, "order"),
                            augmentation=derive_seed(seed, "augmentation"),
                            dropout=derive_seed(seed, "dropout"),
                            method=derive_seed(seed, "method"),
                        ),
                    )
        return found

    def _compositions(self) -> dict[str, dict[str, Composition]]:
        """Each method resolved for each network, by network and method."""
        return {
            name: {method: self.settings.composition(method, network) for method in self.settings.methods}
            for name, network in self.settings.networks.items()
        }

    @cached_property
    def study(self) -> StudyRecipe:
        """The recipe of the tables."""
        return StudyRecipe(
            study=self.settings.study,
            runs=tuple((recipe.run, recipe.digest) for recipe in self.runs.values()),
            baseline=next((n for n, m in self.settings.methods.items() if isinstance(m, Baseline)), None),
            controls=self._controls(),
        )

    def _controls(self) -> dict[str, str]:
        """Each method's matched control: another method that is composed as the control would be."""
        controls = {}
        for network_name, composed in self._compositions().items():
            for name, composition in composed.items():
                if isinstance(self.settings.methods[name], Control):
                    continue
                wanted = composition.control()
                match = next((other for other, c in composed.items() if c == wanted), None)
                if match and wanted != composition:  # a method without agreement is its own control: it has none
                    controls[f"{network_name}/{name}"] = match
        return controls

    @cached_property
    def blocks(self) -> dict[int, tuple[int, ...]]:
        """The seeds that share a process, by block: a seed's block does not change when others come or go."""
        size = self.settings.execution.seeds_per_job
        blocks: dict[int, tuple[int, ...]] = {}
        for seed in sorted(self.settings.seeds):
            blocks[seed // size] = (*blocks.get(seed // size, ()), seed)
        return blocks

    def recipe_file(self, recipe: Recipe) -> Path:
        """Where a recipe lies."""
        return self.paths.recipes / f"{recipe.digest}.json"

    def recipe_files(self, dataset: str, noise: str, network: str, method: str, seeds: Sequence[int]) -> list[Path]:
        """The recipes of some seeds of a cell."""
        names = [RunName(dataset=dataset, noise=noise, network=network, method=method, seed=seed) for seed in seeds]
        return [self.recipe_file(self.runs[str(name)]) for name in names]

    def run_files(self, names: Sequence[str], seeds: Sequence[int] | None = None) -> list[str]:
        """Patterns of the files `names` of runs: of the given seeds, or with the seed as a wildcard too."""
        folders = [
            self.paths.run_folder("{dataset}", "{noise}", "{network}", "{method}", seed)
            for seed in (["{seed}"] if seeds is None else seeds)
        ]
        return [str(folder / name) for folder in folders for name in names]

    @property
    def entities(self) -> dict[str, list[str]]:
        """The values of each wildcard."""
        settings = self.settings
        return {
            "dataset": list(settings.datasets),
            "noise": list(settings.noise),
            "network": list(settings.networks),
            "method": list(settings.methods),
            "seed": [str(seed) for seed in settings.seeds],
        }

    def data_dir_option(self, dataset: str) -> str:
        """The option of `collabpipe fetch` that names the user's own copies, quoted for a shell."""
        folder = self.settings.datasets[dataset].data_dir
        return f"--data-dir {shlex.quote(str(Path(folder).expanduser()))}" if folder else ""
