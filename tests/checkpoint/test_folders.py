"""Folders, shards and the Hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.numpy import save_file

from lqtheory.checkpoint import CheckpointError, read


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def sharded(folder: Path, kind: str = "safetensors") -> Path:
    """Two shards with an index, as transformers writes them; returns the index."""
    stem = "model" if kind == "safetensors" else "pytorch_model"
    shards = {"a": {"a.weight": ones(2, 3)}, "b": {"b.weight": ones(4, 5), "b.bias": ones(4)}}
    weight_map = {}
    for k, tensors in enumerate(shards.values(), 1):
        file = f"{stem}-0000{k}-of-00002.{kind}"
        if kind == "safetensors":
            save_file(tensors, folder / file)
        else:
            torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, folder / file)
        weight_map |= dict.fromkeys(tensors, file)
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def edit(index: Path, **changes) -> None:
    content = json.loads(index.read_text())
    content["weight_map"] |= changes
    index.write_text(json.dumps(content))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards(tmp_path, kind):
    sharded(tmp_path, kind)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    checkpoint = read(tmp_path)
    assert [tensor.name for tensor in checkpoint.tensors] == ["a.weight", "b.weight"]
    assert checkpoint.parameters == 30
    assert checkpoint.config == {"model_type": "llama"}


def test_an_index_names_tensors_as_the_files_do(tmp_path):
    torch.save({"module.a.weight": torch.ones(2, 3)}, tmp_path / "one.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {"module.a.weight": "one.bin"}}')
    assert read(tmp_path).tensors[0].name == "a.weight"


def test_a_shard_alone_says_so(tmp_path):
    sharded(tmp_path)
    (note,) = read(tmp_path / "model-00001-of-00002.safetensors").notes
    assert note == "model-00001-of-00002.safetensors is shard 1 of 2; read the folder for the whole"


def test_a_missing_shard(tmp_path):
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 2 shards that are not there, such as model-00002-of-00002"):
        read(tmp_path)


def test_a_tensor_that_only_the_index_knows(tmp_path):
    edit(sharded(tmp_path), **{"c.weight": "model-00001-of-00002.safetensors"})
    with pytest.raises(CheckpointError, match=r"promises the tensor 'c.weight' in model-00001"):
        read(tmp_path)


@pytest.mark.parametrize(
    "file", ["../secret.safetensors", "/etc/passwd", "", ".", "..", "a/b.safetensors", None, 3, "a\0"]
)
def test_an_index_cannot_point_outside_its_folder(tmp_path, file):
    folder = tmp_path / "model"
    folder.mkdir()
    edit(sharded(folder), **{"c.weight": file})
    save_file({"c.weight": ones(2, 2)}, tmp_path / "secret.safetensors")
    with pytest.raises(CheckpointError, match="must name files of its own folder"):
        read(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"weight_map": []}', '{"weight_map": {}}', "{}", "[" * 100_000, "\xff"]
)
def test_an_index_that_is_none(tmp_path, text):
    sharded(tmp_path).write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match="is not an index of shards"):
        read(tmp_path)


@given(st.data())
def test_random_damage_to_an_index(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shards")
    index = sharded(folder)
    damaged = bytearray(index.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    index.write_bytes(damaged)
    try:
        parameters = read(folder).parameters
    except CheckpointError:
        return
    assert parameters == 30


def test_the_same_tensor_in_two_shards(tmp_path):
    sharded(tmp_path)
    save_file(
        {"a.weight": ones(2, 3), "b.weight": ones(4, 5), "b.bias": ones(4)},
        tmp_path / "model-00002-of-00002.safetensors",
    )
    with pytest.raises(CheckpointError, match=r"two tensors named 'a.weight'"):
        read(tmp_path)


def test_shards_without_index(tmp_path):
    sharded(tmp_path).unlink()
    with pytest.raises(CheckpointError, match="no index"):
        read(tmp_path)


def test_safetensors_go_before_pickles_and_model_before_others(tmp_path):
    torch.save({"old.weight": torch.ones(2, 2)}, tmp_path / "pytorch_model.bin")
    assert read(tmp_path).tensors[0].name == "old.weight"
    save_file({"other.weight": ones(2, 2)}, tmp_path / "adapter.safetensors")
    assert read(tmp_path).tensors[0].name == "other.weight"
    save_file({"new.weight": ones(2, 2)}, tmp_path / "model.safetensors")
    assert read(tmp_path).tensors[0].name == "new.weight"


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(CheckpointError, match="no file of weights"):
        read(tmp_path)
    for name in ("a", "b"):
        save_file({"w": ones(2, 2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match="name the one to read"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, "\xff"])
def test_a_config_that_cannot_be_read_is_none(tmp_path, text):
    save_file({"w": ones(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    assert read(tmp_path).config is None


def test_hub_ids(tmp_path, monkeypatch):
    """Safetensors first, pickles only when there are none, the revision handed through."""
    asked = []

    def snapshot(name, revision, allow_patterns, ignore_patterns):
        asked.append((name, revision, "*.bin" in allow_patterns))
        if "*.bin" in allow_patterns:
            torch.save({"fc.weight": torch.ones(2, 3)}, tmp_path / "pytorch_model.bin")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    checkpoint = read("org/name@v1.0")
    assert (checkpoint.source, checkpoint.parameters) == ("org/name@v1.0", 6)
    assert asked == [("org/name", "v1.0", False), ("org/name", "v1.0", True)]


def test_an_unknown_hub_id_offline_is_one_sentence(tmp_path):
    code = "from lqtheory.checkpoint import *\ntry: read('nobody/nothing')\nexcept CheckpointError as e: print(e)"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.stdout.startswith(
        "there is no file or folder 'nobody/nothing', and the Hub gave no model of that name: "
    )
    assert (ran.stdout.count("\n"), ran.stderr, ran.returncode) == (1, "", 0)


@pytest.mark.parametrize("name", ["a/b/c", "no-slash", "../up/there", "org/name.safetensors", "org/name@", "a b/c"])
def test_what_is_no_hub_id_is_a_missing_file(name):
    with pytest.raises(CheckpointError, match=r"^there is no file or folder"):
        read(name)
