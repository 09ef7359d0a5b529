"""Guarantees: every function returns a `Bound` whose source is a theorem of docs/theory.md."""

from .accuracy import (
    accuracy_drop as accuracy_drop,
    changed_predictions as changed_predictions,
    changed_predictions_on_sample as changed_predictions_on_sample,
    margins as margins,
    regression_risk as regression_risk,
    unchanged as unchanged,
    unchanged_by_pairs as unchanged_by_pairs,
)
from .bound import Bound as Bound
from .convolution import (
    average_pool_norm as average_pool_norm,
    convolution_norm as convolution_norm,
    fold_batch_norm as fold_batch_norm,
    max_pool_lipschitz as max_pool_lipschitz,
)
from .graph import (
    Graph as Graph,
    Node as Node,
    graph_per_input as graph_per_input,
    graph_tier_b as graph_tier_b,
    graph_tier_c as graph_tier_c,
    observe as observe,
)
from .layers import (
    IDENTITY as IDENTITY,
    RELU as RELU,
    SIGMOID as SIGMOID,
    TANH as TANH,
    Activation as Activation,
    Linear as Linear,
    forward as forward,
)
from .layerwise import (
    layer_error as layer_error,
    layer_error_by_norms as layer_error_by_norms,
    layer_error_by_radius as layer_error_by_radius,
)
from .moments import Moments as Moments, input_radius as input_radius, second_moments as second_moments
from .network import (
    NetworkBound as NetworkBound,
    tier_a as tier_a,
    tier_b as tier_b,
    tier_c as tier_c,
)
from .neuron import (
    bias_moved as bias_moved,
    refitted as refitted,
    truncation as truncation,
    truncation_by_norms as truncation_by_norms,
    truncation_by_spectrum as truncation_by_spectrum,
    truncation_envelope as truncation_envelope,
)
from .operators import spectral_norm as spectral_norm
from .path_metric import path_errors as path_errors, tier_f as tier_f
from .per_input import (
    InputBounds as InputBounds,
    row_tails as row_tails,
    tier_d as tier_d,
    tier_d_uniform as tier_d_uniform,
)
from .region import RegionBounds as RegionBounds, tier_e_interval as tier_e_interval, tier_e_linear as tier_e_linear
from .statistical import (
    certified_sparsity as certified_sparsity,
    certified_sparsity_by_drop as certified_sparsity_by_drop,
    harm as harm,
    harm_rate as harm_rate,
    net_drop as net_drop,
)
from .telescope import telescoped as telescoped
from .vector import (
    bracket as bracket,
    maurey as maurey,
    maurey_split as maurey_split,
    retention as retention,
    stechkin as stechkin,
    worst_case as worst_case,
)
from .weighted import tier_c_weighted as tier_c_weighted
