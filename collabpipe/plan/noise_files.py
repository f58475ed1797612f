"""The user's own label files: which one a noise takes in a replicate, and its digest, which its recipe holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest
from collabpipe.common.validation import Place, place_of
from collabpipe.settings.data import NoiseSettings
from collabpipe.settings.study import Settings, label_file_name

SEED = "{seed}"


@dataclass(frozen=True)
class NoiseFiles:
    """The label files that a study names under `noise_files`."""

    settings: Settings
    places: Mapping[Place, str]
    digests: dict[Path, str] = field(default_factory=dict)
    """Of the files that were read: all replicates may share one."""

    def path(self, noise: str, seed: int) -> Path | None:
        """The label file behind a noise in the replicate of `seed`; None for a noise that is drawn."""
        file = self.settings.noise_files.get(label_file_name(noise)) if noise.startswith("file-") else None
        if file is None:
            return None
        return Path(file.replace(SEED, str(self.settings.seed_for("noise", seed)))).resolve()

    def with_digest(self, name: str, noise: NoiseSettings, seed: int) -> NoiseSettings:
        """The noise as the recipe of a replicate holds it: that of a file has the file's digest.

        Raises:
            CollabpipeError: the file cannot be read; with file, line and key of the configuration.
        """
        path = self.path(name, seed)
        if path is None:
            return noise
        try:
            if path not in self.digests:
                self.digests[path] = file_digest(path)
        except OSError as error:
            raise CollabpipeError(
                f"{place_of(('noise_files', label_file_name(name)), self.places)}: {path}: cannot be read: "
                f"{error.strerror}. The replicate of seed {seed} takes its labels from it. Put the file there, or name "
                f"another one. A relative path starts at the configuration that names it."
            ) from error
        return noise.model_copy(update={"sha256": self.digests[path]})
