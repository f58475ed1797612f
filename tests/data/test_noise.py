"""Label noise: exact counts, the labels that each kind allows, and nothing but its own seed behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import chisquare, kstest, truncnorm

from collabpipe.catalogue.noises import NOISES
from collabpipe.common.seeds import numpy_generator
from collabpipe.data.noise import NOISE, Clean, Labels, Unfit, cut_normal, mistaken, transition_counts
from collabpipe.settings.data import NoiseSettings

KINDS = sorted(NOISE)
NOISY = [kind for kind in KINDS if kind not in ("none", "human", "file")]
EXACT = ["symmetric", "pair", "superclass", "superclass_legacy"]
RATES = st.floats(0.0, 1.0, exclude_max=True)
SEEDS = st.integers(0, 2**63 - 1)
# Superclass of each fine class of CIFAR-100, from the coarse and fine labels of its training file; as listed in
# github.com/ryanchankh/cifar100coarse, sparse2coarse.py.
# fmt: off
COARSE = np.array([
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
])
# fmt: on
AIRPLANE, AUTOMOBILE, BIRD, CAT, DEER, DOG, FROG, HORSE, SHIP, TRUCK = range(10)


@dataclass(frozen=True)
class Unread:
    """Stands for images that nobody may touch."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the pixels were asked for {name}")


def given_to(
    kind: str,
    labels: Labels,
    classes: int,
    images: NDArray[np.uint8] | None = None,
    index: NDArray[np.int64] | None = None,
) -> Clean:
    """What noise of this kind is made from: pixels for `instance` alone, and annotations that suit the others."""
    if images is None:
        images = numpy_generator(11).integers(0, 256, (len(labels), 1, 3, 4), dtype=np.uint8)
    annotations: dict[str, Labels] = {}
    if kind == "superclass":
        annotations = {"coarse": labels % 5}
    elif kind == "human":
        annotations = {"human_worst": numpy_generator(12).integers(0, classes, len(labels))}
    elif kind == "file":
        annotations = {"file": numpy_generator(12).integers(0, classes, len(labels))}
    pixels: Any = images if kind == "instance" else Unread()
    return Clean(labels, classes, pixels, np.arange(len(labels)) if index is None else index, annotations)


def drawn(kind: str, clean: Clean, rate: float, seed: int) -> Labels:
    annotator = "worst" if kind == "human" else None
    asked = NoiseSettings.model_validate({"kind": kind, "rate": rate, "annotator": annotator})
    return NOISE[kind](clean, asked, numpy_generator(seed))


def noisy(kind: str, labels: Labels, rate: float, classes: int, seed: int) -> Labels:
    return drawn(kind, given_to(kind, labels, classes), rate, seed)


@st.composite
def labelled(draw: st.DrawFn) -> Labels:
    """Clean labels, of ten classes as all kinds allow, of up to 120 images."""
    return draw(hnp.arrays(np.int64, st.integers(1, 120), elements=st.integers(0, 9)))


def test_every_kind_of_a_configuration_has_its_generator() -> None:
    assert set(NOISE) == set(NOISES)


# What holds for all kinds.


@pytest.mark.parametrize("kind", KINDS)
@given(clean=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_noise_is_labels_of_the_same_images_and_leaves_the_clean_ones_alone(
    kind: str, clean: Labels, rate: float, seed: int
) -> None:
    before = clean.copy()
    clean.flags.writeable = False  # as the memory-mapped labels are

    found = noisy(kind, clean, rate, 10, seed)

    assert found.shape == clean.shape
    assert found.dtype == np.int64
    assert found.min() >= 0
    assert found.max() < 10
    assert not np.shares_memory(found, clean)
    assert (clean == before).all()


@pytest.mark.parametrize("kind", KINDS)
@given(clean=labelled(), rate=RATES, seed=SEEDS, other=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_only_its_own_seed_matters(kind: str, clean: Labels, rate: float, seed: int, other: int) -> None:
    first = noisy(kind, clean, rate, 10, seed)
    np.random.seed(other)  # the global stream, which must neither matter nor move
    expected = np.random.RandomState(other).random()

    second = noisy(kind, clean, rate, 10, seed)

    assert (first == second).all()
    assert np.random.random() == expected


@pytest.mark.parametrize("kind", NOISY)
def test_another_seed_gives_other_labels(kind: str) -> None:
    clean = np.arange(1000) % 10

    assert (noisy(kind, clean, 0.5, 10, 0) != noisy(kind, clean, 0.5, 10, 1)).any()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("human", "file", "instance")])
@given(clean=labelled(), seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_rate_zero_and_no_noise_change_nothing(kind: str, clean: Labels, seed: int) -> None:
    rate = 0.9 if kind == "none" else 0.0

    assert (noisy(kind, clean, rate, 10, seed) == clean).all()


@pytest.mark.parametrize("kind", KINDS)
@given(clean=labelled(), rate=RATES, seed=SEEDS, data=st.data())
@settings(max_examples=25, deadline=None)
def test_labels_follow_the_index_of_the_images(
    kind: str, clean: Labels, rate: float, seed: int, data: st.DataObject
) -> None:
    # The whole set in another order, and an index that undoes it, are the same images.
    order = np.array(data.draw(st.permutations(range(len(clean)))))
    whole = given_to(kind, clean, 10)
    pixels = whole.images[order] if kind == "instance" else whole.images
    annotations = {name: values[order] for name, values in whole.annotations.items()}
    shuffled = Clean(clean[order], 10, pixels, np.argsort(order), annotations)

    assert (drawn(kind, shuffled, rate, seed) == drawn(kind, whole, rate, seed)).all()


@pytest.mark.parametrize("kind", KINDS)
@given(clean=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_transition_counts_sum_to_classes_images_and_flips(kind: str, clean: Labels, rate: float, seed: int) -> None:
    found = noisy(kind, clean, rate, 10, seed)

    counts = transition_counts(clean, found, 10)

    assert counts.shape == (10, 10)
    assert (counts.sum(1) == np.bincount(clean, minlength=10)).all()
    assert (counts.sum(0) == np.bincount(found, minlength=10)).all()
    assert counts.sum() - np.trace(counts) == (clean != found).sum()


def test_transition_counts_on_a_hand_worked_example() -> None:
    counts = transition_counts(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2]), 3)

    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]


# Exact counts.


@pytest.mark.parametrize("kind", EXACT)
@given(data=st.data(), rate=RATES, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_exactly_the_asked_number_of_labels_is_wrong(kind: str, data: st.DataObject, rate: float, seed: int) -> None:
    classes = data.draw(st.integers(2, 12)) if kind in ("symmetric", "pair") else 10
    clean = data.draw(hnp.arrays(np.int64, st.integers(1, 120), elements=st.integers(0, classes - 1)))
    # A superclass needs a second class for a label to go to: all ten are there.
    clean = np.concatenate([np.arange(classes), clean])

    found = noisy(kind, clean, rate, classes, seed)

    assert (found != clean).sum() == round(rate * len(clean))


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("size", [1, 10, 11])
def test_a_rate_that_rounds_to_none_or_to_all_is_taken_so(kind: str, size: int) -> None:
    whole = np.arange(40) % 10
    clean = given_to(kind, whole, 10, index=np.arange(size))

    assert (drawn(kind, clean, 0.4 / size, 3) == clean.labels).all()
    assert (drawn(kind, clean, 1.0 - 0.4 / size, 3) != clean.labels).all()


@given(clean=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_inclusive_noise_draws_for_the_same_images_as_exclusive_and_may_hit_the_truth(
    clean: Labels, rate: float, seed: int
) -> None:
    chosen = noisy("symmetric", clean, rate, 10, seed) != clean
    wrong = noisy("symmetric_inclusive", clean, rate, 10, seed) != clean

    assert wrong.sum() <= round(rate * len(clean))
    assert not (wrong & ~chosen).any()


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    clean = np.repeat(np.arange(10), 3000)

    counts = transition_counts(clean, noisy("symmetric", clean, 0.5, 10, 7), 10)

    for true in range(10):
        assert chisquare(np.delete(counts[true], true)).pvalue > 1e-4
    assert (clean != noisy("symmetric", clean, 0.5, 10, 7)).mean() == 0.5


def test_inclusive_labels_are_uniform_over_all_classes_and_the_true_rate_is_lower() -> None:
    clean = np.repeat(np.arange(10), 3000)
    chosen = noisy("symmetric", clean, 0.5, 10, 7) != clean

    found = noisy("symmetric_inclusive", clean, 0.5, 10, 7)

    for true in range(10):
        assert chisquare(np.bincount(found[chosen & (clean == true)], minlength=10)).pvalue > 1e-4
    # 50% on 10 classes is 45%; the standard error of this share is 0.12 points.
    assert (found != clean).mean() == pytest.approx(0.45, abs=0.006)


@pytest.mark.parametrize("kind", EXACT)
def test_every_image_is_as_likely_to_be_hit(kind: str) -> None:
    clean = np.arange(50) % 10

    hits = sum((noisy(kind, clean, 0.3, 10, seed) != clean).astype(int) for seed in range(600))

    # Counts without replacement vary less than independent ones: a low statistic is expected, a high one is bias.
    assert chisquare(hits).pvalue > 1e-4


@given(clean=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_pair_noise_goes_to_the_next_class(clean: Labels, rate: float, seed: int) -> None:
    found = noisy("pair", clean, rate, 10, seed)

    assert set((found - clean) % 10) <= {0, 1}


# CIFAR-10's look-alikes.


@given(clean=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_asymmetric_noise_takes_the_exact_share_of_each_source_class_to_its_look_alike(
    clean: Labels, rate: float, seed: int
) -> None:
    counts = transition_counts(clean, noisy("asymmetric", clean, rate, 10, seed), 10)

    expected = np.diag(np.bincount(clean, minlength=10))
    for source, target in [(TRUCK, AUTOMOBILE), (BIRD, AIRPLANE), (DEER, HORSE), (CAT, DOG), (DOG, CAT)]:
        flipped = round(rate * int((clean == source).sum()))
        expected[source, source] -= flipped
        expected[source, target] += flipped
    assert (counts == expected).all()


def test_asymmetric_noise_is_half_its_rate_over_all_and_the_rate_itself_for_cats() -> None:
    clean = np.repeat(np.arange(10), 500)

    found = noisy("asymmetric", clean, 0.4, 10, 7)

    assert (found != clean).mean() == 0.2
    # A loop that flips in place takes cats to dogs and some of them back: 24% in the end.
    assert (found[clean == CAT] == DOG).mean() == 0.4
    assert (found[clean == DOG] == CAT).mean() == 0.4
    unchanged = np.isin(clean, [AIRPLANE, AUTOMOBILE, FROG, HORSE, SHIP])
    assert (found[unchanged] == clean[unchanged]).all()


@pytest.mark.parametrize("classes", [2, 9, 11, 100])
def test_asymmetric_noise_without_ten_classes_is_refused(classes: int) -> None:
    with pytest.raises(Unfit, match=rf"10 classes of CIFAR-10, not for {classes}"):
        noisy("asymmetric", np.arange(20) % classes, 0.2, classes, 0)


# Superclasses.


def cifar100(size: int, index: NDArray[np.int64] | None = None) -> Clean:
    labels = np.arange(size) % 100
    images: Any = Unread()
    return Clean(labels, 100, images, np.arange(size) if index is None else index, {"coarse": COARSE[labels]})


@given(rate=RATES, seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_superclass_noise_stays_inside_the_superclass_and_goes_to_its_next_class(rate: float, seed: int) -> None:
    clean = cifar100(2000)

    found = drawn("superclass", clean, rate, seed)

    assert (COARSE[found] == COARSE[clean.labels]).all()
    wrong = found != clean.labels
    assert wrong.sum() == round(rate * 2000)
    for before, after in zip(clean.labels[wrong], found[wrong], strict=True):
        members = [fine for fine in range(100) if COARSE[fine] == COARSE[before]]
        assert after == members[(members.index(before) + 1) % 5]


def test_the_superclasses_are_those_of_the_whole_set_even_if_a_subset_lacks_a_class() -> None:
    # Fish are 1, 32, 67, 73 and 91; without an image of class 32 in the subset, class 1 still goes to 32.
    labels = np.arange(200) % 100
    clean = cifar100(200, index=np.flatnonzero(labels != 32))

    found = drawn("superclass", clean, 0.999, 0)

    assert set(found[clean.labels == 1]) == {32}
    assert set(found[clean.labels == 91]) == {1}


def test_superclass_noise_without_coarse_labels_is_refused_with_what_there_is() -> None:
    clean = Clean(
        np.arange(100), 100, np.zeros((100, 1, 1, 1), np.uint8), np.arange(100), {"human_fine": np.arange(100)}
    )

    with pytest.raises(Unfit, match="needs the annotation coarse, and the prepared data set has: human_fine"):
        drawn("superclass", clean, 0.2, 0)


def test_coarse_labels_that_contradict_each_other_are_refused() -> None:
    labels = np.arange(200) % 100
    coarse = np.roll(COARSE[np.sort(labels)], 1)  # as if their order were not that of the images
    clean = Clean(labels, 100, np.zeros((200, 1, 1, 1), np.uint8), np.arange(200), {"coarse": coarse})

    with pytest.raises(Unfit, match="one superclass per class"):
        drawn("superclass", clean, 0.2, 0)


def test_of_the_100_legacy_transitions_6_stay_inside_a_superclass() -> None:
    clean = cifar100(1000)

    counts = transition_counts(clean.labels, drawn("superclass_legacy", clean, 0.999, 0), 100)

    transitions = [(i, j) for i, j in np.argwhere(counts > 0) if i != j]
    assert len(transitions) == 100
    assert all(i // 5 == j // 5 and (i + 1) % 5 == j % 5 for i, j in transitions)
    assert sum(COARSE[i] == COARSE[j] for i, j in transitions) == 6


def test_the_listed_superclasses_are_20_of_5_classes() -> None:
    assert np.bincount(COARSE).tolist() == [5] * 20


def test_legacy_superclasses_that_five_does_not_divide_are_refused() -> None:
    with pytest.raises(Unfit, match="divisible by 5, not 12"):
        noisy("superclass_legacy", np.arange(12), 0.2, 12, 0)


# Instance-dependent noise.


@pytest.mark.parametrize("mean", [0.0, 0.03, 0.2, 0.5, 0.95])
def test_flip_probabilities_are_normal_and_cut_to_what_a_probability_can_be(mean: float) -> None:
    found = cut_normal(mean, 20000, numpy_generator(5))

    assert found.min() >= 0.0
    assert found.max() <= 1.0
    assert kstest(found, truncnorm(-mean / 0.1, (1 - mean) / 0.1, loc=mean, scale=0.1).cdf).pvalue > 1e-4


@pytest.mark.parametrize(("rate", "true"), [(0.0, 0.0798), (0.2, 0.2055), (0.4, 0.4), (0.6, 0.6)])
def test_instance_noise_flips_about_its_rate(rate: float, true: float) -> None:
    clean = np.arange(40000) % 10

    # The standard error is 0.25 points at most. At 0 the cut normal has mean 0.1·√(2/π).
    assert (noisy("instance", clean, rate, 10, 3) != clean).mean() == pytest.approx(true, abs=0.01)


@given(clean=labelled(), seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_an_image_is_mistaken_for_what_its_pixels_and_class_say(clean: Labels, seed: int) -> None:
    # Raw pixels make the softmax an argmax: all flipped copies of an image become one class, almost surely.
    images = np.repeat(numpy_generator(4).integers(0, 256, (1, 3, 16, 16), dtype=np.uint8), len(clean), axis=0)

    found = drawn("instance", given_to("instance", clean, 10, images), 0.9, seed)

    for true in np.unique(clean):
        assert len(set(found[(clean == true) & (found != clean)])) <= 2


@given(clean=labelled(), seed=SEEDS, data=st.data())
@settings(max_examples=30, deadline=None)
def test_an_images_noise_does_not_depend_on_other_images(clean: Labels, seed: int, data: st.DataObject) -> None:
    images = numpy_generator(4).integers(0, 256, (len(clean), 1, 4, 4), dtype=np.uint8)
    one = data.draw(st.integers(0, len(clean) - 1))
    others = 255 - images
    others[one] = images[one]
    relabelled = (clean + 1) % 10
    relabelled[one] = clean[one]

    found = drawn("instance", given_to("instance", clean, 10, images), 0.5, seed)

    assert drawn("instance", given_to("instance", clean, 10, others), 0.5, seed)[one] == found[one]
    assert drawn("instance", given_to("instance", relabelled, 10, images), 0.5, seed)[one] == found[one]


def test_other_pixels_are_mistaken_for_other_classes() -> None:
    clean = np.zeros(3000, dtype=np.int64)
    images = numpy_generator(4).integers(0, 256, (3000, 1, 8, 8), dtype=np.uint8)

    counts = transition_counts(clean, drawn("instance", given_to("instance", clean, 10, images), 0.5, 1), 10)[0]

    assert (counts[1:] > 0).sum() >= 3


def test_chunks_of_images_change_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = np.arange(300) % 10
    whole = noisy("instance", clean, 0.5, 10, 3)

    monkeypatch.setattr("collabpipe.data.noise.CHUNK_VALUES", 24)  # two images at a time

    assert (noisy("instance", clean, 0.5, 10, 3) == whole).all()


@given(
    scores=hnp.arrays(np.float64, (20, 6), elements=st.floats(-1e5, 1e5)),
    own=st.integers(0, 5),
    places=hnp.arrays(np.float64, 20, elements=st.floats(0.0, 1.0, exclude_max=True)),
)
@settings(max_examples=100, deadline=None)
def test_a_mistaken_class_is_never_the_own_one(
    scores: NDArray[np.float64], own: int, places: NDArray[np.float64]
) -> None:
    found = mistaken(scores, own, places)

    assert (found != own).all()
    assert ((found >= 0) & (found < 6)).all()


@pytest.mark.parametrize("place", [0.0, 1.0 - 2.0**-53])
@pytest.mark.parametrize("own", [0, 4])
def test_the_ends_of_the_unit_interval_are_classes_of_some_probability(place: float, own: int) -> None:
    scores = numpy_generator(0).normal(size=(500, 5))

    found = mistaken(scores, own, np.full(500, place))

    assert set(found) == {(0 if own else 1) if place == 0.0 else (4 if own == 0 else 3)}


def test_mistaken_classes_have_the_probabilities_of_the_softmax() -> None:
    scores = np.log([[5.0, 1.0, 2.0, 3.0]])

    found = mistaken(np.repeat(scores, 12000, axis=0), 0, numpy_generator(6).random(12000))

    counts = np.bincount(found, minlength=4)
    assert counts[0] == 0
    assert chisquare(counts[1:], [2000, 4000, 6000]).pvalue > 1e-4


# People.


@given(clean=labelled(), rate=RATES, seed=SEEDS, data=st.data())
@settings(max_examples=25, deadline=None)
def test_human_noise_is_what_the_annotator_said_image_by_image(
    clean: Labels, rate: float, seed: int, data: st.DataObject
) -> None:
    index = np.array(data.draw(st.lists(st.sampled_from(range(len(clean))), min_size=1, unique=True)))
    given_labels = given_to("human", clean, 10, index=index)

    found = drawn("human", given_labels, rate, seed)

    assert (found == given_labels.annotations["human_worst"][index]).all()


def test_human_noise_without_the_annotators_labels_is_refused() -> None:
    clean = Clean(np.arange(10), 10, np.zeros((10, 1, 1, 1), np.uint8), np.arange(10))

    with pytest.raises(Unfit, match="needs the annotation human_worst, and the prepared data set has: none"):
        drawn("human", clean, 0.0, 0)
