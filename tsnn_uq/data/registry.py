"""The data sets that come as files: where from, under which licence, and the hashes they are known by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SOURCES", "File", "Source"]


@dataclass(frozen=True)
class File:
    """One idx file, known by what is in it.

    Size and hash are of the uncompressed content, since packing it anew changes a ``.gz`` and not the data.

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
    """A data set in idx files.

    Args:
        name: how the user calls it.
        classes: number of classes.
        folders: sub-folders of the data folder in which it is looked for; a fetched file goes into the first.
        url: folder of the mirror, which has each file as ``<name>.gz``.
        origin: whose work it is.
        licence: under which it may be used.
        train: (images, labels) of the training part.
        test: (images, labels) of the test part.
    """

    name: str
    classes: int
    folders: tuple[str, ...]
    url: str
    origin: str
    licence: str
    train: tuple[File, File]
    test: tuple[File, File]

    @property
    def files(self) -> tuple[File, ...]:
        """All four files."""
        return (*self.train, *self.test)


def _pair(part: str, count: int, images: str, labels: str) -> tuple[File, File]:
    return (
        File(f"{part}-images-idx3-ubyte", 16 + count * 28 * 28, images),
        File(f"{part}-labels-idx1-ubyte", 8 + count, labels),
    )


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
    )
}
