"""Bounds beside pruned modules, however they were pruned: what `verify` asks of the ladder.

What does not depend on the pruned network is computed once. The tiers about a sample look at the first inputs only, one
in sixty, because what they measure must run in float64; the statistical tier looks at all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from ..evaluate import Sample
from ..verification import Pair
from .networks import Dense, DenseModule, dense_of
from .rungs import Rung, rungs_for

TIERS = ("B", "C")  # what costs less than the evaluation of a pruned network
SHARE, LEAST = 60, 50


@dataclass(frozen=True, eq=False)
class Beside:
    """A dense network with the tiers that are to be set beside the pruned ones."""

    dense: Dense | DenseModule
    rungs: Mapping[str, Rung]

    @classmethod
    def of(cls, model: nn.Module, sample: Sample, tiers: Sequence[str] = TIERS, inputs: int | None = None) -> "Beside":
        """Those of `tiers` that the kind of the network has, about the first `inputs` of the sample."""
        dense = dense_of(model, sample.first(inputs or max(LEAST, len(sample.y) // SHARE)))
        return cls(dense, {tier: rung for tier, rung in rungs_for(dense).items() if tier in tiers})

    def __call__(self, module: nn.Module) -> list[tuple[str, str, Pair]]:
        """Each tier and each quantity that it bounds; nothing for a module with other layers than the dense one."""
        if not self.rungs:
            return []
        try:
            pruned = self.dense.of_module(module)
        except ValueError:
            return []
        about = {"inputs": len(self.dense.sample.y)}
        return [
            (tier, quantity, replace(pair, about={**pair.about, **about}))
            for tier, rung in self.rungs.items()
            for quantity, pair in rung(self.dense, pruned).items()
        ]
