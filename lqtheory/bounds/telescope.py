r"""Tier H: which layer's pruning did what, measured; an exact attribution whose sum of norms bounds the whole."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from .layers import Linear, check_inputs, forward
from .network import NetworkBound, check_pair
from .rounding import norm_up, up


def telescoped(dense: Sequence[Linear], pruned: Sequence[Linear], x: ArrayLike) -> NetworkBound:
    r"""$\|f-\hat f\| \le \sum_l \|f_{l+1}-f_l\|$, the layers l to L of $f_l$ being the pruned ones, Theorem 22.

    `local` holds the terms, every gain is 1; each is at most what tier C says of the same layer. It runs the networks,
    so it is no promise made beforehand: it says where the error came from, and how much the terms cancel.
    """
    check_pair(dense, pruned)
    h = check_inputs(dense, x)
    n, terms = len(h), []
    for level, (layer, hat) in enumerate(zip(dense, pruned, strict=True), start=1):
        after, changed = layer(h), hat(h)
        rest = pruned[level:]
        difference = forward(rest, after) - forward(rest, changed) if rest else after - changed
        terms.append(up(norm_up(difference) / n**0.5, 4))
        h = after
    about = "about the sample, as evaluated here"
    return NetworkBound(up(sum(terms), len(terms)), "upper", "Theorem 22", about, tuple(terms), (1.0,) * len(terms))
