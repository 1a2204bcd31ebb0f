"""Detectors of out-of-distribution inputs that are fitted to the features of training inputs.

Each detector is fitted to the `Features` of training inputs and then scores other inputs. High scores mean
out-of-distribution, as in `tsnn_uq.metrics.ood`. Detectors work with arrays, wherever the features come from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_labels, check_positive, describe
from tsnn_uq.detection.features import Features

__all__ = ["DETECTORS", "Detector", "Mahalanobis", "NearestNeighbours", "SpikeCountPatterns", "VirtualLogit"]

Array = np.ndarray[Any, np.dtype[np.float64]]


class Detector(ABC):
    """Base class of detectors, which are fitted to features and then score those of other inputs."""

    width: int | None = None

    def fit(self, features: Features) -> Self:
        """Fit to the features of training inputs.

        Returns:
            The detector itself.

        Raises:
            InputError: features are not finite, or labels are missing where they are needed.
        """
        hidden, logits = _arrays("features", features)
        if not len(hidden):
            raise InputError("features: expected at least one input to fit to; got none")
        self._fit(hidden, logits, features.labels)
        self.width = hidden.shape[1]
        return self

    def score(self, features: Features) -> Tensor:
        """Score each input, float64 [N]; high means out-of-distribution.

        Raises:
            InputError: `fit` was not called, or features are not finite or have another width.
        """
        hidden, logits = _arrays("features", features)
        if self.width is None:
            raise InputError(f"{type(self).__name__}: expected fit before score; call it on training features")
        if hidden.shape[1] != self.width:
            raise InputError(f"features: expected {self.width} per input, as in fit; got {describe(features.hidden)}")
        return torch.from_numpy(self._score(hidden, logits) if len(hidden) else np.zeros(0))

    @abstractmethod
    def _fit(self, hidden: Array, logits: Array, labels: Tensor | None) -> None:
        """Fit to features [N, F], logits [N, C] and labels [N]."""

    @abstractmethod
    def _score(self, hidden: Array, logits: Array) -> Array:
        """Scores [N] of features [N, F] and logits [N, C]."""


def _arrays(argument: str, features: Features) -> tuple[Array, Array]:
    hidden, logits = features.hidden.detach(), features.logits.detach()
    if hidden.dim() < 2 or logits.dim() != 2 or len(hidden) != len(logits):
        got = f"{describe(hidden)} and {describe(logits)}"
        raise InputError(f"{argument}: expected hidden [N, ...] and logits [N, C] of the same inputs; got {got}")
    arrays = hidden.flatten(1).double().cpu().numpy(), logits.double().cpu().numpy()
    if not all(np.isfinite(array).all() for array in arrays):
        raise InputError(f"{argument}: expected finite numbers; got NaN or infinity")
    return arrays


def _classes(labels: Tensor | None, classes: int, count: int) -> Array:
    if labels is None:
        raise InputError("features: expected labels of the training inputs; got None")
    return check_labels("labels", labels.cpu(), classes, count).numpy()


class Mahalanobis(Detector):
    r"""Mahalanobis distance to the nearest class, with the covariance within classes.

    .. math:: s = \min_c (h - \mu_c)^\top \Sigma^+ (h - \mu_c), \qquad
              \Sigma = \frac1N \sum_n (h_n - \mu_{y_n}) (h_n - \mu_{y_n})^\top

    See Lee et al. 2018, arXiv 1807.03888; here for one layer and without perturbation of inputs. The pseudo-inverse is
    scikit-learn's, so constant features have no effect.

    Args:
        relative: subtract the distance to one Gaussian of all classes, which helps with near sets (Ren et al. 2021,
            arXiv 2106.09022).
    """

    def __init__(self, *, relative: bool = False) -> None:
        self.relative = relative

    def _fit(self, hidden: Array, logits: Array, labels: Tensor | None) -> None:
        from sklearn.covariance import EmpiricalCovariance

        numbers, which = np.unique(_classes(labels, logits.shape[1], len(hidden)), return_inverse=True)
        means = np.stack([hidden[which == number].mean(0) for number in range(len(numbers))])
        within = EmpiricalCovariance(assume_centered=True).fit(hidden - means[which])
        self.root = _root(within.precision_)
        self.means = means @ self.root
        overall = EmpiricalCovariance().fit(hidden)
        self.overall = _root(overall.precision_)
        self.middle = overall.location_[None] @ self.overall

    def _score(self, hidden: Array, logits: Array) -> Array:
        from scipy.spatial.distance import cdist

        distances = cdist(hidden @ self.root, self.means, "sqeuclidean").min(1)
        return (
            distances - cdist(hidden @ self.overall, self.middle, "sqeuclidean")[:, 0] if self.relative else distances
        )


def _root(precision: Array) -> Array:
    """R [F, F] with R R^T equal to the precision; Euclidean distances of h R are Mahalanobis distances of h."""
    values, vectors = np.linalg.eigh(precision)
    return vectors * np.sqrt(values.clip(0))


class NearestNeighbours(Detector):
    r"""Distance to the k-th nearest training input, features scaled to length 1.

    .. math:: s = \lVert z - z_{(k)} \rVert_2, \qquad z = h / \lVert h \rVert_2

    See Sun et al. 2022, arXiv 2204.06507. Features that are all 0, as of silent neurons, stay 0.

    Args:
        neighbours: k; at most the number of training inputs.
    """

    def __init__(self, neighbours: int = 50) -> None:
        check_positive("neighbours", neighbours, integer=True)
        self.neighbours = neighbours

    def _fit(self, hidden: Array, logits: Array, labels: Tensor | None) -> None:
        from sklearn.neighbors import NearestNeighbors

        if len(hidden) < self.neighbours:
            raise InputError(f"neighbours: expected at most the {len(hidden)} training inputs; got {self.neighbours}")
        self.index = NearestNeighbors(n_neighbors=self.neighbours, algorithm="brute").fit(_unit(hidden))

    def _score(self, hidden: Array, logits: Array) -> Array:
        return self.index.kneighbors(_unit(hidden))[0][:, -1]


def _unit(hidden: Array) -> Array:
    from sklearn.preprocessing import normalize

    return normalize(hidden)


class VirtualLogit(Detector):
    r"""ViM: the residual of the features outside their leading directions, compared with the logits.

    .. math:: s = \alpha \lVert R^\top (h - o) \rVert_2 - \log \sum_c e^{z_c}, \qquad
              \alpha = \frac{\sum_n \max_c z_{nc}}{\sum_n \lVert R^\top (h_n - o) \rVert_2}

    The columns of R are the eigenvectors of the second moments of the training features about o, without the D leading
    ones (Wang et al. 2022, arXiv 2203.10807). The score is the log odds of the paper's virtual class, so it ranks
    inputs as the probability of that class does.

    Args:
        leading: number of leading directions D; by default half of the features, similar to the paper.
        origin: o [F], where the logits are 0: -W^+ b for a last layer W h + b; by default 0, as without biases.
    """

    def __init__(self, leading: int | None = None, origin: Tensor | None = None) -> None:
        if leading is not None:
            check_positive("leading", leading, integer=True)
        self.leading, self.origin = leading, origin

    def _fit(self, hidden: Array, logits: Array, labels: Tensor | None) -> None:
        from sklearn.covariance import empirical_covariance

        width = hidden.shape[1]
        leading = width // 2 if self.leading is None else self.leading
        if leading >= width:
            raise InputError(f"leading: expected fewer than the {width} features; got {leading}")
        self.shift = np.zeros(width) if self.origin is None else self.origin.detach().double().cpu().numpy()
        if self.shift.shape != (width,):
            raise InputError(f"origin: expected shape [{width}]; got {describe(self.origin)}")
        _, vectors = np.linalg.eigh(empirical_covariance(hidden - self.shift, assume_centered=True))
        self.rest = vectors[:, : width - leading]  # eigenvalues ascend
        residual, whole = self._residual(hidden).sum(), np.linalg.norm(hidden - self.shift, axis=1).sum()
        nothing = residual <= 1e-9 * whole  # only rounding errors, which alpha would amplify
        self.alpha = 0.0 if nothing else logits.max(1).sum() / residual

    def _residual(self, hidden: Array) -> Array:
        return np.linalg.norm((hidden - self.shift) @ self.rest, axis=1)

    def _score(self, hidden: Array, logits: Array) -> Array:
        from scipy.special import logsumexp

        return self.alpha * self._residual(hidden) - logsumexp(logits, axis=1)


class SpikeCountPatterns(Detector):
    r"""SCP: distance to the nearest archetype of the predicted class, relative to the training distances of that class.

    The counts of the training inputs of each predicted class are clustered (agglomerative, average linkage, L1). Of
    the cuts into 2 to `clusters` clusters, the one with the highest silhouette is used. The archetype of a cluster is
    its median. The distance d of an input is the L1 distance to the nearest archetype of its predicted class (Martinez
    Seras et al. 2023, arXiv 2210.00894). In the paper each class has its own threshold, the q-th quantile of its
    training distances, with the same q for all classes. This is equivalent to one threshold on

    .. math:: s = F_c(d) = \frac{|\{n : c_n = c, \, d_n < d\}|}{|\{n : c_n = c\}|}, \qquad
              s = d / \max_n d_n \text{ beyond the largest}

    A class without training inputs has no archetypes. Inputs that are predicted to be of it score infinity.

    Args:
        clusters: largest number of archetypes of a class.
        samples: largest number of training inputs of a class to cluster, the first ones; all are used for distances.
    """

    def __init__(self, clusters: int = 10, samples: int = 1000) -> None:
        check_positive("clusters", clusters, integer=True)
        check_positive("samples", samples, integer=True)
        self.clusters, self.samples = clusters, samples

    def _fit(self, hidden: Array, logits: Array, labels: Tensor | None) -> None:
        self.archetypes: dict[int, Array] = {}
        self.usual: dict[int, Array] = {}
        predicted = logits.argmax(1)
        for number in np.unique(predicted):
            own = hidden[predicted == number]
            self.archetypes[number] = _archetypes(own[: self.samples], self.clusters)
            self.usual[number] = np.sort(self._distances(own, number))

    def _distances(self, hidden: Array, number: int) -> Array:
        from scipy.spatial.distance import cdist

        return cdist(hidden, self.archetypes[number], "cityblock").min(1)

    def _score(self, hidden: Array, logits: Array) -> Array:
        predicted = logits.argmax(1)
        scores = np.full(len(hidden), np.inf)
        for number, usual in self.usual.items():
            rows = predicted == number
            distances = self._distances(hidden[rows], number)
            beyond = np.divide(distances, usual[-1], out=np.full(len(distances), np.inf), where=usual[-1] > 0)
            share = np.searchsorted(usual, distances) / len(usual)
            scores[rows] = np.where(distances > usual[-1], beyond, share)
        return scores


def _archetypes(own: Array, most: int) -> Array:
    """Medians [k, F] of the clusters of a class's features [n, F], with k from 1 to `most`."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist, squareform
    from sklearn.metrics import silhouette_score

    groups, best = np.ones(len(own), dtype=int), -np.inf
    if len(own) > 2 and most > 1:
        distances = pdist(own, "cityblock")
        tree, square = linkage(distances, "average"), squareform(distances)
        for wanted in range(2, most + 1):
            cut = fcluster(tree, wanted, "maxclust")
            if 1 < cut.max() < len(own) and (found := silhouette_score(square, cut, metric="precomputed")) > best:
                groups, best = cut, found
    return np.stack([np.median(own[groups == group], axis=0) for group in np.unique(groups)])


DETECTORS: dict[str, type[Detector]] = {
    "mahalanobis": Mahalanobis,
    "knn": NearestNeighbours,
    "vim": VirtualLogit,
    "scp": SpikeCountPatterns,
}
"""Detectors by name."""
