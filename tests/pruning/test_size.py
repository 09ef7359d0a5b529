"""What pruning saves, counted by hand: multiplications for one input, bytes of a file."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lqtheory.pruning.parts import prunable
from lqtheory.pruning.recipe import Recipe
from lqtheory.pruning.size import compressed, macs, positions, sizes, stack_of_linears


def convolutions() -> nn.Sequential:
    """On 8 x 8 pixels: 4 x 4 of the first convolution, 2 x 2 of the second, then one row."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 2, 2, stride=2, groups=2), nn.Flatten(), nn.Linear(8, 5)
    )


def test_weights_of_a_convolution_are_used_at_every_pixel():
    model = convolutions()
    used = positions(model, prunable(model), torch.zeros(7, 3, 8, 8))
    assert used == {"0.weight": 16, "1.weight": 4, "3.weight": 1}


def test_weights_of_a_linear_layer_are_used_at_every_token_and_in_every_call():
    twice = nn.Linear(6, 6)
    model = nn.Sequential(twice, nn.ReLU(), twice, nn.Linear(6, 2))
    assert positions(model, prunable(model), torch.zeros(3, 5, 6)) == {"0.weight": 10, "3.weight": 5}


def test_multiplications_before_and_after():
    model = convolutions()
    dense = 16 * 4 * 27 + 4 * 2 * 8 + 5 * 8
    pruned = Recipe(0.5)(model)
    after = sum(n * int(pruned.masks[name].sum()) for name, n in (("0.weight", 16), ("1.weight", 4), ("3.weight", 1)))
    assert macs(model, pruned, torch.zeros(2, 3, 8, 8)) == (dense, after)
    assert macs(model, Recipe(0.0)(model), torch.zeros(2, 3, 8, 8)) == (dense, dense)


def test_modes_and_hooks_are_left_as_they_were():
    model = convolutions().train()
    positions(model, prunable(model), torch.zeros(1, 3, 8, 8))
    assert model.training
    assert all(not layer._forward_hooks for layer in model)


@pytest.mark.parametrize(
    ("model", "is_stack"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), True),
        (nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), False),
        (nn.Linear(4, 3), False),
    ],
)
def test_stacks_need_no_data_to_be_counted(model, is_stack):
    assert stack_of_linears(model) == is_stack


def test_zeros_compress_and_noise_does_not(tmp_path):
    rng = np.random.default_rng(0)
    for name, content in (("noise", rng.bytes(10_000)), ("zeros", bytes(10_000))):
        (tmp_path / name).write_bytes(content)
    assert compressed(tmp_path / "zeros") < 100 < 9_900 < compressed(tmp_path / "noise")


def test_lines_for_a_terminal(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 10), nn.ReLU(), nn.Linear(10, 4))
    pruned = Recipe(0.9)(model)
    for name, network in (("dense", model), ("pruned", pruned.model)):
        save_file(network.state_dict(), tmp_path / name)
    saved, files = list(sizes(model, pruned, tmp_path / "dense", tmp_path / "pruned", None))
    assert saved == "multiplications per input 4,040 -> 404 (10.00%)"
    assert files.startswith(f"file {(tmp_path / 'dense').stat().st_size:,} bytes, compressed ")
    before, after = (int(text.replace(",", "")) for text in files.rpartition("compressed ")[2].split(" -> "))
    assert after < 0.4 * before
    other = convolutions()
    assert len(list(sizes(other, Recipe(0.5)(other), tmp_path / "dense", tmp_path / "pruned", None))) == 1  # no sample
