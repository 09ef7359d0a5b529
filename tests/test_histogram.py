"""The mergeable histogram: exact where it says so, certified elsewhere, the same in whatever order it is summed."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from lqtheory import indices, norms
from lqtheory.checkpoint import Layout, WeightTensor
from lqtheory.histogram import GRIDS, Histogram, gini_error, power_sum_bracket, profile_of, signed_moments, two_points
from lqtheory.profile import Profile
from lqtheory.scan import scan

DRAWS = {
    "gaussian": lambda rng, n: rng.standard_normal(n) * 0.02,
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "sparse": lambda rng, n: rng.laplace(size=n) * (rng.random(n) < 0.3),
    "one octave": lambda rng, n: rng.uniform(1, 2, n),
    "one bin": lambda rng, n: 1 + rng.random(n) ** 4 * 2**-10,
    "denormal": lambda rng, n: rng.standard_normal(n) * 1e-42,
}
every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())


def float32_histogram(w):
    return Histogram.of_bits(GRIDS["float32"], w.astype(np.float32).view(np.uint32))


def float32_histograms(w):
    bits = w.astype(np.float32).view(np.uint32)
    layout = Layout(1, 1, 1, bits.size, "vector")
    return scan(WeightTensor("w", w.shape, "float32", layout, lambda: bits), [1.0]).histograms


def truncated(w, dtype):
    """Values that the 16-bit type can hold, and their patterns."""
    if dtype == "float16":
        bits = w.astype(np.float16).view(np.uint16)
        return bits, bits.view(np.float16).astype(np.float64)
    bits = (w.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


@every_draw
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_histograms_are_exact(draw, dtype, tolerance):
    bits, values = truncated(draw(np.random.default_rng(1), 20_000), dtype)
    finite = values[np.isfinite(values)]
    histogram = Histogram.of_bits(GRIDS[dtype], bits)
    profile, truth = profile_of([histogram]), Profile.of(finite)
    assert profile.exact
    assert histogram.nonfinite == values.size - finite.size
    assert np.array_equal(np.repeat(profile.magnitudes, profile.counts.astype(int)), truth.magnitudes)
    assert indices.weights_needed(profile, 0.2013) == indices.weights_needed(truth, 0.2013)
    for index in (indices.gini, indices.hoyer, lambda p: indices.sparsity_index(p, 0.5)):
        assert index(profile) == pytest.approx(index(truth), rel=tolerance["merge"], abs=1e-12, nan_ok=True)


@every_draw
@pytest.mark.parametrize("n", [1, 2, 30, 100_000])
def test_float32_histograms_are_certified(draw, n, tolerance):
    w = draw(np.random.default_rng(2), n).astype(np.float32)
    parts, truth = float32_histograms(w), Profile.of(w)
    profile = profile_of(parts)
    assert (profile.d, profile.zeros) == (truth.d, truth.zeros)
    for p in (0.1, 0.5, 0.9, 1, 1.5, 2, 4):
        lower, upper = np.sum([power_sum_bracket(part, p) for part in parts], axis=0)
        exact = float(np.sum(np.abs(w.astype(np.float64)) ** p))
        assert lower <= exact <= upper
        assert upper - lower <= tolerance["histogram"] * exact
        assert np.exp(norms.log_power_sum(profile, p)) == pytest.approx(exact, rel=tolerance["histogram"])
    if truth.nonzero > 1:
        for index in (indices.hoyer, lambda p: indices.pq_index(p, 0.1, 1)):
            assert index(profile) == pytest.approx(index(truth), rel=tolerance["histogram"], abs=1e-10)
        assert abs(indices.gini(profile) - indices.gini(truth)) <= gini_error(parts) + 1e-15


@pytest.mark.parametrize("draw", ["gaussian", "cauchy", "sparse", "one octave"])
def test_the_gini_index_of_a_histogram_is_certified_to_1e_7(draw, tolerance):
    assert gini_error([float32_histogram(DRAWS[draw](np.random.default_rng(4), 100_000))]) < tolerance["histogram"]


@given(arrays(np.uint32, st.integers(1, 60), elements=st.integers(0, 2**32 - 1)), st.integers(0, 60))
def test_any_bit_pattern_and_any_split(bits, cut):
    values = bits.view(np.float32)
    finite = values[np.isfinite(values)].astype(np.float64)
    whole = Histogram.of_bits(GRIDS["float32"], bits)
    merged = Histogram.merged([Histogram.of_bits(GRIDS["float32"], part) for part in (bits[cut:], bits[:cut])])
    for name in ("key", "count", "rest", "rest_squared"):
        assert np.array_equal(getattr(whole, name), getattr(merged, name))
    assert whole.nonfinite == merged.nonfinite == values.size - finite.size
    assert whole.zeros == merged.zeros == np.count_nonzero(finite == 0)
    if finite.size:
        atoms, counts = whole.atoms()
        assert np.all(np.diff(atoms) >= 0)
        assert np.sum(counts) == pytest.approx(finite.size, rel=1e-12)
        total = np.abs(finite).sum()
        assert np.sum(atoms * counts) == pytest.approx(total, rel=1e-9)
        mean, _, number = signed_moments([whole])
        assert np.sum(mean * number) == pytest.approx(finite.sum(), rel=1e-9, abs=1e-9 * total)


def test_weights_alone_or_in_pairs_in_their_bins_come_back():
    w = np.array([0.0, 1.5, -1.5, 3.0, 3.0009765, 1e-45, -2e-38, 7.001, -7.002], np.float32)
    atoms, counts = float32_histogram(w).atoms()
    assert np.allclose(np.repeat(atoms, counts.astype(int)), np.sort(np.abs(w.astype(np.float64))), rtol=1e-15, atol=0)


def test_histograms_of_different_types_make_one_profile():
    rng = np.random.default_rng(3)
    w, (bits, v) = rng.standard_normal(3000).astype(np.float32), truncated(rng.standard_normal(2000), "bfloat16")
    x = rng.standard_normal(500)
    parts = [
        float32_histogram(w),
        Histogram.of_bits(GRIDS["bfloat16"], bits),
        Histogram.of_bits(GRIDS["float64"], x.view(np.uint64)),
    ]
    profile, truth = profile_of(parts), Profile.of(np.concatenate([w, v, x]))
    assert indices.gini(profile) == pytest.approx(indices.gini(truth), rel=1e-7)
    assert indices.pq_index(profile, 0.5, 1) == pytest.approx(indices.pq_index(truth, 0.5, 1), rel=1e-9)


bins = st.tuples(st.floats(0, 100), st.floats(1e-3, 10), arrays(np.float64, 6, elements=st.floats(0, 1)))


@given(bins)
def test_two_points_keep_mean_and_spread_inside_the_bin(case):
    low, width, shares = case
    x = low + width * shares
    mean, spread = np.array(x.mean()), np.array(x.std())
    first, second, share = two_points(np.array(low), np.array(low + width), mean, spread)
    assert low - 1e-9 <= first <= second + 1e-12
    assert second <= low + width + 1e-9
    assert share * first + (1 - share) * second == pytest.approx(mean, rel=1e-9)
    assert share * (first - mean) ** 2 + (1 - share) * (second - mean) ** 2 == pytest.approx(
        spread**2, rel=1e-6, abs=1e-12
    )


def test_the_certificate_of_the_gini_index_is_the_larger_of_two_bounds():
    """Where half of a bin lies on either edge, the lower bound is attained and Glasser's inequality decides."""
    low, high = np.float32(1), np.uint32(np.float32(1).view(np.uint32) + 8191).view(np.float32)
    spread, mean = (float(high) - float(low)) / 2, (float(high) + float(low)) / 2
    found = gini_error([float32_histogram(np.repeat(np.array([low, high], np.float32), 50))])
    assert found == pytest.approx((2 / np.sqrt(3) - 1) * spread / (2 * mean), rel=1e-9)
    uniform = np.linspace(low, high, 8192).astype(np.float32)
    spread, mean = float(uniform.astype(float).std()), float(uniform.astype(float).mean())
    least = 2 * spread**2 / (float(high) - float(low))
    assert gini_error([float32_histogram(uniform)]) == pytest.approx((spread - least) / (2 * mean), rel=1e-6)
