"""A bound beside what really happened: the measurement that it speaks of, and the record of both.

Every comparison is exact about the sample at hand: the bounds take their averages over the very inputs on which
the pruned networks are measured, in float64. What they say about a population is the statistical tier's business.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from . import evaluate
from .bounds import Bound, accuracy_drop, changed_predictions_on_sample, margins
from .evaluate import Sample
from .records import Provenance, Record


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a network answers on the sample, and on which inputs it is right."""

    logits: Float64[np.ndarray, " n classes"]
    correct: Bool[np.ndarray, " n"]

    @classmethod
    def of(cls, network: Callable[[np.ndarray], np.ndarray], sample: Sample) -> "Outcome":
        """Of a network, run on the sample."""
        logits = network(sample.x).reshape(len(sample.y), -1)
        return cls(logits, logits.argmax(axis=1) == sample.y)

    @property
    def accuracy(self) -> float:
        """Share of inputs that get their label."""
        return np.count_nonzero(self.correct) / len(self.correct)


@dataclass(frozen=True)
class Pair:
    """A bound and what was measured; `trivial` would be true without any theory, `about` goes into the record."""

    bound: Bound
    measured: float
    trivial: float
    about: Mapping[str, float]

    def record(self, tier: str, sparsity: float, setting: Mapping[str, Any], provenance: Provenance) -> Record:
        """The pair as a record."""
        return Record(
            tier=tier,
            source=self.bound.source,
            sparsity=sparsity,
            bound=float(self.bound.value),
            measured=self.measured,
            tightness=float(self.bound.tightness(self.measured)),
            vacuous=bool(self.bound.vacuous(self.trivial)),
            violated=bool(self.bound.violated(self.measured)),
            setting={**setting, "trivial": self.trivial, **self.about},
            **asdict(provenance),
        )


def compare(error: Bound, before: Outcome, after: Outcome) -> dict[str, Pair]:
    r"""The bound on the output error, and what follows from it for predictions, each beside its measurement.

    `output_error`: $\|f - \hat f\|_{L_2}$, trivially $\|f\|_{L_2}$, what answering zero does. `changed_predictions`:
    the share of inputs that get another class. `harm`: the share that the dense network gets right and the pruned
    one wrong; the drop of accuracy is at most that, which certifies an accuracy.
    """
    f, g, gaps = before.logits, after.logits, margins(before.logits)
    harm = accuracy_drop(gaps, before.correct, error.value)
    lost = float(np.mean(before.correct & ~after.correct))
    certified = {"certified_accuracy": max(before.accuracy - harm.value, 0.0)}
    changed = changed_predictions_on_sample(gaps, error.value)
    return {
        "output_error": Pair(error, evaluate.output_error(f, g), evaluate.output_error(f, np.zeros_like(f)), {}),
        "changed_predictions": Pair(changed, evaluate.changed_predictions(f, g), 1.0, {}),
        "harm": Pair(harm, lost, before.accuracy, certified),
    }
