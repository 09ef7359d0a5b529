"""Labelled data for a stack of linear layers, checked against it: every fault is one sentence."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from .evaluate import LinearStack, Sample
from .models import load_data


def read_for(stack: LinearStack, spec: str) -> Sample:
    """The data that `models.load_data` finds under `spec`, as the network takes it; ValueError where it cannot."""
    path = Path(spec)
    if spec.endswith(".npz") and path.exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"data must be a whole .npz file, got {spec}, which is none.")
    try:
        data = load_data(spec)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"data must be a whole file, got {spec}, which cannot be read ({error}).") from error
    x, y = data.x, data.y
    if x.ndim < 2 or y.ndim != 1:
        raise ValueError(
            f"data must have one row and one label per input, got x {list(x.shape)} and y {list(y.shape)} in {spec}."
        )
    return check_sample(Sample(data.name, x.flatten(1).to(torch.float64).numpy(), y.to(torch.int64).numpy()), stack)


def check_sample(sample: Sample, stack: LinearStack) -> Sample:
    """Return the sample when the network can take it; ValueError says in one sentence what does not fit."""
    width, classes = stack.weights[0].shape[1], len(stack.weights[-1])
    if len(sample.y) < 2:
        raise ValueError(f"data must have at least 2 samples, got {len(sample.y)} in {sample.name}.")
    if classes < 2:
        raise ValueError(f"a classifier must have at least 2 outputs, got {classes} of tensor {stack.names[-1]!r}.")
    if sample.x.shape[1] != width:
        raise ValueError(
            f"inputs must have {width} values each, as tensor {stack.names[0]!r} takes, "
            f"got {sample.x.shape[1]} in {sample.name}."
        )
    if bad := int(np.count_nonzero(~np.isfinite(sample.x))):
        raise ValueError(f"inputs must be finite, got {bad} NaN or infinite values in {sample.name}.")
    low, high = int(sample.y.min()), int(sample.y.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels must lie in [0, {classes - 1}], as tensor {stack.names[-1]!r} has {classes} outputs, "
            f"got labels from {low} to {high} in {sample.name}."
        )
    return sample
