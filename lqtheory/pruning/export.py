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


def write_pruned(
    source: Path, masks: Masks, folder: Path, recipe: Mapping[str, Any], state: Mapping[str, torch.Tensor] | None = None
) -> Path:
    """Write `source` with the weights outside `masks` set to zero into `folder`, and return the new checkpoint.

    Tensors that `state` has, re-fitted weights say, take their values from there, in the dtype of the file.
    The copy has the same names, dtypes, metadata and file kind. `masks.safetensors` holds one boolean tensor per
    mask in the shape of its weights; `recipe.json` the recipe, the fingerprint of `source` and the kept counts.
    A mask must name a tensor of the file and have its shape; ValueError otherwise. Files appear whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.stem}-pruned{source.suffix}"
    if source.suffix == ".safetensors":
        with safetensors.safe_open(source, "pt") as file:
            metadata = file.metadata()
        tensors = _masked(load_file(source), masks, source, state or {})
        with replacing(target) as draft:
            draft.write_bytes(save(tensors, metadata))
    else:
        content = _masked(torch.load(source, map_location="cpu", weights_only=True), masks, source, state or {})
        with replacing(target) as draft:
            torch.save(content, draft)
    stored = {name: torch.from_numpy(np.ascontiguousarray(mask)) for name, mask in masks.items()}
    with replacing(folder / "masks.safetensors") as draft:
        draft.write_bytes(save(stored))
    kept = {name: {"kept": int(mask.sum()), "of": int(mask.size)} for name, mask in masks.items()}
    text = json.dumps({**recipe, "source": _fingerprint(source), "tensors": kept}, indent=2) + "\n"
    with replacing(folder / "recipe.json") as draft:
        draft.write_text(text)
    return target


def _masked(checkpoint: Any, masks: Masks, source: Path, state: Mapping[str, torch.Tensor]) -> Any:
    used: set[str] = set()

    def replaced(node: Any) -> Any:
        """The same nesting of dictionaries with every tensor that has a mask or a new value replaced."""
        if not isinstance(node, dict):
            return node
        return type(node)((key, leaf(str(key), value)) for key, value in node.items())

    def leaf(key: str, value: Any) -> Any:
        name = key.removeprefix("module.").removeprefix("_orig_mod.")
        if not isinstance(value, torch.Tensor) or (name not in masks and name not in state):
            return replaced(value)
        used.add(name)
        shape = (masks[name] if name in masks else state[name]).shape
        if value.shape != shape:
            shapes = f"{list(shape)} for {list(value.shape)}"
            raise ValueError(f"a mask must have its tensor's shape, got {shapes} ({name!r} in {source}).")
        new = state[name].to(value) if name in state else value
        return new if name not in masks else torch.where(torch.from_numpy(masks[name]), new, torch.zeros_like(new))

    pruned = replaced(checkpoint)
    if missing := sorted(set(masks) - used):
        raise ValueError(f"a mask must name a tensor of {source}, got {missing[0]!r}.")
    return pruned


def _fingerprint(source: Path) -> dict[str, Any]:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": source.name, "bytes": source.stat().st_size, "sha256": digest}
