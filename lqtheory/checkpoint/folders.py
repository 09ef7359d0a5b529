"""Folders: one file, or the shards that an index lists; and the config.json beside them."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .tensor import Stored

ReadFile = Callable[[Path], tuple[list[Stored], list[str]]]
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.\w+$")
_PREFERRED = ("model", "pytorch_model", "diffusion_pytorch_model")
_KINDS = (".safetensors", ".bin", ".pt", ".pth", ".th", ".ckpt", ".tar", ".npz")


def read_folder(folder: Path, read_file: ReadFile) -> tuple[list[Stored], list[str]]:
    """The tensors of the checkpoint in a folder; safetensors before pickles, an index before single files."""
    for kind in _KINDS:
        if index := _choose(folder, f"{kind}.index.json"):
            return _read_shards(index, read_file)
        if file := _choose(folder, kind):
            return read_file(file)
    raise CheckpointError(f"{folder} has no file of weights ({', '.join('*' + kind for kind in _KINDS)}).")


def read_config(folder: Path) -> dict[str, Any] | None:
    """The config.json of a Hugging Face folder, or None when there is none to be read."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def shard_note(path: Path) -> list[str]:
    """A note for a file that is only a part of a checkpoint."""
    found = _SHARD.search(path.name)
    whole = f"{path.name} is shard {int(found[1])} of {int(found[2])}; read the folder for the whole" if found else ""
    return [whole] if whole else []


def _choose(folder: Path, ending: str) -> Path | None:
    files = sorted(path for path in folder.iterdir() if path.name.endswith(ending) and path.is_file())
    preferred = [path for stem in _PREFERRED for path in files if path.name == stem + ending]
    if preferred or len(files) <= 1:
        return next(iter(preferred + files), None)
    if any(_SHARD.search(path.name) for path in files):
        raise CheckpointError(
            f"{folder} has shards such as {files[0].name}, but no index that lists them (*{ending}.index.json)."
        )
    raise CheckpointError(f"{folder} has {len(files)} files *{ending}; name the one to read, such as {files[0]}.")


def _read_shards(index: Path, read_file: ReadFile) -> tuple[list[Stored], list[str]]:
    owner = _weight_map(index)
    shards = sorted(set(owner.values()))
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise CheckpointError(
            f"{index} lists {len(missing)} of {len(shards)} shards that are not there, such as {missing[0]}."
        )
    stored, notes = [], []
    for shard in shards:
        tensors, remarks = read_file(index.parent / shard)
        stored += tensors
        notes += [f"{shard}: {remark}" for remark in remarks]
        absent = {name for name, file in owner.items() if file == shard} - {
            entry.key or entry.name for entry in tensors
        }
        if absent:
            raise CheckpointError(f"{index} promises the tensor {min(absent)!r} in {shard}, which does not have it.")
    return stored, notes


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        owner = json.loads(index.read_bytes())["weight_map"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{index} is not an index of shards: it needs a JSON object with 'weight_map'.") from None
    if not isinstance(owner, dict) or not owner:
        raise CheckpointError(f"{index} is not an index of shards: 'weight_map' names no tensors.")
    for name, file in owner.items():
        if not isinstance(file, str) or "\0" in file or not file.strip(".") or Path(file).name != file:
            raise CheckpointError(f"{index} must name files of its own folder, got {file!r} for {name!r}.")
    return owner
