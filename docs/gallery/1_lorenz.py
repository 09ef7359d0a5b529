"""Three networks of one size, and which of them is the most compressible.

The same ten thousand magnitudes, shaped by a power: the larger the power, the fewer weights hold most of the sum. The
Lorenz curves do not cross, so every index that respects the transfer principle ranks the three in this order.
"""

import numpy as np
from matplotlib.figure import Figure

import lqtheory as lq
from lqtheory import plot
from lqtheory.comparison import dominance

w = np.random.default_rng(0).standard_normal(10_000)
curves = {f"power {power}": lq.Profile.of(np.abs(w) ** power) for power in (1, 2, 4)}

figure = Figure(figsize=(4.5, 4.2), layout="constrained")
plot.lorenz(curves, figure.subplots())

assert dominance(curves["power 4"], curves["power 1"]).verdict == "A"
