"""One stored tensor: its bits as they lie in the file, its values as float64."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np
from jaxtyping import Float64, UInt

from .layout import Layout

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
"""The floating types that are read, and the bytes that one number takes."""

Bits = Callable[[], UInt[np.ndarray, " n"]]
Reader = Callable[[int, int], UInt[np.ndarray, " n"]]
Ranges = Callable[[], AbstractContextManager[Reader]]


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file, state dict or module says of one tensor, before the ledger sorts it.

    `bits` reads it when called; it is None, and `obstacle` says why, when the entries cannot be read as floating
    numbers. `layout` and `role` are set when the class of the module is known. Tensors with the same `identity`
    are one tensor under several names. `address` is where the entries lie in memory in C order, if they do.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bits: Bits | None
    obstacle: str = ""
    file: str = ""
    key: str = ""
    identity: tuple[object, ...] | None = None
    layout: Layout | None = None
    role: str = ""
    ranges: Ranges | None = None
    address: int = 0

    @property
    def parameters(self) -> int:
        """How many entries."""
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class WeightTensor:
    """A floating tensor to be analysed; nothing is read before `bits` or `values` is called.

    `key` is its name in `file`, before prefixes such as `module.` were removed (`file` is "" in memory).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout
    read_bits: Bits
    file: str = ""
    key: str = ""
    ranges: Ranges | None = None

    @property
    def parameters(self) -> int:
        """How many weights."""
        return prod(self.shape)

    def reader(self) -> AbstractContextManager[Reader]:
        """Opens a function (start, stop) -> bits of that flat range, for one thread.

        From files that allow it, it reads just the range, into memory that its next call uses again.
        """
        return (self.ranges or _ranges_of(self.bits()))()

    def blocks(self, rows: int, weights: int) -> Iterator[tuple[int, "WeightTensor"]]:
        """Consecutive pieces of whole neurons as tensors of their own, each with the flat position where it begins.

        Each has at most so many rows and weights, where that can be. What cannot be read by ranges is read once.
        """
        ranges, first = self.ranges or _ranges_of(self.bits()), 0
        for layout in self.layout.blocks(rows, weights):
            shape, shifted = (layout.rows, layout.fan_in), partial(_shifted, ranges, first)
            bits = partial(whole, shifted, prod(shape))
            yield first, replace(self, shape=shape, layout=layout, read_bits=bits, ranges=shifted)
            first += prod(shape)

    def bits(self) -> UInt[np.ndarray, " n"]:
        """The entries in C order as unsigned integers of the stored width: mapped file pages where possible.

        Read-only in spirit and mostly in fact; raises CheckpointError when the file has changed or is damaged.
        """
        return self.read_bits()

    def values(self) -> Float64[np.ndarray, "*shape"]:
        """The exact values as float64, shaped as stored; NaN and infinities come through."""
        return decode(self.bits(), self.dtype).reshape(self.shape)

    def __repr__(self) -> str:
        return f"WeightTensor({self.name!r}, shape={self.shape}, dtype={self.dtype}, {self.layout.kind})"


def _ranges_of(bits: UInt[np.ndarray, " n"]) -> Ranges:
    return lambda: nullcontext(lambda start, stop: bits[start:stop])


@contextmanager
def _shifted(ranges: Ranges, first: int) -> Iterator[Reader]:
    """The reader of what begins at the position `first` of another."""
    with ranges() as read:
        yield lambda start, stop: read(first + start, first + stop)


def whole(ranges: Ranges, size: int) -> UInt[np.ndarray, " n"]:
    """All entries, by one range."""
    with ranges() as read:
        return read(0, size)


def decode(bits: UInt[np.ndarray, " n"], dtype: str) -> Float64[np.ndarray, " n"]:
    """Exact float64 values of stored bits; every format named in `BYTES` is a subset of float64.

    >>> decode(np.array([0x3F80, 0xC000], np.uint16), "bfloat16"), decode(np.array([0x38], np.uint8), "float8_e4m3fn")
    (array([ 1., -2.]), array([1.]))
    """
    if dtype == "float8_e4m3fn":
        return _E4M3FN[bits]
    if dtype == "float8_e5m2":  # the upper byte of a float16
        numbers = (bits.astype(np.uint16) << 8).view(np.float16)
    elif dtype == "bfloat16":  # the upper half of a float32
        numbers = (bits.astype(np.uint32) << 16).view(np.float32)
    else:
        numbers = bits.view(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return numbers.astype(np.float64)


def _e4m3fn() -> Float64[np.ndarray, " 256"]:
    """All values of float8_e4m3fn: bias 7, subnormals in steps of 2^-9, no infinity, NaN for 0x7F and 0xFF."""
    code = np.arange(128)
    exponent, mantissa = code >> 3, code & 7
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10))
    magnitude[127] = np.nan
    return np.concatenate([magnitude, -magnitude])


_E4M3FN = _e4m3fn()
