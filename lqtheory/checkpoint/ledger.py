"""The ledger: every parameter of a checkpoint is either analysed or skipped with a reason."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from .errors import CheckpointError
from .layout import vector
from .neurons import Family, layout_of
from .roles import buffer_reason, mask_notes, scale_reason
from .tensor import Stored, WeightTensor


@dataclass(frozen=True)
class Skipped:
    """A tensor that is not analysed; `matrix` when it may hold a weight matrix that the user did not filter out."""

    name: str
    parameters: int
    reason: str
    shape: tuple[int, ...]
    dtype: str
    matrix: bool = False


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What `read` found: `tensors` to analyse, `skipped` parameters with reasons, `buffers` that are no parameters.

    Every parameter is in exactly one of `tensors` and `skipped`. `notes` tells, one sentence each, what else was
    seen: entries that were not read, names for one and the same tensor, prefixes that were removed. `config` is the
    config.json of a Hugging Face folder.
    """

    source: str
    tensors: tuple[WeightTensor, ...]
    skipped: tuple[Skipped, ...] = ()
    buffers: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def analysed(self) -> int:
        """How many parameters are analysed."""
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """How many parameters there are, analysed or skipped."""
        return self.analysed + sum(entry.parameters for entry in self.skipped)

    @property
    def skipped_matrices(self) -> tuple[Skipped, ...]:
        """The skipped tensors that may be weight matrices: what `--strict` complains about."""
        return tuple(entry for entry in self.skipped if entry.matrix)

    def without(self, damaged: Mapping[str, str]) -> "Checkpoint":
        """The same checkpoint with the tensors of these names skipped, for the reasons given."""
        lost = [t for t in self.tensors if t.name in damaged]
        rows = [Skipped(t.name, t.parameters, damaged[t.name], t.shape, t.dtype, matrix=True) for t in lost]
        whole = tuple(t for t in self.tensors if t.name not in damaged)
        return replace(self, tensors=whole, skipped=(*self.skipped, *rows))


def account(
    source: str,
    stored: Sequence[Stored],
    notes: Iterable[str] = (),
    config: Mapping[str, Any] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Checkpoint:
    """Sort what was read into tensors, skipped and buffers."""
    wanted, unwanted = matcher(include), matcher(exclude)
    distinct, remarks = _without_ties(stored, source)
    if not distinct:
        raise CheckpointError(f"{source} holds no tensors.")
    family = Family({entry.name: entry.shape for entry in distinct}, config or {})
    dtypes = {entry.name: entry.dtype for entry in distinct}
    tensors, skipped, buffers = [], [], []
    for entry in distinct:
        if reason := buffer_reason(entry, dtypes):
            buffers.append(_left_out(entry, reason))
        elif unwanted(entry.name):
            skipped.append(_left_out(entry, "excluded"))
        elif include and not wanted(entry.name):
            skipped.append(_left_out(entry, "not included"))
        elif entry.bits is None or entry.parameters == 0:
            skipped.append(_left_out(entry, entry.obstacle or "empty: no entries", matrix=entry.parameters > 0))
        elif not include and (reason := _no_matrix(entry, dtypes)):
            skipped.append(_left_out(entry, reason))
        else:
            layout = entry.layout or (layout_of(entry.name, family) if len(entry.shape) > 1 else vector(entry.shape))
            key = entry.key or entry.name
            tensors.append(
                WeightTensor(entry.name, entry.shape, entry.dtype, layout, entry.bits, entry.file, key, entry.ranges)
            )
    if include and not any(wanted(entry.name) for entry in distinct):
        raise CheckpointError(f"{source} has no tensor that matches {' or '.join(map(repr, include))}.")
    notes = (*notes, *remarks, *mask_notes(dtypes))
    return Checkpoint(source, tuple(tensors), tuple(skipped), tuple(buffers), notes, config)


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A function that says whether a name matches a glob, or a regular expression after `re:`, of `patterns`.

    >>> matcher(["*.weight", r"re:^h[.]\\d+$"])("h.12"), matcher(["*.weight"])("fc.bias")
    (True, False)
    """
    expressions, globs = [], []
    for pattern in patterns:
        if pattern.startswith("re:"):
            try:
                expressions.append(re.compile(pattern[3:]))
            except re.error as error:
                raise CheckpointError(f"{pattern!r} is not a regular expression: {error}.") from None
        else:
            globs.append(pattern)

    def matches(name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in globs) or any(e.search(name) for e in expressions)

    return matches


def _without_ties(stored: Sequence[Stored], source: str) -> tuple[list[Stored], list[str]]:
    first: dict[object, str] = {}
    names: set[str] = set()
    distinct, remarks = [], []
    for entry in stored:
        if entry.name in names:
            raise CheckpointError(f"{entry.file or source} has two tensors named {entry.name!r}.")
        names.add(entry.name)
        if entry.identity is not None and entry.identity in first:
            remarks.append(f"{entry.name} is the same tensor as {first[entry.identity]} and counts once")
        else:
            if entry.identity is not None:
                first[entry.identity] = entry.name
            distinct.append(entry)
    return distinct, remarks


def _no_matrix(entry: Stored, dtypes: Mapping[str, str]) -> str:
    if len(entry.shape) == 0:
        return "a single number"
    if len(entry.shape) == 1:
        return "bias or norm vector: one value per neuron"
    return scale_reason(entry, dtypes)


def _left_out(entry: Stored, reason: str, matrix: bool = False) -> Skipped:
    two = len(entry.shape) >= 2
    return Skipped(entry.name, entry.parameters, reason, entry.shape, entry.dtype, matrix and two)
