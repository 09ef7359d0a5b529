"""How well a causal language model guesses the next token."""

import math

import torch
from torch import nn

from .pruning.running import evaluating, first_tensor

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
            answer = model(rows)
            logits = getattr(answer, "logits", None)
            logs = first_tensor(answer if logits is None else logits)[:, :-1].double().log_softmax(-1)
            found.append(-logs.gather(-1, rows[:, 1:, None].to(logs.device))[..., 0].cpu())
    return torch.cat(found)


def perplexity(model: nn.Module, tokens: torch.Tensor, batch: int = BATCH) -> float:
    r"""$\exp$ of the mean of `log_losses`: 1 for who knows, the size of the vocabulary for who guesses."""
    return math.exp(float(log_losses(model, tokens, batch).mean()))
