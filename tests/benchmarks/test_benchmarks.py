"""The benchmarks compare the same networks, and their tables and figures are as announced. No time is asserted."""

from __future__ import annotations

import mmap

import pandas as pd
import pytest
import torch

from tests.benchmarks import figures, monte_carlo, run
from tests.benchmarks.agreement import require_agreement
from tests.benchmarks.convolutional import SpikingJellyTwin, awake
from tests.benchmarks.memory import MemoryRow, memory_rows, peak_bytes, write_memory
from tests.benchmarks.peers import PEERS, floor, peer
from tests.benchmarks.scaling import Point, fitted_slope, sizes, write_scaling
from tests.benchmarks.setting import hidden_rates, is_of_other_settings, run_config
from tests.benchmarks.standing import standing
from tests.benchmarks.timer import OURS, Row, merge_rows, write_rows
from tests.benchmarks.training import TERNARY, contender, training_step
from tests.helpers.figures import faults
from tests.helpers.peers import library
from tsnn_uq.networks import dropout, plif

SIZES = (12, 16, 16, 3)
ROWS = [
    Row("fast", OURS, 0.5, 1.0),
    Row("fast", "snntorch", 1.0, 2.0),
    Row("slow", OURS, 8.0, 1.0),
    Row("slow", "snntorch", 4000.0, 500.0),
    Row("slow", "tsnn-uq ternary", 8.4, 1.05),
    Row("slow", "matmul floor", 4.0, 0.5),
]
POINTS = [
    Point(quantity, who, size, size * cost)
    for quantity, who, cost in (
        ("time steps T", "forward pass", 1e-3),
        ("inputs N", "forward pass", 2e-4),
        ("width", "forward pass", 1e-5),
        ("samples S", "mc_predict", 2e-3),
        ("samples S", "engine.mc_predict", 5e-4),
    )
    for size in sizes(4)
]


@pytest.fixture
def network():
    """Ours, with weights large enough that every layer fires."""
    network = dropout(SIZES, steps=6)
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        weight.data.normal_(0, 2 / weight.shape[1] ** 0.5, generator=generator)
    return network.eval()


@pytest.fixture
def spikes(generator):
    return torch.rand(6, 50, SIZES[0], generator=generator).lt(0.3).float()


def test_results_have_their_columns_and_keep_other_works(tmp_path):
    path = tmp_path / "results.csv"
    write_rows(path, ROWS)
    assert path.read_text().splitlines()[0] == "work,contender,median_seconds,ratio"
    anew = [Row("fast", OURS, 1.0, 1.0)]
    assert merge_rows(path, anew, ["slow", "fast"]) == ROWS[2:] + anew
    assert merge_rows(path, anew, ["fast"]) == anew
    assert merge_rows(tmp_path / "none.csv", anew, ["fast"]) == anew


def test_a_ratio_falls_if_most_runs_are_a_tenth_below():
    committed = pd.DataFrame(ROWS)
    runs = [pd.DataFrame([Row("fast", OURS, 1, 1.0), Row("fast", "snntorch", 1, now)]) for now in (1.7, 1.75, 2.1)]
    table = standing(committed, runs).set_index(["work", "contender"])
    assert table.loc[("fast", "snntorch"), ["now", "fell", "verdict"]].tolist() == [1.75, 2, "FELL"]
    assert table.loc[("fast", OURS), "verdict"] == "kept"
    assert table.loc[("slow", "snntorch"), "verdict"] == "not measured"
    assert standing(committed, runs[2:])["verdict"].isin(["kept", "not measured"]).all()
    assert (standing(committed, [pd.DataFrame([Row("next", OURS, 1, 1.0)])])["verdict"] == "new").sum() == 1


def test_a_run_resumes_behind_the_works_that_it_did(tmp_path):
    assert run.works_in(tmp_path) == set()
    write_rows(tmp_path / "results.csv", ROWS)
    write_memory(tmp_path / "memory.csv", memory_rows("step", {OURS: 1}))
    assert run.works_in(tmp_path) == {"fast", "slow", "memory"}


def test_other_tables_have_their_columns(tmp_path):
    write_memory(tmp_path / "memory.csv", memory_rows("step", {OURS: 2_000_000, "norse": 5_000_000}))
    table = pd.read_csv(tmp_path / "memory.csv")
    assert list(table) == list(MemoryRow._fields) == ["work", "contender", "megabytes", "ratio"]
    assert table["ratio"].tolist() == [1.0, 2.5]
    write_scaling(tmp_path / "scaling.csv", POINTS)
    assert list(pd.read_csv(tmp_path / "scaling.csv")) == ["quantity", "contender", "size", "median_seconds"]


def test_committed_results_have_their_columns():
    table = pd.read_csv(run.Path(run.__file__).parent / "results.csv")
    assert list(table) == list(Row._fields)
    assert table.groupby("work")["ratio"].min().le(1.0).all()


@pytest.mark.parametrize("name", PEERS)
def test_peers_compute_what_ours_does(name, network, spikes):
    library(name)
    ours = network[1:](spikes)
    assert all(0.05 < rate < 0.6 for rate in hidden_rates(network[1:], spikes))
    theirs = peer(name, network, 0.2)(spikes)
    require_agreement(ours, {name: theirs})
    assert torch.isclose(ours, theirs, atol=1e-4).all(-1).double().mean() >= 0.99


@pytest.mark.parametrize("name", ["snntorch", "spikingjelly"])
def test_peers_with_our_surrogate_have_our_gradients(name, network, spikes):
    library(name)
    theirs = peer(name, network, 0.2)
    for each in (network[1:], theirs):
        each(spikes).square().mean().backward()
    for mine, other in zip(network.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5)


def test_a_convolutional_peer_has_our_outputs_and_gradients(generator):
    library("spikingjelly")
    ours = awake(plif((1, 8, 8), 3, hidden=(4, 6, 20), steps=3, p=0.0)).train()
    theirs = SpikingJellyTwin(ours).train()
    images = torch.rand(20, 1, 8, 8, generator=generator)
    outputs = [network(images) for network in (ours, theirs)]
    assert outputs[0].any()
    assert torch.equal(*outputs)
    for each in outputs:
        (each * torch.arange(3)).sum().backward()
    gradients = [[parameter.grad for parameter in network.parameters()] for network in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", [OURS, TERNARY, *PEERS])
def test_a_training_step_changes_the_weights_of_its_contender_alone(name, network, spikes):
    if name in PEERS:
        library(name)
    before = [weight.clone() for weight in network.parameters()]
    model = contender(name, network)
    mine = [weight.clone() for weight in model.parameters()]
    training_step(model, iter([(spikes, torch.zeros(50, dtype=torch.int64))]))()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(mine, model.parameters(), strict=True))


def test_other_classes_stop_the_benchmark(network, spikes):
    ours = network[1:](spikes)
    with pytest.raises(SystemExit, match=r"snntorch: same class for .* nothing to compare"):
        require_agreement(ours, {"snntorch": -ours})
    with pytest.raises(SystemExit, match=r"norse: expected logits of shape \[50, 3\]"):
        require_agreement(ours, {"norse": ours[..., :2]})


def test_passes_of_a_peer_are_random_draws(network, spikes):
    library("snntorch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        probs = monte_carlo.passes(peer("snntorch", network, 0.5), spikes, samples=3)()
    assert probs.shape == (3, 50, 3)
    assert not torch.equal(probs[0], probs[1])
    assert torch.allclose(probs.sum(-1), torch.ones(3, 50))


@pytest.mark.parametrize(("held", "rows"), [(False, 100), (True, 5)])
def test_the_floor_is_five_products(held, rows):
    """Two layers: forward each, weights' gradients each, and the input's of the second only."""
    from torch.utils.flop_counter import FlopCounterMode

    products = floor((8, 6, 4), batch=5, steps=20, held=held)
    with FlopCounterMode(display=False) as counter:
        products()
    assert counter.get_total_flops() == 2 * (2 * rows * 8 * 6 + 3 * 100 * 6 * 4)


@pytest.mark.skipif(not run.Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_memory_sees_what_is_freed_again():
    def fill():  # pages of its own, since an allocator may hand out what it has kept from other tests
        torch.frombuffer(mmap.mmap(-1, 64_000_000), dtype=torch.uint8).fill_(1)

    assert 60e6 < peak_bytes(fill) < 80e6


def test_slope_of_a_proportional_cost_is_one():
    assert fitted_slope(POINTS[:7]) == pytest.approx(1.0)
    assert sizes(4)[0] == 4
    assert sizes(4)[-1] == 400


@pytest.mark.parametrize("figure", ["ratios", "scaling"])
def test_nothing_overlaps_in_the_figures(figure, tmp_path, rendered):
    drawn = figures.draw_ratios(ROWS, {"fast": "a title"}) if figure == "ratios" else figures.draw_scaling(POINTS)
    assert faults(drawn) == []
    figures.save_png(drawn, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_networks_are_trained_by_the_main_job():
    config = run_config("dropconnect")
    assert (config.data.name, config.method.name, config.quantized_part, config.seed) == ("mnist", "direct", "all", 0)
    assert config.network.hidden == (500, 500, 500)


def test_a_network_of_other_settings_is_known(tmp_path):
    config = run_config("dropout")
    assert not is_of_other_settings(tmp_path, config)
    config.save(tmp_path / "config.toml")
    assert not is_of_other_settings(tmp_path, config)
    assert is_of_other_settings(tmp_path, config.replace(epochs=4))
    (tmp_path / "config.toml").write_text('gone = "setting"')
    assert is_of_other_settings(tmp_path, config)
