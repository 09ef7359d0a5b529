"""Is one network more compressible than another: dominance, differences with intervals, ranking."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import numpy as np

from .analysis import Analysis, TensorMeasure, analyze, to_json
from .bootstrap import replicates
from .indices import lorenz, pq_index
from .measure import QS, labelled
from .profile import Profile

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SCHEMA = "lqtheory/comparison/1"

EXACT, BINNED = 1e-12, 1e-6
"""Differences of Lorenz curves up to here count as none: rounding, and the resolution of binned profiles."""


@dataclass(frozen=True)
class Dominance:
    """How two Lorenz curves lie: `verdict` is "A", "B", "equal" or "crossing", Definition 11.

    `crossings` are the points (share of the weights, share of the l1 norm) where the upper curve changes, and
    `margins` the largest lead of A and of B.
    """

    verdict: str
    crossings: tuple[tuple[float, float], ...]
    margins: tuple[float, float]


def dominance(a: Profile, b: Profile) -> Dominance:
    """The verdict that depends on no q: the network whose Lorenz curve lies above is the more compressible.

    Every index that respects the transfer principle then agrees; profiles of different length are compared on the
    share s/d of the weights.

    >>> dominance(Profile.of([4, 0]), Profile.of([3, 1])).verdict
    'A'
    """
    (xa, ya), (xb, yb) = lorenz(a), lorenz(b)
    x = np.union1d(xa, xb)
    curve_a, curve_b = np.interp(x, xa, ya), np.interp(x, xb, yb)
    lead, resolution = curve_a - curve_b, EXACT if a.exact and b.exact else BINNED
    where = np.flatnonzero(np.abs(lead) > resolution)
    margins = max(0.0, float(lead.max())), max(0.0, float(-lead.min()))
    if not where.size:
        return Dominance("equal", (), margins)
    turns = where[1:][np.diff(np.sign(lead[where])) != 0]
    before = where[:-1][np.diff(np.sign(lead[where])) != 0]
    crossings = tuple(_crossing(x, curve_a, lead, i, j) for i, j in zip(before, turns, strict=True))
    verdict = "crossing" if crossings else "A" if lead[where[0]] > 0 else "B"
    return Dominance(verdict, crossings, margins)


def _crossing(x: np.ndarray, curve: np.ndarray, lead: np.ndarray, i: int, j: int) -> tuple[float, float]:
    """Where the lead, of one sign at i and the other at j, passes zero."""
    weight = lead[i] / (lead[i] - lead[j])
    return float(x[i] + weight * (x[j] - x[i])), float(curve[i] + weight * (curve[j] - curve[i]))


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What `compare` returns: the networks under the labels A, B, C, ..., and how they stand to one another."""

    networks: dict[str, Analysis]
    pairs: dict[str, Dominance]
    intervals: dict[str, tuple[float, float]]
    confidence: float

    @property
    def verdict(self) -> str:
        """Of the first two networks: "A", "B", "equal" or "crossing"."""
        return self.pairs["A,B"].verdict

    @property
    def ranking(self) -> list[dict[str, Any]]:
        """The networks from the most to the least compressible by the PQ index, and whom each one dominates."""
        rows = []
        for label, network in self.networks.items():
            won = [pair.split(",") for pair, d in self.pairs.items() if _winner(pair, d.verdict) == label]
            beaten = [first if second == label else second for first, second in won]
            rows.append({"label": label, "source": network.checkpoint.source, "dominates": beaten} | _size(network))
        return sorted(rows, key=lambda row: -row["pq_index[0.5,1]"])

    def indices(self) -> dict[str, dict[str, Any]]:
        """Index -> value of each network, difference A - B and its interval."""
        tables = {label: dict(labelled(network.network.indices)) for label, network in self.networks.items()}
        return {
            name: {label: table[name] for label, table in tables.items()}
            | {"difference": tables["A"][name] - tables["B"][name], "interval": self.intervals.get(name)}
            for name in tables["A"]
            if name in tables["B"]
        }

    def tensors(self) -> list[dict[str, Any]]:
        """The tensors that A and B both have, by name and shape, each with verdict and indices."""
        return [_tensor_row(a, b) for a, b in matched(self.networks["A"], self.networks["B"])]

    def to_dict(self) -> dict[str, Any]:
        """Plain data under the names of the JSON."""
        first = self.pairs["A,B"]
        return {
            "schema": SCHEMA,
            "networks": {k: {"source": n.checkpoint.source} | n.coverage_counts for k, n in self.networks.items()},
            "verdict": first.verdict,
            "crossings": [{"weights": x, "norm": y} for x, y in first.crossings],
            "margins": dict(zip("AB", first.margins, strict=True)),
            "confidence": self.confidence,
            "indices": self.indices(),
            "tensors": self.tensors(),
            "pairs": {pair: _winner(pair, d.verdict) for pair, d in self.pairs.items()},
            "ranking": self.ranking,
        }

    def to_json(self, indent: int | None = 1) -> str:
        """The document as strict JSON; same input and seed, same bytes."""
        return to_json(self.to_dict(), indent)

    def to_pandas(self) -> "pd.DataFrame":
        """One row per index of the whole networks."""
        import pandas as pd

        return pd.DataFrame(self.indices()).T.rename_axis("index").reset_index()

    def summary(self) -> str:
        """The answer in a sentence or two."""
        first, (a, b) = self.pairs["A,B"], self.pairs["A,B"].margins
        sentence = {
            "A": "A is more compressible than B by every index that respects the transfer principle",
            "B": "B is more compressible than A by every index that respects the transfer principle",
            "equal": "A and B are equally compressible: their Lorenz curves coincide",
            "crossing": f"neither dominates: the Lorenz curves cross {len(first.crossings)} times, "
            f"first where {first.crossings[0][0] if first.crossings else 0:.1%} of the weights are kept",
        }[first.verdict]
        return f"{sentence} (largest lead of A {a:.2g}, of B {b:.2g} of the l1 norm)."

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """The Lorenz curves of the networks."""
        from . import plot

        return plot.lorenz({label: n.network.profile for label, n in self.networks.items()}, ax)

    def _repr_html_(self) -> str:
        """The summary and a table, for notebooks."""
        frame = self.to_pandas()
        return f"<p>{escape(self.summary())}</p>{frame.to_html(index=False, float_format='{:.4g}'.format)}"

    def __repr__(self) -> str:
        return f"Comparison({self.summary()})"


def compare(
    *sources: Any,
    qs: Sequence[float] = QS,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    resamples: int = 400,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> Comparison:
    """Compare two or more networks (anything that `analyze` takes, or its results), labelled A, B, C, ...

    The intervals of the index differences A - B come from resampling neurons within each tensor (the same neurons
    in both networks where names and shapes match). Raises ValueError for fewer than two networks or for one
    without a finite non-zero weight.
    """
    if not 2 <= len(sources) <= 26:
        raise ValueError(f"compare takes 2 to 26 networks, got {len(sources)}.")
    networks = {
        label: s if isinstance(s, Analysis) else analyze(s, (*qs, 0.5), include, exclude, device=device)
        for label, s in zip(ascii_uppercase, sources, strict=False)
    }
    profiles = {label: _profile(network) for label, network in networks.items()}
    pairs = {f"{a},{b}": dominance(profiles[a], profiles[b]) for a, b in combinations(networks, 2)}
    intervals = _intervals(networks["A"], networks["B"], resamples, confidence, seed)
    return Comparison(networks, pairs, intervals, confidence)


def matched(a: Analysis, b: Analysis) -> list[tuple[TensorMeasure, TensorMeasure]]:
    """The tensors that two networks have in common, by name and shape."""
    theirs = {(t.tensor.name, t.tensor.shape): t for t in b.tensors}
    return [(t, theirs[key]) for t in a.tensors if (key := (t.tensor.name, t.tensor.shape)) in theirs]


def _profile(network: Analysis) -> Profile:
    profile = network.network.profile
    if profile is None or not profile.nonzero:
        raise ValueError(f"a network to compare must have a non-zero weight, got none in {network.checkpoint.source}.")
    return profile


def _intervals(
    a: Analysis, b: Analysis, resamples: int, confidence: float, seed: int
) -> dict[str, tuple[float, float]]:
    """Index -> interval of A - B: the values, moved by how far resampling moves them."""
    paired = len(matched(a, b)) == len(a.tensors) == len(b.tensors)
    (base_a, moved_a), (base_b, moved_b) = replicates(a, resamples, seed), replicates(b, resamples, seed + (not paired))
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    values_a, values_b = dict(labelled(a.network.indices)), dict(labelled(b.network.indices))

    def interval(name: str) -> tuple[float, float]:
        shift = (moved_a[name] - base_a[name]) - (moved_b[name] - base_b[name])
        low, high = values_a[name] - values_b[name] + np.quantile(shift, tails)
        return float(low), float(high)

    return {name: interval(name) for name in base_a if name in base_b and resamples}


def _tensor_row(a: TensorMeasure, b: TensorMeasure) -> dict[str, Any]:
    one, two = a.measure.profile, b.measure.profile
    usable = one is not None and two is not None and one.nonzero and two.nonzero
    table_a, table_b = dict(labelled(a.measure.indices)), dict(labelled(b.measure.indices))
    rows = {
        name: {"A": x, "B": table_b[name], "difference": x - table_b[name]}
        for name, x in table_a.items()
        if name in table_b
    }
    verdict = dominance(one, two).verdict if one and two and usable else None
    return {"name": a.tensor.name, "shape": list(a.tensor.shape), "verdict": verdict, "indices": rows}


def _size(network: Analysis) -> dict[str, float]:
    profile = _profile(network)
    return {"parameters": profile.d, "zeros": profile.zeros, "pq_index[0.5,1]": pq_index(profile, 0.5, 1)}


def _winner(pair: str, verdict: str) -> str:
    """The verdict on a pair of labels, with the winner under its own label."""
    first, second = pair.split(",")
    return {"A": first, "B": second}.get(verdict, verdict)
