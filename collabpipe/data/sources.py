"""The table of sources: files with their sums, addresses, class names. Sums are checked before a file is opened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, its MD5 sum as published, and those of other packagings of the same data."""

    name: str
    md5: str
    also: tuple[str, ...] = ()

    def accepts(self, md5: str) -> bool:
        """Whether a file of this sum is the file."""
        return md5 == self.md5 or md5 in self.also


@dataclass(frozen=True)
class Source:
    """A data set's origin: `files` below each of `addresses`, or nothing to fetch."""

    classes: tuple[str, ...]
    images: int
    """Training images."""
    pixels: int
    """Pixels a side."""
    files: tuple[SourceFile, ...] = ()
    addresses: tuple[str, ...] = ()


SOURCES: dict[str, Source] = {
    # Shipped inside scikit-learn.
    "digits": Source(classes=tuple("0123456789"), images=1297, pixels=8),
    # Addresses and sums as in torchvision.datasets.FashionMNIST. The second sums are those of Debian's
    # dataset-fashion-mnist: the same compressed streams behind a gzip header without name and time. (With the name
    # and a time of 31 August 2017 put back into the header, each gives the published sum.)
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
        images=60000,
        pixels=28,
        files=(
            SourceFile(
                "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", ("cf8536b0aa1a6ac5fa3f23001093305c",)
            ),
            SourceFile(
                "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", ("10bea18fdb374794d4bb42e356e600c9",)
            ),
            SourceFile(
                "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", ("f78720b4224f21cce2f2ccf2d7a94c9a",)
            ),
            SourceFile(
                "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", ("0d30e22e447f3c33dab9ed536400ac01",)
            ),
        ),
        addresses=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
}
