"""Perplexity by its definition."""

import math

import pytest
import torch
from torch import nn

from lqtheory.perplexity import log_losses, perplexity


class Table(nn.Module):
    """A model whose guess depends on the last token alone."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.tensor(logits))
        self.drop = nn.Dropout(0.5)

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.drop(self.table(tokens))}


def test_by_hand():
    model = Table([[0.0, math.log(3)], [math.log(4), 0.0]]).train()
    tokens = torch.tensor([[0, 1, 0], [1, 1, 1]])
    expected = -torch.tensor([[3 / 4, 4 / 5], [1 / 5, 1 / 5]], dtype=torch.float64).log()
    torch.testing.assert_close(log_losses(model, tokens, batch=1), expected, rtol=1e-7, atol=0)
    assert perplexity(model, tokens) == pytest.approx((4 / 3 * 5 / 4 * 25) ** (1 / 4), rel=1e-7)
    assert model.training


def test_guessing_has_the_size_of_the_vocabulary_and_knowing_has_1():
    tokens = torch.arange(5).repeat(3, 4)
    assert perplexity(Table([[0.0] * 5] * 5), tokens) == pytest.approx(5, rel=1e-12)
    assert perplexity(Table((100 * torch.eye(5).roll(1, 1)).tolist()), tokens) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("tokens", [torch.zeros(3, 1, dtype=torch.long), torch.zeros(4), torch.zeros(2, 3)])
def test_tokens_must_be_rows_of_whole_numbers(tokens):
    with pytest.raises(ValueError, match=r"tokens must be whole numbers \[n, length > 1\], got"):
        perplexity(Table([[0.0]]), tokens)
