"""A guarantee, with the result that gives it and what that result takes for granted."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bound:
    """A number that an observed quantity cannot pass, `source` being a heading of docs/theory.md.

    Rounding is dealt with when `value` is computed, so nothing here has a tolerance.

    >>> bound = Bound(2.0, "upper", "Theorem 1", "none")
    >>> bound.slack(1.5), bound.violated(2.5), bound.tightness(0.5)
    (0.5, True, 4.0)
    """

    value: float
    side: Literal["upper", "lower"]
    source: str
    assumptions: str

    def slack(self, observed: float) -> float:
        """How far `observed` stays on the promised side; negative means violated."""
        if observed == self.value:
            return 0.0
        return self.value - observed if self.side == "upper" else observed - self.value

    def violated(self, observed: float) -> bool:
        """Whether `observed` is on the wrong side; a NaN never keeps a promise."""
        return not self.slack(observed) >= 0

    def tightness(self, observed: float) -> float:
        """The larger of bound and observation over the smaller, at least 1 when the bound holds; 1 for 0 over 0."""
        large, small = (self.value, observed) if self.side == "upper" else (observed, self.value)
        if large == small:
            return 1.0
        return large / small if small else math.inf

    def vacuous(self, trivial: float) -> bool:
        """Whether the bound says no more than the trivial one, such as 1 for a share."""
        return self.value >= trivial if self.side == "upper" else self.value <= trivial
