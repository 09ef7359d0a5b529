"""Channels that hang together: numbers for channels, which of them are the same, and what comes of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64
from scipy.sparse import coo_array, csgraph

Axis = tuple[str, int]
Labels = Int64[np.ndarray, " n"]
STAYS = -1


@dataclass(frozen=True, eq=False)
class Channels:
    """The label of every index along every axis that has channels: equal labels go together, `STAYS` never goes.

    `axes` are (name of a parameter or buffer, axis); `reads` those along which a layer takes its input; `rigid` the
    labels whose channels can be zeroed but not removed, because the code of the network counts them.
    """

    axes: Mapping[Axis, Labels]
    reads: frozenset[Axis]
    rigid: frozenset[int] = frozenset()

    @cached_property
    def blocks(self) -> list[Labels]:
        """The labels that can go, in blocks that occur along the same axes: the hidden layers, coupled ones once."""
        places: dict[int, list[int]] = {}
        for k, labels in enumerate(self.axes.values()):
            for label in np.unique(labels[labels != STAYS]).tolist():
                places.setdefault(label, []).append(k)
        blocks: dict[tuple[int, ...], list[int]] = {}
        for label in sorted(places):
            blocks.setdefault(tuple(places[label]), []).append(label)
        return [np.array(block) for block in blocks.values()]

    def along(self, name: str) -> dict[int, Labels]:
        """The labels of one tensor, by axis."""
        return {axis: labels for (tensor, axis), labels in self.axes.items() if tensor == name}


class Coupling:
    """Numbers channels and remembers which are the same. Number 0 stands for all that must stay."""

    def __init__(self) -> None:
        self.count = 1
        self.equal: list[tuple[Labels, Labels]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        self.axes: dict[Axis, Labels] = {}
        self.reads: set[Axis] = set()
        self.rigid: list[int] = []

    def fresh(self, n: int) -> Labels:
        """n channels that nothing else has."""
        self.count += n
        return np.arange(self.count - n, self.count)

    def together(self, a: Labels, b: Labels) -> Labels:
        """Entry by entry the same channels."""
        self.equal.append((a, b))
        return a

    def stay(self, labels: Labels) -> None:
        """Channels that must not go."""
        self.together(labels, np.zeros_like(labels))

    def at(self, name: str, axis: int, labels: Labels) -> Labels:
        """Channels along the axis of a tensor, which may have some already."""
        if (name, axis) in self.axes:
            return self.together(self.axes[name, axis], labels)
        self.axes[name, axis] = labels
        return labels

    def channels(self, fixed: Iterable[str] = ()) -> Channels:
        """What comes of it; tensors in `fixed` keep their shapes."""
        for name in fixed:
            for labels in (labels for (tensor, _), labels in self.axes.items() if tensor == name):
                self.stay(labels)
        rows, columns = (np.concatenate(side) for side in zip(*self.equal, strict=True))
        links = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(self.count, self.count))
        component = csgraph.connected_components(links, directed=False)[1].astype(np.int64)
        component[component == component[0]] = STAYS
        axes = {axis: component[labels] for axis, labels in self.axes.items()}
        return Channels(axes, frozenset(self.reads), frozenset(component[self.rigid].tolist()) - {STAYS})
