r"""The closed forms as sympy expressions: to differentiate, to invert, to print, to evaluate at any precision.

Every `Formula` is an equation or an inequality between a quantity and an expression in these symbols, whose
assumptions sympy knows: exponents p, q > 0, whole numbers s, k, d >= 1, $\eta\ge0$, $0<\epsilon<1$.

>>> RETENTION.at(N=100, eta=1, p=Rational(1, 2), q=1)
25
>>> RETENTION.inverse(eta).subs({N: 100, s: 25, p: Rational(1, 2), q: 1})
1
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Rational, Symbol, exp, latex, log, simplify, sqrt

p, q = Symbol("p", positive=True), Symbol("q", positive=True)
s, k, d = (Symbol(name, positive=True, integer=True) for name in "skd")
eta, eps = Symbol("eta", nonnegative=True), Symbol("epsilon", positive=True)
M = Symbol("M", nonnegative=True)  # largest norm of a feature in L2
N = Symbol("N", positive=True)  # effective number of weights
norm_p = Symbol(r"{\|w\|_p}", positive=True)
norm_q = Symbol(r"{\|w\|_q}", positive=True)
norm_1 = Symbol(r"{\|w\|_1}", positive=True)
norm_2 = Symbol(r"{\|w\|_2}", positive=True)
tail_1 = Symbol(r"{\sigma_s(w)_1}", nonnegative=True)
NAMES = {
    "norm_p": norm_p, "norm_q": norm_q, "norm_1": norm_1, "norm_2": norm_2, "tail_1": tail_1,
    **{str(symbol): symbol for symbol in (p, q, s, k, d, eta, M, N)}, "eps": eps,
}  # fmt: skip


@dataclass(frozen=True)
class Formula:
    """`quantity` (LaTeX) `relation` `expression`; `source` is a heading of docs/theory, `where` says for what."""

    quantity: str
    relation: str
    expression: Any
    source: str
    where: str

    def latex(self) -> str:
        r"""The formula for a paper.

        >>> BRACKET_RATIO.latex()
        '\\eta = \\frac{\\epsilon^{p}}{1 - \\epsilon^{p}}'
        """
        return f"{self.quantity} {self.relation} {latex(self.expression)}"

    def at(self, digits: int = 50, **values: Any) -> Expr:
        """The value with the names of this module filled in, exact or to so many digits where numbers are not.

        >>> STECHKIN.at(p=2, q=1, s=4, norm_q=8)  # 8 / (2 sqrt(4))
        2
        """
        filled = self.expression.subs({NAMES[name]: sympy.sympify(value) for name, value in values.items()})
        value = simplify(filled) if filled.is_number and filled.is_rational else filled
        return value if value.is_Rational else sympy.N(value, digits)

    def inverse(self, symbol: Symbol) -> Expr:
        """The value of `symbol` at which the expression is the number s (the quantity where s is in the expression)."""
        level = s if s not in self.expression.free_symbols else Symbol("y", positive=True)
        (answer,) = sympy.solve(sympy.Eq(sympy.expand_log(log(self.expression), force=True), log(level)), symbol)
        return simplify(answer)


def effective_number(w: Sequence[Any], small: Any = p, large: Any = q) -> Expr:
    r"""$N_{p,q}(w) = (\|w\|_p/\|w\|_q)^{pq/(q-p)}$ of given non-zero magnitudes, Definition 4.

    >>> effective_number([2, 2, 2], Rational(1, 2), 1)
    3
    """
    small, large = sympy.sympify(small), sympy.sympify(large)
    power = large * small / (large - small)
    return norm(w, small) ** power / norm(w, large) ** power


def norm(w: Sequence[Any], exponent: Any) -> Expr:
    r"""$\|w\|_p = (\sum w_i^p)^{1/p}$ of given non-zero magnitudes, Definition 2."""
    return sympy.Add(*(sympy.sympify(a) ** exponent for a in w)) ** (1 / sympy.sympify(exponent))


def entropy_number(w: Sequence[Any]) -> Expr:
    r"""$\exp(-\sum s_i\log s_i)$, $s_i = w_i/\|w\|_1$: the limit of $N_{1,q}$ as q goes to 1, Definition 4."""
    total = sympy.Add(*w)
    return exp(-sympy.Add(*(sympy.sympify(a) / total * log(sympy.sympify(a) / total) for a in w)))


def worst_case_term(kept: Any = s, support: Any = k) -> Expr:
    r"""$(k-s)^{1/p}k^{-1/q}$: the tail of a flat vector of k weights with $\|w\|_q=1$, Theorem 2."""
    return (support - kept) ** (1 / p) * support ** (-1 / q)


def worst_support(kept: Any = s) -> Expr:
    r"""$sp/(p-q)$: the real k at which `worst_case_term` is largest, Theorem 2."""
    return kept * p / (p - q)


STECHKIN_CONSTANT = Formula(
    "c_{p,q}", "=", ((q / p) ** (q / p) * (1 - q / p) ** (1 - q / p)) ** (1 / q), "Theorem 1", "0 < q < p"
)
STECHKIN = Formula(
    r"\sigma_s(w)_p", r"\le", STECHKIN_CONSTANT.expression * s ** (1 / p - 1 / q) * norm_q, "Theorem 1", "0 < q < p"
)
WORST_CASE = Formula(r"\sigma_s(w)_p", r"\le \max_{s<k\le d}", worst_case_term() * norm_q, "Theorem 2", "0 < q <= p")
RETENTION = Formula(r"s", r"\ge", (1 + eta) ** (-q / (q - p)) * N, "Theorem 3", "0 < p < q")
BRACKET_RATIO = Formula(r"\eta", "=", eps**p / (1 - eps**p), "Theorem 4", "0 < eps < 1")
BRACKET_LOWER = Formula(
    r"k^*(\epsilon)", r"\ge", (1 - eps**p) ** (q / (q - p)) * N, "Theorem 4", "0 < p < q, 0 < eps < 1"
)
MAUREY = Formula(
    r"\|(w-w')\cdot h\|",
    r"\le",
    M * 2 ** (1 / q - Rational(1, 2)) * k ** (Rational(1, 2) - 1 / q) * norm_q,
    "Theorem 5",
    "0 < q <= 1",
)
MAUREY_SPLIT = Formula(r"\|(w-w')\cdot h\|", r"\le \min_{s<k}", tail_1 * M / sqrt(k - s), "Theorem 6", "s < k")
EFFECTIVE_NUMBER = Formula(r"N_{p,q}(w)", "=", (norm_p / norm_q) ** (p * q / (q - p)), "Definition 4", "0 < p < q")
SPARSITY_INDEX = Formula(r"\mathrm{SI}_q(w)", "=", norm_1 / norm_q, "Definition 5", "0 < q < 1")
SPARSITY_OF_NUMBER = Formula(r"\mathrm{SI}_q(w)", "=", N ** (1 - 1 / q), "Definition 5", "N = N_{q,1}, 0 < q < 1")
NORMALIZED_SPARSITY_INDEX = Formula(
    r"d^{1/q-1}\mathrm{SI}_q(w)", "=", d ** (1 / q - 1) * norm_1 / norm_q, "Definition 6", "0 < q < 1"
)
PQ_INDEX = Formula("I_{p,q}(w)", "=", 1 - d ** (1 / q - 1 / p) * norm_p / norm_q, "Definition 7", "0 < p < q")
PQ_OF_NUMBER = Formula("I_{p,q}(w)", "=", 1 - (N / d) ** (1 / p - 1 / q), "Definition 7", "N = N_{p,q}, 0 < p < q")
PQ_OF_SPARSITY = Formula(
    "I_{q,1}(w)", "=", 1 - norm_q / (norm_1 * d ** (1 / q - 1)), "Definition 7", "0 < q < 1; 1 - 1/Definition 6"
)
HOYER = Formula("H(w)", "=", (sqrt(d) - norm_1 / norm_2) / (sqrt(d) - 1), "Definition 9", "d > 1")
HOYER_OF_NUMBER = Formula("H(w)", "=", (sqrt(d) - sqrt(N)) / (sqrt(d) - 1), "Definition 9", "N = N_{1,2}, d > 1")

ALL = (
    STECHKIN_CONSTANT, STECHKIN, WORST_CASE, RETENTION, BRACKET_RATIO, BRACKET_LOWER, MAUREY, MAUREY_SPLIT,
    EFFECTIVE_NUMBER, SPARSITY_INDEX, SPARSITY_OF_NUMBER, NORMALIZED_SPARSITY_INDEX, PQ_INDEX, PQ_OF_NUMBER,
    PQ_OF_SPARSITY, HOYER, HOYER_OF_NUMBER,
)  # fmt: skip
