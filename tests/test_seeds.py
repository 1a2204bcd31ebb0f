from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.seeds import derive_seed, generator_for, global_seed

names = st.lists(st.text(max_size=3) | st.integers(0, 9), max_size=3)


@given(st.integers(-(2**70), 2**70), names)
def test_a_seed_fits_into_63_bits_and_repeats(seed, path):
    derived = derive_seed(seed, *path)
    assert 0 <= derived < 2**63
    assert derive_seed(seed, *path) == derived
    torch.Generator().manual_seed(derived)


def test_the_seeds_are_the_same_on_every_machine_and_forever():
    digest = hashlib.sha256(b"7/masks/3").hexdigest()
    assert derive_seed(7, "masks", 3) == int(digest[:16], 16) // 2


def test_seeds_and_names_all_matter():
    seeds = {derive_seed(seed, *path) for seed in range(50) for path in ((), ("a",), ("b",), ("a", 1), ("a", 2))}
    assert len(seeds) == 250


def test_a_generator_starts_at_its_seed():
    expected = torch.rand(4, generator=torch.Generator().manual_seed(derive_seed(3, "data")))
    assert torch.equal(torch.rand(4, generator=generator_for(3, "data")), expected)
    assert not torch.equal(torch.rand(4, generator=generator_for(3, "masks")), expected)


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    generator_for(3, "data")
    assert torch.equal(torch.get_rng_state(), state)


def test_the_global_generator_is_lent_a_seed_and_put_back():
    def draw() -> torch.Tensor:
        with global_seed(5, torch.device("cpu")):
            return torch.rand(3)

    state, first = torch.get_rng_state(), draw()
    assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_global_generator_is_put_back_after_an_error():
    def fail() -> None:
        with global_seed(5, torch.device("cpu")):
            torch.rand(3)
            raise RuntimeError("stop")

    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert torch.equal(torch.get_rng_state(), state)
