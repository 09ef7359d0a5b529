"""Perplexity by its definition."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lqtheory import records
from lqtheory.bounds import harm_rate
from lqtheory.models import Data
from lqtheory.perplexity import LanguageBench, log_losses, perplexity
from lqtheory.pruning.blocks import by_blocks
from lqtheory.pruning.recipe import Recipe
from lqtheory.sweep import sweep


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


class Blocks(nn.Module):
    """Tokens that each see what came before, in blocks of one layer beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 8), nn.Linear(8, 7)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(2))

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.table(tokens).cumsum(1)
        for block in self.blocks:
            hidden = block(hidden)
        return {"logits": self.head(hidden)}


def test_a_point_of_a_language_model_has_its_perplexity_and_its_worst_layer(tmp_path):
    torch.manual_seed(0)
    model, rows = Blocks(), torch.randint(7, (40, 6))
    bench = LanguageBench(
        model, Data("tokens", rows[:, :-1], rows[:, -1]), rows[:20, :-1], inputs=5, facts={"steps": 9}
    )
    recipe = Recipe(score="wanda")
    arguments = {"net": lambda: bench}, {"m": recipe}, [0.6]
    ((_, found),) = sweep(*arguments, path=tmp_path / "r.jsonl")
    pruned = by_blocks(model, replace(recipe, sparsity=0.6), rows[:20, :-1])
    about = found[0].setting
    assert (about["perplexity"], about["dense_perplexity"]) == (perplexity(pruned.model, rows), perplexity(model, rows))
    assert (about["kept"], about["weights"], about["steps"]) == (51, 128, 9)
    with torch.no_grad():
        before, after = (net(rows[:, :-1])["logits"][:, -1].argmax(-1) == rows[:, -1] for net in (model, pruned.model))
    assert about["dense_accuracy"] == before.double().mean()
    assert found[0].bound == harm_rate(int((before & ~after).sum()), 40).value
    assert [r.tier for r in found] == ["G", "layer C", "layer norms", "layer B"]
    for r in found[1:]:
        assert r.setting["layers"] == 3
        assert r.setting["layer"].startswith("blocks.")
        assert (r.setting["violations"], r.violated, r.setting["rows"]) == (0, False, 5)
        assert 0 < r.measured <= r.bound * (1 + 1e-9)
    assert records.read(tmp_path / "r.jsonl") == found
    assert next(sweep(*arguments, path=tmp_path / "r.jsonl"))[1] == found
    with pytest.raises(ValueError, match="must have calibration inputs to be pruned block by block, got none"):
        replace(bench, calibration=None).prune(recipe)
