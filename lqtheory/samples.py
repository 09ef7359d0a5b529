"""Labelled data for a network, checked against it: every fault is one sentence."""

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .evaluate import LinearStack, Sample
from .ladder.networks import Running
from .models import Data, load_data


def read_for(stack: LinearStack, spec: str) -> Sample:
    """The data that `models.load_data` finds under `spec`, as a stack takes it; ValueError where it cannot."""
    sample = read(spec)
    flat = flattened(sample)
    return check_sample(replace(flat, x=flat.x.astype(np.float64)), stack)


def read_as(model: nn.Module, spec: str) -> Sample:
    """The data as a module takes it: in its own shape or, where only that goes, in rows."""
    return fitted(model, read(spec))


def read(spec: str) -> Sample:
    """Whatever `models.load_data` finds; ValueError says what is wrong with a file."""
    path = Path(spec)
    if spec.endswith(".npz") and path.exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"data must be a whole .npz file, got {spec}, which is none.")
    try:
        return sample_of(load_data(spec))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"data must be a whole file, got {spec}, which cannot be read ({error}).") from error


def sample_of(data: Data) -> Sample:
    """The same numbers in NumPy, checked as far as they can be without a network."""
    x, y = data.x.cpu().numpy(), data.y.cpu().numpy()
    if x.ndim < 2 or y.ndim != 1:
        raise ValueError(
            f"data must have one row and one label per input, got x {list(x.shape)} and y {list(y.shape)} "
            f"in {data.name}."
        )
    if len(y) < 2:
        raise ValueError(f"data must have at least 2 samples, got {len(y)} in {data.name}.")
    if bad := int(np.count_nonzero(~np.isfinite(x))):
        raise ValueError(f"inputs must be finite, got {bad} NaN or infinite values in {data.name}.")
    return Sample(data.name, x, y.astype(np.int64))


def flattened(sample: Sample) -> Sample:
    """One row for each input."""
    return replace(sample, x=sample.x.reshape(len(sample.y), -1))


def check_sample(sample: Sample, stack: LinearStack) -> Sample:
    """Return the sample when the stack can take it; ValueError says in one sentence what does not fit."""
    width, classes = stack.weights[0].shape[1], len(stack.weights[-1])
    if sample.x.shape[1] != width:
        raise ValueError(
            f"inputs must have {width} values each, as tensor {stack.names[0]!r} takes, "
            f"got {sample.x.shape[1]} in {sample.name}."
        )
    return check_labels(sample, classes, f"tensor {stack.names[-1]!r}")


def fitted(model: nn.Module, sample: Sample) -> Sample:
    """The sample in a shape that the module takes; ValueError where there is none or the labels do not fit."""
    found, classes = shaped(model, sample)
    return check_labels(found, classes, f"the network {type(model).__name__}")


def shaped(model: nn.Module, sample: Sample) -> tuple[Sample, int]:
    """The sample as it is or in rows, whichever the module takes, and how many outputs that gives."""
    probes = np.r_[0, len(sample.y) - 1]
    if not np.issubdtype(sample.x.dtype, np.floating):  # of numbers of tokens, the largest and the least
        rows = sample.x.reshape(len(sample.y), -1)
        probes = np.r_[rows.max(axis=1).argmax(), rows.min(axis=1).argmin()]
    fault = ""
    for candidate in (sample, flattened(sample)):
        try:
            return candidate, Running(model)(candidate.x[probes]).shape[1]
        except (RuntimeError, IndexError, ValueError, TypeError) as error:  # torch's words for other shapes
            fault = fault or str(error).strip().split("\n")[0].rstrip(".")
    shape = list(sample.x.shape[1:])
    raise ValueError(f"inputs must be what the network takes, got shape {shape} in {sample.name}: {fault}.")


def judged(model: nn.Module, data: Data) -> Data:
    """The data when the module takes them and has an output for each label; ValueError otherwise."""
    sample = fitted(model, sample_of(data))
    return Data(data.name, data.x.reshape(sample.x.shape), data.y)


def calibration(model: nn.Module, data: Data) -> torch.Tensor:
    """The inputs when the module takes them; ValueError otherwise."""
    return data.x.reshape(shaped(model, sample_of(data))[0].x.shape)


def check_labels(sample: Sample, classes: int, whose: str) -> Sample:
    """Return the sample when its labels are numbers of outputs."""
    if classes < 2:
        raise ValueError(f"a classifier must have at least 2 outputs, got {classes} of {whose}.")
    low, high = int(sample.y.min()), int(sample.y.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels must lie in [0, {classes - 1}], as {whose} has {classes} outputs, "
            f"got labels from {low} to {high} in {sample.name}."
        )
    return sample
