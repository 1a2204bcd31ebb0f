from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.training import images, mlp, network, same
from tsnn_uq.bayes import (
    dropconnect_posterior,
    gaussian_posterior,
    load_draws,
    load_posterior,
    save_draws,
    save_posterior,
    ternary_posterior,
)
from tsnn_uq.checks import InputError
from tsnn_uq.files import read_tensors, write_tensors
from tsnn_uq.networks import build

KINDS = {
    "ternary": lambda model: ternary_posterior(model, prior=(0.1, 0.7, 0.2), noise="flipout"),
    "gaussian": gaussian_posterior,
    "dropconnect": lambda model: dropconnect_posterior(model, p=0.4),
    "part": lambda model: ternary_posterior(model, lambda name, layer: "4" in name or "5" in name),
}
kinds = pytest.mark.parametrize("kind", KINDS)
nets = pytest.mark.parametrize("net", [lambda: network("dropout"), lambda: network("plif"), mlp])


@kinds
@nets
def test_draws_come_back_bit_for_bit(tmp_path, generator, kind, net):
    draws = KINDS[kind](net()).samples(3, generator)
    save_draws(tmp_path / "draws.safetensors", draws, header={"note": 1})
    loaded, header = load_draws(tmp_path / "draws.safetensors", net())
    assert len(loaded) == 3
    assert all(same(one, other) for one, other in zip(loaded, draws, strict=True))
    assert header["note"] == 1


@kinds
@nets
def test_posteriors_come_back_and_draw_the_same(tmp_path, kind, net):
    posterior = KINDS[kind](net())
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(0.1)
    save_posterior(tmp_path / "posterior.safetensors", posterior)
    loaded, _ = load_posterior(tmp_path / "posterior.safetensors", net())
    assert same(loaded, posterior)
    assert (loaded.family, loaded.noise, loaded.layers) == (posterior.family, posterior.noise, posterior.layers)
    assert same(*(one.sample(torch.Generator().manual_seed(1)) for one in (loaded, posterior)))
    options = [[family.options for family in one.weights.values()] for one in (loaded, posterior)]
    assert options[0] == options[1]


def test_a_draw_takes_two_bits_a_weight(tmp_path, generator):
    model = build("dropout", sizes=(64, 100, 10), generator=generator)
    weights = sum(parameter.numel() for parameter in model.parameters())
    sizes = []
    for count in (4, 20):
        path = tmp_path / f"{count}.safetensors"
        save_draws(path, ternary_posterior(model).samples(count, generator))
        sizes.append(path.stat().st_size)
    assert sizes[1] - sizes[0] == pytest.approx(16 * weights / 4, abs=100)


def test_scales_are_kept_once(tmp_path, generator):
    save_draws(tmp_path / "draws", ternary_posterior(network("dropout")).samples(3, generator))
    tensors, _ = read_tensors(tmp_path / "draws", "draws")
    assert len(tensors["2.weight.scale"]) == 1
    assert len(tensors["2.weight.codes"]) == 3


def test_foreign_and_damaged_files_are_told(tmp_path, generator):
    model = network("dropout")
    posterior = ternary_posterior(model)
    draws, saved = tmp_path / "draws", tmp_path / "posterior"
    save_draws(draws, posterior.samples(2, generator))
    save_posterior(saved, posterior)
    for load, mine, other in ((load_draws, draws, saved), (load_posterior, saved, draws)):
        with pytest.raises(InputError, match="there is none"):
            load(tmp_path / "nothing", model)
        with pytest.raises(InputError, match=r"expected a (draws|posterior) file of tsnn-uq"):
            load(other, model)
        with pytest.raises(InputError, match=r"expected (draws|a posterior) of such a network"):
            load(mine, network("dropout", sizes=(16, 9, 3)))
        with pytest.raises(InputError, match=r"expected (draws|a posterior) of such a network"):
            load(mine, nn.Linear(2, 2))
        cut = tmp_path / "cut"
        cut.write_bytes(mine.read_bytes()[:-5])
        with pytest.raises(InputError, match="damaged or of another format"):
            load(cut, model)
        tensors, header = read_tensors(mine, header_kind(mine))
        write_tensors(cut, dict(list(tensors.items())[1:]), header)
        with pytest.raises(InputError, match=r"expected (draws|a posterior) of such a network"):
            load(cut, model)


def header_kind(path):
    return "draws" if path.name == "draws" else "posterior"


def test_damaged_codes_are_told(tmp_path, generator):
    save_draws(tmp_path / "draws", ternary_posterior(network("dropout")).samples(2, generator))
    tensors, header = read_tensors(tmp_path / "draws", "draws")
    tensors["2.weight.codes"][1, 3] = 0b10
    write_tensors(tmp_path / "draws", tensors, header)
    with pytest.raises(InputError, match="expected the bits 00, 01 and 11; got 10 in byte 3"):
        load_draws(tmp_path / "draws", network("dropout"))
    tensors["2.weight.codes"] = tensors["2.weight.codes"][:0]
    write_tensors(tmp_path / "draws", tensors, header)
    with pytest.raises(InputError, match="expected values of 1 or 2 draws"):
        load_draws(tmp_path / "draws", network("dropout"))


def test_only_networks_of_one_shape_are_saved(tmp_path, generator):
    with pytest.raises(InputError, match="networks: expected at least one network"):
        save_draws(tmp_path / "draws", [])
    with pytest.raises(InputError, match="networks: expected networks of the same shape"):
        save_draws(tmp_path / "draws", [network("dropout"), mlp()])


def test_a_loaded_network_predicts(tmp_path, generator):
    draws = ternary_posterior(network("dropout")).samples(2, generator)
    save_draws(tmp_path / "draws", draws)
    loaded, _ = load_draws(tmp_path / "draws", network("dropout", seed=5))
    assert all(torch.equal(a(images()[0]), b(images()[0])) for a, b in zip(loaded, draws, strict=True))
