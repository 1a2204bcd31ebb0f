"""Before anything is timed: do all contenders compute the same?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tsnn_uq.readout import logits

__all__ = ["LEAST", "require_agreement"]

LEAST = 0.99  # of the inputs


def require_agreement(ours: Tensor, others: Mapping[str, Tensor]) -> None:
    """Stop unless the others predict the same class as ours for 99 % of the inputs.

    Sums of floats in another order differ in their last digits, and now and then that decides a spike, after which
    the outputs differ too: so the same outputs are only reported.

    Args:
        ours: outputs [T, N, C], or logits [N, C].
        others: the same of each contender, by name.
    """
    mine = logits(ours)
    for name, outputs in others.items():
        theirs = logits(outputs)
        if theirs.shape != mine.shape:
            raise SystemExit(f"{name}: expected logits of shape {list(mine.shape)}; got {list(theirs.shape)}")
        alike = (mine.argmax(-1) == theirs.argmax(-1)).double().mean().item()
        close = torch.isclose(mine, theirs, rtol=1e-4, atol=1e-4).all(-1).double().mean().item()
        what = f"{name}: same class for {alike:.1%} of {len(mine)} inputs, same outputs for {close:.1%}"
        if alike < LEAST:
            raise SystemExit(f"{what}: there is nothing to compare")
        print(f"  {what}", flush=True)
