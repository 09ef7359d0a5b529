"""A whole network, measured: every tensor, all of them together, and the ledger of what was read."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .assembly import Measured, Plan, ahead, assembled, pieces
from .checkpoint import Checkpoint, CheckpointError, WeightTensor, read
from .histogram import Histogram
from .measure import QS, Measure, Table, labelled, measure
from .neuron_table import NeuronTable
from .outline import CORNERS, FINE, outline
from .profile import Profile
from .scan import Watch, cpu_workers, unwatched
from .shelf import Shelf
from .tally import merged

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SCHEMA = "lqtheory/analysis/1"


@dataclass(frozen=True, eq=False)
class TensorMeasure:
    """One tensor of a network, measured; `neurons` has the indices of its neurons."""

    tensor: WeightTensor
    measure: Measure
    neurons: NeuronTable

    def to_dict(self) -> dict[str, Any]:
        """Plain data under the names of the JSON."""
        tensor, layout = self.tensor, self.tensor.layout
        about = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype, "kind": layout.kind}
        return about | {"axis_assumed": layout.assumed, "fan_in": layout.fan_in} | self.measure.to_dict()


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """What `analyze` returns: `tensors`, the `network` of all their weights together, and the `checkpoint`'s ledger."""

    checkpoint: Checkpoint
    tensors: tuple[TensorMeasure, ...]
    network: Measure
    qs: tuple[float, ...]
    damaged: tuple[str, ...] = ()

    @property
    def coverage_counts(self) -> dict[str, int]:
        """How many parameters there are, and how many of them were analysed."""
        analysed = sum(each.tensor.parameters for each in self.tensors)
        return {"parameters": self.checkpoint.parameters, "analysed": analysed}

    @property
    def coverage(self) -> dict[str, Any]:
        """The ledger: every parameter is either analysed or skipped with its reason."""
        skipped, buffers = (
            [{"name": s.name, "parameters": s.parameters, "reason": s.reason} for s in part]
            for part in (self.checkpoint.skipped, self.checkpoint.buffers)
        )
        return {
            **self.coverage_counts,
            "skipped": skipped,
            "buffers": buffers,
            "notes": list(self.checkpoint.notes),
        }

    def to_dict(self, neurons: bool = False) -> dict[str, Any]:
        """The document of the JSON contract as plain data; nan where an index is not defined.

        With `neurons`, each tensor also has the indices of every single neuron, as `neuron_indices`.
        """
        return {
            "schema": SCHEMA,
            "source": self.checkpoint.source,
            "qs": list(self.qs),
            "coverage": self.coverage,
            "tensors": [self._tensor(each, neurons) for each in self.tensors],
            "network": self.network.to_dict() | {"outline": _outline(self.network, FINE)},
        }

    def _tensor(self, each: TensorMeasure, neurons: bool) -> dict[str, Any]:
        table = each.neurons
        extra = {"neuron_indices": {name: table.values(name) for name in table.columns}} if neurons else {}
        return each.to_dict() | {"outline": _outline(each.measure, CORNERS)} | extra

    def to_json(self, indent: int | None = 1, neurons: bool = False) -> str:
        """The document as strict JSON: what is not a finite number becomes null; same input, same bytes."""
        return to_json(self.to_dict(neurons), indent)

    def to_pandas(self, scope: str = "tensor") -> "pd.DataFrame":
        """One row per tensor, per neuron or for the network; one column per index."""
        import pandas as pd

        if scope == "neuron":
            return pd.concat(map(_neuron_frame, self.tensors), ignore_index=True)
        if scope == "network":
            return pd.DataFrame([_flat(self.network.to_dict())])
        if scope != "tensor":
            raise ValueError(f"scope must be neuron, tensor or network, got scope={scope!r}.")
        return pd.DataFrame([_flat(each.to_dict()) for each in self.tensors])

    def summary(self) -> str:
        """The answer in two sentences."""
        counts, network, q = self.coverage_counts, self.network, f"{self.qs[len(self.qs) // 2]:g}"
        covered = (
            "{analysed:,} of {parameters:,} parameters analysed".format(**counts) + f" in {len(self.tensors)} tensors"
        )
        if network.profile is None or not network.profile.nonzero:
            return f"{covered}; none of them is finite and other than zero."
        ours, noise = (t["effective_number"][q] / network.profile.d for t in (network.indices, network.null))
        return (
            f"{covered}. The network counts as {ours:.1%} of its weights (effective number, q = {q}), Gaussian noise "
            f"of its size as {noise:.1%}: it is {'more' if ours < noise else 'less'} compressible than noise."
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """The Lorenz curve of the network beside that of Gaussian weights."""
        from . import plot

        curves = {"network": self.network.profile, "Gaussian": Profile.gaussian(self.coverage_counts["analysed"])}
        return plot.lorenz(curves, ax)

    def _repr_html_(self) -> str:
        """The summary and a table, for notebooks."""
        frame = self.to_pandas()[["name", "parameters", "zeros", "gini", f"pq_index[{self.qs[len(self.qs) // 2]:g},1]"]]
        return f"<p>{escape(self.summary())}</p>{frame.to_html(index=False, float_format='{:.4g}'.format)}"

    def __repr__(self) -> str:
        return f"Analysis({self.checkpoint.source!r}, {self.summary()})"


def analyze(
    source: Any,
    qs: Sequence[float] = QS,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    index: Iterable[str] = (),
    device: str = "cpu",
    seed: int = 0,
    watch: Watch = unwatched,
) -> Analysis:
    """Measure every weight of a checkpoint: per neuron, per tensor, and all together.

    `source` is a path, a folder, `org/name[@rev]`, a state dict or an nn.Module; nothing is mutated. `qs` are the
    exponents of the index tables, each in (0, 1). `include` and `exclude` are globs, or regular expressions after
    `re:`. `index` asks for indices that need a sort or a decomposition (`lqtheory.requested.REQUESTED`). `device` is
    "cpu", "cuda" (every visible GPU) or "auto"; `seed` that of indices which draw; `watch` is told the number of
    weights done, chunk by chunk.

    Raises CheckpointError when the source cannot be read, ValueError for an exponent outside (0, 1).
    """
    plan = Plan.of(qs, index, seed)
    checkpoint = source if isinstance(source, Checkpoint) else read(source, include=include, exclude=exclude)
    tensors, shelf = checkpoint.tensors, Shelf()
    share = ((k, range(tensor.parameters)) for k, tensor in enumerate(tensors))
    found = pieces(tensors, share, plan, workers_on(device), watch)
    return analysis_of(checkpoint, assembled(tensors, ahead(found), plan, shelf), plan)


def analysis_of(checkpoint: Checkpoint, found: Iterable[Measured | CheckpointError], plan: Plan) -> Analysis:
    """The analysis of a checkpoint from its measured tensors, in their order, which are summed up as they come.

    A tensor that could not be scanned is skipped with the error as its reason, and listed in `damaged`.
    """
    damaged: dict[str, str] = {}
    histograms: list[Histogram] = []
    tensors: list[TensorMeasure] = []
    for tensor, each in zip(checkpoint.tensors, found, strict=True):
        if isinstance(each, CheckpointError):
            damaged[tensor.name] = str(each)
        else:
            tensors.append(TensorMeasure(tensor, each.measure, each.neurons))
            histograms = merged([*histograms, *each.histograms])
    network = measure(histograms, NeuronTable.joined([each.neurons for each in tensors]), plan.qs)
    return Analysis(checkpoint.without(damaged), tuple(tensors), network, plan.qs, tuple(damaged.values()))


def workers_on(device: str) -> list[str]:
    """The workers of `scan` for "cpu", "cuda" or "auto": a rank's share; ValueError where there is no such device."""
    if device == "cpu":
        return cpu_workers()
    import torch

    gpus = [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    if not gpus and device != "auto":
        raise ValueError(f"device must be cpu, auto, or cuda where there is a GPU, got device={device!r} and no GPU.")
    rank, ranks = (int(os.environ.get(name, default)) for name, default in (("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)))
    return gpus[rank % len(gpus) :: ranks] if gpus else cpu_workers()


def _outline(measured: Measure, corners: int) -> Table:
    return outline(measured.profile, corners) if measured.profile else {}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the JSON without what has no place in a cell."""
    plain = {k: v for k, v in row.items() if not isinstance(v, dict)}
    return plain | {"flags": "; ".join(row["flags"])} | dict(labelled(row["indices"]))


def _neuron_frame(each: TensorMeasure) -> "pd.DataFrame":
    import pandas as pd

    frame = pd.DataFrame({name: each.neurons.values(name) for name in each.neurons.columns})
    frame.insert(0, "neuron", np.arange(len(frame)))
    frame.insert(0, "name", each.tensor.name)
    return frame


def to_json(document: Any, indent: int | None = 1) -> str:
    """Strict JSON of plain data and NumPy numbers: null for every number that JSON does not know."""
    return json.dumps(_plain(document), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
