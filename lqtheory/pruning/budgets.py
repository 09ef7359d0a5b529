r"""Budgets: how many weights each neuron keeps, to the weight.

A budget is a function of the scores of all layers, of the total to keep and of the shapes of the tensors; it returns
one count per neuron, and the counts sum to the total exactly. No neuron gets fewer than `least` weights (one, unless
asked). Budgets of whole layers are in `layers`.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float64, Int64

from .._checks import check_count, check_exponent, check_fraction
from ..indices import log_effective_number
from ..profile import Profile

Scores = Sequence[Float64[np.ndarray, " out fan_in"]]
Counts = list[Int64[np.ndarray, " out"]]
Shapes = Sequence[tuple[int, ...]]
Budget = Callable[[Scores, int, Shapes], Counts]


def kept_total(weights: int, sparsity: float) -> int:
    r"""$\lfloor (1-s)N + 1/2 \rfloor$, with s read as the decimal that it prints as, so that 0.9 means nine tenths.

    >>> kept_total(266200, 0.9), kept_total(5, 0.9), kept_total(5, 0)
    (26620, 1, 5)
    """
    s = Fraction(repr(check_fraction(float(sparsity), "sparsity")))
    return int((1 - s) * weights + Fraction(1, 2))


def uniform(scores: Scores, total: int, shapes: Shapes = (), least: int = 1) -> Counts:
    r"""The same share of every neuron: quota $d_i\,k/N$, rounded down or up by largest remainder.

    Of equal remainders the earlier neuron's is rounded up. A neuron whose quota is below `least` gets `least`, and
    the others share the rest.

    >>> uniform([np.ones((2, 3)), np.ones((1, 2))], 5)
    [array([2, 2]), array([1])]
    """
    fan_in = _fan_in(scores)
    _check_total(total, fan_in, least)
    counts = np.minimum(least, fan_in)
    sharing = np.ones(fan_in.size, dtype=bool)
    while sharing.any():
        rest, whole = total - int(counts[~sharing].sum()), int(fan_in[sharing].sum())
        starved = sharing & (fan_in * rest < counts * whole)
        if not starved.any():
            quota, remainder = np.divmod(fan_in[sharing] * rest, whole)  # whole numbers: exact
            quota[np.argsort(-remainder, kind="stable")[: rest - int(quota.sum())]] += 1
            counts[sharing] = quota
            break
        sharing &= ~starved
    return _split(counts, scores)


def global_ranking(scores: Scores, total: int, shapes: Shapes = (), least: int = 1) -> Counts:
    """The `total` largest scores of all layers together, after the `least` largest of each neuron.

    Equal scores go to the earlier layer, then to the lower flat index.

    >>> global_ranking([np.array([[9.0, 8.0]]), np.array([[1.0, 2.0]])], 2)
    [array([1]), array([1])]
    >>> global_ranking([np.array([[9.0, 8.0]]), np.array([[1.0, 2.0]])], 2, least=0)
    [array([2]), array([0])]
    """
    fan_in = _fan_in(scores)
    _check_total(total, fan_in, least)
    ranked = [np.sort(layer, axis=1)[:, ::-1] for layer in scores]
    free = np.concatenate([layer[:, least:].ravel() for layer in ranked])
    neuron = np.repeat(np.arange(fan_in.size), np.maximum(fan_in - least, 0))
    reserved = np.minimum(least, fan_in)
    chosen = np.argsort(-free, kind="stable")[: total - int(reserved.sum())]
    return _split(reserved + np.bincount(neuron[chosen], minlength=fan_in.size), scores)


def keep_rule(scores: Scores, eta: float, q: float = 0.5) -> Counts:
    r"""$m_i = \lceil (1+\eta)^{-1/(1-q)} N_{q,1}(w_i) \rceil$ for each neuron, $\eta > -1$, 0 < q < 1.

    The rule of Yang, Wang, Ding, Yang (2022), from their code, with their q = 0.5: fewer weights cannot leave out
    at most $\eta$ times the $\ell_1$ norm of what is kept (retention). A neuron of zeros keeps one weight.

    >>> keep_rule([np.array([[5.0, 5.0, 5.0, 0.0], [0.0, 7.0, 0.0, 0.0]])], eta=0)
    [array([3, 1])]
    """
    check_exponent(q, upper=np.nextafter(1.0, 0.0))
    if not eta > -1:
        raise ValueError(f"eta must be above -1, got eta={eta:g}.")
    scale = float(np.exp(-np.log1p(eta) / (1 - q)))
    return _split(_rule(scale, _effective_numbers(scores, q), _fan_in(scores)), scores)


def keep_rule_at_total(scores: Scores, total: int, shapes: Shapes = (), q: float = 0.5) -> Counts:
    r"""The keep rule at the $\eta$ where it keeps `total` weights in all.

    The counts grow one by one as $\eta$ falls; where several neurons grow at the same $\eta$ and not all may, the
    earlier ones do. So the total is met exactly, and of two totals the smaller keeps no more in any neuron.

    >>> keep_rule_at_total([np.array([[5.0, 5.0, 5.0, 0.0], [0.0, 7.0, 0.0, 0.0]])], 5)
    [array([4, 1])]
    """
    check_exponent(q, upper=np.nextafter(1.0, 0.0))
    fan_in = _fan_in(scores)
    _check_total(total, fan_in, least=1)
    numbers = _effective_numbers(scores, q)
    low, high = 0.0, 2.0 * float(np.max(fan_in / numbers))
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _rule(middle, numbers, fan_in).sum() <= total else (low, middle)
    counts = _rule(low, numbers, fan_in)
    growing = np.flatnonzero(_rule(high, numbers, fan_in) > counts)
    counts[growing[: total - int(counts.sum())]] += 1
    return _split(counts, scores)


def _rule(scale: float, numbers: Float64[np.ndarray, " n"], fan_in: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    # a lower bound on the kept weights is rounded down before the ceiling: N = 3 must not become 4
    wanted = np.ceil(np.minimum(scale * numbers * (1 - 1e-12), fan_in))
    return np.maximum(wanted, 1).astype(np.int64)


def _effective_numbers(scores: Scores, q: float) -> Float64[np.ndarray, " n"]:
    logs = [log_effective_number(Profile.of(row), q, 1) for layer in scores for row in layer]
    return np.exp(np.nan_to_num(logs, nan=0.0))


def _fan_in(scores: Scores) -> Int64[np.ndarray, " n"]:
    return np.concatenate([np.full(layer.shape[0], layer.shape[1], dtype=np.int64) for layer in scores])


def _split(counts: Int64[np.ndarray, " n"], scores: Scores) -> Counts:
    return np.split(counts, np.cumsum([layer.shape[0] for layer in scores])[:-1])


def _check_total(total: int, fan_in: Int64[np.ndarray, " n"], least: int) -> None:
    check_count(total, "the number of weights to keep", int(np.minimum(least, fan_in).sum()), int(fan_in.sum()))
