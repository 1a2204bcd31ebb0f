"""Detectors against scikit-learn, loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.cluster import AgglomerativeClustering
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import silhouette_score

from tsnn_uq.checks import InputError
from tsnn_uq.detection import DETECTORS, Features, Mahalanobis, NearestNeighbours, SpikeCountPatterns, VirtualLogit
from tsnn_uq.metrics.functional import ood_auroc

CLASSES, WIDTH = 3, 6


def blobs(count: int, seed: int, shift: float = 0.0, steps: int = 8) -> Features:
    """Spike rates of three classes, and logits that say which."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    means = torch.rand(CLASSES, WIDTH, generator=torch.Generator().manual_seed(99))
    rates = (means[labels] + shift).clamp(0, 1).expand(steps, -1, -1)
    hidden = torch.bernoulli(rates, generator=generator).mean(0)
    logits = 4 * torch.nn.functional.one_hot(labels, CLASSES) + torch.randn(count, CLASSES, generator=generator)
    return Features(hidden, logits, labels)


TRAIN, TEST = blobs(300, 0), blobs(40, 1)


@pytest.mark.parametrize("relative", [False, True])
def test_mahalanobis_is_the_least_quadratic_form(relative: bool) -> None:
    x, y = TRAIN.hidden.double().numpy(), TRAIN.labels.numpy()
    means = [x[y == c].mean(0) for c in range(CLASSES)]
    scatter = sum((v - means[c])[:, None] * (v - means[c]) for v, c in zip(x, y, strict=True)) / len(x)
    inverse = np.linalg.inv(scatter)
    wanted = [min((v - m) @ inverse @ (v - m) for m in means) for v in TEST.hidden.double().numpy()]
    if relative:
        wanted -= EmpiricalCovariance().fit(x).mahalanobis(TEST.hidden.double().numpy())
    np.testing.assert_allclose(Mahalanobis(relative=relative).fit(TRAIN).score(TEST), wanted, rtol=1e-8, atol=1e-8)


def test_mahalanobis_does_not_change_under_affine_maps_and_ignores_what_never_varies() -> None:
    map_ = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(3)).double()
    moved, test = (part._replace(hidden=part.hidden.double() @ map_ + 5) for part in (TRAIN, TEST))
    wanted = Mahalanobis().fit(TRAIN).score(TEST)
    np.testing.assert_allclose(Mahalanobis().fit(moved).score(test), wanted, rtol=1e-6)
    silent = [part._replace(hidden=torch.nn.functional.pad(part.hidden, (0, 2))) for part in (TRAIN, TEST)]
    np.testing.assert_allclose(Mahalanobis().fit(silent[0]).score(silent[1]), wanted, rtol=1e-8)
    gaps = TRAIN._replace(labels=TRAIN.labels * 2, logits=torch.zeros(len(TRAIN.hidden), 5))  # classes without inputs
    np.testing.assert_allclose(Mahalanobis().fit(gaps).score(TEST), wanted, rtol=1e-10)


@pytest.mark.parametrize("k", [1, 5, 300])
def test_neighbours_are_found_by_sorting_all_distances(k: int) -> None:
    def unit(features: Features) -> np.ndarray:
        x = features.hidden.double().numpy()
        length = np.linalg.norm(x, axis=1, keepdims=True)
        return np.where(length > 0, x / np.where(length > 0, length, 1), 0)

    wanted = np.sort(cdist(unit(TEST), unit(TRAIN)), axis=1)[:, k - 1]
    np.testing.assert_allclose(NearestNeighbours(k).fit(TRAIN).score(TEST), wanted, atol=1e-7)
    scaled = TEST._replace(hidden=7 * TEST.hidden)
    np.testing.assert_allclose(NearestNeighbours(k).fit(TRAIN).score(scaled), wanted, atol=1e-7)
    silent = Features(torch.zeros(1, WIDTH), torch.zeros(1, CLASSES))
    assert NearestNeighbours(k).fit(TRAIN).score(silent).isfinite().all()


def test_the_virtual_logit_is_the_papers_probability_by_rank() -> None:
    origin, leading = torch.full((WIDTH,), 0.1), 2
    x, z = TRAIN.hidden.double().numpy() - 0.1, TRAIN.logits.double().numpy()
    values, vectors = np.linalg.eigh(x.T @ x)
    rest = vectors[:, np.argsort(values)[: WIDTH - leading]]
    alpha = z.max(1).mean() / np.linalg.norm(x @ rest, axis=1).mean()
    virtual = alpha * np.linalg.norm((TEST.hidden.double().numpy() - 0.1) @ rest, axis=1)
    logits = TEST.logits.double().numpy()
    scores = VirtualLogit(leading, origin).fit(TRAIN).score(TEST).numpy()
    np.testing.assert_allclose(scores, virtual - logsumexp(logits, axis=1), rtol=1e-6, atol=1e-6)
    probability = np.exp(virtual) / (np.exp(virtual) + np.exp(logits).sum(1))
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), probability, rtol=1e-6)
    # Features that the leading directions span leave nothing: minus the energy alone.
    flat = torch.outer(torch.arange(1.0, 21), torch.ones(WIDTH))
    one = Features(flat, torch.randn(20, CLASSES, generator=torch.Generator().manual_seed(1)))
    energy = -one.logits.double().logsumexp(1)
    torch.testing.assert_close(VirtualLogit(1).fit(one).score(one), energy, rtol=0, atol=1e-3)


def test_archetypes_are_those_of_scikit_learn() -> None:
    detector = SpikeCountPatterns(clusters=5).fit(TRAIN)
    x, predicted = TRAIN.hidden.double().numpy(), TRAIN.logits.argmax(1).numpy()
    scores = detector.score(TEST)
    for c in range(CLASSES):
        own = x[predicted == c]
        cuts = [AgglomerativeClustering(k, metric="manhattan", linkage="average").fit_predict(own) for k in range(2, 6)]
        best = max(cuts, key=lambda cut: silhouette_score(own, cut, metric="manhattan"))
        archetypes = [np.median(own[best == group], axis=0) for group in np.unique(best)]
        np.testing.assert_allclose(np.sort(detector.archetypes[c], axis=0), np.sort(archetypes, axis=0))
        usual = sorted(min(np.abs(v - a).sum() for a in archetypes) for v in own)
        for row in (TEST.logits.argmax(1) == c).nonzero().flatten().tolist():
            d = min(np.abs(TEST.hidden[row].double().numpy() - a).sum() for a in archetypes)
            share = sum(u < d - 1e-12 for u in usual) / len(usual)
            assert scores[row] == pytest.approx(share if d <= usual[-1] else d / usual[-1])


def test_a_threshold_on_scp_is_one_for_each_class() -> None:
    """At the q-th quantile of the training distances the share flagged is 1 - q in every class."""
    detector = SpikeCountPatterns().fit(TRAIN)
    scores, predicted = detector.score(TRAIN), TRAIN.logits.argmax(1)
    for number, usual in detector.usual.items():
        own = scores[predicted == number]
        assert own.min() >= 0
        assert own.max() <= 1
        for q in (0.25, 0.5, 0.75):
            flagged = (own > q).double().mean().item()
            assert flagged <= 1 - q + 1e-9
            assert flagged >= 1 - q - max(np.unique(usual, return_counts=True)[1]) / len(usual)


def test_scp_scales_with_nothing_and_never_seen_classes_are_foreign() -> None:
    detector = SpikeCountPatterns(samples=20)
    one, counts = (
        detector.fit(TRAIN._replace(hidden=f * TRAIN.hidden)) and detector.score(TEST._replace(hidden=f * TEST.hidden))
        for f in (1, 8)
    )
    torch.testing.assert_close(one, counts)
    few = SpikeCountPatterns().fit(Features(*(part[:2] for part in TRAIN)))
    seen = TRAIN.logits[:2].argmax(1)
    scores = few.score(TEST)
    assert scores[~torch.isin(TEST.logits.argmax(1), seen)].isinf().all()


@pytest.mark.parametrize("name", DETECTORS)
def test_each_finds_what_is_foreign(name: str) -> None:
    detector = DETECTORS[name]().fit(TRAIN)
    inside, outside = detector.score(blobs(200, 2)), detector.score(blobs(200, 3, shift=0.5))
    assert inside.dtype == torch.float64
    assert inside.shape == (200,)
    assert ood_auroc(inside, outside) > 0.75
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    shuffled = Features(*(part[order] for part in blobs(200, 2)))
    torch.testing.assert_close(detector.score(shuffled), inside[order])
    assert detector.score(Features(torch.zeros(0, WIDTH), torch.zeros(0, CLASSES))).shape == (0,)
    images = Features(TEST.hidden.reshape(-1, 2, 3), TEST.logits)
    torch.testing.assert_close(detector.score(images), detector.score(TEST))


@pytest.mark.parametrize("name", DETECTORS)
def test_what_does_not_fit_is_refused(name: str) -> None:
    detector = DETECTORS[name]()
    with pytest.raises(InputError, match="expected fit before score"):
        detector.score(TEST)
    with pytest.raises(InputError, match="at least one input"):
        detector.fit(Features(TRAIN.hidden[:0], TRAIN.logits[:0], TRAIN.labels[:0]))
    with pytest.raises(InputError, match="finite"):
        detector.fit(TRAIN._replace(hidden=TRAIN.hidden / 0))
    detector.fit(TRAIN)
    with pytest.raises(InputError, match="expected 6 per input"):
        detector.score(TEST._replace(hidden=TEST.hidden[:, :4]))
    with pytest.raises(InputError, match="of the same inputs"):
        detector.score(TEST._replace(logits=TEST.logits[:3]))


def test_bad_options_and_missing_labels() -> None:
    with pytest.raises(InputError, match="labels of the training inputs"):
        Mahalanobis().fit(TRAIN._replace(labels=None))
    with pytest.raises(InputError, match="neighbours: expected at most the 300"):
        NearestNeighbours(301).fit(TRAIN)
    with pytest.raises(InputError, match="leading: expected fewer than the 6"):
        VirtualLogit(6).fit(TRAIN)
    with pytest.raises(InputError, match="origin"):
        VirtualLogit(origin=torch.zeros(2)).fit(TRAIN)
    for make in (lambda: NearestNeighbours(0), lambda: VirtualLogit(0), lambda: SpikeCountPatterns(clusters=0)):
        with pytest.raises(InputError, match="expected a positive whole number"):
            make()
