r"""Certificates from held-out data. Harm: right in the dense network, wrong in the pruned one. Gain: the reverse.

The samples must be independent draws from the population that the certificate is about, never used to train, to
calibrate or to choose. Then the population's harm rate is bounded with the stated confidence, and with it the drop
of accuracy; the net drop, harm less gain, is that drop itself.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc, betainccinv

from .._checks import check_count
from .bound import Bound

SPENT = 0.1  # the part of delta that goes to the limit of the discordant rate in Theorem 34
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


def net_drop(harmed: int, gained: int, n: int, confidence: float = 0.95) -> Bound:
    r"""An upper limit of the population's drop of accuracy, P(harm) - P(gain), from both counts, Theorem 34.

    With $\bar\psi$ the Clopper-Pearson limit of P(harm) + P(gain) at the confidence $1-\delta/10$, the d at which
    $P(B-C\le\mathrm{harmed}-\mathrm{gained})=0.9\,\delta$ when B and C have the rates $(\bar\psi\pm d)/2$. Exact tails
    at every n, no normal approximation; only $\bar\psi$ itself where that is above 1/2.

    >>> round(net_drop(60, 40, 10_000).value, 5), round(harm_rate(60, 10_000).value, 5)
    (0.00396, 0.00743)
    """
    check_count(n, "n", 2, 2**53)
    check_count(harmed, "harmed", 0, n)
    check_count(gained, "gained", 0, n - harmed)
    delta = 1 - _check_confidence(confidence)
    about = f"{n} independent held-out samples; confidence {confidence:g}"
    level = (1 - SPENT) * delta * (1 - SLACK)
    difference, most = harmed - gained, harm_rate(harmed + gained, n, 1 - SPENT * delta).value
    # up to this drop the distribution need not rise with the discordant rate
    low, high = float(np.nextafter((difference + 1) / (n - 1), 1.0)), most
    if most > 0.5 or low >= high or _drop_tail(difference, n, most, high) > level:
        return Bound(most, "upper", "Theorem 34", about)
    low = max(low, -most)
    while high - low > SLACK * most:
        middle = (low + high) / 2
        low, high = (low, middle) if _drop_tail(difference, n, most, middle) <= level else (middle, high)
    return Bound(high, "upper", "Theorem 34", about)


def _drop_tail(difference: int, n: int, discordant: float, drop: float) -> float:
    r"""$P(B-C\le t)$ for n draws that count for B or C with the probabilities $(\psi\pm d)/2$; only ever too large.

    $\sum_m P(B+C=m)\,P(\mathrm{Bin}(m,\frac{\psi+d}{2\psi})\le\lfloor\frac{m+t}2\rfloor)$ near the mean of m.
    """
    spread = 40 * (n * discordant * (1 - discordant) + 1) ** 0.5 + 40  # beyond: below 1e-40, by Bernstein
    m = np.arange(max(0, int(n * discordant - spread)), min(n, int(n * discordant + spread)) + 1)
    log_ratios = np.log((n - m[:-1]) * discordant / ((m[:-1] + 1) * (1 - discordant)))
    log_weights = np.concatenate([[0.0], np.cumsum(log_ratios)])
    weights = np.exp(log_weights - log_weights.max())
    gain = min(max((discordant - drop) / (2 * discordant), 0.0), 1.0)
    harms = np.clip((m + difference) // 2, -1, m)
    below = betainc(np.maximum(m - harms, 0.5), harms + 1.0 + (harms < 0), gain)
    below = np.where(harms < 0, 0.0, np.where(harms >= m, 1.0, below))
    return float(weights @ below / weights.sum()) + 1e-40


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
    limits = (harm_rate(count, n, confidence) for count in counts)
    return _fixed_sequence(sparsities, len(counts), limits, limit, n, confidence, "Theorem 29")


def certified_sparsity_by_drop(
    sparsities: Sequence[float],
    harmed: Sequence[int],
    gained: Sequence[int],
    n: int,
    limit: float,
    confidence: float = 0.95,
) -> Bound:
    r"""The same for the net drop of accuracy, which what is gained sets off, Theorem 35.

    >>> certified_sparsity_by_drop([0.5, 0.7], [20, 60], [15, 50], n=10_000, limit=0.005).value
    0.7
    """
    limits = (net_drop(*counts, n, confidence) for counts in zip(harmed, gained, strict=True))
    return _fixed_sequence(sparsities, len(harmed), limits, limit, n, confidence, "Theorem 35")


def _fixed_sequence(
    sparsities: Sequence[float],
    steps: int,
    limits: Iterable[Bound],
    most: float,
    n: int,
    confidence: float,
    source: str,
) -> Bound:
    """Down a path until the first step whose limit is above `most`."""
    path = np.asarray(sparsities, dtype=np.float64)
    if path.shape != (steps,) or np.any(np.diff(path) <= 0) or np.any((path < 0) | (path >= 1)):
        raise ValueError(
            f"sparsities must rise within [0, 1), one per count, got {list(sparsities)} for {steps} counts."
        )
    if not 0 < most < 1:
        raise ValueError(f"limit must lie in (0, 1), got limit={most:g}.")
    certified = 0.0
    for sparsity, limit in zip(path, limits, strict=True):
        if limit.value > most:
            break
        certified = float(sparsity)
    about = f"{n} independent held-out samples; path fixed beforehand; confidence {confidence:g} for the whole path"
    return Bound(certified, "lower", source, about)


def _check_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got confidence={confidence:g}.")
    return float(confidence)
