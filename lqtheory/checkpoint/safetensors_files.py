"""`.safetensors` files: the library checks the header, the data stay in the file until they are asked for."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt
from safetensors import SafetensorError, safe_open

from .errors import CheckpointError, in_short
from .tensor import BYTES, Bits, Ranges, Reader, Stored

_DIGITS = tuple("0123456789")
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: Path) -> list[Stored]:
    """The tensors of one file, by name with numbers in numerical order."""
    header = checked_header(path, str(path))
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    return stored_tensors(header, start, str(path), partial(_in_file, path))


def checked_header(path: Path, label: str) -> dict[str, Any]:
    """The header of a file, without its metadata, when the library finds no fault with it."""
    try:
        with safe_open(path, framework="numpy"):  # offsets, lengths, overlaps, dtypes, text
            pass
    except (SafetensorError, OSError) as error:
        detail = in_short(error).removeprefix("Error while deserializing header: ")
        raise CheckpointError(f"{label} is not a sound safetensors file: {detail}.") from None
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return header


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts layer.2 before layer.10.

    >>> sorted(["h.10.w", "h.2.w", "h"], key=natural)
    ['h', 'h.2.w', 'h.10.w']
    """
    return [(int(part), "") if part[:1] in _DIGITS else (-1, part) for part in re.split(r"([0-9]{1,18})", name) if part]


Place = Callable[[str, int, int, int], tuple[Bits, Ranges]]
"""How a tensor is read whole and by ranges, by its name, offset, and the number and width of its entries."""


def stored_tensors(header: dict[str, Any], start: int, file: str, place: Place) -> list[Stored]:
    """The tensors of a header whose data begin at `start`."""
    return [_stored(name, header[name], start, file, place) for name in sorted(header, key=natural)]


def _stored(name: str, entry: dict[str, Any], start: int, file: str, place: Place) -> Stored:
    shape, dtype = tuple(entry["shape"]), _DTYPES.get(entry["dtype"]) or str(entry["dtype"])
    if dtype not in BYTES:
        return Stored(name, shape, dtype, None, f"{dtype} values are not floating numbers of 8 to 64 bits", file)
    bits, ranges = place(name, start + entry["data_offsets"][0], prod(shape), BYTES[dtype])
    return Stored(name, shape, dtype, bits, file=file, ranges=ranges)


def _in_file(path: Path, name: str, offset: int, count: int, width: int) -> tuple[Bits, Ranges]:
    return partial(mapped, path, name, offset, count, width), partial(range_reader, path, name, offset, width)


def mapped(path: Path, name: str, offset: int, count: int, width: int) -> UInt[np.ndarray, " n"]:
    """`count` unsigned integers of `width` bytes from the pages of a file; copied only where they are not aligned."""
    try:
        bits = np.memmap(path, f"<u{width}", "r", offset, (count,))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} has changed since its header was read, at tensor {name!r}: {in_short(error)}."
        ) from None
    return np.require(bits, requirements="A").view(np.ndarray)


@contextmanager
def range_reader(path: Path, name: str, offset: int, width: int) -> Iterator[Reader]:
    """Opens a function that reads the integers of `width` bytes from one entry to another into a buffer of its own.

    Mapped pages would count as memory of the process until the whole tensor was seen.
    """
    buffer = bytearray()

    def read(start: int, stop: int) -> UInt[np.ndarray, " n"]:
        nonlocal buffer
        size = (stop - start) * width
        if len(buffer) < size:
            buffer = bytearray(size)
        if os.preadv(file.fileno(), [memoryview(buffer)[:size]], offset + start * width) < size:
            raise CheckpointError(f"{path} has changed since its header was read: it ends within tensor {name!r}.")
        return np.frombuffer(buffer, f"<u{width}", stop - start)

    try:
        with path.open("rb", buffering=0) as file:
            yield read
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read at tensor {name!r}: {in_short(error)}.") from None
