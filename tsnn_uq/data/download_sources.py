"""Data sets that are downloaded as files: sources, licences and hashes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["SOURCES", "File", "Source", "trainable"]


@dataclass(frozen=True)
class File:
    """One file with its size and hash.

    Both are of the uncompressed content, since compressing again changes a ``.gz`` file but not the data.

    Args:
        name: the file name without ``.gz``.
        size: bytes, uncompressed.
        sha256: hexadecimal, of the uncompressed bytes.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """A data set of files.

    Args:
        name: its name for users.
        classes: number of classes.
        folders: sub-folders of the data folder to search; downloads go into the first.
        url: folder of the mirror, which has each file as ``<name>.gz``; an archive ``.tar.gz`` with all files; or,
            if there is no trustworthy mirror of the files, the page that describes where to get them.
        origin: its authors.
        licence: its licence.
        train: files of the training part: (images, labels) in the idx format, any number in that of CIFAR; none for
            a test-only set.
        test: files of the test part, in the same form.
        layout: ``"idx"``, the format of MNIST; ``"emnist"``, the same with images transposed and classes counted from
            1; or ``"cifar"``: records of a label byte and the pixels.
        shape: channels, height and width of an image.
    """

    name: str
    classes: int
    folders: tuple[str, ...]
    url: str
    origin: str
    licence: str
    train: tuple[File, ...]
    test: tuple[File, ...]
    layout: Literal["idx", "emnist", "cifar"] = "idx"
    shape: tuple[int, int, int] = (1, 28, 28)

    @property
    def files(self) -> tuple[File, ...]:
        """The files of both parts."""
        return (*self.train, *self.test)

    @property
    def fetched(self) -> bool:
        """Whether the files can be downloaded."""
        return self.url.endswith(("/", ".tar.gz"))

    def count(self, part: Literal["train", "test"]) -> int:
        """Number of images of a part, computed from the size of its files."""
        files: tuple[File, ...] = getattr(self, part)
        if self.layout == "cifar":
            return sum(file.size for file in files) // (1 + math.prod(self.shape))
        return files[1].size - 8  # labels: a header of eight bytes, then a byte each


def _pair(part: str, count: int, images: str, labels: str) -> tuple[File, ...]:
    return (
        File(f"{part}-images-idx3-ubyte", 16 + count * 28 * 28, images),
        File(f"{part}-labels-idx1-ubyte", 8 + count, labels),
    )


def _cifar(**hashes: str) -> tuple[File, ...]:
    return tuple(File(f"{name}.bin", 10_000 * (1 + 3 * 32 * 32), sha256) for name, sha256 in hashes.items())


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="mnist",
            classes=10,
            folders=("mnist", "MNIST/raw"),
            url="https://ossci-datasets.s3.amazonaws.com/mnist/",
            origin="LeCun, Cortes, Burges",
            licence="CC BY-SA 3.0",
            train=_pair(
                "train",
                60_000,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            test=_pair(
                "t10k",
                10_000,
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
        Source(
            name="fashion-mnist",
            classes=10,
            folders=("fashion-mnist", "FashionMNIST/raw"),
            url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            origin="Zalando Research",
            licence="MIT",
            train=_pair(
                "train",
                60_000,
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            test=_pair(
                "t10k",
                10_000,
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
        Source(
            name="cifar10",
            classes=10,
            folders=("cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"),
            url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            origin="Krizhevsky 2009",
            licence="none is stated; free to use with the technical report cited",
            train=_cifar(
                data_batch_1="cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                data_batch_2="a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                data_batch_3="bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                data_batch_4="014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                data_batch_5="755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            ),
            test=_cifar(test_batch="8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
            layout="cifar",
            shape=(3, 32, 32),
        ),
        Source(
            name="emnist-letters",
            classes=26,
            folders=("emnist-letters", "EMNIST/raw"),
            url="https://www.nist.gov/itl/products-and-services/emnist-dataset",  # which has one archive of 560 MB
            origin="Cohen et al. 2017, from NIST Special Database 19",
            licence="US government work",
            train=(),
            test=_pair(
                "emnist-letters-test",
                20_800,
                "d5895e82d14765b22a84342337bc5c25f1affd61cc97d3821d4e65504bbf8dbc",
                "22dbcde0a929a7f166bdac863b9195b2994d840a1e082f8f6daaeac5606376a6",
            ),
            layout="emnist",
        ),
        Source(
            name="notmnist",
            classes=10,
            folders=("notmnist",),
            url="https://github.com/davidflanagan/notMNIST-to-MNIST",  # its test files; there is no official sample
            origin="Bulatov 2011; a sample of notMNIST_small in MNIST's format by Flanagan",
            licence="posted with permission of the author; that of the fonts is unknown",
            train=(),
            test=_pair(
                "t10k",
                10_000,
                "8e7f38ae95cc8f48e0986175ffc9137e5007ebcf3d8fdf6656c904eb9dab198b",
                "5f8e6012f2ce730700d8d05fca098bc47f71d25b890e4bec7ac5ebfd614a4001",
            ),
        ),
    )
}


def trainable() -> tuple[str, ...]:
    """Names of the sources with a training part."""
    return tuple(name for name, source in SOURCES.items() if source.train)
