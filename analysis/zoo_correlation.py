"""Rank correlations between an index and the truth, over all networks and within recipes, with bootstrap intervals.

A resample is a matrix of positions, one row for each: the same for all indices, so that differences have intervals.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import rankdata

Values = Float64[np.ndarray, " n"]
Rows = Float64[np.ndarray, " resamples n"]
Drawn = Int64[np.ndarray, " resamples n"]
Correlation = Callable[[Values, Values, Drawn], Float64[np.ndarray, " resamples"]]


def resamples(groups: Sequence[int], count: int, seed: int) -> Drawn:
    """First everything once, then `count` draws with replacement, each group keeping its size."""
    rng, labels = np.random.default_rng(seed), np.asarray(groups)
    drawn = np.tile(np.arange(len(labels)), (count + 1, 1))
    for group in np.unique(labels):
        places = np.flatnonzero(labels == group)
        drawn[1:, places] = rng.choice(places, (count, len(places)))
    return drawn


def spearman(x: Values, y: Values, drawn: Drawn) -> Float64[np.ndarray, " resamples"]:
    """Spearman's rho in each resample.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]), np.array([[0, 1, 2]]))
    array([0.5])
    """
    return _pearson(rankdata(x[drawn], axis=1), rankdata(y[drawn], axis=1))


def kendall(x: Values, y: Values, drawn: Drawn) -> Float64[np.ndarray, " resamples"]:
    """Kendall's tau-b in each resample.

    >>> kendall(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]), np.array([[0, 1, 2]]))
    array([0.33333333])
    """
    return _tau(x, y, drawn, np.ones((len(x), len(x))))


def within(groups: Sequence[int]) -> tuple[Correlation, Correlation]:
    """The same two within groups: rho of the ranks in each group, and tau over the pairs that share a group."""
    labels = np.asarray(groups)
    same = (labels[:, None] == labels[None, :]).astype(float)
    places = [np.flatnonzero(labels == group) for group in np.unique(labels)]

    def ranks(values: Rows) -> Rows:
        found = np.zeros_like(values)
        for at in places:
            found[:, at] = rankdata(values[:, at], axis=1) - (len(at) + 1) / 2
        return found

    return (
        lambda x, y, drawn: _pearson(ranks(x[drawn]), ranks(y[drawn])),
        lambda x, y, drawn: _tau(x, y, drawn, same),
    )


def _pearson(x: Rows, y: Rows) -> Float64[np.ndarray, " resamples"]:
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))


def _tau(x: Values, y: Values, drawn: Drawn, pairs: Float64[np.ndarray, " n n"]) -> Float64[np.ndarray, " resamples"]:
    counts = np.stack([np.bincount(row, minlength=len(x)) for row in drawn]).astype(float)
    a, b = (np.sign(each[:, None] - each[None, :]) * pairs for each in (x, y))
    both, left, right = (((counts @ m) * counts).sum(1) for m in (a * b, np.abs(a), np.abs(b)))
    with np.errstate(invalid="ignore"):
        return both / np.sqrt(left * right)


def interval(values: Float64[np.ndarray, " resamples"]) -> list[float]:
    """The value, and the 2.5 and 97.5 % quantiles of its resamples."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return [round(float(each), 3) for each in (values[0], low, high)]
