"""Bound beside measurement: never violated, and a bound that is wrong is noticed."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lqtheory import evaluate, records
from lqtheory.evaluate import LinearStack, Sample, linear_stack
from lqtheory.ladder import scored_layers, sweep
from lqtheory.ladder.curves import A_PRIORI
from lqtheory.pruning import Method, global_ranking, keep_rule_at_total, kept_total, magnitude, uniform, wanda
from lqtheory.records import Provenance

METHODS = (
    Method("keep rule", magnitude, keep_rule_at_total),
    Method("uniform", magnitude, uniform),
    Method("global", magnitude, global_ranking),
    Method("wanda", wanda, uniform),
)
SPARSITIES = (0.0, 0.3, 0.8)


def network(seed: int, scale: float = 1.0, widths=(6, 8, 5, 3)) -> LinearStack:
    rng = np.random.default_rng(seed)
    state = {}
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        state[f"{i}.weight"] = scale * rng.standard_t(2, size=(m, n)) / np.sqrt(n)
        state[f"{i}.bias"] = rng.normal(size=m)
    return linear_stack(state)


def sample(seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample("normal", rng.normal(size=(40, 6)), rng.integers(0, 3, size=40))


def points(seed: int = 0, scale: float = 1.0, **changes) -> list[records.Record]:
    arguments = {"methods": METHODS, "sparsities": SPARSITIES} | changes
    found = sweep(
        network(seed, scale), sample(seed), provenance=Provenance(seed), setting={"network": "t"}, **arguments
    )
    return list(found)


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from([1e-90, 1e-3, 1.0, 1e90]))
def test_no_bound_is_violated_and_the_tiers_are_nested(seed, scale):
    found = points(seed, scale)
    assert records.violations(found) == 0
    by_point = itertools.groupby(found, key=lambda r: (r.setting["method"], r.sparsity))
    for _, point in by_point:
        error = {r.tier: r.bound for r in point if r.setting["quantity"] == "output_error"}
        assert error["C"] <= error["B"] <= error.get("A", np.inf)


def cut(bound, share):
    return replace(bound, value=bound.value * share)


@pytest.mark.parametrize("tier", A_PRIORI)
def test_a_bound_cut_down_below_the_truth_is_noticed(tier):
    honest = points(sparsities=(0.8,), methods=METHODS[:1])
    tightness = next(r.tightness for r in honest if r.tier == tier and r.setting["quantity"] == "output_error")

    def broken(dense, pruned):
        return {q: replace(p, bound=cut(p.bound, 0.5 / tightness)) for q, p in A_PRIORI[tier](dense, pruned).items()}

    found = points(sparsities=(0.8,), methods=METHODS[:1], rungs={**A_PRIORI, tier: broken})
    noticed = [r for r in found if r.violated]
    assert {r.tier for r in noticed} == {tier}
    assert "output_error" in {r.setting["quantity"] for r in noticed}
    assert records.violations(found) == len(noticed)


def test_half_of_a_bound_that_is_nearly_tight_is_violated():
    one_layer = linear_stack({"weight": np.random.default_rng(0).normal(size=(3, 6))})
    found = {}
    for share in (1.0, 0.5):
        lower = lambda *networks, s=share: {  # noqa: E731
            q: replace(pair, bound=cut(pair.bound, s)) for q, pair in A_PRIORI["C"](*networks).items()
        }
        run = sweep(one_layer, sample(0), METHODS[:1], [0.5], Provenance(0), {}, {"C": lower})
        found[share] = next(r for r in run if r.setting["quantity"] == "output_error")
    assert found[1.0].tightness == pytest.approx(1.0, rel=1e-9)  # one layer: nothing is lost
    assert not found[1.0].violated
    assert found[0.5].violated


def test_measurements_are_those_of_the_masked_network():
    stack, data = network(0), sample(0)
    method = METHODS[3]
    masks = method.masks(scored_layers(stack, data), 0.3)
    f, g = evaluate.outputs(stack, data.x), evaluate.outputs(stack.masked(masks), data.x)
    right, still = f.argmax(1) == data.y, g.argmax(1) == data.y
    found = {r.setting["quantity"]: r for r in points(sparsities=[0.3], methods=[method]) if r.tier == "B"}
    assert found["output_error"].measured == pytest.approx(np.sqrt(np.mean(np.sum((f - g) ** 2, axis=1))), rel=1e-14)
    assert found["changed_predictions"].measured == np.mean(f.argmax(1) != g.argmax(1))
    assert found["harm"].measured == np.mean(right & ~still)
    for record in found.values():
        assert record.setting["accuracy"] == still.mean()
        assert record.setting["dense_accuracy"] == right.mean()
        assert record.setting["kept"] == kept_total(record.setting["weights"], 0.3)
        assert record.setting["samples"] == 40
    floor = found["harm"].setting["certified_accuracy"]
    assert floor <= still.mean()
    assert floor == pytest.approx(max(right.mean() - found["harm"].bound, 0), abs=1e-15)


def test_nothing_pruned_is_nothing_changed():
    for record in points(sparsities=[0.0]):
        assert record.measured == 0
        assert record.bound < 1e-10
        assert not record.vacuous


def test_the_closed_form_is_left_out_where_it_is_not_proved():
    tiers = {method.name: set() for method in METHODS}
    for record in points():
        tiers[record.setting["method"]].add(record.tier)
    assert tiers["keep rule"] == tiers["global"] == {"A", "B", "C"}
    assert "A" not in {r.tier for r in points(sparsities=[0.3], methods=METHODS[3:])}


def test_the_same_sweep_gives_the_same_records():
    assert points() == points()
