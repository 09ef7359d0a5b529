"""`.pt`, `.pth`, `.th`, `.bin`, `.tar`, `.ckpt`: files of torch.save, read without running anything in them."""

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError, in_short
from .safetensors_files import range_reader
from .state_dicts import state_dict_tensors
from .tensor import BYTES, Stored

_ADVICE = "save its state dict where it was made, torch.save(model.state_dict(), path), and read that"


def read_torch(path: Path) -> tuple[list[Stored], list[str]]:
    """The tensors of one file in the order of its state dict, and notes on what else it holds."""
    zipped = _is_zip(path)
    if zipped:
        _check_zip(path)
    content = _load(path, zipped)
    if isinstance(content, torch.Tensor):
        content = {"tensor": content}
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__} instead of a state dict.")
    stored, notes = state_dict_tensors(content, str(path))
    mappings = list(_mappings(path)) if zipped else []
    return [_by_ranges(replace(entry, file=str(path)), path, mappings) for entry in stored], notes


def _mappings(path: Path) -> Iterator[tuple[range, int]]:
    """Where pages of the file are mapped: addresses, and what makes a place in the file of an address. Linux only."""
    try:
        lines, real = Path("/proc/self/maps").read_text().splitlines(), str(path.resolve())
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        addresses, _, offset, _, _, *name = line.split(maxsplit=5)
        if name == [real]:
            start, stop = (int(address, 16) for address in addresses.split("-"))
            yield range(start, stop), int(offset, 16) - start


def _by_ranges(entry: Stored, path: Path, mappings: list[tuple[range, int]]) -> Stored:
    """The same, read from the file: mapped pages would count as memory until the whole tensor was seen."""
    size = entry.parameters * BYTES.get(entry.dtype, 0)
    for addresses, shift in mappings:
        if entry.bits and size and entry.address in addresses and entry.address + size - 1 in addresses:
            name, place = entry.key or entry.name, entry.address + shift
            return replace(entry, ranges=partial(range_reader, path, name, place, BYTES[entry.dtype]))
    return entry


def _load(path: Path, zipped: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how a file was written is its writer's concern
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # a damaged pickle raises whatever its opcodes run into
        raise CheckpointError(_refusal(path, error)) from None


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path} is damaged or cut short: {in_short(error)}.") from None
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise CheckpointError(f"{path} holds a TorchScript program; {_ADVICE}.")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):  # mapped, they would be misread
        raise CheckpointError(f"{path} has compressed entries, which torch.save does not write.")


def _refusal(path: Path, error: Exception) -> str:
    text = str(error)
    if found := re.search(r"GLOBAL ([\w.<>]+)", text):
        return f"{path} holds a pickled {found[1]}, which could run code when it is built; {_ADVICE}."
    if "legacy .tar" in text:
        return f"{path} is in the oldest format of torch, which cannot be read safely; {_ADVICE}."
    return f"{path} is damaged, cut short or not written by torch.save."
