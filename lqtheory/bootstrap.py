"""How far the indices of a network move when its neurons are drawn again: the spread behind the intervals.

Each neuron is kept as a coarse histogram (two bins an octave, with number, sum and sum of squares), so that a
resampled network is a sum of histograms and has every index that a profile has. The coarse bins change an index by
less than 1e-3 of itself, one that hangs on a single magnitude (the largest, or where k* falls) by some 1e-2; only
differences between resamples are used, where that cancels.
"""

import numpy as np
from jaxtyping import Float64

from .analysis import Analysis
from .checkpoint import WeightTensor
from .histogram import two_points
from .measure import labelled, profile_indices
from .profile import Profile

BINS = 128  # 64 octaves below the largest magnitude; what is smaller shares the last bin
UNITS = 1 << 14  # in tensors of more neurons, neighbours are drawn together
CHUNK = 1 << 22  # weights looked at together


def replicates(network: Analysis, resamples: int, seed: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Each index of the network from its coarse histograms, and its values over the resamples."""
    assert network.network.profile is not None
    top = _key(np.array(network.network.profile.magnitudes[-1]))
    rng = np.random.default_rng(seed)
    totals = np.zeros((resamples + 1, 3, BINS + 1))
    for each in network.tensors:
        table = neuron_histograms(each.tensor, int(top))
        drawn = np.vstack([np.ones(len(table)), _draws(len(table), resamples, rng)])
        totals += np.tensordot(drawn, table, axes=1)
    rows = [dict(labelled(profile_indices(_profile(total, int(top)), network.qs))) for total in totals]
    return rows[0], {name: np.array([row[name] for row in rows[1:]]) for name in rows[0]}


def _draws(units: int, resamples: int, rng: np.random.Generator) -> Float64[np.ndarray, " resamples units"]:
    """How often each unit is drawn in each resample."""
    drawn = rng.integers(0, units, (resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)


def _key(magnitudes: np.ndarray) -> np.ndarray:
    """Half octaves: 2e + h for magnitudes in $2^{e-1}[1 + h/2, 1 + (h+1)/2)$."""
    fraction, exponent = np.frexp(magnitudes)
    return 2 * exponent.astype(np.int64) + (fraction >= 0.75)


def neuron_histograms(tensor: WeightTensor, top: int) -> Float64[np.ndarray, " units 3 bins"]:
    """Number, sum and sum of squares of the magnitudes of each neuron in the BINS keys up to `top`; last the zeros."""
    rows = np.abs(np.nan_to_num(tensor.layout.as_rows(tensor.values()), nan=0.0, posinf=0.0, neginf=0.0))
    units = min(len(rows), UNITS)
    unit = np.arange(len(rows)) * units // len(rows)
    table = np.zeros((3, units * (BINS + 1)))
    for part in np.array_split(np.arange(len(rows)), max(rows.size // CHUNK, 1)):
        w = rows[part]
        bin_ = np.where(w > 0, np.clip(top - _key(w), 0, BINS - 1), BINS) + unit[part, None] * (BINS + 1)
        for k, weight in enumerate((None, w.ravel(), w.ravel() ** 2)):
            table[k] += np.bincount(bin_.ravel(), weights=weight, minlength=table.shape[1])
    return table.reshape(3, units, BINS + 1).transpose(1, 0, 2)


def _profile(total: Float64[np.ndarray, "3 bins"], top: int) -> Profile:
    """The profile of summed coarse histograms."""
    taken = np.flatnonzero(total[0])
    count, mean = total[0, taken], total[1, taken] / total[0, taken]
    spread = np.sqrt(np.maximum(total[2, taken] / count - mean**2, 0.0))
    key = top - taken
    low = np.where(taken < BINS - 1, np.ldexp(1 + 0.5 * (key % 2), key // 2 - 1), 0.0)
    high = np.where(taken < BINS, np.ldexp(1 + 0.5 * ((key + 1) % 2), (key + 1) // 2 - 1), 0.0)
    spread[spread < 1e-7 * mean] = 0.0
    first, second, share = two_points(low, np.maximum(high, mean), mean, spread)
    magnitudes, counts = np.concatenate([first, second]), np.concatenate([count * share, count * (1 - share)])
    order = np.argsort(magnitudes)
    order = order[counts[order] > 0]
    return Profile(magnitudes[order], counts[order], exact=False)
