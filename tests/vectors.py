"""Weight vectors that every index and every bound is tried on."""

import hypothesis.strategies as st
import numpy as np
from hypothesis.extra.numpy import arrays

RNG = np.random.default_rng(20220605)

VECTORS = {
    "gaussian": RNG.standard_normal(200),
    "heavy-tailed": RNG.standard_t(0.7, 150),
    "laplace with zeros": RNG.laplace(size=120) * (RNG.random(120) < 0.4),
    "flat": np.full(64, -0.25),
    "one-hot": np.eye(1, 37, 5).ravel() * 3.5,
    "two levels": np.repeat([1.0, 1e-3], [3, 60]),
    "single": np.array([-2.0]),
    "denormal": RNG.integers(1, 50, 40) * 5e-324,
    "huge": RNG.standard_normal(30) * 1e307,
    "forty orders of magnitude": np.logspace(-300, 300, 31),
    "nearly flat": 1 + 1e-7 * RNG.standard_normal(50),
}

finite = st.floats(-1e12, 1e12, allow_nan=False).map(lambda x: 0.0 if abs(x) < 1e-12 else x)
weights = arrays(np.float64, st.integers(1, 40), elements=finite).filter(np.any)
heavy = st.builds(
    lambda seed, d, df: np.random.default_rng(seed).standard_t(df, d),
    st.integers(0, 2**32 - 1),
    st.integers(2, 400),
    st.floats(0.5, 30),
)
