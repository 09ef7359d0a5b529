"""The formulas differentiated, inverted, taken to their limits, and held against the numeric code at 50 digits."""

import ast
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings, strategies as st
from sympy import Rational, oo, simplify

from lqtheory import bounds, indices, symbolic
from lqtheory.profile import Profile
from lqtheory.symbolic import N, d, eps, eta, k, p, q, s

ROOT = Path(__file__).parents[1]
THEORY = "\n".join(path.read_text() for path in (ROOT / "docs/theory").glob("*.md"))

weights = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=9)
fraction = st.fractions(Rational(1, 8), Rational(7, 8), max_denominator=16).map(lambda f: Rational(f))


def norm(w, exponent, digits=50):
    """The definition, in mpmath."""
    with mpmath.workdps(digits + 10):
        e = mpmath.mpf(exponent.p) / exponent.q
        return sympy.Float(mpmath.fsum(mpmath.mpf(a) ** e for a in w) ** (1 / e), digits)


def near(numeric, formula, **values):
    exact = formula.at(digits=50, **values)
    assert float(abs(sympy.Float(numeric, 50) - exact)) <= 1e-9 * float(abs(exact)) + 1e-12
    return exact


def test_it_imports_sympy_and_nothing_of_ours():
    tree = ast.parse(Path(symbolic.__file__).read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    assert not any(isinstance(n, ast.ImportFrom) and n.level for n in nodes)
    assert names == {"collections.abc", "dataclasses", "typing", "sympy"}


@pytest.mark.parametrize("formula", symbolic.ALL, ids=lambda f: f"{f.source} {f.quantity}")
def test_every_formula_has_a_heading_and_latex(formula):
    assert re.search(rf"^### {formula.source} \(", THEORY, re.MULTILINE)
    text = formula.latex()
    assert text.startswith(formula.quantity)
    assert text.count("{") == text.count("}")


@settings(max_examples=20)
@given(weights, fraction, st.data())
def test_bounds_are_the_formulas_to_the_last_digit_of_float64(w, small, data):
    profile, kept = Profile.of(w), data.draw(st.integers(1, len(w)))
    large = data.draw(st.sampled_from([Rational(1), Rational(3, 2), Rational(2)]))
    feature = data.draw(st.floats(0.1, 10))
    size, one = norm(w, small), norm(w, Rational(1))
    tail = bounds.stechkin(profile, kept, float(small), float(large))
    near(tail.value, symbolic.STECHKIN, p=large, q=small, s=kept, norm_q=size)
    if kept < len(w):
        terms = [
            symbolic.WORST_CASE.at(p=large, q=small, s=kept, k=support, norm_q=size)
            for support in range(kept + 1, len(w) + 1)
        ]
        worst = bounds.worst_case(profile, kept, float(small), float(large)).value
        assert worst == pytest.approx(float(max(terms)), rel=1e-9)
    number = symbolic.EFFECTIVE_NUMBER.at(p=small, q=1, norm_p=size, norm_q=one)
    ratio = data.draw(st.floats(0, 5))
    low = bounds.retention(profile, ratio, float(small), 1.0).value
    near(low, symbolic.RETENTION, p=small, q=1, N=number, eta=sympy.Float(ratio, 50))
    error = data.draw(st.floats(0.05, 0.95))
    low, _ = bounds.bracket(profile, error, p=float(small), q=float(small) / 2, r=1.0)
    near(low.value, symbolic.BRACKET_LOWER, p=small, q=1, N=number, eps=sympy.Float(error, 50))
    drawn = bounds.maurey(profile, kept, float(small), feature).value
    near(drawn, symbolic.MAUREY, q=small, k=kept, norm_q=size, M=sympy.Float(feature, 50))


@settings(max_examples=20)
@given(weights, fraction)
def test_indices_are_the_formulas(w, small):
    profile, size = Profile.of(w), len(w)
    one, two, low = norm(w, Rational(1)), norm(w, Rational(2)), norm(w, small)
    number = near(
        indices.effective_number(profile, float(small), 1.0),
        symbolic.EFFECTIVE_NUMBER, p=small, q=1, norm_p=low, norm_q=one,
    )  # fmt: skip
    share = near(indices.sparsity_index(profile, float(small)), symbolic.SPARSITY_INDEX, norm_1=one, norm_q=low)
    assert float(abs(share - symbolic.SPARSITY_OF_NUMBER.at(N=number, q=small))) < 1e-40
    near(
        indices.normalized_sparsity_index(profile, float(small)),
        symbolic.NORMALIZED_SPARSITY_INDEX, d=size, q=small, norm_1=one, norm_q=low,
    )  # fmt: skip
    index = near(
        indices.pq_index(profile, float(small), 1.0), symbolic.PQ_INDEX, d=size, p=small, q=1, norm_p=low, norm_q=one
    )
    assert float(abs(index - symbolic.PQ_OF_NUMBER.at(N=number, d=size, p=small, q=1))) < 1e-40
    assert float(abs(index - symbolic.PQ_OF_SPARSITY.at(d=size, q=small, norm_1=one, norm_q=low))) < 1e-40
    hoyer = near(indices.hoyer(profile), symbolic.HOYER, d=size, norm_1=one, norm_2=two)
    pairs = symbolic.EFFECTIVE_NUMBER.at(p=1, q=2, norm_p=one, norm_q=two)
    assert float(abs(hoyer - symbolic.HOYER_OF_NUMBER.at(N=pairs, d=size))) < 1e-40


def test_the_split_of_maurey_is_the_formula():
    w = [5.0, 3.0, 1.0, 0.5, 0.25]
    values = [symbolic.MAUREY_SPLIT.at(tail_1=sum(map(Rational, w[n:])), M=2, s=n, k=3) for n in range(3)]
    kept = 2 * sum(map(Rational, w[3:]))  # at s = k nothing is drawn
    assert bounds.maurey_split(Profile.of(w), 3, 2.0).value == pytest.approx(float(min(*values, kept)), rel=1e-12)


def test_the_worst_support_is_where_the_derivative_vanishes_and_gives_stechkins_constant():
    real = sympy.Symbol("x", positive=True)
    slope = sympy.diff(sympy.log(symbolic.worst_case_term(s, real)), real)
    assert sympy.solve(slope, real) == [s * p / (p - q)]
    value = symbolic.worst_case_term(s, symbolic.worst_support())
    for values in ({p: 2, q: 1, s: 4}, {p: 2, q: Rational(1, 2), s: 7}, {p: 1, q: Rational(1, 3), s: 2}):
        constant = symbolic.STECHKIN_CONSTANT.expression * s ** (1 / p - 1 / q)
        assert sympy.N((value - constant).subs(values), 50) == pytest.approx(0, abs=1e-45)
    second = sympy.diff(slope, real).subs(real, s * p / (p - q))
    assert simplify(second * s**2).subs({p: 2, q: 1}) < 0


def test_bounds_fall_in_what_is_kept_and_rise_in_the_norm():
    for formula, symbol in ((symbolic.STECHKIN, s), (symbolic.MAUREY, k), (symbolic.RETENTION, eta)):
        slope = sympy.diff(sympy.expand_log(sympy.log(formula.expression), force=True), symbol)
        assert slope.subs({p: Rational(3, 2), q: Rational(7, 4)} if symbol is eta else {p: 2, q: 1}).simplify() < 0
    assert sympy.diff(symbolic.STECHKIN.expression, symbolic.norm_q).subs({p: 2, q: 1}).is_positive


def test_inverses_undo_the_formulas():
    values = {N: 100, p: Rational(1, 2), q: 1}
    for least in (1, 25, 99):
        answer = symbolic.RETENTION.inverse(eta).subs({**values, s: least})
        assert symbolic.RETENTION.at(N=100, p=Rational(1, 2), q=1, eta=answer) == least
    needed = symbolic.MAUREY.inverse(k)  # how many terms for an error y
    error = sympy.Rational(1, 3)
    (level,) = needed.free_symbols - symbolic.MAUREY.expression.free_symbols - {s} or {s}
    terms = needed.subs({level: error, symbolic.M: 1, q: Rational(1, 2), symbolic.norm_q: 2})
    assert (
        simplify(
            symbolic.MAUREY.expression.subs({k: terms, symbolic.M: 1, q: Rational(1, 2), symbolic.norm_q: 2}) - error
        )
        == 0
    )
    ratio = symbolic.BRACKET_RATIO.expression
    for error in (Rational(1, 3), Rational(9, 10)):
        bound = symbolic.RETENTION.expression.subs(eta, ratio) / symbolic.BRACKET_LOWER.expression
        assert sympy.N(bound.subs({**values, eps: error}), 50) == pytest.approx(1, abs=1e-45)
    (back,) = sympy.solve(sympy.Eq(ratio.subs(eps**p, N), eta), N)
    assert back == eta / (eta + 1)


def test_limits():
    constant, small = symbolic.STECHKIN_CONSTANT.expression.subs(p, 2), sympy.Float("1e-20", 80)
    assert constant.subs(q, 1) == Rational(1, 2)
    assert abs(sympy.N(constant.subs(q, 2 - small), 50) - 1) < 1e-17
    near_zero = sympy.Float("1e-6", 80)
    ratio = constant.subs(q, near_zero) / sympy.sqrt(near_zero / (2 * sympy.E))
    assert abs(sympy.N(ratio, 50) - 1) < 1e-6  # so it goes to 0 with q
    assert sympy.limit(symbolic.RETENTION.expression.subs({p: Rational(1, 2), q: 1}), eta, oo) == 0
    w = [3, 1, 2]
    assert abs(sympy.N(symbolic.effective_number(w, small, 1), 50) - 3) < 1e-18
    assert symbolic.effective_number(w, 1, 2) == Rational(36, 14)
    assert abs(sympy.N(symbolic.effective_number(w, 1, sympy.Float(10**6, 50)), 30) - 2) < 1e-4  # |w|_1 / |w|_inf
    assert symbolic.PQ_OF_NUMBER.expression.subs(N, d) == 0
    assert symbolic.HOYER_OF_NUMBER.expression.subs(N, 1) == 1


def test_the_entropy_is_the_limit_at_equal_exponents():
    w, order = [3, 1, 2], sympy.Symbol("r", positive=True)
    power_sum = sympy.Add(*(sympy.Integer(a) ** order for a in w))
    numerator = order * sympy.log(6) - sympy.log(power_sum)  # over order - 1: the logarithm of the number
    assert simplify(numerator.subs(order, 1)) == 0
    limit = sympy.exp(sympy.diff(numerator, order).subs(order, 1))  # de l'Hospital
    assert abs(sympy.N(limit - symbolic.entropy_number(w), 50)) < 1e-45
    near_one = symbolic.effective_number(w, 1, 1 + sympy.Float("1e-20", 80))
    assert abs(sympy.N(near_one, 50) - sympy.N(limit, 50)) < 1e-17


def test_a_number_agrees_with_the_index_code():
    w = [3.0, 1.0, 2.0]
    number = symbolic.effective_number([3, 1, 2], Rational(1, 2), 1)
    assert indices.effective_number(Profile.of(w), 0.5, 1.0) == pytest.approx(float(number), rel=1e-12)
    entropy = float(symbolic.entropy_number([3, 1, 2]))
    assert indices.effective_number(Profile.of(w), 1 - 1e-7, 1.0) == pytest.approx(entropy, rel=1e-6)
    assert np.isclose(float(symbolic.norm([3, 1, 2], 2)), 14**0.5)
