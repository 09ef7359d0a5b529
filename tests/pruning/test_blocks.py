"""Block after block: the same as by hand, exactly so many weights, one block at a time, folders that load again."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from lqtheory.cli.prune import prune as command
from lqtheory.models import load_model
from lqtheory.pruning import kept_total, recipe as recipes
from lqtheory.pruning.blocks import by_blocks
from lqtheory.pruning.parts import prunable
from lqtheory.pruning.recipe import Recipe


class Block(nn.Module):
    """Attention with one head and an MLP, each beside a shortcut; answers a tuple."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, *, scale: float) -> tuple[torch.Tensor, None]:
        q, k, v = self.qkv(self.norm(hidden)).chunk(3, -1)
        hidden = hidden + self.out((q @ k.mT * scale).masked_fill(~mask, -1e9).softmax(-1) @ v)
        return hidden + self.down(nn.functional.gelu(self.up(hidden))), None


class Model(nn.Module):
    """Tokens, blocks that take a mask for each sample, a tied head."""

    def __init__(self, d: int = 6, depth: int = 3, tokens: int = 11) -> None:
        super().__init__()
        self.table = nn.Embedding(tokens, d)
        self.blocks = nn.ModuleList(Block(d) for _ in range(depth))
        self.first, self.head = nn.Linear(d, d), nn.Linear(d, tokens, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.first(self.table(ids))
        mask = (ids > 0)[:, None, :].expand(-1, ids.shape[1], -1)
        for block in self.blocks:
            hidden = block(hidden, mask, scale=0.4)[0]
        return self.head(hidden)


def network() -> tuple[Model, torch.Tensor]:
    torch.manual_seed(0)
    model = Model().eval()
    with torch.no_grad():
        for part in prunable(model):
            part.tensor.mul_(3)
    return model, torch.randint(1, 11, (30, 7))


def block_weights(model: nn.Module) -> int:
    return sum(part.weight.size for part in prunable(model) if part.name.startswith("blocks"))


def test_it_is_what_one_would_do_by_hand():
    model, ids = network()
    found = by_blocks(model, Recipe(0.5), ids)
    mask = (ids > 0)[:, None, :].expand(-1, ids.shape[1], -1)

    class Call(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.block(hidden, mask, scale=0.4)[0]

    with torch.no_grad():
        hidden = model.first(model.table(ids))
        for k, block in enumerate(model.blocks):
            pruned = Recipe(0.5)(Call(block), refit=hidden).model
            for name, tensor in pruned.block.state_dict().items():
                assert torch.equal(found.model.blocks[k].state_dict()[name], tensor), (k, name)
            hidden = pruned(hidden)
    assert torch.equal(found.model.first.weight, model.first.weight)


@pytest.mark.parametrize("sparsity", [0.0, 0.123, 0.5, 0.77])
@pytest.mark.parametrize("recipe", [Recipe(fit=None), Recipe(score="wanda", budget="uniform")], ids=str)
def test_exactly_so_many_weights_are_left(sparsity, recipe):
    model, ids = network()
    before = copy.deepcopy(model)
    found = by_blocks(model, replace(recipe, sparsity=sparsity), ids)
    assert found.weights == block_weights(model)
    kept = sum(int(np.count_nonzero(p.weight)) for p in prunable(found.model) if p.name.startswith("blocks"))
    assert found.kept == kept == kept_total(block_weights(model), sparsity)
    assert found.model.head.weight is found.model.table.weight
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(a, b)
    if sparsity == 0:
        assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), model.parameters(), strict=True))


def test_refitting_helps_and_only_one_block_is_observed_at_a_time(monkeypatch):
    model, ids = network()
    seen, honest = [], recipes.observe

    def observed(module, parts, *rest, **options):
        seen.append(sum(part.weight.size for part in parts))
        return honest(module, parts, *rest, **options)

    monkeypatch.setattr(recipes, "observe", observed)
    fitted, plain = by_blocks(model, Recipe(0.6), ids), by_blocks(model, Recipe(0.6, fit=None), ids)
    assert seen == [block_weights(model) // 3] * 3
    with torch.no_grad():
        mended, cut = ((model(ids) - found.model(ids)).norm() for found in (fitted, plain))
    assert mended < 0.8 * cut


def test_include_and_exclude_read_the_names_of_the_model():
    model, ids = network()
    only = by_blocks(model, Recipe(0.5, include=["*.up.weight"]), ids)
    assert list(only.masks) == [f"blocks.{k}.up.weight" for k in range(3)]
    but = by_blocks(model, Recipe(0.5, exclude=["blocks.1.*"]), ids)
    assert not any(name.startswith("blocks.1.") for name in but.masks)
    assert [part.name for part in but.parts] == list(but.masks)


def test_networks_without_a_chain_of_blocks_are_refused():
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return sum(head(x) for head in self.heads)

    with pytest.raises(ValueError, match=r"must take what the one before gives, and once, got otherwise at heads.1"):
        by_blocks(Parallel(), Recipe(), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"must have blocks in an nn.ModuleList, got none in Linear"):
        by_blocks(nn.Linear(3, 3), Recipe(), torch.zeros(4, 3))


# --- transformers of Hugging Face, where that package is installed


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """What `--calibration` names: rows of tokens, and labels that nothing reads."""
    torch.manual_seed(0)
    return torch.randint(64, (40, 12)), torch.zeros(40, dtype=torch.int64)


def small(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    if kind == "llama":
        size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
        config = transformers.LlamaConfig(vocab_size=64, num_key_value_heads=2, **size, **ends)
        return transformers.LlamaForCausalLM(config).eval()
    if kind == "gpt2":
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=16, **ends)
        ).eval()
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    return transformers.BertModel(transformers.BertConfig(vocab_size=64, **size, **ends)).eval()


@pytest.mark.parametrize(("kind", "masked"), [("llama", False), ("gpt2", True), ("bert", True)])
def test_transformers_are_pruned_and_refitted(kind, masked):
    model, ids = small(kind), tokens()[0]
    attention = torch.ones_like(ids)
    attention[::3, 8:] = 0
    inputs = {"input_ids": ids, "attention_mask": attention} if masked else ids
    with torch.no_grad():
        answers = {}
        for name, recipe in {"dense": None, "cut": Recipe(0.5, fit=None), "mended": Recipe(0.5)}.items():
            other = model if recipe is None else by_blocks(model, recipe, inputs).model
            answers[name] = (other(**inputs) if masked else other(inputs))[0]
    mended, cut = ((answers["dense"] - answers[name]).norm() for name in ("mended", "cut"))
    assert mended < 0.8 * cut
    assert model.config.use_cache or kind == "bert"


def test_folders_of_the_hub_are_pruned_and_loaded_by_the_original_code(tmp_path, monkeypatch):
    model = small("llama")
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("net", max_shard_size="20KB")
    shards = sorted(path.name for path in Path("net").glob("*.safetensors"))
    assert len(shards) > 2
    monkeypatch.syspath_prepend(Path(__file__).parent)
    arguments = ["net", "--by-block", "--sparsity", "0.5", "--calibration", "test_blocks:tokens", "-o", "out"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("out/net-pruned").glob("*.safetensors")) == shards
    index = "model.safetensors.index.json"
    assert json.loads(Path("out/net-pruned", index).read_text()) == json.loads(Path("net", index).read_text())
    again = type(model).from_pretrained("out/net-pruned").eval()
    expected, ids = by_blocks(model, Recipe(0.5), tokens()[0]), tokens()[0]
    assert f"kept {expected.kept:,} of {expected.weights:,} weights (50.00%)" in done.output
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, expected.model(ids).logits, rtol=0, atol=0)
    assert type(load_model(None, Path("out/net-pruned"))) is type(model)
