"""The recipes of what trainings read: data sets and label files."""

from __future__ import annotations

from collections.abc import Mapping

from collabpipe.catalogue.noises import NOISES
from collabpipe.catalogue.sources import OWN, SOURCES
from collabpipe.plan.noise_files import NoiseFiles
from collabpipe.plan.recipes import DataRecipe, LabelSeeds, LabelsRecipe
from collabpipe.settings.study import Settings

LabelsKey = tuple[str, str, int]
"""Data set, noise, seed."""


def data_recipes(settings: Settings) -> dict[str, DataRecipe]:
    """The recipe of each data set and of each set that runs are only tested on, by its name."""
    return {
        name: DataRecipe(
            dataset=name,
            source=data.source,
            image_size=data.image_size,
            quality=data.quality,
            group_pattern=data.group_pattern,
            group_file=data.group_file,
            human_labels=getattr(data, "human_labels", False),
            test_only=data.source in OWN and name not in settings.datasets,
            accept=data.accept,
            plugins=SOURCES.plugins(data.source),
        )
        for name, data in settings.image_sets.items()
    }


def label_recipes(
    settings: Settings, data: Mapping[str, DataRecipe], noise_files: NoiseFiles
) -> dict[LabelsKey, LabelsRecipe]:
    """The recipe of each label file: of the study's seeds, then of its searches'."""
    return {
        (name, noise_name, seed): LabelsRecipe(
            data=data[name],
            noise_name=noise_name,
            noise=noise_files.with_digest(noise_name, noise, seed),
            train_size=of_set.train_size,
            validation_size=of_set.validation_size,
            replicate=seed,
            plugins=NOISES.plugins(noise.kind),
            seeds=LabelSeeds(
                subset=settings.derived_seed("subset", seed),
                noise=settings.derived_seed("noise", seed),
                split=settings.derived_seed("split", seed),
            ),
        )
        for name, of_set in settings.datasets.items()
        for noise_name, noise in settings.noise_of(name).items()
        for seed in (*settings.seeds, *_search_seeds(settings, noise_name))
    }


def _search_seeds(settings: Settings, noise: str) -> list[int]:
    selects = [kind.select for kind in settings.searches.values()]
    return sorted({seed for select in selects if noise not in select.carry for seed in select.seeds})
