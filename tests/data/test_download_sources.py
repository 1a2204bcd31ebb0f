from __future__ import annotations

import re

import pytest

from tsnn_uq.data import SOURCES


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_every_entry_is_complete(source):
    assert SOURCES[source.name] is source
    assert source.url.startswith("http")
    assert source.fetched == bool(source.train)
    assert source.licence
    assert source.origin
    if not source.train:
        return
    assert [source.count(part) for part in ("train", "test")] == (
        [50_000, 10_000] if source.layout == "cifar" else [60_000, 10_000]
    )
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) for file in source.files)


def test_no_two_files_share_a_hash():
    hashes = [file.sha256 for source in SOURCES.values() for file in source.files]
    assert len(set(hashes)) == len(hashes)
