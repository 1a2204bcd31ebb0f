from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.helpers.training import TINY, images, mlp, network, same
from tsnn_uq.training import Direct, fit
from tsnn_uq.training.batchnorm import batch_norms, refresh_batch_norms
from tsnn_uq.uncertainty import set_generator


def test_statistics_are_plain_means_over_batches_of_what_comes_in():
    model = mlp().train()
    x = images(16)[0]
    first, norm = model[0], model[1]
    norm.running_mean.fill_(7)
    dropout = model[4].eval()
    refresh_batch_norms(model, [x[:4], x[4:7], x[7:]])
    seen = [first(part).transpose(0, 1).flatten(1) for part in (x[:4], x[4:7], x[7:])]
    torch.testing.assert_close(norm.running_mean, torch.stack([part.mean(1) for part in seen]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([part.var(1) for part in seen]).mean(0))
    assert norm.momentum == nn.BatchNorm2d(2).momentum
    assert norm.training
    assert not dropout.training
    assert batch_norms(nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False))) == []


def test_a_training_ends_with_statistics_of_its_final_weights():
    plain, refreshed, whole = network("vgg"), network("vgg"), network("vgg", p=0.0)
    data = images()
    fit(plain, data, seed=0, method=Direct(), settings=TINY)
    fit(refreshed, data, seed=0, method=Direct(), settings=replace(TINY, batchnorm_inputs=16))
    assert all(torch.equal(*pair) for pair in zip(plain.parameters(), refreshed.parameters(), strict=True))
    assert not same(plain, refreshed)
    assert not refreshed.training
    # With one batch of all images and nothing random, they are those of the final network on these images.
    one = replace(TINY, batch_size=16, batchnorm_inputs=16)
    fit(whole, data, seed=0, method=Direct(), settings=one)
    norms = batch_norms(whole)
    found = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    set_generator(whole, torch.Generator())
    whole.train()
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        whole(data[0])
    for norm, (mean, variance) in zip(norms, found, strict=True):
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)


@pytest.mark.parametrize(("wanted", "batches"), [(1, 1), (8, 2), (9, 3)])
def test_whole_batches_are_taken_until_there_are_enough_inputs(wanted, batches, monkeypatch):
    taken = []
    name = "tsnn_uq.training.batchnorm.refresh_batch_norms"
    monkeypatch.setattr(name, lambda _, inputs: taken.extend(map(len, inputs)))
    fit(mlp(), images(16), seed=0, settings=replace(TINY, epochs=1, batch_size=4, batchnorm_inputs=wanted))
    assert taken == [4] * batches
