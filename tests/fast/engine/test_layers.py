from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.helpers.spiking import seeded
from tsnn_uq.fast.engine.layers import Window, drop_weights, pack_bits, pack_planes, pad_outputs, unpack_planes

BITS = {-1: (0, 0), 0: (1, 0), 1: (0, 1)}  # low and high bit of e = w + 1, as in the head of layers.py


@st.composite
def code_tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.integers(0, 9)), draw(st.sampled_from([1, 2, 31, 32, 33, 64, 65, 257]))
    return torch.randint(-1, 2, shape, generator=seeded(draw(st.integers(0, 2**20)))).to(torch.int8)


@given(code_tensors())
def test_codes_round_trip(codes):
    planes = pack_planes(codes)
    assert planes.dtype == torch.int32
    assert torch.equal(unpack_planes(planes, codes.shape[1]), codes.float())


@given(code_tensors())
def test_planes_take_two_bits_a_weight_in_whole_words_and_a_row_of_zeros(codes):
    inputs, outputs = codes.shape
    words = (outputs + 31) // 32
    planes = pack_planes(codes)
    assert planes.shape == (inputs + 1, 2, words)
    assert planes.nbytes == (inputs + 1) * 2 * 4 * words
    assert not planes[-1].any()
    assert planes.is_contiguous()


@given(code_tensors())
def test_each_bit_is_where_the_table_says(codes):
    planes = pack_planes(codes)[:-1].tolist()
    for row, weights in zip(planes, codes.tolist(), strict=True):
        padded = weights + [0] * (-len(weights) % 32)
        for output, weight in enumerate(padded):
            assert tuple(plane[output // 32] >> output % 32 & 1 for plane in row) == BITS[weight]


@given(code_tensors())
def test_strides_do_not_matter(codes):
    assert torch.equal(pack_planes(codes.T.contiguous().T), pack_planes(codes))


@given(code_tensors(), st.sampled_from([0.5, 0.0, 1.0]), st.integers(0, 2**20))
def test_dropped_weights_are_zeros(codes, share, seed):
    keep = torch.rand(codes.shape, generator=seeded(seed)) < share
    expected = pack_planes(codes * keep)
    assert torch.equal(drop_weights(pack_planes(codes), pack_bits(~keep)), expected)
    assert torch.equal(drop_weights(pack_planes(codes), pack_bits(~keep.T.contiguous().T)), expected)


def test_outputs_are_padded_with_zeros_to_words():
    assert torch.equal(pad_outputs(torch.ones(2, 33), 33), torch.cat([torch.ones(2, 33), torch.zeros(2, 31)], 1))
    assert torch.equal(pad_outputs(torch.ones(32, dtype=torch.float64), 32), torch.ones(32))


@given(st.data())
def test_the_output_map_is_as_large_as_torch_makes_it(data):
    side = st.integers(3, 9)
    height, width, kernel = (
        data.draw(side),
        data.draw(side),
        (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))),
    )
    pool = data.draw(st.integers(1, min(height, width)))
    stride, padding = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    window = Window(1, height, width, kernel, stride, padding, pool)
    layers = nn.Sequential(nn.MaxPool2d(pool), nn.Conv2d(1, 1, kernel, stride, padding))
    image = torch.zeros(1, height, width)
    if min(window.out_size) > 0:
        assert window.out_size == tuple(layers(image).shape[1:])
    else:
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            layers(image)
    assert window.inputs == kernel[0] * kernel[1]
