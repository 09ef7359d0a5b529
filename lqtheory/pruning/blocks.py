"""Prune a deep network block after block, as transformers are: what is held beside the network is one block's.

Each block is observed, pruned and re-fitted on the inputs that the pruned blocks before it give, towards what it
answers to them while it is dense [as SparseGPT does it, Frantar, Alistarh 2023].
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .attention import attentions, heads
from .budgets import kept_total
from .parts import Prunable, prunable
from .recipe import Masks, Pruned, Recipe, copied, settle
from .running import Inputs, evaluating, first_tensor, hooked, run

Call = dict[int | str, Any]
"""What a block is called with: arguments by their position and by name."""


def by_blocks(model: nn.Module, recipe: Recipe, inputs: Inputs, inplace: bool = False) -> Pruned:
    """Prune the blocks one after another, each to the sparsity of the recipe, which all together meet exactly.

    Blocks are the modules in the `nn.ModuleList`s of the model; weights outside of them, a head say, are left. `inputs`
    run as one batch. A new module unless `inplace`. ValueError where a block does not take what the one before gives.
    """
    result = model if inplace else copied(model)
    settle(result)
    masks: Masks = {}
    left: list[str] = []
    stacks = _stacks(result, prunable(result, recipe.include, recipe.exclude))
    if recipe.pattern == "heads":
        heads(result)  # says so where no attention is known
    size = done = 0
    with evaluating(result), torch.no_grad(), _without_cache(result):
        for stack in stacks:
            calls = _calls(result, list(stack), inputs)
            hidden = calls[next(iter(stack))].pop("hidden")
            for name, parts in stack.items():
                block = _Block(result.get_submodule(name), calls[name], len(hidden))
                given = (hidden, *block.each)
                include = [part.name.replace(name, "block", 1) for part in parts]
                if own := _size(block, replace(recipe, include=include, exclude=()), parts):
                    size += own
                    kept = kept_total(size, recipe.sparsity) - done
                    done += kept
                    if not kept:
                        raise ValueError(f"every block must keep something, got none of {own} kept in {name}.")
                    found = replace(recipe, sparsity=1 - kept / own, include=include, exclude=())(
                        block, given, inplace=True
                    )
                    masks |= {key.replace("block", name, 1): mask for key, mask in found.masks.items()}
                    left += [key.replace("block", name, 1) for key in found.left]
                hidden = block(*given)
    whole = [part for part in prunable(result, recipe.include, recipe.exclude) if part.name in masks]
    return Pruned(result, whole, {part.name: masks[part.name] for part in whole}, recipe, tuple(left))


def _size(block: nn.Module, recipe: Recipe, parts: Sequence[Prunable]) -> int:
    """Of how many weights, or heads, the sparsity is the share."""
    if recipe.pattern != "heads":
        return sum(part.tensor.numel() for part in parts)
    return sum(each.size for each in heads(block, recipe.include).blocks) if any(attentions(block)) else 0


def _stacks(model: nn.Module, parts: Sequence[Prunable]) -> list[dict[str, list[Prunable]]]:
    """The blocks of each outermost list of modules, by name, with what can be pruned in them."""
    lists: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
            lists.append(name)
    named = [{f"{name}.{k}": [] for k, _ in model.get_submodule(name).named_children()} for name in lists]
    stacks = [{block: [p for p in parts if p.name.startswith(f"{block}.")] for block in blocks} for blocks in named]
    stacks = [stack for stack in stacks if any(stack.values())]
    if not stacks:
        raise ValueError(f"a network must have blocks in an nn.ModuleList, got none in {type(model).__name__}.")
    return stacks


def _calls(model: nn.Module, names: list[str], inputs: Inputs) -> dict[str, Call]:
    """How the model calls its blocks, but for the hidden states that only the first one keeps, under `hidden`."""
    calls: dict[str, Call] = {}
    output: list[Any] = []

    def before(name: str) -> Any:
        def hook(block: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            call: Call = {**dict(enumerate(args)), **kwargs}
            key = 0 if args else "hidden_states"
            if calls and (name in calls or call.get(key) is not output[-1]):
                raise ValueError(f"a block must take what the one before gives, and once, got otherwise at {name}.")
            hidden = call.pop(key)
            calls[name] = {key: None, **call, **({} if calls else {"hidden": hidden})}

        return hook

    def after(block: nn.Module, args: tuple, answer: Any) -> None:
        output[:] = [first_tensor(answer)]

    blocks = {name: model.get_submodule(name) for name in names}
    hooks = [block.register_forward_pre_hook(before(name), with_kwargs=True) for name, block in blocks.items()]
    hooks += [block.register_forward_hook(after) for block in blocks.values()]
    with hooked(hooks):
        run(model, inputs)
    if list(calls) != names:
        raise ValueError(f"blocks must run in their order, got {', '.join(calls) or 'none'}.")
    return calls


class _Block(nn.Module):
    """A block as a function of the hidden states and of what else comes with each sample."""

    def __init__(self, block: nn.Module, call: Call, samples: int) -> None:
        super().__init__()
        self.block, self.call = block, call
        hidden, *rest = call
        slots = [key for key in rest if isinstance(v := call[key], torch.Tensor) and v.ndim and len(v) == samples]
        self.slots, self.each = [hidden, *slots], [call[key] for key in slots]

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        call = {**self.call, **dict(zip(self.slots, given, strict=True))}
        args = [value for key, value in call.items() if isinstance(key, int)]
        return first_tensor(self.block(*args, **{key: value for key, value in call.items() if isinstance(key, str)}))


@contextmanager
def _without_cache(model: nn.Module) -> Iterator[None]:
    """Models of transformers keep keys and values of earlier calls, unless told otherwise."""
    config: Any = getattr(model, "config", None)
    before = getattr(config, "use_cache", None)
    if before is not None:
        config.use_cache = False
    try:
        yield
    finally:
        if before is not None:
            config.use_cache = before
