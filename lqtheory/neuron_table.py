"""The indices of neurons, one by one: columns that wait on a shelf, and what is said of them all together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from jaxtyping import Float64, UInt64

from .shelf import Held, Shelf, Shelved

Column = tuple[Held[np.ndarray] | Shelved[np.ndarray], ...]
"""The values of one index in pieces, each read by a call."""

FEW = 1 << 20
"""Up to here, values are taken into memory all at once."""


@dataclass(frozen=True, eq=False)
class NeuronTable:
    r"""Indices of the neurons of a tensor, or of many: a column for each, and one of $\log \|w_i\|_2$.

    `dead` neurons have no weight but zeros; `log_top` is the largest of the `log_norms`.
    """

    rows: int
    dead: int
    log_top: float
    log_norms: Column
    columns: dict[str, Column]

    @classmethod
    def of_block(
        cls, log_norms: Float64[np.ndarray, " rows"], dead: int, columns: dict[str, np.ndarray], shelf: Shelf
    ) -> "NeuronTable":
        """The table of some neurons, laid on a shelf."""
        kept = {name: (shelf.put(values),) for name, values in columns.items()}
        return cls(log_norms.size, dead, float(np.max(log_norms)), (shelf.put(log_norms),), kept)

    @classmethod
    def joined(cls, tables: Sequence["NeuronTable"]) -> "NeuronTable":
        """All neurons of some tables, in their order."""
        if not tables:
            return cls(0, 0, -np.inf, (), {})
        columns = {name: tuple(chain(*(t.columns[name] for t in tables))) for name in tables[0].columns}
        log_norms, log_top = tuple(chain(*(t.log_norms for t in tables))), max(t.log_top for t in tables)
        return cls(sum(t.rows for t in tables), sum(t.dead for t in tables), log_top, log_norms, columns)

    def on(self, shelf: Shelf) -> "NeuronTable":
        """The same table with its values moved to another shelf."""
        columns = {name: tuple(shelf.put(piece()) for piece in column) for name, column in self.columns.items()}
        return replace(self, log_norms=tuple(shelf.put(piece()) for piece in self.log_norms), columns=columns)

    def values(self, name: str) -> Float64[np.ndarray, " rows"]:
        """One column as a whole."""
        return np.concatenate([piece() for piece in self.columns[name]])


def summary(column: Column) -> dict[str, float]:
    """Mean, median, least and greatest of the values that are defined, and how many are not.

    >>> summary((Held(np.array([1.0, np.nan])), Held(np.array([2.0, 6.0]))))
    {'mean': 3.0, 'median': 2.0, 'min': 1.0, 'max': 6.0, 'undefined': 1}
    """
    size = known = 0
    total, low, high = 0.0, np.inf, -np.inf
    for piece in column:
        values = piece()
        size += values.size
        values = values[~np.isnan(values)]
        known += values.size
        total += float(np.sum(values))
        low, high = min(low, float(np.min(values, initial=np.inf))), max(high, float(np.max(values, initial=-np.inf)))
    if not known:
        return {"mean": np.nan, "median": np.nan, "min": np.nan, "max": np.nan, "undefined": size}
    middle = median(column, known, low, high)
    return {"mean": total / known, "median": middle, "min": low, "max": high, "undefined": size - known}


def median(column: Column, known: int, low: float, high: float) -> float:
    """The exact median of the `known` values that are not nan, in memory that does not grow with their number."""
    left, right = (known - 1) // 2, known // 2
    if known > FEW:
        return (nth(column, left, low, high) + nth(column, right, low, high)) / 2
    values = np.partition(np.concatenate([piece() for piece in column]), (left, right))  # nan goes to the end
    return float(values[left] + values[right]) / 2


def nth(column: Column, n: int, least: float, greatest: float) -> float:
    """The value before which n others come in ascending order: the range that holds it is narrowed pass by pass."""
    low, high = (int(key) for key in _keys(np.array([least, greatest])))
    while low < high:
        shift = max((high - low).bit_length() - 16, 0)
        counts = np.zeros(1 << 16, np.int64)
        for keys in _between(column, low, high):
            counts += np.bincount(((keys - np.uint64(low)) >> np.uint64(shift)).astype(np.int64), minlength=1 << 16)
        below = np.cumsum(counts)
        place = int(np.searchsorted(below, n, side="right"))
        n -= int(below[place - 1]) if place else 0
        low, high = low + (place << shift), low + ((place + 1) << shift) - 1
        if counts[place] <= FEW:
            low = int(np.partition(np.concatenate(list(_between(column, low, high))), n)[n])
            break
    return float(_from_keys(np.array([low], np.uint64))[0])


def _between(column: Column, low: int, high: int) -> Iterator[UInt64[np.ndarray, " n"]]:
    """The keys in [low, high] of each piece."""
    for piece in column:
        values = piece()
        keys = _keys(values[~np.isnan(values)])
        yield keys[(keys >= np.uint64(low)) & (keys <= np.uint64(high))]


_SIGN = np.uint64(1 << 63)


def _keys(values: Float64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Unsigned integers in the order of the values; adding zero makes -0.0 the 0.0 that it equals."""
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits >= _SIGN, ~bits, bits | _SIGN)


def _from_keys(keys: UInt64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return np.where(keys >= _SIGN, keys ^ _SIGN, ~keys).view(np.float64)
