"""The entrance: anything that holds weights -> Checkpoint."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .folders import read_config, read_folder, shard_note
from .hub import download, is_hub_id, is_remote
from .ledger import Checkpoint, account
from .tensor import Stored

_TORCH = (".pt", ".pth", ".th", ".bin", ".tar", ".ckpt")
_OTHERS = {
    ".h5": "convert Keras files to .npz or .safetensors first",
    ".keras": "convert Keras files to .npz or .safetensors first",
    ".onnx": "read the checkpoint it was exported from",
    ".gguf": "read the checkpoint it was made from",
    ".msgpack": "convert Flax files to .safetensors first",
    ".pkl": "a pickle can run code; save a state dict with torch.save",
}


def read(source: Any, include: str | Sequence[str] = (), exclude: str | Sequence[str] = ()) -> Checkpoint:
    """Read a checkpoint: names, shapes, dtypes and neuron axes now, the weights when they are asked for.

    `source` is a path to `.safetensors`, `.npz` or a file of torch.save (`.pt .pth .th .bin .tar .ckpt`), a folder
    with one of them or with an index of shards, a Hub id `org/name[@revision]`, a state dict or an `nn.Module`;
    or the address of `.safetensors` (`https://...`, `hf://org/name[@revision]`), of which only ranges are fetched.
    Floating tensors with two or more dimensions are analysed; with `include` exactly those floating tensors whose
    names match one of the patterns (globs, or regular expressions after `re:`); `exclude` takes away. Raises
    CheckpointError, in one sentence, for whatever is missing, damaged or unsafe; no pickle is ever executed.

    >>> import numpy as np
    >>> ones = np.ones((2, 3), np.float32)
    >>> checkpoint = read({"fc.weight": ones, "fc.bias": ones[:, 0]})
    >>> checkpoint.tensors, checkpoint.parameters, checkpoint.skipped[0].reason
    ((WeightTensor('fc.weight', shape=(2, 3), dtype=float32, linear),), 8, 'bias or norm vector: one value per neuron')
    """
    include = (include,) if isinstance(include, str) else tuple(include)
    exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    if isinstance(source, str) and is_remote(source):
        from .remote import read_remote, shown  # pulls in what speaks HTTP

        label, ((stored, notes), config) = shown(source), read_remote(source)
    elif isinstance(source, str | os.PathLike):
        path, label = _locate(source), os.fspath(source)
        stored, notes = _read_path(path)
        config = read_config(path if path.is_dir() else path.parent)
    else:
        label, (stored, notes), config = _label(source), _read_object(source), _config_of(source)
    return account(label, stored, notes, config, include, exclude)


def _locate(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    try:
        if path.exists():
            return path
    except OSError as error:
        raise CheckpointError(f"{str(source)[:80]!r} is no path: {error.strerror or error}.") from None
    known = path.suffix in (".safetensors", ".npz", *_TORCH, *_OTHERS)
    if isinstance(source, str) and is_hub_id(source) and not known:
        return download(source)
    raise CheckpointError(f"there is no file or folder {str(source)!r}.")


def _read_path(path: Path) -> tuple[list[Stored], list[str]]:
    try:
        if path.is_dir():
            return read_folder(path, _read_file)
        stored, notes = _read_file(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
    return stored, notes + shard_note(path)


def _read_file(path: Path) -> tuple[list[Stored], list[str]]:
    if not path.is_file():
        raise CheckpointError(f"{path} is not a regular file.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty.")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        from .safetensors_files import read_safetensors

        return read_safetensors(path), []
    if suffix == ".npz":
        from .numpy_files import read_npz

        return read_npz(path), []
    if suffix in _TORCH:
        from .torch_files import read_torch

        return read_torch(path)
    advice = _OTHERS.get(suffix, f"known are .safetensors, .npz and {', '.join(_TORCH)}")
    raise CheckpointError(f"{path} is of a kind that is not read ({suffix or 'no suffix'}); {advice}.")


def _read_object(source: Any) -> tuple[list[Stored], list[str]]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.nn.Module):
        from .state_dicts import without_prefixes
        from .torch_tensors import module_tensors

        return without_prefixes(module_tensors(source))
    if isinstance(source, Mapping):
        from .state_dicts import state_dict_tensors

        return state_dict_tensors(source, "the dict")
    raise CheckpointError(
        "a source is a path, a folder, a Hub id, an address, a state dict or an nn.Module, "
        f"got a {type(source).__name__}."
    )


def _label(source: Any) -> str:
    return "state dict" if isinstance(source, Mapping) else type(source).__name__


def _config_of(source: Any) -> dict[str, Any] | None:
    """What a model of transformers knows of itself."""
    config = getattr(getattr(source, "config", None), "to_dict", None)
    found = config() if callable(config) else None
    return found if isinstance(found, dict) else None
