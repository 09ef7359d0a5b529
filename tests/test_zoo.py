"""The zoo on tiny networks: the truth of a network made by hand, one network per setting, runs that go on."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import train_zoo
import zoo_for_kills
import zoo_indices
import zoo_predictions
from torch import nn
from train_zoo import append_line, design, read_lines
from zoo_truth import SCOPES, Subject, Zoo, sparsity_at

from lqtheory.prediction import Judged


def by_hand(d):
    """A linear layer that is right about image i as long as its i-th weight is there; the other d weights are zero."""
    weights = torch.stack([torch.zeros(d), torch.linspace(1, 2, d)])
    network = nn.Sequential(nn.Linear(d, 2, bias=False)).eval().requires_grad_(False)
    network[0].weight.copy_(weights)
    return Subject(network, Zoo(torch.eye(d), torch.ones(d, dtype=torch.int64), torch.eye(d)))


def test_the_truth_of_a_network_made_by_hand():
    subject = by_hand(300)  # the zeros go first, but for one that its neuron keeps; then 3 of 300 images
    kept = [round(600 * (1 - sparsity_at(j))) for j in range(513)]
    last = max(j for j in range(513) if kept[j] >= 298)
    assert subject.correct == 300
    assert subject.passes("global", last)
    assert not subject.passes("global", last + 1)
    found = subject.truth()
    assert set(found) == {f"{scope}{how}" for scope in ("global", "layer", "neuron") for how in ("", " re-fitted")}
    assert found["global"] == sparsity_at(last)
    share = [round(300 * (1 - sparsity_at(j))) for j in range(33)]  # of each neuron: one image for one weight
    assert found["neuron"] == sparsity_at(max(j for j in range(33) if share[j] >= 297))
    # no image says anything about another's weight, so the re-fit cannot save more than the intercept gives
    assert all(found[f"{scope} re-fitted"] >= found[scope] - 0.05 for scope in ("global", "layer", "neuron"))


def test_a_neuron_that_would_be_empty_does_not_pass():
    subject = by_hand(50)
    assert not subject.passes("global", 512)


def test_the_design_has_every_recipe_equally_often_and_all_networks_differ():
    for family in train_zoo.FAMILIES:
        settings = design(family)
        recipes = [(s.optimizer, s.penalty) for s in settings]
        assert {recipes.count(recipe) for recipe in recipes} == {train_zoo.DRAWS}
        assert len(set(recipes)) == 20
        assert len({s.seed for s in settings}) == len({s.name for s in settings}) == len(settings) >= 120
        assert all((s.strength == 0) == (s.penalty == "none") for s in settings)
        assert settings == design(family)


def test_strengths_cover_their_range_evenly():
    drawn = sorted(s.strength for s in design("mlp") if (s.optimizer, s.penalty) == ("Adam", "l1"))
    low, high = train_zoo.STRENGTHS["mlp"]["l1"]
    places = np.log(np.array(drawn) / low) / np.log(high / low) * train_zoo.DRAWS
    assert np.floor(places + 1e-2).astype(int).tolist() == list(range(train_zoo.DRAWS))


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_a_setting_gives_one_network_bit_by_bit(family):
    x, y = zoo_for_kills.images(64)
    chosen = next(s for s in zoo_for_kills.settings() if s.family == family and s.dropout > 0)
    first, again = (train_zoo.train(chosen, x, y).state_dict() for _ in range(2))
    other = train_zoo.train(dataclasses.replace(chosen, seed=chosen.seed + 1), x, y).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_penalty_acts():
    x, y = zoo_for_kills.images(128)
    chosen = next(s for s in zoo_for_kills.settings() if s.family == "mlp" and s.penalty == "l1")
    sizes = [
        sum(float(p.abs().sum()) for p in train_zoo.train(dataclasses.replace(chosen, strength=t), x, y).parameters())
        for t in (0.0, 1e-2)
    ]
    assert sizes[1] < 0.9 * sizes[0]


def test_a_file_of_another_setting_is_refused(tmp_path):
    x, y = zoo_for_kills.images(64)
    first, second = zoo_for_kills.settings()[:2]
    train_zoo.trained(first, tmp_path, x, y)
    (tmp_path / f"{first.name}.safetensors").rename(tmp_path / f"{second.name}.safetensors")
    with pytest.raises(ValueError, match="a network must have the setting"):
        train_zoo.load(second, tmp_path / f"{second.name}.safetensors")


def test_a_line_cut_short_is_left_alone_and_done_again(tmp_path):
    path = tmp_path / "zoo.jsonl"
    append_line(path, {"name": "a"})
    path.write_bytes(path.read_bytes() + b'{"name": "b", "trut')
    append_line(path, {"name": "c"})
    assert list(read_lines(path)) == ["a", "c"]


def without_times(path):
    return [{k: v for k, v in line.items() if k not in ("seconds", "commit")} for line in read_lines(path).values()]


def test_killed_at_any_moment_it_ends_with_the_same_records(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    zoo_for_kills.main(whole)
    expected = without_times(whole / "zoo.jsonl")
    assert len(expected) == 4
    records = killed / "zoo.jsonl"
    process = subprocess.Popen([sys.executable, zoo_for_kills.__file__, killed])
    while process.poll() is None and len(read_lines(records)) < 2:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 2 <= len(read_lines(records)) < 4
    zoo_for_kills.main(killed)
    assert without_times(records) == expected


def test_indices_of_a_network_by_scope():
    network = train_zoo.mlp(0.0)
    found = zoo_indices.rounded(zoo_indices.indices_of(network))
    assert {"network", "layer", "neuron", "tensors"} == set(found)
    assert found["network"]["N[0]"] == found["network"]["k*[0.01]"] / found["network"]["k*[0.01]"] == 1.0
    assert 0.3 < found["network"]["gini"] < 0.5  # uniform weights of three widths
    assert found["layer"]["gini"] == pytest.approx(1 / 3, abs=0.01)  # uniform weights
    assert list(found["tensors"]) == ["1.weight", "3.weight", "5.weight"]
    json.dumps(found, allow_nan=False)


@pytest.fixture(scope="module")
def tiny():
    """A setting, its network, images and labels."""
    chosen = next(s for s in zoo_for_kills.settings() if s.family == "cnn")
    x, y = zoo_for_kills.images(192)
    return chosen, train_zoo.train(chosen, x[:64], y[:64]), x[64:], y[64:]


def test_measured_again_on_the_same_images_the_truth_is_the_truth(tiny, tmp_path, monkeypatch):
    chosen, network, x, y = tiny
    truth = Subject(network, Zoo(x[64:], y[64:], x[:64])).truth()
    monkeypatch.setattr(train_zoo, "RESULTS", tmp_path / "zoo.jsonl")
    monkeypatch.setattr(zoo_predictions, "CALIBRATION", 64)
    append_line(train_zoo.RESULTS, {"name": chosen.name, "truth": truth})
    found = zoo_predictions.again(chosen, Judged(network, x, y))["measured"]
    assert found == {name: value for name, value in truth.items() if name.endswith("re-fitted")}


def test_predictions_of_a_network_and_their_record(tiny, tmp_path, monkeypatch):
    chosen, network, x, y = tiny
    judged = Judged(network, x, y)
    found = zoo_predictions.predictions(chosen, judged)
    assert all(set(scopes) == set(SCOPES) for scopes in found.values())
    assert len(found) == 3
    assert zoo_predictions.from_more(chosen, judged) == {"first_order": {"neuron": found["first_order"]["neuron"]}}
    monkeypatch.setattr(train_zoo, "RESULTS", tmp_path / "zoo.jsonl")
    monkeypatch.setattr(zoo_predictions, "load", lambda setting, path: (network, 0.0))
    append_line(train_zoo.RESULTS, {"name": chosen.name})
    other = dataclasses.replace(chosen, number=99)  # of which there is no truth
    for _ in range(2):
        zoo_predictions.run(lambda *_: found, tmp_path / "found.jsonl", x, y, tmp_path, [chosen, other])
    (line,) = (tmp_path / "found.jsonl").read_text().splitlines()
    assert json.loads(line)["predicted"] == found
