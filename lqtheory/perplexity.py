"""How well a causal language model guesses the next token."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from .ladder.layerwise import LAYER_TIERS, layer_errors
from .pruning.blocks import by_blocks
from .pruning.recipe import Pruned, Recipe
from .pruning.running import evaluating, first_tensor
from .sweep import Bench, outcome
from .verification import Outcome, Pair

BATCH = 16


def log_losses(model: nn.Module, tokens: torch.Tensor, batch: int = BATCH) -> torch.Tensor:
    r"""$-\log p(t_{i+1} \mid t_1 \dots t_i)$ in nats for every row of `tokens` [n, length], in float64 [n, length-1].

    `model` maps whole numbers [n, length] to logits [n, length, vocabulary], by themselves or first in its answer.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2 or tokens.is_floating_point():
        raise ValueError(f"tokens must be whole numbers [n, length > 1], got {tokens.dtype} {list(tokens.shape)}.")
    found = []
    with evaluating(model), torch.inference_mode():
        for rows in tokens.split(batch):
            logs = logits_of(model(rows))[:, :-1].double().log_softmax(-1)
            found.append(-logs.gather(-1, rows[:, 1:, None].to(logs.device))[..., 0].cpu())
    return torch.cat(found)


def logits_of(answer: Any) -> torch.Tensor:
    """The logits of an answer, which are named or come first."""
    logits = getattr(answer, "logits", None)
    return first_tensor(answer if logits is None else logits)


def perplexity(model: nn.Module, tokens: torch.Tensor, batch: int = BATCH) -> float:
    r"""$\exp$ of the mean of `log_losses`: 1 for who knows, the size of the vocabulary for who guesses."""
    return math.exp(float(log_losses(model, tokens, batch).mean()))


class Last(nn.Module):
    """A language model as a classifier of the token after each row."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return logits_of(self.model(tokens))[:, -1]


@dataclass(frozen=True, eq=False)
class LanguageBench(Bench):
    """A causal language model: its data are rows of tokens, and as labels the tokens after them.

    Pruned block by block. The records have the perplexity on the rows with their labels, what the model guesses for the
    labels, and of the layers by themselves (Theorem 36) for each tier the one with the largest bound, about the first
    `inputs` rows. `facts` are for the records too.
    """

    inputs: int | None = 16
    facts: Mapping[str, Any] = field(default_factory=dict)

    def prune(self, recipe: Recipe) -> Pruned:
        """Pruned block by block."""
        if self.calibration is None:
            raise ValueError("a language model must have calibration inputs to be pruned block by block, got none.")
        return by_blocks(self.model, recipe, self.calibration)

    def judged(self, model: nn.Module) -> Outcome:
        """What a model guesses for the tokens after the rows."""
        return outcome(Last(model), self.data, self.device)

    @cached_property
    def rows(self) -> torch.Tensor:
        """The rows with the tokens after them."""
        return torch.cat([self.data.x, self.data.y[:, None]], 1).to(self.device)

    @cached_property
    def perplexity(self) -> float:
        """Of the dense model."""
        return perplexity(self.model, self.rows)

    def described(self, model: nn.Module) -> Mapping[str, Any]:
        """The perplexities, and what else is known."""
        return {"dense_perplexity": self.perplexity, "perplexity": perplexity(model, self.rows), **self.facts}

    def bounds(self, model: nn.Module) -> list[tuple[str, str, Pair]]:
        """The worst layer of each tier; `violations` counts those of all layers."""
        x, found = self.data.x[: self.inputs].numpy(), []
        for tier, bound in LAYER_TIERS.items():
            pairs = layer_errors(self.model, model, x, bound)
            broken = {name: pair.bound.violated(pair.measured) for name, pair in pairs.items()}
            name = max(pairs, key=lambda name: (broken[name], pairs[name].bound.value))
            about = {"layer": name, "layers": len(pairs), "violations": sum(broken.values()), "rows": len(x)}
            found.append((tier, "layer_error", replace(pairs[name], about=about)))
        return found
