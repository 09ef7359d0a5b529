"""`.npz` archives, never unpickled: each array is read from its member when asked for."""

import warnings
import zipfile
from functools import partial
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt

from .errors import CheckpointError, in_short
from .tensor import Stored

_CHUNK = 1 << 24


def read_npz(path: Path) -> list[Stored]:
    """The arrays of one archive in the order in which they were written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [_stored(path, archive, member) for member in archive.infolist() if member.filename.endswith(".npy")]
    except Exception as error:  # of zipfile, of its decompressors, of numpy's parser
        raise CheckpointError(f"{path} is not a sound .npz archive: {in_short(error)}.") from None


def array_bits(array: np.ndarray) -> UInt[np.ndarray, " n"]:
    """The entries of a floating array in C order as unsigned integers; a view where that order is the stored one."""
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return native.reshape(-1).view(f"u{array.itemsize}")


def _stored(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Stored:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        shape, fortran, dtype = _header(file)
        left = member.file_size - file.tell()
    if dtype.kind != "f" or dtype.itemsize > 8:
        return Stored(name, shape, dtype.name, None, f"{dtype.name} values are not floating numbers", str(path))
    if min(shape, default=0) < 0 or left < prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} has {left} bytes, too few for the shape {shape}")
    read = partial(_member_bits, path, member.filename, shape, fortran, dtype)
    return Stored(name, shape, dtype.name, read, file=str(path))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers that Python 2 wrote
        return read(file)


def _member_bits(
    path: Path, member: str, shape: tuple[int, ...], fortran: bool, dtype: np.dtype
) -> UInt[np.ndarray, " n"]:
    data = bytearray()
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            _header(file)
            while chunk := file.read(_CHUNK):
                data += chunk
        array = np.frombuffer(data, dtype, prod(shape))
    except Exception as error:
        raise CheckpointError(f"{path} is damaged at {member!r}: {in_short(error)}.") from None
    return array_bits(array.reshape(shape[::-1]).T if fortran else array)
