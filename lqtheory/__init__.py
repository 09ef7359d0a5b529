"""lqtheory: how compressible a trained network is, and how far it can be pruned with a guaranteed loss.

Indices of arrays need NumPy alone; what reads checkpoints or prunes networks is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .indices import (
    effective_number as effective_number,
    gini as gini,
    hard_sparsity as hard_sparsity,
    hoyer as hoyer,
    normalized_sparsity_index as normalized_sparsity_index,
    pq_index as pq_index,
    sparsity_index as sparsity_index,
    weights_needed as weights_needed,
)
from .norms import lq_norm as lq_norm, tail_norm as tail_norm
from .profile import Profile as Profile

if TYPE_CHECKING:
    from .analysis import analyze as analyze
    from .certification import certify as certify
    from .checkpoint import read as read
    from .comparison import compare as compare
    from .guaranteed import prune as prune
    from .prediction import predict_sparsity as predict_sparsity
    from .sweep import verify as verify

__version__ = "0.1.0"

_ON_USE = {
    "analyze": "analysis",
    "certify": "certification",
    "compare": "comparison",
    "predict_sparsity": "prediction",
    "prune": "guaranteed",
    "read": "checkpoint",
    "verify": "sweep",
}


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return getattr(import_module(f".{_ON_USE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ON_USE])
