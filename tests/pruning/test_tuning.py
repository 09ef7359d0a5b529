"""Tuning comes to least squares on the support, leaves zeros and statistics alone, and repeats itself for a seed."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lqtheory.pruning import kept_total
from lqtheory.pruning.parts import prunable
from lqtheory.pruning.recipe import Recipe
from lqtheory.pruning.tuning import answers, jittered, squared_error, taken, tune


def halves(model: nn.Module) -> dict[str, np.ndarray]:
    """Every other weight of each layer."""
    shapes = {part.name: (part.layout.rows, part.layout.fan_in) for part in prunable(model)}
    return {name: (np.arange(rows * d) % 2 == 0).reshape(rows, d) for name, (rows, d) in shapes.items()}


def masked(model: nn.Module) -> tuple[nn.Module, dict[str, np.ndarray]]:
    masks = halves(model)
    for part in prunable(model):
        part.masked(masks[part.name])
    return model, masks


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 5)
    )
    model(images(50))  # statistics
    return model.eval()


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def parameters(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_the_loss_is_the_mean_over_samples_of_the_squared_distance():
    found, wanted = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert squared_error(found, wanted).item() == (1 + 4 + 16) / 2


def test_a_linear_layer_comes_to_least_squares_on_its_support():
    torch.manual_seed(0)
    h = torch.randn(100, 4) @ torch.randn(4, 4)
    dense = nn.Linear(4, 2)
    pruned, masks = masked(copy.deepcopy(dense))
    tune(pruned, prunable(pruned), masks, h, answers(dense, h), epochs=200, rate=3e-2)
    z = answers(dense, h).double().numpy()
    for i, kept in enumerate(masks["weight"]):
        columns = np.column_stack([h.numpy()[:, kept], np.ones(len(h))])
        best = np.linalg.lstsq(columns, z[:, i], rcond=None)[0]
        found = np.append(pruned.weight.detach().numpy()[i, kept], pruned.bias.detach().numpy()[i])
        np.testing.assert_allclose(found, best, atol=1e-3)
        assert not pruned.weight.detach().numpy()[i, ~kept].any()


def test_zeros_statistics_modes_and_requests_for_gradients_stay():
    model, masks = masked(convolutions())
    model.requires_grad_(False)[5].bias.requires_grad_()
    model.train()
    before = copy.deepcopy(model)
    tune(model, prunable(model), masks, images(20), torch.zeros(20, 5), epochs=2)
    for part in prunable(model):
        np.testing.assert_array_equal(part.weight != 0, masks[part.name])
    for name, statistic in model.named_buffers():
        assert torch.equal(statistic, before.get_buffer(name))
    assert not torch.equal(model[1].weight, before[1].weight)  # the affine part of the normalisation is tuned
    assert model.training
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(p.grad is None for p in model.parameters())


def test_a_network_and_its_answers_are_the_same_target():
    dense, x = convolutions(), images(70)
    by_answers, masks = masked(copy.deepcopy(dense))
    by_network = copy.deepcopy(by_answers)
    tune(by_answers, prunable(by_answers), masks, x, answers(dense, x), epochs=1)
    tune(by_network, prunable(by_network), masks, x, dense, epochs=1, vary=lambda piece, _: piece)
    torch.testing.assert_close(parameters(by_network), parameters(by_answers), rtol=1e-4, atol=1e-6)


def test_varied_inputs_reach_both_networks():
    dense, seen = convolutions(), []
    model, masks = masked(copy.deepcopy(dense))
    for network in (dense, model):
        network[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tune(model, prunable(model), masks, images(20), dense, epochs=1, vary=lambda piece, _: piece + 1)
    assert torch.equal(seen[0], seen[1])
    torch.testing.assert_close(seen[0].mean(), images(20).mean() + 1)


def test_labels_and_cross_entropy_fine_tune():
    model, masks = masked(convolutions())
    x, y = images(50), torch.arange(50) % 5
    tune(model, prunable(model), masks, x, y, epochs=80, loss=nn.functional.cross_entropy, rate=1e-2)
    assert (answers(model, x).argmax(1) == y).float().mean() > 0.9
    assert all(np.array_equal(part.weight != 0, masks[part.name]) for part in prunable(model))


@pytest.mark.parametrize("inputs", [torch.arange(6), (torch.arange(6), torch.arange(6)), {"a": torch.arange(6)}])
def test_samples_are_taken_from_inputs_of_every_form(inputs):
    found = taken(inputs, torch.tensor([4, 1]))
    for piece in [found] if isinstance(found, torch.Tensor) else found.values() if isinstance(found, dict) else found:
        assert piece.tolist() == [4, 1]


def test_images_are_mirrored_and_moved_in_every_way_and_in_no_other():
    image = torch.arange(1.0, 7.0).view(1, 1, 2, 3)
    wide = nn.functional.pad(image, [1] * 4), nn.functional.pad(image.flip(-1), [1] * 4)
    allowed = {
        tuple(x[0, 0, a : a + 2, b : b + 3].flatten().tolist()) for x in wide for a in range(3) for b in range(3)
    }
    drawn = jittered(image.expand(500, -1, -1, -1), torch.Generator().manual_seed(0), pixels=1)
    assert drawn.shape == (500, 1, 2, 3)
    assert {tuple(each.flatten().tolist()) for each in drawn} == allowed
    assert len(allowed) == 18


@pytest.mark.parametrize(
    "inputs", [torch.zeros(3, 5), torch.zeros(1, 1, 2, 2, dtype=torch.long), {"ids": torch.ones(1)}]
)
def test_only_images_can_be_mirrored(inputs):
    with pytest.raises(ValueError, match=r"jitter must have images \[n, channels, height, width\], got "):
        jittered(inputs, torch.Generator(), pixels=1)


def test_a_recipe_with_jitter_keeps_exactly_the_total_and_comes_nearer():
    model, x = convolutions(), images(200)
    recipes = [Recipe(0.7), Recipe(0.7, epochs=8, rate=3e-3, jitter=1), Recipe(0.7, epochs=8, rate=3e-3, jitter=1)]
    plain, tuned, again = (recipe(model, refit=x[:100]) for recipe in recipes)
    assert tuned.kept == kept_total(tuned.weights, 0.7) == sum(np.count_nonzero(p.weight) for p in tuned.parts)
    held = x[100:]
    change = [squared_error(answers(p.model, held), answers(model, held)) for p in (plain, tuned)]
    assert change[1] < 0.97 * change[0]
    assert torch.equal(parameters(tuned.model), parameters(again.model))
    other = Recipe(0.7, epochs=8, rate=3e-3, jitter=1, seed=1)(model, refit=x[:100])
    assert not torch.equal(parameters(other.model), parameters(tuned.model))
    assert repr(recipes[1]) == "Recipe(sparsity=0.7, epochs=8, rate=0.003, jitter=1)"


@pytest.mark.parametrize("wrong", [{"epochs": -1}, {"jitter": -1}])
def test_negative_epochs_and_pixels_are_refused(wrong):
    with pytest.raises(ValueError, match="must be a whole number"):
        Recipe(**wrong)
