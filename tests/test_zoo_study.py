"""The correlations of the study against SciPy, and its records from files made by hand."""

import json

import numpy as np
import pytest
import study_zoo
from conftest import TOLERANCE
from scipy import stats
from zoo_correlation import interval, kendall, resamples, spearman, within

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 12, 40).astype(float), RNG.integers(0, 12, 40).astype(float)  # with ties
GROUPS = [k % 4 for k in range(40)]


@pytest.mark.parametrize(("ours", "theirs"), [(spearman, stats.spearmanr), (kendall, stats.kendalltau)])
def test_correlations_are_those_of_scipy_in_every_resample(ours, theirs):
    drawn = resamples([0] * 40, 20, seed=1)
    expected = [theirs(X[row], Y[row])[0] for row in drawn]
    assert ours(X, Y, drawn) == pytest.approx(expected, rel=TOLERANCE["inequality"])


def test_the_first_resample_is_everything_and_groups_keep_their_size():
    drawn = resamples(GROUPS, 50, seed=1)
    assert drawn[0].tolist() == list(range(40))
    labels = np.array(GROUPS)[drawn]
    assert (labels == np.array(GROUPS)).all()
    assert len({tuple(row) for row in drawn}) == 51


def test_within_groups_a_difference_between_groups_does_not_count():
    level = 100.0 * np.array(GROUPS)
    rho, tau = within(GROUPS)
    drawn = resamples(GROUPS, 20, seed=1)
    for inside, plain in ((rho, spearman), (tau, kendall)):
        assert inside(X + level, Y, drawn) == pytest.approx(inside(X, Y, drawn), abs=TOLERANCE["inequality"])
        assert plain(X + level, level, drawn)[0] > 0.8
    assert abs(tau(X, X, drawn)[0] - 1) < TOLERANCE["inequality"]
    pairs = [(i, j) for i in range(40) for j in range(i) if GROUPS[i] == GROUPS[j]]
    signs = [(np.sign(X[i] - X[j]), np.sign(Y[i] - Y[j])) for i, j in pairs]
    a, b = np.array(signs).T
    assert tau(X, Y, drawn)[0] == pytest.approx((a @ b) / np.sqrt((a @ a) * (b @ b)))


def test_intervals_are_quantiles_of_the_resamples():
    assert interval(np.array([7.0, *np.arange(1001.0)])) == [7.0, 25.0, 975.0]


def network(family, k):
    """Records of a network whose truth is known; the index of an untrained one points the other way."""
    name, level = f"{family}-{k:03d}", k / 40
    recipe = {"family": family, "optimizer": ("SGD", "Adam")[k % 2], "penalty": ("none", "l1")[k // 2 % 2]}
    truth = {f"{scope}{how}": 0.5 + level / 2 for scope in ("global", "layer", "neuron") for how in ("", " re-fitted")}
    table = {"gini": 0.3 + level, "N[0.5,1]": 0.8 - level, "stable rank": None}
    scopes = dict.fromkeys(("global", "layer", "neuron"), 0.4 + level / 2)
    laws = dict.fromkeys(("first_order", "independent_errors", "measured"), scopes)
    return {
        "zoo": {"name": name, "setting": recipe, "accuracy": 0.6 if k == 19 else 0.8, "truth": truth},
        "zoo_indices": {"name": name, "indices": {scope: table for scope in ("network", "layer", "neuron")}},
        "zoo_scores": {"name": name, "indices": {"inputs": {"gini": 0.2 + level}}},
        "zoo_weightwatcher": {"name": name, "alpha": 2.0 + np.sin(k)},
        "zoo_predictions": {"name": name, "predicted": laws},
        "zoo_predictions_refit": {
            "name": name if k < 10 else "",
            "predicted": {"first_order": {"global re-fitted": 0.45 + level / 2}},
        },
    }


def test_the_study_of_networks_made_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(study_zoo, "RESAMPLES", 50)
    found = [network(family, k) for family in ("mlp", "cnn") for k in range(20)]
    for name in found[0]:
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each[name]) + "\n" for each in found))
    records = list(study_zoo.study(tmp_path))
    spreads = [r for r in records if r["quantity"] == "spread"]
    assert {r["networks"] for r in spreads if r["family"] != "both"} == {19}  # one has not learned
    gini = [r for r in records if r["quantity"] == "correlation" and r["index"] == "network gini"]
    assert len(gini) == 18
    assert all(r["spearman"] == r["kendall within recipes"] == [1.0, 1.0, 1.0] for r in gini if r["family"] != "both")
    assert not [r for r in records if "stable rank" in r.get("index", "")]  # not defined for any
    gaps = {(r["index"], r["rival"]): r["spearman"] for r in records if r["quantity"] == "difference"}
    assert gaps["first_order", "Gini"] == [0.0, 0.0, 0.0]
    assert gaps["first_order", "WeightWatcher alpha"][1] > 0
    errors = {(r["index"], r["truth"]): r["median"] for r in records if r["quantity"] == "error"}
    assert errors["first_order", "global"] == pytest.approx(0.1)
    assert errors["first_order, calibrated", "global"] < 0.05
    (refit,) = [
        r for r in records if r["quantity"] == "points" and r["truth"] == "global re-fitted" and r["family"] == "mlp"
    ]
    assert len(refit["points"]) == 10
    assert not [r for r in gini if r["index"] == "first_order global re-fitted"]
    some = [r for r in records if r["quantity"] == "of some" and r["family"] == "mlp"]
    assert {r["networks"] for r in some} == {10}
    assert {r["index"]: r["spearman"][0] for r in some}["first_order global re-fitted"] == 1
    assert errors["first_order", "global re-fitted"] == pytest.approx(0.05)
    json.dumps(records, allow_nan=False)
