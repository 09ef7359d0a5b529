"""Where the network lies in what torch.save wrote or a program hands over: a state dict, often inside another dict."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .errors import CheckpointError
from .tensor import Stored
from .torch_tensors import stored_tensor

Named = tuple[str, torch.Tensor | np.ndarray]

_NETWORK = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module"),
    *("params", "parameters", "weights", "ema_state_dict", "params_ema", "ema"),
)
"""Entries that hold the network: the first that is there is read, the others are copies or no weights."""

_TRAINING = re.compile(r"optim|sched|scaler|rng|random|loss|history|callback|loops|(^|_)ema(_|$)", re.IGNORECASE)


def state_dict_tensors(content: Mapping[Any, Any], source: str) -> tuple[list[Stored], list[str]]:
    """The tensors of the network inside a dict, and notes on what else is there."""
    network, notes = _network(content)
    if not network:
        keys = ", ".join(repr(_text(key)[:40]) for key in list(content)[:6]) or "nothing"
        raise CheckpointError(f"{source} has no tensors where a state dict is looked for, only {keys}.")
    stored, remarks = without_prefixes([stored_tensor(name, tensor) for name, tensor in network])
    return stored, notes + remarks


def without_prefixes(stored: list[Stored]) -> tuple[list[Stored], list[str]]:
    """Names without what DataParallel (`module.`) and torch.compile (`_orig_mod.`) put before them."""
    names = [entry.name for entry in stored]
    plain = [name.replace("_orig_mod.", "") for name in names]
    while plain and all(name.startswith("module.") for name in plain):
        plain = [name.removeprefix("module.") for name in plain]
    if plain == names or len(set(plain)) < len(plain):
        return stored, []
    notes = ["removed the prefixes module. and _orig_mod. from the names"]
    return [replace(entry, name=name, key=entry.name) for entry, name in zip(stored, plain, strict=True)], notes


def _network(content: Mapping[Any, Any], seen: frozenset[int] = frozenset()) -> tuple[list[Named], list[str]]:
    """The tensors that make up the network with their names, and notes on the entries that are not read."""
    tensors = {key: list(_leaves(value)) for key, value in content.items()}
    for name in _NETWORK:
        if tensors.get(name) and isinstance(content[name], Mapping) and id(content[name]) not in seen:
            network, notes = _network(content[name], seen | {id(content)})
            return network, _not_read(content, [name]) + notes
    chosen = [key for key in content if tensors[key] and (_is_tensor(content[key]) or not _TRAINING.search(str(key)))]
    if len(chosen) == 1 and not _is_tensor(content[chosen[0]]):
        return tensors[chosen[0]], _not_read(content, chosen)
    named = [(f"{_text(key)}.{path}" if path else _text(key), t) for key in chosen for path, t in tensors[key]]
    return named, _not_read(content, chosen)


def _leaves(value: Any) -> Iterator[Named]:
    """All tensors below `value` with their dotted paths; each container is entered once."""
    stack, seen = [("", value)], set()
    while stack:
        path, item = stack.pop()
        if _is_tensor(item):
            yield path, item
        elif isinstance(item, Mapping | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            entries = item.items() if isinstance(item, Mapping) else enumerate(item)
            below = [(f"{path}.{_text(key)}" if path else _text(key), entry) for key, entry in entries]
            stack.extend(reversed(below))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray)


def _text(key: Any) -> str:
    """A key as a name that can be printed."""
    return str(key).encode("utf-8", "backslashreplace").decode()


def _not_read(content: Mapping[Any, Any], read: list[Any]) -> list[str]:
    rest = [_text(key) for key in content if key not in read]
    more = f" and {len(rest) - 12} more" if len(rest) > 12 else ""
    return [f"not read: {', '.join(rest[:12])}{more}"] if rest else []
