"""The label file of a replicate: which images, their clean and noisy labels, and which of them are for validation.

The order is: a stratified subset, noise on it with an exact count, then the validation split of the noisy labels.
Neither the subset nor the split cuts a group of images. A validation set of the data set's own is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collabpipe.catalogue.noises import NOISES
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, sealed, write_json
from collabpipe.common.seeds import numpy_generator
from collabpipe.data.draws import draw
from collabpipe.data.noise import NOISE, Clean, Unfit, transition_counts
from collabpipe.data.prepared import GROUP, OWN_VALIDATION, Images
from collabpipe.plan.recipes import LabelsRecipe
from collabpipe.plan.record_types import LabelsRecord, Transitions

DENSE_CLASSES = 100
"""Transitions between more classes than these are recorded without their zeros."""


@dataclass(frozen=True)
class LabelFile:
    """A replicate's labels, one row per image: position in the training set, labels, membership in validation."""

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


def make_labels(recipe: LabelsRecipe, images: Images, annotations: Mapping[str, NDArray[np.int64]]) -> LabelFile:
    """The label file that `recipe` asks for, from the whole training set and its annotations by name, (N,) each.

    Raises:
        CollabpipeError: training and validation ask for more images than there are, a class is left without a training
            image, groups leave nothing for validation, or the noise asks for annotations or classes that the data set
            does not have.
    """
    own, groups = annotations.get(OWN_VALIDATION), annotations.get(GROUP)
    index = _subset(recipe, images, groups) if own is None else _own_parts(recipe, images, groups, own == 1)
    clean = Clean(images.labels, len(images.classes), images.images, index, annotations)
    draw = NOISES[recipe.noise.kind].draw or NOISE[recipe.noise.kind]
    try:
        noisy = draw(clean, recipe.noise, numpy_generator(recipe.seeds.noise))
    except Unfit as error:
        raise CollabpipeError(f"{recipe.data.dataset}: noise {recipe.noise_name} {error}. {error.remedy}") from None
    among = None if groups is None else groups[index]
    validation = _split(recipe, noisy, among) if own is None else own[index] == 1
    labels = LabelFile(index, clean.labels, noisy, validation)
    _check_training(recipe, images, labels)
    return labels


def _subset(recipe: LabelsRecipe, images: Images, groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The positions of the images in use, if those for validation are drawn from them."""
    available = len(images.labels)
    if recipe.validation_size is None:
        key = f"datasets.{recipe.data.dataset}.validation_size"
        raise CollabpipeError(
            f"{recipe.data.dataset}: has no validation set of its own. Set {key}: that many training images are then "
            "used for validation."
        )
    wanted = available if recipe.train_size is None else recipe.train_size + recipe.validation_size
    if wanted > available or recipe.validation_size > wanted - 2:
        raise CollabpipeError(
            f"{recipe.data.dataset}: validation_size {recipe.validation_size} and train_size "
            f"{recipe.train_size or 'of all others'} ask for more than the {available} training images. "
            "Lower one of them."
        )
    if wanted == available:
        return np.arange(available, dtype=np.int64)
    return draw(images.labels, groups, wanted, numpy_generator(recipe.seeds.subset))


def _own_parts(
    recipe: LabelsRecipe, images: Images, groups: NDArray[np.int64] | None, own: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The positions of the images in use, if the data set has a validation set of its own."""
    generator = numpy_generator(recipe.seeds.subset)
    parts = []
    for key, size, part in (("train_size", recipe.train_size, ~own), ("validation_size", recipe.validation_size, own)):
        positions = np.flatnonzero(part)
        if size is not None and size > len(positions):
            what = "validation set of its own" if key == "validation_size" else "training set"
            raise CollabpipeError(
                f"{recipe.data.dataset}: {key} {size} asks for more than the {len(positions)} images of the {what}. "
                f"Lower it, or leave out {key} to use all of them."
            )
        if size is not None and size < len(positions):
            among = None if groups is None else groups[positions]
            positions = positions[draw(images.labels[positions], among, size, generator)]
        parts.append(positions)
    return np.sort(np.concatenate(parts))


def _split(recipe: LabelsRecipe, noisy: NDArray[np.int64], groups: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Which images (N,) are for validation, drawn by their noisy labels."""
    size, generator = recipe.validation_size or 0, numpy_generator(recipe.seeds.split)
    validation = np.zeros(len(noisy), dtype=bool)
    if groups is None:
        validation[draw(noisy, None, size, generator)] = True
        return validation
    # Of each class a group must be left to train on, so the training images are what is drawn.
    validation[:] = True
    validation[draw(noisy, groups, len(noisy) - size, generator)] = False
    if not validation.any():
        raise CollabpipeError(
            f"{recipe.data.dataset}: its {len(np.unique(groups))} groups leave no image for validation: groups are not "
            f"cut, and validation_size is {size} of {len(noisy)} images. Raise validation_size or make the groups "
            "smaller."
        )
    return validation


def _check_training(recipe: LabelsRecipe, images: Images, labels: LabelFile) -> None:
    """Refuse labels in which the subset or the split has left a class without a training image."""
    train = ~labels.validation
    lost = np.union1d(np.setdiff1d(images.labels, labels.clean[train]), np.setdiff1d(labels.noisy, labels.noisy[train]))
    if len(lost):
        key, ways = f"datasets.{recipe.data.dataset}", ""
        if recipe.train_size is not None:
            ways = f"raise {key}.train_size (now {recipe.train_size}), "
        if recipe.validation_size is not None:
            ways += f"lower {key}.validation_size (now {recipe.validation_size}), or "
        raise CollabpipeError(
            f"{recipe.data.dataset}: no training image is left for: {_listed([images.classes[one] for one in lost])} "
            f"(noise {recipe.noise_name}, seed {recipe.replicate}). Every class needs at least one: {ways}add images."
        )


def validation_warning(recipe: LabelsRecipe, lost: Sequence[str]) -> str:
    """What a user is told where classes have no validation image."""
    way = "add images to its validation set"
    if recipe.validation_size is not None:
        way = f"raise datasets.{recipe.data.dataset}.validation_size (now {recipe.validation_size})"
    return (
        f"warning: {recipe.data.dataset}: no validation image has the label: {_listed(lost)} (noise "
        f"{recipe.noise_name}, seed {recipe.replicate}). The best epoch is chosen without them. To change that, {way}."
    )


def _listed(classes: Sequence[str], most: int = 10) -> str:
    return ", ".join([*classes[:most], *([f"{len(classes) - most} more"] if len(classes) > most else [])])


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def _transitions(counts: NDArray[np.int64]) -> Transitions:
    """The record's form of (K, K) counts.

    With more than `DENSE_CLASSES` classes it is {from: {to: count}} without the zeros, which would take megabytes.
    """
    if len(counts) <= DENSE_CLASSES:
        return {"transition_counts": counts.tolist(), "transition_matrix": _shares(counts).tolist()}
    rows = (np.flatnonzero(row) for row in counts)
    return {"transition_counts": {str(i): {str(j): int(counts[i, j]) for j in row} for i, row in enumerate(rows)}}


def transition_matrix(about: LabelsRecord) -> NDArray[np.float64]:
    """(K, K) of a label file's record: the share of each class (row) that carries each label.

    The row of a class without images is zero.
    """
    if "transition_matrix" in about:
        return np.array(about["transition_matrix"], dtype=np.float64)
    counts = np.zeros((len(about["classes"]), len(about["classes"])), dtype=np.int64)
    sparse = cast(dict[str, dict[str, int]], about["transition_counts"])
    for i, row in sparse.items():
        for j, count in row.items():
            counts[int(i), int(j)] = count
    return _shares(counts)


def label_record(
    recipe: LabelsRecipe, labels: LabelFile, classes: Sequence[str], inputs: Mapping[str, str]
) -> LabelsRecord:
    """What the record of a label file says: all that follows from its recipe, its labels and the sums of its inputs.

    `rate_asked` is the rate in the noise's name, None where that has none; `true_rate` is the share of wrong labels;
    `not_validated` names the classes that label training images and no validation image.
    """
    wrong = labels.clean != labels.noisy
    lost = np.setdiff1d(labels.noisy[~labels.validation], labels.noisy[labels.validation])
    return {
        "recipe": recipe.digest,
        "inputs": dict(inputs),
        "sha256": labels.sha256,
        "noise": recipe.noise.model_dump(mode="json"),
        "noise_name": recipe.noise_name,
        "replicate": recipe.replicate,
        "images": len(labels.index),
        "validation": int(labels.validation.sum()),
        "rate_asked": None if recipe.noise.kind in ("none", "human", "file") else recipe.noise.rate,
        "true_rate": float(wrong.mean()),
        "true_rate_training": float(wrong[~labels.validation].mean()),
        "classes": list(classes),
        "not_validated": [classes[label] for label in lost],
        **_transitions(transition_counts(labels.clean, labels.noisy, len(classes))),
    }


def write_labels(
    path: Path, recipe: LabelsRecipe, labels: LabelFile, classes: Sequence[str], inputs: Mapping[str, str]
) -> LabelsRecord:
    """Write the labels as Parquet, and their description as JSON and without the transitions into its metadata.

    Returns the description.
    """
    about = label_record(recipe, labels, classes, inputs)
    short = {name: value for name, value in about.items() if not name.startswith("transition")}
    table = pa.table(
        {
            "index": labels.index,
            "clean": labels.clean,
            "noisy": labels.noisy,
            "validation": labels.validation,
        }
    ).replace_schema_metadata({"collabpipe": json.dumps(short, sort_keys=True)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
    write_json(path.with_suffix(".json"), sealed(about))
    return about


def read_label_file(path: Path) -> tuple[LabelFile, str]:
    """The labels in `path`, and the digest of their recipe.

    Raises:
        CollabpipeError: missing, broken, or not those that their recorded sum belongs to.
    """
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"collabpipe"])
        made_from, sha256 = str(about["recipe"]), about["sha256"]
        labels = LabelFile(*(table.column(name).to_numpy() for name in ("index", "clean", "noisy", "validation")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollabpipeError(f"{path}: cannot be read: {error}. Make it again: collabpipe labels RECIPE.") from error
    if labels.sha256 != sha256:
        raise CollabpipeError(f"{path}: the labels were changed after they were written. Make them again.")
    return labels, made_from


def read_labels(path: Path, recipe: LabelsRecipe) -> LabelFile:
    """The labels in `path`.

    Raises:
        CollabpipeError: missing, broken, of another recipe, or not those that their recorded sum belongs to.
    """
    labels, made_from = read_label_file(path)
    if made_from != recipe.digest:
        raise CollabpipeError(
            f"{path}: was made from recipe {made_from[:12]}, not {recipe.digest[:12]}. "
            "Make it again: collabpipe labels RECIPE."
        )
    return labels
