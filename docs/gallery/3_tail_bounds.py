"""What a quasi-norm promises about pruning, and what happens.

Keep the s largest of 1,000 heavy-tailed weights. Stechkin's inequality (Theorem 1) knows only the quasi-norm and s;
Theorem 2 also knows the length of the vector, and wins where little is dropped. Both hold for every vector with this
quasi-norm, so both lie above what this one loses.
"""

import numpy as np
from matplotlib.figure import Figure

import lqtheory as lq
from lqtheory.bounds import stechkin, worst_case

profile = lq.Profile.of(np.random.default_rng(2).standard_t(2, 1_000))
kept = np.unique(np.geomspace(1, 999, 60).astype(int))
error = lq.tail_norm(profile, kept, 2)
curves = {
    "Theorem 1, best q": [min(stechkin(profile, int(s), q).value for q in (0.25, 0.5, 0.75, 1.0)) for s in kept],
    "Theorem 2, best q": [min(worst_case(profile, int(s), q).value for q in (0.25, 0.5, 0.75, 1.0)) for s in kept],
}

figure = Figure(figsize=(5, 3.6), layout="constrained")
axes = figure.subplots()
for (name, values), style in zip(curves.items(), ("--", "-."), strict=True):
    axes.plot(kept, values, style, label=name)
    assert np.all(error <= values)
axes.plot(kept, error, "k-", label="measured")
axes.set(xscale="log", yscale="log", xlabel="weights kept, s", ylabel="what is dropped, in the Euclidean norm")
axes.legend()
