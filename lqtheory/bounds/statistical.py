r"""Certificates from held-out data: harm is what the dense network has right and the pruned one wrong.

The samples must be independent draws from the population that the certificate is about, never used to train, to
calibrate or to choose. Then the population's harm rate is bounded with the stated confidence, and with it the drop
of accuracy.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincc, betainccinv

from .._checks import check_count
from .bound import Bound

SLACK = 2.0**-34  # far above the error of the incomplete beta function, which a test holds against 50 digits


def harm(dense_right: ArrayLike, pruned_right: ArrayLike) -> int:
    """How many inputs the dense network has right and the pruned one wrong.

    >>> harm([True, True, False], [True, False, True])
    1
    """
    before, after = np.asarray(dense_right), np.asarray(pruned_right)
    if before.dtype != bool or after.dtype != bool or before.shape != after.shape:
        raise ValueError(
            "right answers must be booleans of one shape, got "
            f"{before.dtype} {before.shape} and {after.dtype} {after.shape}."
        )
    return int(np.count_nonzero(before & ~after))


def harm_rate(count: int, n: int, confidence: float = 0.95) -> Bound:
    r"""Clopper-Pearson: the p with $P(\mathrm{Bin}(n,p)\le\mathrm{count}) = 1-\mathrm{confidence}$, Theorem 28.

    An upper limit of the population's harm rate at that confidence, for every n; 1 when all n are harmed.

    >>> round(harm_rate(0, 100, 0.95).value, 6)  # 1 - 0.05**(1/100)
    0.029513
    """
    check_count(n, "n", 1, 2**53)
    check_count(count, "count", 0, n)
    delta = 1 - _check_confidence(confidence)
    value = 1.0
    if count < n:
        value = float(betainccinv(count + 1, n - count, delta))
        # the inverse is only nearly right: step up until the tail itself is below delta
        while value < 1 and betaincc(count + 1, n - count, value) > delta * (1 - SLACK):
            value = min(1.0, value * (1 + SLACK))
    return Bound(value, "upper", "Theorem 28", f"{n} independent held-out samples; confidence {confidence:g}")


def certified_sparsity(
    sparsities: Sequence[float], counts: Sequence[int], n: int, limit: float, confidence: float = 0.95
) -> Bound:
    r"""The largest sparsity of a fixed path up to which every harm rate is certified to be at most `limit`, Theorem 29.

    `sparsities` rise and were fixed beforehand; `counts` are their harms on the same n samples. Each step is a test at
    level 1 - confidence, from the least sparse on, and the first that fails ends the path: the confidence is for all
    certified steps together. 0, where nothing is pruned, when not even the first step passes.

    >>> certified_sparsity([0.5, 0.7, 0.9], [0, 1, 30], n=1000, limit=0.01).value
    0.7
    """
    path = np.asarray(sparsities, dtype=np.float64)
    if path.shape != (len(counts),) or np.any(np.diff(path) <= 0) or np.any((path < 0) | (path >= 1)):
        raise ValueError(
            f"sparsities must rise within [0, 1), one per count, got {list(sparsities)} for {len(counts)} counts."
        )
    if not 0 < limit < 1:
        raise ValueError(f"limit must lie in (0, 1), got limit={limit:g}.")
    certified = 0.0
    for sparsity, count in zip(path, counts, strict=True):
        if harm_rate(count, n, confidence).value > limit:
            break
        certified = float(sparsity)
    about = f"{n} independent held-out samples; path fixed beforehand; confidence {confidence:g} for the whole path"
    return Bound(certified, "lower", "Theorem 29", about)


def _check_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got confidence={confidence:g}.")
    return float(confidence)
