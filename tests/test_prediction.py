"""Predicted sparsities against brute force, closed forms and the networks themselves."""

import itertools

import numpy as np
import pytest
import torch
from conftest import TOLERANCE
from hypothesis import given, strategies as st
from torch import nn

import lqtheory as lq
from lqtheory.prediction import (
    Judged,
    first_order,
    independent_errors,
    largest_passing,
    measured,
    predict_sparsity,
    sparsity_at,
)
from lqtheory.pruning import Method, global_ranking, magnitude
from lqtheory.pruning.recipe import Recipe


def judged(*widths, n=400, seed=0):
    """A ReLU network with random weights, inputs, and labels that it gets right most of the time."""
    torch.manual_seed(seed)
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers[:-1]).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3.0 if parameter.ndim > 1 else 0.0)  # inputs decide, not biases
    x = torch.randn(n, widths[0], dtype=torch.float64)
    noisy = model(x) + 0.2 * torch.randn(n, widths[-1], dtype=torch.float64)
    return Judged(model, x, noisy.argmax(1))


def masks_of(it, sparsity):
    return Method("magnitude", magnitude, global_ranking).masks(it.layers("magnitude"), sparsity)


def test_first_order_is_the_derivative_written_out():
    it = judged(12, 9, 7, 4)
    w = [layer.weight.numpy() for layer in it.model if isinstance(layer, nn.Linear)]
    h = [it.inputs.numpy()]
    for layer in (it.model[:2], it.model[2:4]):
        h.append(layer(torch.from_numpy(h[-1])).numpy())
    for sparsity in (0.1, 0.3, 0.5, 0.7):
        changes = it.changes(masks_of(it, sparsity))
        d = [changes[part.name].numpy() for part in it.parts]
        change = np.zeros((len(h[0]), 9))
        for k in range(3):
            change = d[k] @ h[k].T if k == 0 else d[k] @ h[k].T + w[k] @ (change * (h[k].T > 0))
        expected = np.mean((it.logits.numpy() + change.T).argmax(1) == it.wanted.numpy())
        assert first_order(it, changes) == pytest.approx(expected, rel=TOLERANCE["tight"])
    assert expected < it.accuracy - 0.1


def test_of_one_layer_first_order_is_exact():
    it = judged(20, 5)
    for sparsity in (0.3, 0.6, 0.9):
        changes = it.changes(masks_of(it, sparsity))
        assert first_order(it, changes) == measured(it, changes) < it.accuracy


def test_measured_is_the_accuracy_of_the_pruned_network():
    it = judged(20, 15, 5)
    pruned = Recipe(0.6, fit=None)(it.model).model
    expected = float((pruned(it.inputs).argmax(1) == it.labels).double().mean())
    assert measured(it, it.changes(masks_of(it, 0.6))) == pytest.approx(expected, rel=TOLERANCE["tight"])


def test_independent_errors_of_one_layer_have_a_closed_form():
    it = judged(30, 4, n=4000)
    changes = it.changes(masks_of(it, 0.5))
    error = (it.inputs @ changes["0.weight"].T).square().sum(1).mean()
    tau = (2 / 4 * error) ** 0.5  # each gain is 1 - 1/K, K = 4
    margins = it.logits.gather(1, it.labels[:, None])[:, 0] - it.logits.scatter(1, it.labels[:, None], -1e9).amax(1)
    expected = float(torch.special.ndtr(margins / tau).mean())
    assert independent_errors(it, changes) == pytest.approx(expected, abs=0.01)
    assert expected < it.accuracy - 0.02
    assert independent_errors(it, it.changes(masks_of(it, 0.0))) == it.accuracy


def test_re_fitted_changes_of_one_layer_are_those_of_the_re_fit():
    it = judged(20, 5)
    fitted = Recipe(0.7)(it.model, refit=it.inputs).model
    changes = it.changes(masks_of(it, 0.7), refit=True)
    for name in ("0.weight", "0.bias"):
        found = it.model.get_parameter(name) + changes[name]
        assert torch.allclose(found, fitted.get_parameter(name), rtol=0, atol=1e-9)


@given(end=st.integers(0, 600), start=st.integers(0, 512), step=st.sampled_from([1, 2, 4, 8, 32]))
def test_the_end_of_an_interval_is_found(end, start, step):
    found = largest_passing(lambda j: j <= end, start, step)
    assert found == min(end, 512) // step * step


def test_the_first_failing_coarse_sparsity_ends_the_search():
    assert largest_passing(lambda j: j < 40 or j > 70) == 39


@pytest.mark.parametrize("law", [first_order, independent_errors, measured])
@pytest.mark.parametrize("budget", ["global", "layer", "uniform"])
def test_the_predicted_sparsity_passes_and_the_next_does_not(law, budget):
    it = judged(20, 15, 5)
    found = predict_sparsity(it.model, it.inputs, it.labels, budget, most_lost=0.02, law=law)
    following = min(s for s in found.drops if s > found.sparsity)
    assert found.drops.get(found.sparsity, 0.0) <= 0.02 < found.drops[following]
    assert following == next(sparsity_at(j + 1) for j in range(512) if sparsity_at(j) == found.sparsity)
    assert found.accuracy == it.accuracy


def test_without_labels_the_networks_own_answers_count():
    it = judged(20, 15, 5)
    found = predict_sparsity(it.model, it.inputs)
    own = predict_sparsity(it.model, it.inputs, it.logits.argmax(1))
    assert found == own
    assert found.accuracy == 1


def test_convolutions_and_scores_that_need_data():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    x = torch.randn(200, 2, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = [lq.predict_sparsity(model, x, law=law, score="wanda") for law in (first_order, independent_errors)]
    assert all(0 < each.sparsity < 1 for each in found)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_neuron_keeps_a_weight():
    it = judged(20, 15, 5)
    found = predict_sparsity(it.model, it.inputs, law=lambda judged, changes: judged.accuracy)
    assert (1 - found.sparsity) * 375 >= 20 - 0.5


def test_refuses_what_cannot_be():
    it = judged(4, 2)
    with pytest.raises(ValueError, match="most_lost must lie in"):
        predict_sparsity(it.model, it.inputs, most_lost=1.0)
    with pytest.raises(ValueError, match="step must be a whole number"):
        predict_sparsity(it.model, it.inputs, step=0)
