"""The table of sources: files with their sums, sizes and addresses, class names.

Addresses, names and sums are those of torchvision.datasets (0.28) unless noted. Sums are checked before a file is
opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collabpipe.common.registry import Registry

IMAGE_FOLDER, NPZ = "image_folder", "npz"
OWN = (IMAGE_FOLDER, NPZ)
"""Sources that only the user has: their files lie in data_dir, and no sums of them are published."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, its MD5 sum and size in bytes as published, and the sums of other packagings of its data."""

    name: str
    md5: str
    size: int | None = None
    also: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    """The address of this file, if it is not below the source's own addresses."""
    published: bool = True
    """Whether the authors publish the sum; else it is a third party's."""
    remark: str = ""
    """What a user is told beside a wrong sum."""

    def accepts(self, md5: str) -> bool:
        """Whether a file of this sum is the file."""
        return md5 == self.md5 or md5 in self.also


@dataclass(frozen=True)
class Source:
    """A data set's origin: `files` below each of `addresses`, or nothing to fetch."""

    classes: tuple[str, ...]
    """Empty: the images' own files name them."""
    images: int | None
    """Training images; None: as many as are found."""
    pixels: int | None
    """Pixels per side; None: any."""
    test: int = 0
    """Test images; 0: as many as are found."""
    channels: int = 3
    files: tuple[SourceFile, ...] = ()
    instead: tuple[SourceFile, ...] = ()
    """Another packaging of all of the data, which may be in data_dir instead of `files`."""
    human: tuple[SourceFile, ...] = ()
    """The annotators' labels."""
    addresses: tuple[str, ...] = ()
    coarse: tuple[str, ...] = ()
    """Names of the classes of the annotation `coarse`."""
    remark: str = ""
    """What a user is told when a file is missing."""
    read: Callable[..., Any] | None = None
    """What reads it, if a plugin brings it; the package's own readers are in `collabpipe.data.formats`."""

    @property
    def all_files(self) -> tuple[SourceFile, ...]:
        """Every file that some recipe of this source may ask for."""
        return (*self.files, *self.instead, *self.human)


def _unpacked(sums: dict[str, str]) -> tuple[SourceFile, ...]:
    return tuple(SourceFile(name, md5, published=False) for name, md5 in sums.items())


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CIFAR_N = ("https://github.com/UCSC-REAL/cifar-10-100n/raw/main/data/",)

# Sums of what the archives unpack to, as torchvision has them; the authors publish those of the archives alone.
CIFAR10_UNPACKED = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR100_UNPACKED = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}
STL10_UNPACKED = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}

# Third-party sums of the inner files: none are published by the authors.
IMAGENET32_PICKLES = (
    "6c4495e65cd24a8c3019857ef9b758ee",
    "3dd727de4155836807dfc19f98c9fe70",
    "03d3dc4e850e23e1d526f268a0196296",
    "876f7e6d6ddb1f52ecb654ffdc8293f6",
    "c789bcdd1feed34a9bc58598a1a1bf7d",
    "8ce5344cb1e11f31bc507cae4c856083",
    "32ecc8ad6c55b1c9cb6cf79a2cc46094",
    "bdeb6da3d05771121992b48c59c69439",
    "58417149b5ce31688f805341e7f57b4f",
    "46ad60a1144aaf97a143914453b0dabb",
)
IMAGENET32_NPZ = (
    "464fde20de6eb44c28cc1a8c11544bb1",
    "bdb56e71882c3fd91619d789d5dd7c79",
    "83ff36d76ea26867491a281ea6e1d03b",
    "98ff184fe109d5c2a0f6da63843880c7",
    "62b8803e13c3e6de9498da7aaaae57c8",
    "e0b06665f890b029f1d8d0a0db26e119",
    "9731f469aac1622477813c132c5a847a",
    "60aed934b9d26b7ee83a1a83bdcfbe0f",
    "b96328e6affd718660c2561a6fe8c14c",
    "1dc618d544c554220dd118f72975470c",
)

BUILT_IN: dict[str, Source] = {
    # Shipped inside scikit-learn.
    "digits": Source(classes=tuple("0123456789"), images=1297, pixels=8, test=500, channels=1),
    # The second sums are those of Debian's dataset-fashion-mnist: the same compressed streams behind a gzip header
    # without name and time. (With the name and a time of 31 August 2017 put back into the header, each gives the
    # published sum.) The second address is the authors' repository.
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
        test=10000,
        channels=1,
        files=tuple(
            SourceFile(name, published, also=(debian,))
            for name, published, debian in (
                (
                    "train-images-idx3-ubyte.gz",
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "cf8536b0aa1a6ac5fa3f23001093305c",
                ),
                (
                    "train-labels-idx1-ubyte.gz",
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "10bea18fdb374794d4bb42e356e600c9",
                ),
                ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", "f78720b4224f21cce2f2ccf2d7a94c9a"),
                ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", "0d30e22e447f3c33dab9ed536400ac01"),
            )
        ),
        addresses=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
    ),
    "cifar10": Source(
        classes=_words("airplane automobile bird cat deer dog frog horse ship truck"),
        images=50000,
        pixels=32,
        test=10000,
        files=(SourceFile("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170498071),),
        instead=_unpacked(CIFAR10_UNPACKED),
        human=(
            SourceFile("CIFAR-10_human.pt", "96644db5574813cae939af5f7f2a0aec", addresses=CIFAR_N, published=False),
        ),
        addresses=("https://www.cs.toronto.edu/~kriz/",),
    ),
    "cifar100": Source(
        classes=_words(
            "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
            "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab "
            "crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo "
            "keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse "
            "mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy "
            "porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
            "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television "
            "tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
        ),
        images=50000,
        pixels=32,
        test=10000,
        files=(SourceFile("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169001437),),
        instead=_unpacked(CIFAR100_UNPACKED),
        human=(
            SourceFile(
                "CIFAR-100_human.pt",
                "a67b45c1d7992051865b5c755bd68bb1",
                addresses=CIFAR_N,
                published=False,
                remark=(
                    "The authors replaced this file in March 2023, because its coarse labels were wrong (12 of the 20 "
                    "superclasses): a copy from before has another sum. Only its fine labels are read here."
                ),
            ),
        ),
        addresses=("https://www.cs.toronto.edu/~kriz/",),
        coarse=_words(
            "aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices "
            "household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes "
            "large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals "
            "trees vehicles_1 vehicles_2"
        ),
    ),
    "stl10": Source(
        classes=_words("airplane bird car cat deer dog horse monkey ship truck"),
        images=5000,
        pixels=96,
        test=8000,
        files=(SourceFile("stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb", 2640397119),),
        instead=_unpacked(STL10_UNPACKED),
        addresses=("http://ai.stanford.edu/~acoates/stl10/",),
    ),
    "imagenet32": Source(
        classes=tuple(str(label) for label in range(1, 1001)),
        images=1281167,
        pixels=32,
        test=50000,
        files=(
            *(SourceFile(f"train_data_batch_{i}", md5, published=False) for i, md5 in enumerate(IMAGENET32_PICKLES, 1)),
            SourceFile("val_data", "06c02b8b4c8de8b3a36b07859a49de6f", published=False),
        ),
        instead=(
            *(SourceFile(f"train_data_batch_{i}.npz", md5, published=False) for i, md5 in enumerate(IMAGENET32_NPZ, 1)),
            SourceFile("val_data.npz", "a8c04a389f2649841fb7a01720da9dd9", published=False),
        ),
        remark=(
            "ImageNet32 is behind a registration (https://image-net.org/download-images): unpack its archives and name "
            "their folder in data_dir."
        ),
    ),
    **{name: Source(classes=(), images=None, pixels=None) for name in OWN},
}

SOURCES: Registry[Source] = Registry("source", BUILT_IN)
