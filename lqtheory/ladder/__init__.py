"""The ladder of bounds of one network: every tier beside the measurement, and the same question turned round."""

from .beside import Beside as Beside
from .curves import curve as curve, sweep as sweep
from .families import Family as Family, by_count as by_count, by_error as by_error, error_of as error_of
from .largest import largest_sparsities as largest_sparsities
from .layerwise import (
    LAYER_TIERS as LAYER_TIERS,
    DenseLayers as DenseLayers,
    layer_curve as layer_curve,
    layer_errors as layer_errors,
)
from .networks import (
    Dense as Dense,
    DenseGraph as DenseGraph,
    DenseModule as DenseModule,
    Pruned as Pruned,
    dense_of as dense_of,
    scored_layers as scored_layers,
)
from .rungs import (
    GRAPH_RUNGS as GRAPH_RUNGS,
    RUNGS as RUNGS,
    Population as Population,
    Regions as Regions,
    Rung as Rung,
    rungs_for as rungs_for,
)
from .steps import steps_of_proof as steps_of_proof
