"""The whole ladder beside the truth, its inverse, and where the bound is lost."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lqtheory import records
from lqtheory.bounds import Bound
from lqtheory.disagreement import disagreements
from lqtheory.evaluate import Sample, linear_stack
from lqtheory.ladder import (
    RUNGS,
    Dense,
    Population,
    Regions,
    by_count,
    by_error,
    curve,
    error_of,
    largest_sparsities,
    steps_of_proof,
)
from lqtheory.pruning import Method, global_ranking, magnitude, uniform, wanda
from lqtheory.records import Provenance
from lqtheory.verification import Pair

METHODS = (Method("global", magnitude, global_ranking), Method("wanda", wanda, uniform))
TIERS = ["A", "B", "C", "C weighted", "D", "D uniform", "F", "H"]


def dense(seed: int, widths=(6, 8, 5, 3), scale: float = 1.0, n: int = 40) -> Dense:
    rng = np.random.default_rng(seed)
    state = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        state[f"{i}.weight"] = scale * rng.standard_t(2, size=(fan_out, fan_in)) / np.sqrt(fan_in)
        state[f"{i}.bias"] = rng.normal(size=fan_out)
    stack = linear_stack(state)
    x = rng.random(size=(n, widths[0]))
    logits = Dense(stack, Sample("s", x, np.zeros(n, dtype=np.int64))).outcome.logits
    right = rng.random(n) < 0.8
    y = np.where(right, logits.argmax(axis=1), rng.integers(0, widths[-1], n))
    return Dense(stack, Sample("s", x, y))


def points(network: Dense, rungs=RUNGS, method=METHODS[0], sparsities=(0.0, 0.2, 0.6)):
    return list(curve(network, method, sparsities, Provenance(0), {}, rungs))


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from(METHODS), st.sampled_from([1e-3, 1.0, 30.0]))
def test_no_rung_is_violated(seed, method, scale):
    network = dense(seed, scale=scale)
    rungs = {**RUNGS, "G": Population.of(network.network, network.sample), "E": Regions(0.02, inputs=5)}
    found = points(network, rungs, method)
    assert records.violations(found) == 0
    assert {r.tier for r in found} >= {*TIERS[1:], "E", "G"}
    assert ("A" in {r.tier for r in found if r.sparsity == 0.6}) == (method.name == "global")


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_the_rungs_are_ordered_where_the_theory_says_so(seed):
    for _, point in itertools.groupby(points(dense(seed)), key=lambda r: r.sparsity):
        value = {r.tier: r.bound for r in point if r.setting["quantity"] == "output_error"}
        assert value["D"] <= value["C"] * (1 + 1e-9)
        assert value["C weighted"] <= value["C"] <= value["B"] <= value["A"]
        assert value["D"] <= value["D uniform"] * (1 + 1e-9)


def test_a_certified_share_counts_the_inputs_that_tier_d_certifies():
    network = dense(1)
    pruned = network.masked(METHODS[0].masks(network.layers, 0.3))
    pairs = RUNGS["D"](network, pruned)
    share = pairs["changed_predictions"].about["certified_share"]
    assert 0 < share < 1
    assert pairs["changed_predictions"].bound.value == pytest.approx(1 - share)
    assert pairs["harm"].bound.value <= pairs["changed_predictions"].bound.value


def test_shares_of_layers_add_up_to_one():
    for record in points(dense(2)):
        if record.setting["quantity"] == "output_error" and record.tier in ("A", "B", "C", "C weighted", "H"):
            assert math.fsum(record.setting["shares"].values()) == pytest.approx(1)


@pytest.mark.parametrize("quantity", ["harm", "output_error"])
@pytest.mark.parametrize("scope", ["count", "neuron", "tensor"])
def test_every_sparsity_found_keeps_its_promise(quantity, scope):
    network, limit = dense(3), {"harm": 0.1, "output_error": 0.5}[quantity]
    family = by_count(network, METHODS[0]) if scope == "count" else by_error(network, scope)
    rungs = {**RUNGS, "G": Population.of(network.network, network.sample)}
    found = list(largest_sparsities(network, family, quantity, limit, Provenance(0), {}, rungs))
    assert {r.tier for r in found} >= {"B", "C", "D"}
    assert records.violations(found) == 0
    assert any(r.bound > 0 for r in found)
    for record in found:
        assert 0 <= record.bound <= record.measured < 1
        kept = record.setting["neurons"]
        assert sum(map(sum, kept.values())) == record.setting["kept"]
        assert record.bound == pytest.approx(1 - record.setting["kept"] / record.setting["weights"])


def test_each_neuron_gets_the_sparsity_that_one_error_gives_it():
    network = dense(4)
    family = by_error(network, "neuron")
    step = family.last - 100
    pruned, eps = network.masked(family.masks(step)), error_of(step)
    assert 0.3 < eps < 0.4
    for before, after in zip(network.linears, pruned.linears, strict=True):
        lost = np.linalg.norm(before.weight - after.weight, axis=1)
        assert np.all(lost <= eps * np.linalg.norm(before.weight, axis=1))
    assert len({k for kept in pruned.kept.values() for k in kept}) > 1


@pytest.mark.parametrize("step", [0, 1, 37, 87])
def test_a_step_of_the_family_drops_as_many_weights(step):
    network = dense(5)
    family = by_count(network, METHODS[0])
    assert family.last == 6 * 8 + 8 * 5 + 5 * 3 - 16
    masks = family.masks(step)
    assert sum(int((~mask).sum()) for mask in masks.values()) == step


def test_a_rung_that_promises_too_much_is_noticed():
    def liar(network, pruned):
        return {
            k: Pair(Bound(0.0, "upper", "", ""), pair.measured, pair.trivial, {})
            for k, pair in RUNGS["C"](network, pruned).items()
        }

    network = dense(6)
    family = by_count(network, METHODS[0])
    (found,) = largest_sparsities(network, family, "output_error", 0.1, Provenance(0), {}, {"liar": liar})
    assert found.violated
    assert records.violations(points(network, {"liar": liar}, sparsities=[0.6])) > 0


def test_the_steps_of_the_proof_multiply_to_the_tightness():
    found = points(dense(7), sparsities=(0.2, 0.6))
    rows = steps_of_proof(found)
    assert [row["sparsity"] for row in rows] == [0.2, 0.6]
    for row in rows:
        assert list(row["factors"]) == [
            "lq envelope to exact tail",
            "exact tail to moments",
            "moments to per input",
            "per input to measured",
        ]
        (first,) = (
            r for r in found
            if (r.tier, r.sparsity, r.setting["quantity"]) == ("A", row["sparsity"], "output_error")
        )  # fmt: skip
        assert math.prod(row["factors"].values()) == pytest.approx(first.tightness)
        assert min(row["factors"].values()) >= 1 - 1e-9


def test_held_out_data_of_its_own_is_used_for_the_population():
    network, other = dense(8), dense(8, n=90)
    pruned = network.masked(METHODS[0].masks(network.layers, 0.5))
    pair = Population.of(network.network, other.sample, 0.9)(network, pruned)["harm"]
    assert pair.about["held_out"] == 90
    assert pair.bound.value > pair.measured
    assert "90 independent" in pair.bound.assumptions


def test_the_adversary_finds_a_disagreement_that_is_there_and_none_that_is_not():
    one = linear_stack({"w.weight": np.array([[1.0, 0.0], [0.0, 1.0]])})
    other = linear_stack({"w.weight": np.array([[1.0, 0.0], [0.0, 0.8]])})
    x = np.array([[0.5, 0.58], [0.5, 0.49], [0.5, 0.3]])  # the classes change at equal inputs; at ratio 0.8
    assert disagreements(one, other, x, 0.005).tolist() == [True, False, False]
    assert disagreements(one, other, x, 0.05).tolist() == [True, True, False]
    assert not disagreements(one, one, x, 0.3).any()


def test_a_negative_limit_is_refused():
    network = dense(9)
    with pytest.raises(ValueError, match="limit of the output error must not be negative, got -1"):
        list(largest_sparsities(network, by_count(network, METHODS[0]), "output_error", -1.0, Provenance(0), {}))
