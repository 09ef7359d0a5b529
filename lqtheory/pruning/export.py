"""Write what pruning decided: a checkpoint that the original code loads, the masks, and the recipe.

A checkpoint is a file, or a folder of the Hugging Face Hub with one file or with shards and their index.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from jaxtyping import Bool
from safetensors.torch import load_file, save

from ..files import replacing

Masks = Mapping[str, Bool[np.ndarray, "*shape"]]
State = Mapping[str, torch.Tensor]
Change = Callable[[str, torch.Tensor], torch.Tensor]
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def write_pruned(
    source: Path, masks: Masks, folder: Path, recipe: Mapping[str, Any], state: State | None = None
) -> Path:
    """Write `source` with the weights outside `masks` set to zero into `folder`, and return the new checkpoint.

    Tensors that `state` has, re-fitted weights say, take their values from there, in the dtype of the file.
    The copy has the same names, dtypes, metadata, file kind and shards. `masks.safetensors` holds one boolean tensor
    per mask in the shape of its weights; `recipe.json` the recipe, the fingerprint of `source` and the kept counts.
    A mask must name a tensor of the checkpoint and have its shape; ValueError otherwise. Files appear whole or not at
    all.
    """
    names = {name for file in weight_files(source) for name in _names(file)}
    if missing := sorted(name for name in masks if _key(name, names) is None):
        raise ValueError(f"a mask must name a tensor of {source}, got {missing[0]!r}.")
    given = state or {}

    def change(name: str, value: torch.Tensor) -> torch.Tensor:
        mask, new = _key(name, masks), _key(name, given)
        shape = masks[mask].shape if mask else given[new].shape if new else value.shape
        if value.shape != shape:
            shapes = f"{list(shape)} for {list(value.shape)}"
            raise ValueError(f"a mask must have its tensor's shape, got {shapes} ({name!r} in {source}).")
        filled = given[new].to(value) if new else value
        return filled if mask is None else torch.where(torch.from_numpy(masks[mask]), filled, torch.zeros_like(filled))

    folder.mkdir(parents=True, exist_ok=True)
    target = _rewritten(source, folder / f"{source.stem}-pruned{source.suffix}", change)
    stored = {name: torch.from_numpy(np.ascontiguousarray(mask)) for name, mask in masks.items()}
    with replacing(folder / "masks.safetensors") as draft:
        draft.write_bytes(save(stored))
    kept = {name: {"kept": int(mask.sum()), "of": int(mask.size)} for name, mask in masks.items()}
    text = json.dumps({**recipe, "source": _fingerprint(source), "tensors": kept}, indent=2) + "\n"
    with replacing(folder / "recipe.json") as draft:
        draft.write_text(text)
    return target


def write_smaller(source: Path, folder: Path, state: State) -> Path:
    """Write `source` with the tensors of a smaller network, whose shapes may differ, and return the new checkpoint."""

    def change(name: str, value: torch.Tensor) -> torch.Tensor:
        key = _key(name, state)
        return value if key is None else state[key].to(value)

    return _rewritten(source, folder / f"{source.stem}-smaller{source.suffix}", change)


def weight_files(source: Path) -> list[Path]:
    """The files of a checkpoint that hold weights: itself, or those that the index of a folder lists."""
    if source.is_file():
        return [source]
    for index in sorted(source.glob("*.index.json"), key=lambda path: path.name.endswith(".bin.index.json")):
        return [source / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    found = next((files for kind in WEIGHTS if (files := sorted(source.glob(f"*{kind}")))), [])
    if len(found) != 1:
        raise ValueError(f"a folder must have one file of weights or an index of shards, got {len(found)} in {source}.")
    return found


def _rewritten(source: Path, target: Path, change: Change) -> Path:
    """A copy of a checkpoint with every tensor changed; what lies beside the weights in a folder is copied."""
    if source.is_file():
        _rewrite(source, target, change)
        return target
    target.mkdir(parents=True, exist_ok=True)
    files = weight_files(source)
    for path in sorted(source.iterdir()):
        if path in files:
            _rewrite(path, target / path.name, change)
        elif path.is_file() and path.suffix not in WEIGHTS:
            shutil.copyfile(path, target / path.name)
    return target


def _rewrite(source: Path, target: Path, change: Change) -> None:
    if source.suffix == ".safetensors":
        with safetensors.safe_open(source, "pt") as file:
            metadata = file.metadata()
        tensors = {name: change(name, value).contiguous() for name, value in load_file(source).items()}
        with replacing(target) as draft:
            draft.write_bytes(save(tensors, metadata))
    else:
        content = _nested(torch.load(source, map_location="cpu", weights_only=True), change)
        with replacing(target) as draft:
            torch.save(content, draft)


def _nested(node: Any, change: Change) -> Any:
    """The same nesting of dictionaries with every tensor changed."""
    if not isinstance(node, dict):
        return node
    pairs = ((k, change(str(k), v) if isinstance(v, torch.Tensor) else _nested(v, change)) for k, v in node.items())
    return type(node)(pairs)


def _names(source: Path) -> Iterable[str]:
    if source.suffix == ".safetensors":
        with safetensors.safe_open(source, "pt") as file:
            return list(file.keys())
    found: list[str] = []
    _nested(torch.load(source, map_location="cpu", weights_only=True), lambda name, v: (found.append(name), v)[1])
    return found


def _key(name: str, table: Iterable[str]) -> str | None:
    """What `table` calls a tensor; wrappers put prefixes before names, models those of their backbone."""
    plain = name.removeprefix("module.").removeprefix("_orig_mod.")
    if plain in table:
        return plain
    close = [key for key in table if key.endswith(f".{plain}") or plain.endswith(f".{key}")]
    return close[0] if len(close) == 1 else None


def _fingerprint(source: Path) -> dict[str, Any]:
    """Name, size and digest of a file, of every file of weights where `source` is a folder."""
    files = weight_files(source)
    prints = [{"file": path.name, "bytes": path.stat().st_size, "sha256": _digest(path)} for path in files]
    return prints[0] if source.is_file() else {"folder": source.name, "files": prints}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
