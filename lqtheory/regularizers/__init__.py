"""Penalties that make a network compressible while it trains: add one to any loss.

All act on a mapping of names to weights, `penalised(net)` unless the user chooses otherwise.
"""

from .certified import LogTierB as LogTierB, LogTierC as LogTierC
from .dropped import (
    by_magnitude as by_magnitude,
    by_response as by_response,
    smallest_overall as smallest_overall,
    smallest_per_neuron as smallest_per_neuron,
)
from .feature_flow import (
    FeatureFlow as FeatureFlow,
    absolute_curvature as absolute_curvature,
    absolute_length as absolute_length,
    curvature as curvature,
    equal_shape_stages as equal_shape_stages,
    length as length,
    squared_curvature as squared_curvature,
    squared_length as squared_length,
    turning as turning,
)
from .parameters import penalised as penalised
from .proximal import (
    group_soft_threshold as group_soft_threshold,
    half_threshold as half_threshold,
    soft_threshold as soft_threshold,
)
from .smoothed_l0 import l0 as l0, l0_l2 as l0_l2, layer_factors as layer_factors, zero_attraction as zero_attraction
from .spectral import LayerMap as LayerMap, SpectralNorms as SpectralNorms
from .weight_norms import group_lasso as group_lasso, l1 as l1, l2 as l2, lq as lq
