"""Label files: which images, which labels, which for validation, and that nobody else's file is taken for ours."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import is_sealed, read_json
from collabpipe.common.seeds import numpy_generator
from collabpipe.data.draws import stratified
from collabpipe.data.labels import (
    LabelFile,
    label_record,
    make_labels,
    read_labels,
    transition_matrix,
    write_labels,
)
from collabpipe.data.prepared import Images
from collabpipe.plan.recipes import DataRecipe, LabelSeeds, LabelsRecipe
from collabpipe.settings.data import NoiseSettings
from tests.data.test_draws import within_one_of_their_share
from tests.workspaces import Workspace, altered

CLASSES = tuple("abcde")
# Unequal classes: 40, 80, 120, 160 and 200 images, in no order.
CLEAN = numpy_generator(3).permutation(np.repeat(np.arange(5), [40, 80, 120, 160, 200]))
INPUTS = {"train.arrow": "a", "annotations.parquet": "b"}
PIXELS = numpy_generator(4).integers(0, 256, (600, 1, 4, 4), dtype=np.uint8)


def images_of(clean: NDArray[np.int64], classes: tuple[str, ...], pixels: Any = PIXELS) -> Images:
    return Images(pixels, clean, classes, (0.5,), (0.25,))


def recipe(
    kind: str = "symmetric",
    rate: float = 0.5,
    train: int | None = 200,
    validation: int = 60,
    seeds: tuple[int, int, int] = (1, 2, 3),
    annotator: str | None = None,
) -> LabelsRecipe:
    subset, noise, split = seeds
    return LabelsRecipe(
        data=DataRecipe(dataset="toy", source="digits", image_size=None),
        noise_name=f"{kind}-{annotator or rate}",
        noise=NoiseSettings.model_validate({"kind": kind, "rate": rate, "annotator": annotator}),
        train_size=train,
        validation_size=validation,
        replicate=0,
        seeds=LabelSeeds(subset=subset, noise=noise, split=split),
    )


def made(**asked: Any) -> LabelFile:
    return make_labels(recipe(**asked), images_of(CLEAN, CLASSES), {})


def test_a_subset_is_drawn_first_then_noise_on_it_then_the_split_of_the_noisy_labels() -> None:
    labels = made()

    assert len(labels.index) == 260
    assert (labels.index == stratified(CLEAN, 260, numpy_generator(1))).all()
    assert (labels.clean == CLEAN[labels.index]).all()
    # The count is exact on the subset, not on the images that were left out.
    assert (labels.noisy != labels.clean).sum() == 130
    expected = stratified(labels.noisy, 60, numpy_generator(3))
    assert (np.flatnonzero(labels.validation) == expected).all()
    assert within_one_of_their_share(labels.noisy, labels.noisy[labels.validation])


def test_validation_is_disjoint_from_training_and_both_have_their_size() -> None:
    labels = made(train=200, validation=60)
    training, validation = labels.index[~labels.validation], labels.index[labels.validation]

    assert (len(training), len(validation)) == (200, 60)
    assert not set(training) & set(validation)
    assert len(set(labels.index)) == 260


def test_without_a_train_size_all_that_validation_leaves_is_trained_on() -> None:
    labels = made(train=None, validation=100)

    assert (labels.index == np.arange(600)).all()
    assert (~labels.validation).sum() == 500


@pytest.mark.parametrize(
    ("position", "same"),
    [(0, ()), (1, ("index", "clean")), (2, ("index", "clean", "noisy"))],
    ids=["subset", "noise", "split"],
)
def test_each_seed_moves_its_own_part_and_what_follows(position: int, same: tuple[str, ...]) -> None:
    seeds = [1, 2, 3]
    seeds[position] = 99
    one, other = made(), made(seeds=tuple(seeds))

    moved = ("index", "noisy", "validation")[position]
    assert (getattr(one, moved) != getattr(other, moved)).any()
    for column in same:
        assert (getattr(one, column) == getattr(other, column)).all()
    assert one.sha256 != other.sha256


def test_methods_of_a_replicate_get_the_same_labels() -> None:
    assert made().sha256 == made().sha256


@pytest.mark.parametrize(
    ("train", "validation"), [(541, 60), (600, 1), (None, 600), (None, 601), (1, 600)], ids=lambda n: str(n)
)
def test_more_images_than_there_are_is_refused_with_the_numbers(train: int | None, validation: int) -> None:
    with pytest.raises(CollabpipeError) as caught:
        made(train=train, validation=validation)

    told = str(caught.value)
    assert "toy" in told
    assert f"train_size {train or 'of all others'}" in told
    assert f"validation_size {validation}" in told
    assert "600" in told


RARE = np.repeat(np.arange(5), [1, 149, 150, 150, 150])
"""Class a has one image."""


@pytest.mark.parametrize(
    ("kind", "train", "validation", "size"),
    [
        ("none", 100, 50, "raise datasets.toy.train_size (now 100), lower datasets.toy.validation_size (now 50)"),
        ("none", None, 400, "at least one: lower datasets.toy.validation_size (now 400)"),
        ("symmetric", 5, 2, "raise datasets.toy.train_size (now 5), "),
    ],
    ids=["subset", "split", "subset of noisy labels"],
)
def test_a_class_that_is_left_without_a_training_image_is_refused_by_name(
    kind: str, train: int | None, validation: int, size: str
) -> None:
    asked = recipe(kind, train=train, validation=validation)

    with pytest.raises(CollabpipeError) as caught:
        make_labels(asked, images_of(RARE, CLASSES), {})

    told = str(caught.value)
    assert told.startswith("toy: no training image is left for: a")
    assert f"(noise {asked.noise_name}, seed 0)" in told
    assert size in told


def test_a_class_that_noise_alone_empties_is_what_the_noise_asked_for() -> None:
    said = np.where(RARE == 0, 1, RARE)  # the annotators saw no a at all

    labels = make_labels(
        recipe("human", train=None, annotator="worst"), images_of(RARE, CLASSES), {"human_worst": said}
    )

    assert set(labels.noisy) == {1, 2, 3, 4}


@given(seeds=st.tuples(*[st.integers(0, 100)] * 3), train=st.integers(2, 30), validation=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_labels_that_are_made_have_all_classes_in_training_and_tell_which_validation_lacks(
    seeds: tuple[int, int, int], train: int, validation: int
) -> None:
    asked = recipe("symmetric", 0.4, train, validation, seeds)
    try:
        labels = make_labels(asked, images_of(CLEAN, CLASSES), {})
    except CollabpipeError as error:
        assert "no training image is left for" in str(error)  # noqa: PT017
        return

    part = labels.validation
    assert set(labels.clean[~part]) == set(range(5))
    assert set(labels.noisy[~part]) == set(labels.noisy)
    lost = label_record(asked, labels, CLASSES, INPUTS)["not_validated"]
    assert lost == [CLASSES[label] for label in sorted(set(labels.noisy) - set(labels.noisy[part]))]


def test_snakemake_shows_the_warning_for_classes_without_a_validation_image(fresh: Workspace) -> None:
    fresh.configure(altered({"datasets": {"digits": {"validation_size": 9}}, "noise": ["none"], "seeds": [0]}))

    done = fresh.snakemake("--", "labels")

    [asked] = fresh.plan.labels.values()
    [lost] = read_json(fresh.plan.paths.labels(asked).with_suffix(".json"))["not_validated"]
    warning = (
        f"warning: digits: no validation image has the label: {lost} (noise none, seed 0). The best epoch is chosen "
        "without them. To change that, raise datasets.digits.validation_size (now 9).\n"
    )
    assert warning in done.stderr
    assert "warning: datasets.digits.validation_size is 9, fewer than the 10 classes" in fresh.collabpipe("plan").stdout
    assert fresh.paths.log("noisy_labels/digits/none/seed0").read_text() == warning


def test_as_many_images_as_there_are_is_allowed() -> None:
    assert len(made(train=540, validation=60).index) == 600


def write(path: Path, asked: LabelsRecipe) -> LabelFile:
    labels = make_labels(asked, images_of(CLEAN, CLASSES), {"human_worst": numpy_generator(9).integers(0, 5, 600)})
    write_labels(path, asked, labels, CLASSES, INPUTS)
    return labels


@pytest.mark.parametrize(("kind", "rate"), [("none", 0.0), ("symmetric", 0.5), ("pair", 0.3), ("instance", 0.4)])
def test_labels_come_back_as_they_were_written(kind: str, rate: float, tmp_path: Path) -> None:
    asked = recipe(kind, rate)
    labels = write(tmp_path / "seed0.parquet", asked)

    back = read_labels(tmp_path / "seed0.parquet", asked)

    for column in ("index", "clean", "noisy", "validation"):
        written, read = getattr(labels, column), getattr(back, column)
        assert read.dtype == written.dtype
        assert (read == written).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed0.json", "seed0.parquet"]


def test_the_metadata_tell_the_true_rate_the_transitions_and_the_sum(tmp_path: Path) -> None:
    asked = recipe("symmetric_inclusive", 0.5)
    labels = write(tmp_path / "seed0.parquet", asked)

    about = read_json(tmp_path / "seed0.json")

    inside = json.loads(pq.read_schema(tmp_path / "seed0.parquet").metadata[b"collabpipe"])
    beside = {key: value for key, value in about.items() if not key.startswith("transition_") and key != "seal"}
    assert inside == beside
    wrong = labels.noisy != labels.clean
    assert about["true_rate"] == wrong.mean()
    assert about["true_rate"] < 0.5, "inclusive noise hits the truth now and then"
    assert about["true_rate_training"] == wrong[~labels.validation].mean()
    assert (about["images"], about["validation"]) == (260, 60)
    assert about["noise"] == {"kind": "symmetric_inclusive", "rate": 0.5, "annotator": None}
    assert (about["noise_name"], about["rate_asked"]) == ("symmetric_inclusive-0.5", 0.5)
    assert about["recipe"] == asked.digest
    assert about["inputs"] == INPUTS
    assert is_sealed(about)
    assert about["classes"] == list(CLASSES)
    counts = np.array(about["transition_counts"])
    assert (counts.sum(1) == np.bincount(labels.clean)).all()
    assert counts.sum() - np.trace(counts) == wrong.sum()
    # The sum is that of the four columns as anybody may compute it from the file.
    table = pq.read_table(tmp_path / "seed0.parquet")
    columns = [table.column(name).to_numpy().tobytes() for name in ("index", "clean", "noisy", "validation")]
    assert about["sha256"] == hashlib.sha256(b"".join(columns)).hexdigest() == labels.sha256


@pytest.mark.parametrize(("kind", "annotator"), [("none", None), ("human", "worst")])
def test_noise_without_a_rate_was_asked_for_none(kind: str, annotator: str | None, tmp_path: Path) -> None:
    labels = write(tmp_path / "seed0.parquet", recipe(kind, 0.0, annotator=annotator))

    about = read_json(tmp_path / "seed0.json")

    assert about["rate_asked"] is None
    assert about["true_rate"] == (labels.noisy != labels.clean).mean()


@pytest.mark.parametrize("classes", [5, 100, 101, 1000])
def test_the_transition_matrix_of_a_record_is_that_of_the_labels(classes: int, tmp_path: Path) -> None:
    asked = recipe("symmetric", 0.5, train=None, validation=100)
    clean = np.arange(3000) % (classes - 1)  # the last class has no image
    names = tuple(f"class {number}" for number in range(classes))
    labels = make_labels(asked, images_of(clean, names), {})
    write_labels(tmp_path / "seed0.parquet", asked, labels, names, INPUTS)

    found = transition_matrix(read_json(tmp_path / "seed0.json"))

    expected = np.zeros((classes, classes))
    for before, after in zip(labels.clean, labels.noisy, strict=True):
        expected[before, after] += 1 / (clean == before).sum()
    assert found == pytest.approx(expected)
    assert found.sum(1) == pytest.approx(np.append(np.ones(classes - 1), 0.0))
    assert (read_labels(tmp_path / "seed0.parquet", asked).noisy == labels.noisy).all()
    assert (tmp_path / "seed0.json").stat().st_size < 1 << 20


def test_human_labels_and_pixels_are_those_of_the_images_in_the_subset() -> None:
    said = numpy_generator(9).integers(0, 5, 600)

    labels = make_labels(recipe("human", annotator="worst"), images_of(CLEAN, CLASSES), {"human_worst": said})

    assert len(labels.index) == 260
    assert (labels.noisy == said[labels.index]).all()
    # A subset of the images, and the same images as a set of their own, are mistaken alike.
    part = made(kind="instance").index
    alone = make_labels(recipe("instance", train=None), images_of(CLEAN[part], CLASSES, PIXELS[part]), {})
    assert (alone.noisy == made(kind="instance").noisy).all()


@pytest.mark.parametrize(("kind", "annotator"), [("symmetric", None), ("none", None), ("human", "worst")])
def test_only_noise_that_depends_on_pixels_reads_them(kind: str, annotator: str | None) -> None:
    asked, said = recipe(kind, annotator=annotator), {"human_worst": CLEAN}

    # Without pixels there is nothing to read: who tried would fail.
    without = make_labels(asked, images_of(CLEAN, CLASSES, None), said)

    assert (without.noisy == make_labels(asked, images_of(CLEAN, CLASSES, PIXELS), said).noisy).all()


@pytest.mark.parametrize(
    ("kind", "annotator", "lacking"),
    [
        ("human", "worst", "needs the annotation human_worst, and the prepared data set has: coarse"),
        ("asymmetric", None, "is defined by the 10 classes of CIFAR-10, not for 5 classes"),
    ],
)
def test_noise_that_the_data_set_cannot_have_is_refused_with_what_it_lacks(
    kind: str, annotator: str | None, lacking: str
) -> None:
    with pytest.raises(CollabpipeError) as caught:
        make_labels(recipe(kind, annotator=annotator), images_of(CLEAN, CLASSES), {"coarse": CLEAN})

    assert str(caught.value).startswith(f"toy: noise {kind}-{annotator or 0.5} {lacking}. ")
    assert "collabpipe prepare" in str(caught.value)


def refusal(path: Path, asked: LabelsRecipe) -> str:
    with pytest.raises(CollabpipeError) as caught:
        read_labels(path, asked)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("column", ["index", "clean", "noisy", "validation"])
def test_a_file_in_which_one_value_was_changed_is_refused(column: str, tmp_path: Path) -> None:
    path, asked = tmp_path / "seed0.parquet", recipe()
    write(path, asked)
    table = pq.read_table(path)
    values = table.column(column).to_numpy().copy()
    values[17] = 1 - values[17]
    position = table.schema.get_field_index(column)
    pq.write_table(table.set_column(position, column, pa.array(values)), path)

    assert "changed after they were written" in refusal(path, asked)


def test_a_file_of_another_recipe_is_refused_with_both_names(tmp_path: Path) -> None:
    path, asked, written = tmp_path / "seed0.parquet", recipe(rate=0.4), recipe(rate=0.5)
    write(path, written)

    told = refusal(path, asked)

    assert asked.digest[:12] in told
    assert written.digest[:12] in told


@pytest.mark.parametrize("kept", [0, 1, 100, -9, -1])
def test_a_file_that_was_cut_short_is_refused(kept: int, tmp_path: Path) -> None:
    path, asked = tmp_path / "seed0.parquet", recipe()
    write(path, asked)
    path.write_bytes(path.read_bytes()[:kept])

    assert "cannot be read" in refusal(path, asked)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "none.parquet", recipe())


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"collabpipe": "{"}, {"collabpipe": "[]"}, {"collabpipe": "{}"}],
    ids=["no metadata", "other metadata", "cut", "list", "empty"],
)
def test_a_parquet_file_that_we_did_not_write_is_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path, asked = tmp_path / "seed0.parquet", recipe()
    write(path, asked)
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)

    assert "cannot be read" in refusal(path, asked)


def test_a_file_without_one_of_the_columns_is_refused(tmp_path: Path) -> None:
    path, asked = tmp_path / "seed0.parquet", recipe()
    write(path, asked)
    pq.write_table(pq.read_table(path).drop_columns(["clean"]), path)

    assert "cannot be read" in refusal(path, asked)
