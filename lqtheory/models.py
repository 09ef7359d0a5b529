"""Networks and data by name: what `--model`, `--data` and `--calibration` mean.

A factory is code of the user's, named `package.module:function` and called without arguments; nothing else runs code.
"""

import gzip
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .evaluate import read_npz, read_stack, whole_labels
from .pruning.export import weight_files


@dataclass(frozen=True, eq=False)
class Data:
    """Labelled inputs in the shape that the network takes, and a name for the records."""

    name: str
    x: torch.Tensor
    y: torch.Tensor

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not len(self.x):
            raise ValueError(
                f"data must have one label per input, got {len(self.x)} inputs, {len(self.y)} labels in {self.name}."
            )

    def __len__(self) -> int:
        return len(self.y)

    def part(self, start: int, stop: int) -> "Data":
        """The samples of a range."""
        return Data(f"{self.name}[{start}:{stop}]", self.x[start:stop], self.y[start:stop])


def load_model(spec: str | None, checkpoint: Path | None = None) -> nn.Module:
    """The network of `spec`, with the weights of `checkpoint` when one is given, in evaluation mode.

    `package.module:factory`, `torchvision:NAME`, `timm:NAME`, `hf:ID`, or an exported program `.pt2`; without a spec
    the checkpoint must be a stack of linear layers with ReLU between them, or a folder of the Hub. ValueError says what
    is missing.
    """
    if spec is None:
        if checkpoint is None:
            raise ValueError("a network must come from --model or from a checkpoint, got neither.")
        if checkpoint.is_dir():
            return _huggingface(str(checkpoint), pretrained=True).eval()
        return nn.Sequential(nn.Flatten(), *read_stack(checkpoint).module(torch.float32)).eval()
    kind, _, name = spec.partition(":")
    if spec.endswith(".pt2"):
        model = torch.export.load(spec).module()
    elif kind in _LIBRARIES and name:
        model = _LIBRARIES[kind](name, pretrained=checkpoint is None)
    else:
        model = called(spec, "--model")
    if not isinstance(model, nn.Module):
        raise ValueError(f"--model must give an nn.Module, got {type(model).__name__} from {spec!r}.")
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model if spec.endswith(".pt2") else model.eval()


def stack_names(checkpoint: Path) -> dict[str, str]:
    """What the file calls the tensors of a network that was recognised from it."""
    names = read_stack(checkpoint).names
    weights = {f"{2 * k + 1}.weight": name for k, name in enumerate(names)}
    return weights | {w.replace("weight", "bias"): f"{n.removesuffix('weight')}bias" for w, n in weights.items()}


def load_weights(model: nn.Module, checkpoint: Path) -> None:
    """Fill a module from a checkpoint; every tensor of the module must be there, whatever prefix it has."""
    files = weight_files(checkpoint)
    content = (
        _content(checkpoint) if checkpoint in files else {k: v for file in files for k, v in _content(file).items()}
    )
    while isinstance(content, dict) and not any(isinstance(value, torch.Tensor) for value in content.values()):
        inner = [value for value in content.values() if isinstance(value, dict)]
        if not inner:
            raise ValueError(f"a checkpoint must hold tensors, got none in {checkpoint}.")
        content = inner[0]
    state = {str(name).removeprefix("module.").removeprefix("_orig_mod."): value for name, value in content.items()}
    for name, own in model.state_dict().items():
        if isinstance(value := state.get(name), torch.Tensor) and value.shape != own.shape:
            shapes = f"{list(value.shape)} for {list(own.shape)}"
            raise ValueError(f"a checkpoint must fit the network, but {name!r} has shape {shapes} in {checkpoint}.")
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        fault = f"{checkpoint} lacks {missing[0]!r}" if missing else f"{checkpoint} also has {unexpected[0]!r}"
        raise ValueError(f"a checkpoint must fit the network, but {fault}.")


def _content(checkpoint: Path) -> Any:
    try:
        if checkpoint.suffix == ".safetensors":
            return load_file(checkpoint)
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        why = str(error).splitlines()[0] if str(error) else "nothing in it"
        raise ValueError(f"a checkpoint must be whole and hold no code, got {why} in {checkpoint}.") from error


def load_data(spec: str) -> Data:
    """Labelled inputs: `.npz` with x and y, IDX files, CIFAR-10 binary files, or `package.module:factory`.

    Whole numbers (pixels) are divided by 255 and become float32; anything else is the factory's business. Of IDX
    files the images are named, and the labels lie beside them. A factory returns (x, y).
    """
    path = Path(spec)
    if spec.endswith(".npz"):
        return _data(path.name, *read_npz(path))
    if "idx3-ubyte" in path.name:
        labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
        return _data(path.name, read_idx(path)[:, None], read_idx(labels))
    if path.suffix == ".bin":
        rows = np.fromfile(path, np.uint8)
        if rows.size % 3073 or not rows.size:
            raise ValueError(f"a CIFAR-10 file must hold rows of 3073 bytes, got {rows.size} bytes in {path}.")
        rows = rows.reshape(-1, 3073)
        return _data(path.name, rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0])
    found = called(spec, "--data")
    if isinstance(found, Data):
        return found
    if not (isinstance(found, tuple) and len(found) == 2):
        raise ValueError(f"a factory of data must return (x, y), got {type(found).__name__} from {spec!r}.")
    labels = whole_labels(spec, torch.as_tensor(found[1]).numpy())
    return Data(spec, torch.as_tensor(found[0]), torch.from_numpy(labels))


def read_idx(path: Path) -> np.ndarray:
    """The bytes of an IDX file, gzipped or not, in their shape."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"an IDX file must start with 0, 0, 8, got {list(content[:3])} in {path}.")
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    if len(content) != 4 + 4 * content[3] + int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"an IDX file must hold the {shape.tolist()} bytes of its header, got {len(content)}: {path}.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def called(spec: str, option: str) -> Any:
    """What the function `package.module:function` returns; the working directory is looked in as well."""
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ValueError(f"{option} must be package.module:function or a kind that is known, got {spec!r}.")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{option} {spec!r} cannot be imported: {error}") from error


def _data(name: str, x: np.ndarray, y: np.ndarray) -> Data:
    scale = 255.0 if np.issubdtype(x.dtype, np.integer) else 1.0
    inputs = torch.from_numpy(np.array(x, dtype=np.float32) / np.float32(scale))
    return Data(name, inputs, torch.from_numpy(whole_labels(name, y)))


def _torchvision(name: str, pretrained: bool) -> nn.Module:
    models = _library("torchvision.models")
    return models.get_model(name, weights="DEFAULT" if pretrained else None)


def _timm(name: str, pretrained: bool) -> nn.Module:
    return _library("timm").create_model(name, pretrained=pretrained)


def _huggingface(name: str, pretrained: bool) -> nn.Module:
    """The class that the configuration names, with its weights or with random ones."""
    transformers = _library("transformers")
    config = transformers.AutoConfig.from_pretrained(name)
    kind = getattr(transformers, next(iter(config.architectures or ()), "AutoModel"), transformers.AutoModel)
    if pretrained:
        return kind.from_pretrained(name)
    return kind(config) if kind is not transformers.AutoModel else kind.from_config(config)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"this kind of model needs the package {name.partition('.')[0]}: {error}") from error


_LIBRARIES = {"torchvision": _torchvision, "timm": _timm, "hf": _huggingface}
