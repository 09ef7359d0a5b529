"""What the exponent q sees.

The share of the weights that count, N(q,1)/d, over q. Exact zeros are seen at every q, from q = 0 on. Small non-zero
weights count fully at q = 0 and less and less as q grows. So two vectors can change places: which one is "sparser"
depends on q, and then their Lorenz curves cross.
"""

import numpy as np
from matplotlib.figure import Figure

import lqtheory as lq

rng = np.random.default_rng(1)
dense = np.abs(rng.standard_normal(10_000))
vectors = {
    "Gaussian": dense,
    "half of them set to zero": np.where(np.arange(10_000) % 2, dense, 0),
    "Cauchy: no zeros, heavy tail": np.abs(rng.standard_cauchy(10_000)),
}
orders = np.linspace(0, 1, 41)

figure = Figure(figsize=(5, 3.4), layout="constrained")
axes = figure.subplots()
for (name, w), style in zip(vectors.items(), ("-", "--", "-."), strict=True):
    profile = lq.Profile.of(w)
    axes.plot(orders, [lq.effective_number(profile, q, 1) / profile.d for q in orders], style, label=name)
axes.set(xlabel="q", ylabel="share of the weights that count, N(q,1)/d", ylim=(0, 1.02))
axes.legend()
