from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.helpers.spiking import seeded
from tsnn_uq.fast.engine.layers import Window, drop_weights, pack_bits, pack_planes, pad_outputs, unpack_planes
from tsnn_uq.quantization.packing import pack

LOW = 0b01  # the bit of a packed code that says "not zero"; the other says "minus"


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
def test_planes_take_two_bits_a_weight_in_whole_words_and_a_row_that_counts_nothing(codes):
    inputs, outputs = codes.shape
    words = (outputs + 31) // 32
    planes = pack_planes(codes)
    assert planes.shape == (inputs + 1, 2, words)
    assert planes.nbytes == (inputs + 1) * 2 * 4 * words
    low, high = planes[-1]
    assert not (~low).any()  # 1 - w = (1 - low) + 2 high
    assert not high.any()
    assert planes.is_contiguous()


@given(code_tensors())
def test_the_bits_of_a_weight_are_those_of_the_file(codes):
    planes = pack_planes(codes)[:-1].tolist()
    for (low, high), weights in zip(planes, codes.tolist(), strict=True):
        padded = weights + [0] * (-len(weights) % 32)
        for output, weight in enumerate(padded):
            bits = int(pack(torch.tensor([weight], dtype=torch.int8)))
            word, place = divmod(output, 32)
            assert low[word] >> place & 1 == bits & LOW
            assert high[word] >> place & 1 == bits >> 1


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
    zeros = (padding, padding)
    window = Window(1, height, width, kernel, (stride, stride), (zeros, zeros), pool=pool)
    layers = nn.Sequential(nn.MaxPool2d(pool), nn.Conv2d(1, 1, kernel, stride, padding))
    image = torch.zeros(1, height, width)
    if min(window.out_size) > 0:
        assert window.out_size == tuple(layers(image).shape[1:])
    else:
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            layers(image)
    assert window.inputs == kernel[0] * kernel[1]
