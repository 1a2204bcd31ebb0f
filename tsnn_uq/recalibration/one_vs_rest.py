"""Non-parametric recalibration of each class's probability by itself: histogram binning and isotonic regression.

Each class is calibrated one against the rest, and the results are divided by their sum. If all of them are 0, the row
is left unchanged (netcal divides by zero there). A class without a held-out label keeps its probability.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_positive, describe
from tsnn_uq.recalibration.base import Recalibrator

__all__ = ["HistogramBinning", "IsotonicRegression"]


class _OneVsRest(Recalibrator):
    #: Which classes [C] have a held-out label, once fitted; the others keep their probability.
    seen: Tensor | None = None

    @property
    def determined(self) -> bool:
        """Whether every class has a held-out label."""
        return self.seen is not None and bool(self.seen.all())

    def _fit(self, probs: Tensor, logs: Tensor, target: Tensor) -> None:
        if probs.dim() != 2:
            hint = "give the mean over samples"
            raise InputError(f"probs: expected a tensor of shape [N, C] to fit to; got {describe(probs)} ({hint})")
        truth = torch.nn.functional.one_hot(target, probs.shape[-1]).double()
        self.seen = truth.any(0)
        self._fit_classes(probs.detach().double(), truth)

    def _transform(self, probs: Tensor, logs: Tensor) -> Tensor:
        rows = probs.detach().double().flatten(0, -2)
        if len(rows) == 0:
            return probs.double()
        assert self.seen is not None
        mapped = torch.where(self.seen.to(rows.device), self._map_classes(rows), rows)
        total = mapped.sum(-1, keepdim=True)
        return torch.where(total > 0, mapped / total.clamp_min(1e-300), rows).reshape(probs.shape)

    @abstractmethod
    def _fit_classes(self, probs: Tensor, truth: Tensor) -> None:
        """Fit each column of probabilities [N, C] to whether it was the class, 0 or 1 [N, C]."""

    @abstractmethod
    def _map_classes(self, probs: Tensor) -> Tensor:
        """Map each column of [N, C]."""


class HistogramBinning(_OneVsRest):
    """Replace a probability by how often the class was true among held-out inputs in its bin.

    (Zadrozny and Elkan 2001.) Bins of equal width are [lo, hi), the last one closed, as in `tsnn_uq.metrics`; an empty
    one maps to its middle. (netcal fits [lo, hi) but looks up (lo, hi], so a probability on an edge gets the value of
    the neighbouring bin.)

    Args:
        bins: number of bins of equal width on [0, 1].
    """

    def __init__(self, bins: int = 15) -> None:
        check_positive("bins", bins, integer=True)
        self.bins = bins
        self.values: Tensor | None = None  #: of each class and bin [C, bins], once fitted
        self.empty: Tensor | None = None  #: which bins [C, bins] no held-out input was in, once fitted

    @property
    def determined(self) -> bool:
        """Whether every class has a held-out label, and every bin an input."""
        return super().determined and self.empty is not None and not bool(self.empty.any())

    def _place(self, probs: Tensor) -> Tensor:
        edges = torch.arange(1, self.bins, dtype=torch.float64, device=probs.device) / self.bins
        return torch.bucketize(probs.T.contiguous(), edges, right=True)

    def _fit_classes(self, probs: Tensor, truth: Tensor) -> None:
        place = self._place(probs)
        sums = torch.zeros(2, probs.shape[1], self.bins, dtype=torch.float64, device=probs.device)
        count, hits = sums.scatter_add(2, place.expand(2, -1, -1), torch.stack([torch.ones_like(truth.T), truth.T]))
        middle = (torch.arange(self.bins, dtype=torch.float64, device=probs.device) + 0.5) / self.bins
        self.empty = count == 0
        self.values = torch.where(self.empty, middle, hits / count.clamp_min(1))

    def _map_classes(self, probs: Tensor) -> Tensor:
        assert self.values is not None
        return self.values.to(probs.device).gather(1, self._place(probs)).T


class IsotonicRegression(_OneVsRest):
    """Replace a probability by the best non-decreasing function of it (scikit-learn).

    (Zadrozny and Elkan 2002.) It never reverses the order of a class's probabilities, and it overfits small validation
    splits.
    """

    def _fit_classes(self, probs: Tensor, truth: Tensor) -> None:
        from sklearn.isotonic import IsotonicRegression as Isotonic

        columns = zip(probs.T.cpu().numpy(), truth.T.cpu().numpy(), strict=True)
        self._maps = [Isotonic(y_min=0, y_max=1, out_of_bounds="clip").fit(*column) for column in columns]

    def _map_classes(self, probs: Tensor) -> Tensor:
        columns = probs.T.cpu().numpy()
        mapped = [torch.as_tensor(f.predict(column)) for f, column in zip(self._maps, columns, strict=True)]
        return torch.stack(mapped, 1).to(probs.device)
