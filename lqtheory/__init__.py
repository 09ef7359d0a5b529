"""lqtheory: how compressible a trained network is, and how far it can be pruned with a guaranteed loss."""

from .norms import lq_norm as lq_norm, tail_norm as tail_norm
from .profile import Profile as Profile

__version__ = "0.1.0"
