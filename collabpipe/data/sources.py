"""The table of sources: files with their sums, addresses, class names. Sums are checked before a file is opened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceFile:
    """A file of a source and its MD5 sum, as published."""

    name: str
    md5: str


@dataclass(frozen=True)
class Source:
    """A data set's origin: `files` below each of `addresses`, or nothing to fetch."""

    classes: tuple[str, ...]
    files: tuple[SourceFile, ...] = ()
    addresses: tuple[str, ...] = ()


SOURCES: dict[str, Source] = {
    # Shipped inside scikit-learn.
    "digits": Source(classes=tuple("0123456789")),
    # Addresses and sums as in torchvision.datasets.FashionMNIST; Debian's dataset-fashion-mnist holds the same files.
    "fashion_mnist": Source(
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        files=(
            SourceFile("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            SourceFile("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
            SourceFile("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
            SourceFile("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        addresses=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
}
