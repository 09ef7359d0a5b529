"""Dominance, crossings and intervals of comparisons."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from vectors import heavy

from lqtheory import indices
from lqtheory.analysis import analyze
from lqtheory.bootstrap import replicates
from lqtheory.comparison import compare, dominance
from lqtheory.measure import labelled
from lqtheory.profile import Profile


@given(heavy, heavy)
def test_dominance_decides_every_index_that_respects_transfers(v, w):
    d = min(v.size, w.size)
    a, b = Profile.of(v[:d]), Profile.of(w[:d])
    verdict = dominance(a, b).verdict
    assert dominance(b, a).verdict == {"A": "B", "B": "A"}.get(verdict, verdict)
    if verdict in "AB":
        upper, lower = (a, b) if verdict == "A" else (b, a)
        for index in (
            indices.gini,
            indices.hoyer,
            lambda p: indices.pq_index(p, 0.3, 1),
            lambda p: indices.pq_index(p, 1, 4),
        ):
            assert index(upper) >= index(lower) - 1e-9


@given(heavy, st.floats(0.1, 0.9))
def test_a_pruned_copy_is_more_compressible(w, share):
    pruned = w.copy()
    pruned[np.argsort(np.abs(w))[: int(share * w.size)]] = 0
    expected = "A" if np.any(pruned != w) else "equal"
    result = dominance(Profile.of(pruned), Profile.of(w))
    assert result.verdict == expected
    assert result.crossings == ()


def test_crossing_is_found_where_the_curves_meet():
    a, b = Profile.of([6, 1, 1, 1, 1]), Profile.of([4, 4, 2, 0, 0])
    result = dominance(a, b)
    assert result.verdict == "crossing"
    ((x, y),) = result.crossings
    # L_a = .6 + (s-1)/10 and L_b = .4 s for 1 <= s <= 2 meet at s = 5/3
    assert (x, y) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert result.margins == (pytest.approx(0.2), pytest.approx(0.2))


def test_different_lengths_are_compared_on_the_share_of_weights():
    w = np.random.default_rng(0).standard_normal(50)
    assert dominance(Profile.of(w), Profile.of(np.tile(w, 7))).verdict == "equal"


def test_a_network_compared_with_itself_is_equal(data):
    path = data / "models" / "distiller-resnet20" / "dense.safetensors"
    result = compare(path, path, resamples=20)
    assert result.verdict == "equal"
    for row in result.indices().values():
        assert row["difference"] == 0
        assert row["interval"] in (None, (0, 0))


def test_the_pruned_mlp_of_others_is_recognised(data):
    folder = data / "models" / "hls4ml" / "mnist_mlp_784-512-512-10"
    result = compare(folder / "model_10P_pruned.safetensors", folder / "model_def_best.safetensors", resamples=50)
    assert result.verdict == "A"
    assert all(row["verdict"] == "A" for row in result.tensors())
    low, high = result.indices()["gini"]["interval"]
    assert 0.5 < low < result.indices()["gini"]["difference"] < high < 0.6
    assert result.ranking[0]["label"] == "A"
    assert result.ranking[0]["dominates"] == ["B"]


def test_coarse_histograms_have_nearly_the_indices_of_the_network():
    rng = np.random.default_rng(8)
    w = rng.standard_t(3, (200, 100)) * (rng.random((200, 100)) < 0.8)
    network = analyze({"w": torch.from_numpy(w)})
    coarse, moved = replicates(network, 3, seed=0)
    exact = dict(labelled(network.network.indices))
    for name, value in coarse.items():
        assert value == pytest.approx(exact[name], rel=0.03 if "inf" in name or "needed" in name else 1e-3), name
        assert moved[name].shape == (3,)


def test_intervals_cover_the_difference_of_two_laws():
    """Rows of two laws: the interval of A - B has the true difference in about 90 % of 40 repetitions."""
    rng = np.random.default_rng(7)
    draw = [lambda: rng.standard_normal((60, 40)), lambda: rng.laplace(size=(60, 40))]
    large = [indices.gini(Profile.of(rng.standard_normal(10**6))), indices.gini(Profile.of(rng.laplace(size=10**6)))]
    covered = 0
    for seed in range(40):
        one, other = (torch.from_numpy(f()) for f in draw)
        result = compare({"w": one}, {"v": other}, resamples=60, confidence=0.9, seed=seed)
        low, high = result.indices()["gini"]["interval"]
        covered += low <= large[0] - large[1] <= high
    assert 28 <= covered <= 40  # binomial(40, 0.9): below with probability under 1e-3


def test_ranking_of_networks_of_different_sizes(data):
    folder = data / "models" / "hls4ml" / "jet_tagging"
    names = ("KERAS_3layer", "KERAS_3layer_70pruned_retrained", "KERAS_3layer_95pruned_retrained")
    networks = [analyze(folder / f"{name}.safetensors") for name in names]
    networks.append(analyze(data / "models" / "auto-lirpa" / "mnist_fc_3layer.pth"))
    result = compare(*networks, resamples=0)
    assert [row["label"] for row in result.ranking][:2] == ["C", "B"]
    assert {"A", "B", "D"} <= set(result.ranking[0]["dominates"])
    document = json.loads(result.to_json())
    assert document["verdict"] == "B"
    assert document["pairs"]["A,C"] == "C"
    assert all(row["interval"] is None for row in document["indices"].values())


def test_too_few_or_empty_networks():
    w = {"w": torch.randn(3, 3)}
    with pytest.raises(ValueError, match="2 to 26 networks, got 1"):
        compare(w)
    with pytest.raises(ValueError, match="must have a non-zero weight"):
        compare(w, {"w": torch.zeros(3, 3)})
