"""Folders: one file, or the shards that an index lists; and the config.json beside them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .tensor import Stored

Found = tuple[list[Stored], list[str]]
"""Tensors, and notes on what else was there."""

ReadFile = Callable[[Path], Found]
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.\w+$")
_PREFERRED = ("model", "pytorch_model", "diffusion_pytorch_model")
_KINDS = (".safetensors", ".bin", ".pt", ".pth", ".th", ".ckpt", ".tar", ".npz")


def read_folder(folder: Path, read_file: ReadFile) -> Found:
    """The tensors of the checkpoint in a folder; safetensors before pickles, an index before single files."""
    for kind in _KINDS:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
        if index := choose(names, f"{kind}.index.json", str(folder)):
            return _read_index(folder / index, read_file)
        if file := choose(names, kind, str(folder)):
            return read_file(folder / file)
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


def choose(names: Sequence[str], ending: str, where: str) -> str | None:
    """The one file of weights, or index of shards, with this ending; None when there is none."""
    files = [name for name in names if name.endswith(ending)]
    preferred = [name for stem in _PREFERRED for name in files if name == stem + ending]
    if preferred or len(files) <= 1:
        return next(iter(preferred + files), None)
    if any(_SHARD.search(name) for name in files):
        raise CheckpointError(
            f"{where} has shards such as {files[0]}, but no index that lists them (*{ending}.index.json)."
        )
    raise CheckpointError(f"{where} has {len(files)} files *{ending}; name the one to read, such as {files[0]}.")


def _read_index(index: Path, read_file: ReadFile) -> Found:
    def read_all(shards: list[str]) -> list[Found]:
        missing = [shard for shard in shards if not (index.parent / shard).is_file()]
        if missing:
            raise CheckpointError(
                f"{index} lists {len(missing)} of {len(shards)} shards that are not there, such as {missing[0]}."
            )
        return [read_file(index.parent / shard) for shard in shards]

    return read_shards(index.read_bytes(), str(index), read_all)


def read_shards(content: bytes, index: str, read_all: Callable[[list[str]], list[Found]]) -> Found:
    """The tensors of the shards that the content of an index lists."""
    owner = _weight_map(content, index)
    shards = sorted(set(owner.values()))
    stored, notes = [], []
    for shard, (tensors, remarks) in zip(shards, read_all(shards), strict=True):
        stored += tensors
        notes += [f"{shard}: {remark}" for remark in remarks]
        names = {entry.key or entry.name for entry in tensors}
        if absent := {name for name, file in owner.items() if file == shard} - names:
            raise CheckpointError(f"{index} promises the tensor {min(absent)!r} in {shard}, which does not have it.")
    return stored, notes


def _weight_map(content: bytes, index: str) -> Mapping[str, str]:
    try:
        owner = json.loads(content)["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{index} is not an index of shards: it needs a JSON object with 'weight_map'.") from None
    if not isinstance(owner, dict) or not owner:
        raise CheckpointError(f"{index} is not an index of shards: 'weight_map' names no tensors.")
    for name, file in owner.items():
        if not isinstance(file, str) or "\0" in file or not file.strip(".") or Path(file).name != file:
            raise CheckpointError(f"{index} must name files of its own folder, got {file!r} for {name!r}.")
    return owner
