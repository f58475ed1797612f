"""Label noise: one function per kind, each seeded and computed from the clean labels alone.

A generator maps what is known of the images, the noise that is asked for and a numpy generator to noisy labels (N,)
int64. What it did is measured afterwards: the true flip rate and the transition counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collabpipe.settings.data import NoiseSettings

Labels = NDArray[np.int64]

CIFAR10_CONFUSIONS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
"""Truck to automobile, bird to airplane, deer to horse, cat to dog and back, in the order of torchvision's classes."""

FILE = "file"
"""The kind that takes labels from a file of the user, and the annotation that holds them."""

NO_LABEL = -1
"""Stands for the label of an image that such a file leaves out."""

BLOCK = 5
"""Fine classes a superclass of CIFAR-100."""

CHUNK_VALUES = 1 << 22
"""Pixels, or class scores, that are held at a time while the noise of `instance` is drawn."""


class Unfit(Exception):
    """The data set lacks what a kind of noise is made from; the message says what, and `remedy` what to do."""

    remedy = "Choose another noise, or prepare the data set again: collabpipe prepare RECIPE."


class Incomplete(Unfit):
    """A label file of the user lacks images."""

    remedy = "Add them to the label file, or draw fewer images (train_size)."


@dataclass(frozen=True)
class Clean:
    """What noise may depend on: the training set as it was published, and which of its images get labels.

    all_labels: (M,) int64 in [0, classes); images: (M, C, H, W) uint8, read only where a kind of noise asks for pixels;
    index: (N,) int64, positions in the training set; annotations: further labels by name, (M,) int64 each.
    """

    all_labels: Labels
    classes: int
    images: NDArray[np.uint8]
    index: NDArray[np.int64]
    annotations: Mapping[str, Labels] = field(default_factory=dict)

    @cached_property
    def labels(self) -> Labels:
        """The clean labels (N,) of the images in `index`."""
        return self.all_labels[self.index]

    def annotation(self, name: str) -> Labels:
        """The annotation (M,) of this name.

        Raises:
            Unfit: there is none.
        """
        if name not in self.annotations:
            known = ", ".join(sorted(self.annotations)) or "none"
            raise Unfit(f"needs the annotation {name}, and the prepared data set has: {known}")
        return self.annotations[name]


Generator = Callable[[Clean, "NoiseSettings", np.random.Generator], Labels]


def _part(rows: NDArray[np.int64], rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Exactly round(rate·n) of n rows, without replacement."""
    return generator.permutation(rows)[: round(rate * len(rows))]


def _mapped(clean: Clean, rate: float, target: Labels, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples go from their class i to target[i]."""
    noisy = clean.labels.copy()
    chosen = _part(np.arange(len(noisy)), rate, generator)
    noisy[chosen] = target[clean.labels[chosen]]
    return noisy


def none(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:  # noqa: ARG001
    """The labels as they are."""
    return clean.labels.copy()


def symmetric(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples get a label uniform over the other K-1 classes: the true rate is `rate`.

    The transition matrix of Co-teaching (Han et al., 2018) with P_ii = 1 - rate, made exact.
    """
    noisy = clean.labels.copy()
    chosen = _part(np.arange(len(noisy)), noise.rate, generator)
    noisy[chosen] = (clean.labels[chosen] + generator.integers(1, clean.classes, len(chosen))) % clean.classes
    return noisy


def symmetric_inclusive(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples get a label uniform over all K classes: the true rate is about rate·(K-1)/K.

    As DivideMix (Li et al., 2020) and ELR (Liu et al., 2020) corrupt CIFAR.
    """
    noisy = clean.labels.copy()
    chosen = _part(np.arange(len(noisy)), noise.rate, generator)
    noisy[chosen] = generator.integers(0, clean.classes, len(chosen))
    return noisy


def pair(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples of class i become class i+1 mod K (pair flip of Co-teaching, made exact)."""
    return _mapped(clean, noise.rate, (np.arange(clean.classes) + 1) % clean.classes, generator)


def asymmetric(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:
    """CIFAR-10's look-alikes: exactly round(rate·N_c) of each source class c in `CIFAR10_CONFUSIONS` are mistaken.

    The other five classes keep their labels, so that the true rate is rate/2 where classes are of one size (Patrini et
    al., 2017). Cats and dogs change places by their clean labels: an image is never taken back.

    Raises:
        Unfit: the classes are not ten.
    """
    if clean.classes != 10:
        raise Unfit(f"is defined by the 10 classes of CIFAR-10, not for {clean.classes} classes")
    noisy = clean.labels.copy()
    for source, target in CIFAR10_CONFUSIONS.items():
        noisy[_part(np.flatnonzero(clean.labels == source), noise.rate, generator)] = target
    return noisy


def superclass(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples go to the next class of their superclass, in the order of fine labels, cyclic.

    After Patrini et al. (2017), with the superclasses of CIFAR-100's own coarse labels; made exact.

    Raises:
        Unfit: coarse labels are missing, or a fine class has two.
    """
    coarse = clean.annotation("coarse")
    superclass_of = np.full(clean.classes, -1, dtype=np.int64)
    superclass_of[clean.all_labels] = coarse
    if (superclass_of[clean.all_labels] != coarse).any():
        raise Unfit("needs one superclass per class, and the annotation coarse names several for some")
    target = np.arange(clean.classes)
    for one in np.unique(coarse):
        members = np.flatnonzero(superclass_of == one)
        target[members] = np.roll(members, -1)
    return _mapped(clean, noise.rate, target, generator)


def superclass_legacy(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples go to the next class in blocks of five consecutive fine labels, cyclic.

    What widely copied code does in the name of superclasses. CIFAR-100 numbers its classes by the alphabet: only 6 of
    the 100 transitions stay inside a superclass.

    Raises:
        Unfit: the classes are no whole number of blocks.
    """
    if clean.classes % BLOCK:
        raise Unfit(f"needs a number of classes that is divisible by {BLOCK}, not {clean.classes}")
    fine = np.arange(clean.classes)
    return _mapped(clean, noise.rate, fine // BLOCK * BLOCK + (fine + 1) % BLOCK, generator)


def cut_normal(mean: float, size: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(size,) draws from N(mean, 0.1²), those outside [0, 1] drawn again."""
    draws = generator.normal(mean, 0.1, size)
    while len(outside := np.flatnonzero((draws < 0.0) | (draws > 1.0))):
        draws[outside] = generator.normal(mean, 0.1, len(outside))
    return draws


def instance(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:
    """Part-dependent noise: an image's pixels decide which class it is mistaken for (Xia et al., 2020).

    Image x of class y is flipped with probability q ~ N(rate, 0.1²) cut to [0, 1], to class j ≠ y with probability
    softmax(x·W[y])_j, W[y] being (pixels, K) standard normal. The true rate is about `rate` in the middle of [0, 1];
    at the ends cutting moves it inwards: instance-0 flips 8% of the labels.

    x is the raw pixels, 0 to 255, as in the authors' code (github.com/xiaoboxia/Part-dependent-label-noise, data.py:
    the stored pixels are made float and no more; the same arrays become PIL images later, so they are bytes). The
    softmax is then all but an argmax, and most mistakes of a class go to few others. With pixels scaled or centred
    it would be another noise; centring would also let an image's noise depend on the rest of the data.
    """
    noisy = clean.labels.copy()
    # Of one length whatever the images are; and a class's weights are the same whichever classes there are.
    flipped = generator.random(len(noisy)) < cut_normal(noise.rate, len(noisy), generator)
    places = generator.random(len(noisy))
    pixels = int(np.prod(clean.images.shape[1:]))
    size = max(1, CHUNK_VALUES // max(pixels, clean.classes))
    for own, of_class in enumerate(generator.spawn(clean.classes)):
        rows = np.flatnonzero(flipped & (clean.labels == own))
        if not len(rows):
            continue
        # Products in double precision: how another processor orders a sum then changes no label.
        weights = of_class.standard_normal((pixels, clean.classes), dtype=np.float32).astype(np.float64)
        for chunk in np.split(rows, range(size, len(rows), size)):
            flat = clean.images[clean.index[chunk]].reshape(len(chunk), pixels)
            noisy[chunk] = mistaken(flat @ weights, own, places[chunk])
    return noisy


def mistaken(scores: NDArray[np.float64], own: int, places: NDArray[np.float64]) -> Labels:
    """Classes (n,) drawn from the softmax of `scores` (n, K) without class `own`, at `places` (n,) in [0, 1)."""
    scores = scores.copy()
    scores[:, own] = -np.inf
    cumulative = np.exp(scores - scores.max(1, keepdims=True)).cumsum(1)
    # In floating point too, a total times a number below 1 is below the total: the count stays below K and never ends
    # on a class of probability 0.
    classes: Labels = (cumulative <= cumulative[:, -1:] * places[:, None]).sum(1)
    return classes


def human(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:  # noqa: ARG001
    """What an annotator said (CIFAR-10N, CIFAR-100N; Wei et al., 2022), image by image; neither rate nor seed matter.

    Raises:
        Unfit: the data set was prepared without the annotator's labels.
    """
    return clean.annotation(f"human_{noise.annotator}")[clean.index]


def file(clean: Clean, noise: NoiseSettings, generator: np.random.Generator) -> Labels:  # noqa: ARG001
    """What the user's own label file says, image by image; the true rate is the file's, neither rate nor seed matter.

    Raises:
        Incomplete: the file leaves out images that get labels.
    """
    labels = clean.annotation(FILE)[clean.index]
    lost = clean.index[labels == NO_LABEL]
    if len(lost):
        raise Incomplete(
            f"has no label for {len(lost)} of the {len(labels)} images of this replicate, first for image {lost[0]}"
        )
    return labels


NOISE: dict[str, Generator] = {
    "none": none,
    "symmetric": symmetric,
    "symmetric_inclusive": symmetric_inclusive,
    "pair": pair,
    "asymmetric": asymmetric,
    "superclass": superclass,
    "superclass_legacy": superclass_legacy,
    "instance": instance,
    "human": human,
    FILE: file,
}


def transition_counts(clean: Labels, noisy: Labels, classes: int) -> NDArray[np.int64]:
    """(K, K): how many samples of clean class i carry label j."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (clean, noisy), 1)
    return counts
