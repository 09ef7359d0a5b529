"""From the scans of a tensor's pieces to the measured tensor, while the next one is being scanned."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np

from .checkpoint import CheckpointError, WeightTensor
from .histogram import Histogram
from .measure import Measure, measure, neuron_table
from .neuron_table import NeuronTable
from .profile import Profile
from .requested import REQUESTED
from .scan import Watch, scan_blocks
from .shelf import Shelf
from .tally import Scan, merged

Share = Iterable[tuple[int, range]]
"""Numbers of tensors, ascending, with the part of each that is to be scanned."""


@dataclass(frozen=True)
class Plan:
    """What to measure: the exponents of the index tables, indices on request by name, the seed of those that draw."""

    qs: tuple[float, ...]
    index: tuple[str, ...] = ()
    seed: int = 0

    @classmethod
    def of(cls, qs: Iterable[float], index: Iterable[str] = (), seed: int = 0) -> "Plan":
        """ValueError for an exponent outside (0, 1), for none, and for an index that does not exist."""
        qs, index = tuple(sorted({float(q) for q in qs})), tuple(index)
        if not qs or not all(0 < q < 1 for q in qs):
            raise ValueError(f"q must lie in (0, 1), got {', '.join(f'q={q:g}' for q in qs) or 'none'}.")
        for name in index:
            if name not in REQUESTED:
                raise ValueError(f"an index on request must be one of {', '.join(REQUESTED)}, got {name!r}.")
        return cls(qs, index, seed)

    @property
    def exponents(self) -> tuple[float, ...]:
        """The exponents of the power sums that this takes."""
        return (*self.qs, 1.0, 2.0)

    def requested(self, tensor: WeightTensor, profile: Profile) -> dict[str, Any]:
        """The indices on request of one tensor."""
        rows = tensor.layout.as_rows(np.nan_to_num(tensor.values(), nan=0.0, posinf=0.0, neginf=0.0))
        return {name: REQUESTED[name](rows, profile, self.seed) for name in self.index}


@dataclass(frozen=True, eq=False)
class Measured:
    """A tensor that was measured, with the histograms that its network is summed up from."""

    measure: Measure
    neurons: NeuronTable
    histograms: list[Histogram]

    def on(self, shelf: Shelf) -> "Measured":
        """The same with what is large moved to a shelf."""
        return replace(self, measure=shelved(self.measure, shelf), neurons=self.neurons.on(shelf))


Piece = tuple[int, Scan] | CheckpointError | Measured
"""What is known of some rows of a tensor, by the first row; why nothing is; or what is known of the whole tensor."""


def pieces(
    tensors: Sequence[WeightTensor], share: Share, plan: Plan, workers: Sequence[str], watch: Watch
) -> Iterator[tuple[int, Piece]]:
    """Scan a share of some tensors; a damaged one gives its error, and the others are still worth their time."""
    for k, part in share:
        try:
            for piece in scan_blocks(tensors[k], plan.exponents, part, workers, watch):
                yield k, piece
        except CheckpointError as error:
            yield k, error


def assembled(
    tensors: Sequence[WeightTensor], found: Iterable[tuple[int, Piece]], plan: Plan, shelf: Shelf
) -> Iterator[Measured | CheckpointError]:
    """The tensors that some pieces make up, one after the other."""
    for k, group in groupby(found, itemgetter(0)):
        parts = (piece for _, piece in group)
        first = next(parts)
        yield first if isinstance(first, Measured) else _whole(tensors[k], chain([first], parts), plan, shelf)


def _whole(tensor: WeightTensor, found: Iterable[Piece], plan: Plan, shelf: Shelf) -> Measured | CheckpointError:
    histograms, tables = [], []
    try:
        for _, scans in groupby(_scans(found), itemgetter(0)):
            scan = reduce(Scan.__add__, (each for _, each in scans))
            histograms = merged([*histograms, *scan.histograms])
            tables.append(neuron_table(scan.neurons, plan.qs, shelf))
        neurons = NeuronTable.joined(tables)
        result = measure(histograms, neurons, plan.qs)
        if plan.index and (profile := result.profile):
            result = replace(result, indices=result.indices | plan.requested(tensor, profile))
    except CheckpointError as error:
        return error
    return Measured(shelved(result, shelf), neurons, histograms)


def _scans(found: Iterable[Piece]) -> Iterator[tuple[int, Scan]]:
    for piece in found:
        if isinstance(piece, CheckpointError):
            raise piece
        assert not isinstance(piece, Measured)
        yield piece


def shelved(result: Measure, shelf: Shelf) -> Measure:
    """The same with its profile, without what that has computed on the way, on a shelf."""
    profile = result.profile
    return replace(result, kept=shelf.put(replace(profile))) if profile else result


T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in another thread while the one before it is worked on."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # pyright: ignore[reportReturnType]
