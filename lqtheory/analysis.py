"""A whole network, measured: every tensor, all of them together, and the ledger of what was read."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .checkpoint import Checkpoint, CheckpointError, WeightTensor, read
from .measure import QS, Measure, Table, labelled, measure, neuron_indices
from .outline import CORNERS, FINE, outline
from .profile import Profile
from .requested import REQUESTED
from .scan import Scan, Watch, cpu_workers, merged, scan_or_error, unwatched

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SCHEMA = "lqtheory/analysis/1"


@dataclass(frozen=True, eq=False)
class TensorMeasure:
    """One tensor of a network, measured; `scan` holds its histograms and the sums of its neurons."""

    tensor: WeightTensor
    measure: Measure
    scan: Scan

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
        extra = {"neuron_indices": dict(neuron_indices([each.scan.neurons], self.qs))} if neurons else {}
        return each.to_dict() | {"outline": _outline(each.measure, CORNERS)} | extra

    def to_json(self, indent: int | None = 1, neurons: bool = False) -> str:
        """The document as strict JSON: what is not a finite number becomes null; same input, same bytes."""
        return to_json(self.to_dict(neurons), indent)

    def to_pandas(self, scope: str = "tensor") -> "pd.DataFrame":
        """One row per tensor, per neuron or for the network; one column per index."""
        import pandas as pd

        if scope == "neuron":
            return pd.concat([_neuron_frame(each, self.qs) for each in self.tensors], ignore_index=True)
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
    exponents = check_exponents(qs)
    checkpoint = source if isinstance(source, Checkpoint) else read(source, include=include, exclude=exclude)
    workers = workers_on(device)
    scans = [scan_or_error(tensor, (*exponents, 1.0, 2.0), None, workers, watch) for tensor in checkpoint.tensors]
    return analysis_of(checkpoint, scans, exponents, index, seed)


def analysis_of(
    checkpoint: Checkpoint,
    found: Sequence[Scan | CheckpointError],
    qs: tuple[float, ...],
    index: Iterable[str] = (),
    seed: int = 0,
) -> Analysis:
    """The analysis of a checkpoint whose tensors were scanned, with at least the exponents `qs`, 1 and 2.

    A tensor that could not be scanned is skipped with the error as its reason, and listed in `damaged`.
    """
    wanted = {name: _requested(name) for name in index}
    pairs = list(zip(checkpoint.tensors, found, strict=True))
    damaged = {tensor.name: str(error) for tensor, error in pairs if isinstance(error, CheckpointError)}
    scans = [each for each in found if isinstance(each, Scan)]
    tensors = tuple(_measured(tensor, each, qs, wanted, seed) for tensor, each in pairs if isinstance(each, Scan))
    histograms = merged([histogram for each in scans for histogram in each.histograms])
    network = measure(histograms, [each.neurons for each in scans], qs)
    return Analysis(checkpoint.without(damaged), tensors, network, qs, tuple(damaged.values()))


def workers_on(device: str) -> list[str]:
    """The workers of `scan` for "cpu", "cuda" or "auto"; ValueError when there is no such device."""
    if device == "cpu":
        return cpu_workers()
    import torch

    gpus = [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    if not gpus and device != "auto":
        raise ValueError(f"device must be cpu, auto, or cuda where there is a GPU, got device={device!r} and no GPU.")
    return gpus or cpu_workers()


def _measured(tensor: WeightTensor, found: Scan, qs: tuple[float, ...], wanted: Table, seed: int) -> TensorMeasure:
    result = measure(found.histograms, [found.neurons], qs)
    if wanted and result.profile is not None:
        rows = tensor.layout.as_rows(np.nan_to_num(tensor.values(), nan=0.0, posinf=0.0, neginf=0.0))
        extra = {name: function(rows, result.profile, seed) for name, function in wanted.items()}
        result = replace(result, indices=result.indices | extra)
    return TensorMeasure(tensor, result, found)


def _requested(name: str) -> Any:
    if name not in REQUESTED:
        raise ValueError(f"an index on request must be one of {', '.join(REQUESTED)}, got {name!r}.")
    return REQUESTED[name]


def check_exponents(qs: Sequence[float]) -> tuple[float, ...]:
    """Return the exponents in ascending order, each once, when all lie in (0, 1) and there is one."""
    if not qs or not all(0 < q < 1 for q in qs):
        raise ValueError(f"q must lie in (0, 1), got {', '.join(f'q={q:g}' for q in qs) or 'none'}.")
    return tuple(sorted({float(q) for q in qs}))


def _outline(measured: Measure, corners: int) -> Table:
    return outline(measured.profile, corners) if measured.profile else {}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the JSON without what has no place in a cell."""
    plain = {k: v for k, v in row.items() if not isinstance(v, dict)}
    return plain | {"flags": "; ".join(row["flags"])} | dict(labelled(row["indices"]))


def _neuron_frame(each: TensorMeasure, qs: tuple[float, ...]) -> "pd.DataFrame":
    import pandas as pd

    frame = pd.DataFrame(dict(neuron_indices([each.scan.neurons], qs)))
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
