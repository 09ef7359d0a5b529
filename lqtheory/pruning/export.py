"""Write what pruning decided: a checkpoint that the original code loads, the masks, and the recipe."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from jaxtyping import Bool
from safetensors.torch import load_file, save

from ..files import replacing

Masks = Mapping[str, Bool[np.ndarray, "*shape"]]


def write_pruned(source: Path, masks: Masks, folder: Path, recipe: Mapping[str, Any]) -> Path:
    """Write `source` with the weights outside `masks` set to zero into `folder`, and return the new checkpoint.

    The copy has the same names, dtypes, metadata and file kind. `masks.safetensors` holds one boolean tensor per
    mask in the shape of its weights; `recipe.json` the recipe, the fingerprint of `source` and the kept counts.
    A mask must name a tensor of the file and have its shape; ValueError otherwise. Files appear whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.stem}-pruned{source.suffix}"
    if source.suffix == ".safetensors":
        with safetensors.safe_open(source, "pt") as file:
            metadata = file.metadata()
        state = _masked(load_file(source), masks, source)
        with replacing(target) as draft:
            draft.write_bytes(save(state, metadata))
    else:
        state = _masked(torch.load(source, map_location="cpu", weights_only=True), masks, source)
        with replacing(target) as draft:
            torch.save(state, draft)
    stored = {name: torch.from_numpy(np.ascontiguousarray(mask)) for name, mask in masks.items()}
    with replacing(folder / "masks.safetensors") as draft:
        draft.write_bytes(save(stored))
    kept = {name: {"kept": int(mask.sum()), "of": int(mask.size)} for name, mask in masks.items()}
    text = json.dumps({**recipe, "source": _fingerprint(source), "tensors": kept}, indent=2) + "\n"
    with replacing(folder / "recipe.json") as draft:
        draft.write_text(text)
    return target


def _masked(checkpoint: Any, masks: Masks, source: Path) -> Any:
    used: set[str] = set()
    pruned = _apply(checkpoint, masks, used, source)
    if missing := sorted(set(masks) - used):
        raise ValueError(f"a mask must name a tensor of {source}, got {missing[0]!r}.")
    return pruned


def _apply(node: Any, masks: Masks, used: set[str], source: Path) -> Any:
    """The same nesting of dictionaries with every tensor that has a mask replaced."""
    if not isinstance(node, dict):
        return node
    return type(node)((key, _leaf(key, value, masks, used, source)) for key, value in node.items())


def _leaf(key: Any, value: Any, masks: Masks, used: set[str], source: Path) -> Any:
    name = str(key).removeprefix("module.").removeprefix("_orig_mod.")
    if not isinstance(value, torch.Tensor) or name not in masks:
        return _apply(value, masks, used, source)
    if value.shape != masks[name].shape:
        shapes = f"{list(masks[name].shape)} for {list(value.shape)}"
        raise ValueError(f"a mask must have its tensor's shape, got {shapes} ({name!r} in {source}).")
    used.add(name)
    return torch.where(torch.from_numpy(masks[name]), value, torch.zeros((), dtype=value.dtype))


def _fingerprint(source: Path) -> dict[str, Any]:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": source.name, "bytes": source.stat().st_size, "sha256": digest}
