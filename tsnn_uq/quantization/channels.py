"""The output channels of a layer's weight.

Rules, files and counts take weights [out, in / groups, ...], as linear layers and convolutions have them. A transposed
convolution has [in, out / groups, ...]: output channel j of group g reads only the inputs of that group, so its weights
are [g in / groups : (g + 1) in / groups, j]. Exchanging the two axes within each group converts one form into the
other.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["TRANSPOSED", "outputs_first", "transposed_groups"]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def transposed_groups(layer: nn.Module) -> int:
    """Groups of a transposed convolution; 0 for any other layer.

    Example:
        >>> transposed_groups(nn.ConvTranspose2d(4, 6, 3, groups=2)), transposed_groups(nn.Conv2d(4, 6, 3, groups=2))
        (2, 0)
    """
    return layer.groups if isinstance(layer, TRANSPOSED) else 0


def outputs_first(weight: Tensor, groups: int) -> Tensor:
    """The weight [in, out / groups, ...] of a transposed convolution as [out, in / groups, ...], or the reverse.

    Args:
        weight: the weight of any layer.
        groups: `transposed_groups` of the layer; 0 returns the weight unchanged.

    Example:
        >>> layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
        >>> layer.weight.shape, outputs_first(layer.weight, 2).shape
        (torch.Size([4, 3, 3, 3]), torch.Size([6, 2, 3, 3]))
    """
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1) if groups else weight
