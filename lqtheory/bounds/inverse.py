r"""Inverse questions: how far can one go before a guarantee ends?

A family of pruned networks has a step for everything that can be dropped, 0 where nothing is. The searches return a
step at which the guarantee was seen to hold, never a point between it and one at which it does not.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from .._checks import check_exponent
from .rounding import EPS


def last_safe(holds: Callable[[int], bool], last: int, safe: int = 0) -> int:
    """A step from `safe` to `last` at which `holds`, next to one at which it does not (or `last` itself).

    By halving. `safe` is not asked again; where the guarantee comes and goes this is the end of one stretch of it, and
    a safe one.

    >>> last_safe(lambda step: step**2 <= 50, 100)
    7
    """
    if safe < last and holds(last):
        return last
    low, high = safe, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def kept_at_error(rows: Float64[np.ndarray, "n d"], eps: float) -> Int64[np.ndarray, " n"]:
    r"""$k^*(\epsilon)$ of every row: the least s with $\sigma_s(w)_2 \le \epsilon\|w\|_2$, Definition 14.

    One more where rounding leaves that in doubt. A row of zeros needs none.

    >>> kept_at_error(np.array([[3.0, 4.0, 0.0], [1.0, 1.0, 1.0]]), 0.61)
    array([1, 2])
    """
    check_exponent(eps, "eps", 0.0, 1.0, include_ends=True)
    largest = np.max(np.abs(rows), axis=1, keepdims=True)
    squares = np.sort(np.square(rows / np.where(largest > 0, largest, 1.0)), axis=1)  # smallest first: exact far tail
    tails = np.cumsum(squares, axis=1)
    dropped = tails <= (eps * eps * (1 - 4 * rows.shape[1] * EPS)) * tails[:, -1:]
    return rows.shape[1] - np.count_nonzero(dropped, axis=1)
