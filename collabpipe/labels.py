"""The label file of a replicate: which images, their clean and noisy labels, and which of them are for validation.

The order is: a stratified subset, noise on it with an exact count, then the validation split of the noisy labels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collabpipe.errors import CollabpipeError
from collabpipe.files import atomic_path, write_json
from collabpipe.noise import NOISE, transition_counts
from collabpipe.recipe import LabelsRecipe
from collabpipe.seeds import numpy_generator


@dataclass(frozen=True)
class LabelFile:
    """A replicate's labels, a row an image: position in the training set, labels, membership in validation."""

    index: NDArray[np.int64]
    clean: NDArray[np.int64]
    noisy: NDArray[np.int64]
    validation: NDArray[np.bool_]

    @property
    def sha256(self) -> str:
        """Digest (hex) of the four columns."""
        digest = hashlib.sha256()
        for column in (self.index, self.clean, self.noisy, self.validation):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


def stratified(labels: NDArray[np.int64], size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`size` positions, sorted, drawn so that every class keeps its share to within one image.

    Places that rounding leaves over go to the classes with the largest remainders.
    """
    classes, counts = np.unique(labels, return_counts=True)
    share = counts * (size / len(labels))
    take = np.floor(share).astype(np.int64)
    for position in np.argsort(take - share, kind="stable")[: size - take.sum()]:
        take[position] += 1
    drawn = [generator.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, take, strict=True)]
    return np.sort(np.concatenate(drawn))


def make_labels(recipe: LabelsRecipe, clean: NDArray[np.int64], classes: int) -> LabelFile:
    """The label file that `recipe` asks for, from the clean labels (N,) of the whole training set.

    Raises:
        CollabpipeError: training and validation ask for more images than there are.
    """
    available = len(clean)
    wanted = available if recipe.train_size is None else recipe.train_size + recipe.validation_size
    if wanted > available or recipe.validation_size > wanted - 2:
        raise CollabpipeError(
            f"{recipe.data.dataset}: validation_size {recipe.validation_size} and train_size "
            f"{recipe.train_size or 'of all others'} ask for more than the {available} training images. "
            "Lower one of them."
        )
    index = np.arange(available, dtype=np.int64)
    if wanted < available:
        index = stratified(clean, wanted, numpy_generator(recipe.seeds.subset))
    kept = np.asarray(clean)[index]
    noisy = NOISE[recipe.noise.kind](kept, recipe.noise.rate, classes, numpy_generator(recipe.seeds.noise))
    validation = np.zeros(len(index), dtype=bool)
    validation[stratified(noisy, recipe.validation_size, numpy_generator(recipe.seeds.split))] = True
    return LabelFile(index, kept, noisy, validation)


def write_labels(path: Path, recipe: LabelsRecipe, labels: LabelFile, classes: tuple[str, ...]) -> None:
    """Write the labels as Parquet, what is known of them in its metadata and beside it as JSON."""
    counts = transition_counts(labels.clean, labels.noisy, len(classes))
    about: dict[str, Any] = {
        "recipe": recipe.digest,
        "sha256": labels.sha256,
        "noise": recipe.noise.model_dump(mode="json"),
        "replicate": recipe.replicate,
        "images": len(labels.index),
        "validation": int(labels.validation.sum()),
        "true_rate": float((labels.clean != labels.noisy).mean()),
        "true_rate_training": float((labels.clean != labels.noisy)[~labels.validation].mean()),
        "classes": list(classes),
        "transition_counts": counts.tolist(),
        # Row i: the share of class i that carries each label.
        "transition_matrix": (counts / np.maximum(counts.sum(1, keepdims=True), 1)).tolist(),
    }
    table = pa.table(
        {
            "index": labels.index,
            "clean": labels.clean,
            "noisy": labels.noisy,
            "validation": labels.validation,
        }
    ).replace_schema_metadata({"collabpipe": json.dumps(about, sort_keys=True)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
    write_json(path.with_suffix(".json"), about)


def read_labels(path: Path, recipe: LabelsRecipe) -> LabelFile:
    """The labels in `path`.

    Raises:
        CollabpipeError: missing, broken, of another recipe, or not those that their recorded sum belongs to.
    """
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"collabpipe"])
        made_from, sha256 = str(about["recipe"]), about["sha256"]
        labels = LabelFile(*(table.column(name).to_numpy() for name in ("index", "clean", "noisy", "validation")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollabpipeError(f"{path}: cannot be read: {error}. Make it again: collabpipe labels RECIPE.") from error
    if made_from != recipe.digest:
        raise CollabpipeError(
            f"{path}: was made from recipe {made_from[:12]}, not {recipe.digest[:12]}. "
            "Make it again: collabpipe labels RECIPE."
        )
    if labels.sha256 != sha256:
        raise CollabpipeError(f"{path}: the labels were changed after they were written. Make them again.")
    return labels
