"""Files, folders, Hub ids, state dicts and modules -> named tensors with their neuron axis, and a ledger.

`read` is the one entrance; `docs/formats.md` says what it reads, what it refuses and how it finds the neurons.
"""

from .errors import CheckpointError as CheckpointError
from .layout import Layout as Layout
from .ledger import Checkpoint as Checkpoint, Skipped as Skipped
from .reading import read as read
from .tensor import WeightTensor as WeightTensor
