"""Notes of where results were made: kept next to artefacts, never in them (Paths.provenance)."""

from __future__ import annotations

from pathlib import Path

from collabpipe.common.files import write_json
from collabpipe.common.whereabouts import Where
from collabpipe.plan.paths import Paths


def note(paths: Paths, artefact: Path, about: Where) -> None:
    """Write what is known `about` the making of the data set, label file, run, evaluation or tables at `artefact`."""
    write_json(paths.provenance(artefact), about)
