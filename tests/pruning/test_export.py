"""The pruned checkpoint is the original with zeros in it: names, dtypes, metadata, file kind."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from lqtheory.pruning.export import weight_files, write_pruned, write_smaller

MASK = np.array([[True, False, True], [False, False, True]])


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "fc.weight": torch.randn(2, 3, generator=generator).bfloat16(),
        "fc.bias": torch.randn(2, generator=generator),
        "steps": torch.tensor([7]),
    }


def check(pruned: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
    assert list(pruned) == list(state)
    assert [t.dtype for t in pruned.values()] == [t.dtype for t in state.values()]
    torch.testing.assert_close(pruned["fc.weight"], state["fc.weight"] * torch.from_numpy(MASK), rtol=0, atol=0)
    assert torch.equal(pruned["fc.bias"], state["fc.bias"])


def test_safetensors_keep_names_dtypes_and_metadata(tmp_path, state):
    source = tmp_path / "net.safetensors"
    save_file(state, source, {"author": "somebody"})
    target = write_pruned(source, {"fc.weight": MASK}, tmp_path / "out", {"sparsity": 0.5})
    check(dict(sorted(load_file(target).items())), dict(sorted(state.items())))
    with safetensors.safe_open(target, "pt") as file:
        assert file.metadata() == {"author": "somebody"}
    assert sorted(path.name for path in target.parent.iterdir()) == [
        "masks.safetensors",
        "net-pruned.safetensors",
        "recipe.json",
    ]


def test_torch_files_keep_their_nesting_and_everything_else(tmp_path, state):
    nested = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    source = tmp_path / "net.pth"
    torch.save(nested, source)
    target = write_pruned(source, {"fc.weight": MASK}, tmp_path / "out", {})
    written = torch.load(target, weights_only=True)
    assert target.suffix == ".pth"
    assert written["epoch"] == 3
    check({name.removeprefix("module."): tensor for name, tensor in written["state_dict"].items()}, state)


def test_recipe_and_masks_say_what_was_done(tmp_path, state):
    source = tmp_path / "net.safetensors"
    save_file(state, source)
    write_pruned(source, {"fc.weight": MASK}, tmp_path, {"sparsity": 0.5})
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert recipe["sparsity"] == 0.5
    assert recipe["tensors"] == {"fc.weight": {"kept": 3, "of": 6}}
    assert recipe["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    np.testing.assert_array_equal(load_file(tmp_path / "masks.safetensors")["fc.weight"].numpy(), MASK)


def test_a_full_mask_changes_no_bit(tmp_path, state):
    source = tmp_path / "net.safetensors"
    save_file(state, source, {"format": "pt"})
    target = write_pruned(source, {"fc.weight": np.ones((2, 3), dtype=bool)}, tmp_path / "out", {})
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("fc2.weight", MASK, r"must name a tensor of .*net.safetensors, got 'fc2.weight'"),
        ("fc.weight", MASK.T, r"must have its tensor's shape, got \[3, 2\] for \[2, 3\] \('fc.weight'"),
    ],
)
def test_masks_that_do_not_fit_write_nothing(tmp_path, state, name, mask, message):
    source = tmp_path / "net.safetensors"
    save_file(state, source)
    with pytest.raises(ValueError, match=message):
        write_pruned(source, {name: mask}, tmp_path / "out", {})
    assert list((tmp_path / "out").glob("*")) == []


def test_a_failed_write_leaves_nothing_behind(tmp_path, state, monkeypatch):
    source = tmp_path / "net.safetensors"
    save_file(state, source)

    def broken(path, content):
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        write_pruned(source, {"fc.weight": MASK}, tmp_path / "out", {})
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def sharded(tmp_path) -> Path:
    """A folder as the Hub has it: two shards, their index, a configuration."""
    folder = tmp_path / "net"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    tensors = {"h.0.fc.weight": shards[0], "h.0.fc.bias": shards[0], "h.1.fc.weight": shards[1]}
    for shard in shards:
        mine = {name: torch.randn(2, 3, generator=generator) for name, file in tensors.items() if file == shard}
        save_file(mine, folder / shard, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": tensors}))
    (folder / "config.json").write_text('{"model_type": "mine"}')
    (folder / "leftover.bin").write_bytes(b"weights in another form, which would be out of date")
    return folder


def test_folders_keep_their_shards_index_and_configuration(tmp_path, sharded):
    masks = {"model.h.0.fc.weight": MASK, "model.h.1.fc.weight": ~MASK}  # a model puts its backbone's name before
    target = write_pruned(sharded, masks, tmp_path / "out", {})
    shards = [path.name for path in weight_files(sharded)]
    assert target.name == "net-pruned"
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        *shards,
        "model.safetensors.index.json",
    ]
    for name in ("config.json", "model.safetensors.index.json"):
        assert (target / name).read_bytes() == (sharded / name).read_bytes()
    for shard, mask, key in zip(shards, (MASK, ~MASK), ("h.0.fc.weight", "h.1.fc.weight"), strict=True):
        before, after = load_file(sharded / shard), load_file(target / shard)
        assert torch.equal(after.pop(key), before.pop(key) * torch.from_numpy(mask))
        assert all(torch.equal(after[name], value) for name, value in before.items())
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert [file["file"] for file in recipe["source"]["files"]] == shards
    assert recipe["source"]["files"][1]["sha256"] == hashlib.sha256((sharded / shards[1]).read_bytes()).hexdigest()


def test_a_folder_must_say_which_files_hold_the_weights(sharded):
    (sharded / "model.safetensors.index.json").unlink()
    with pytest.raises(ValueError, match="one file of weights or an index of shards, got 2 in"):
        weight_files(sharded)


def test_a_smaller_network_is_written_under_the_same_names(tmp_path, state):
    source = tmp_path / "net.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, source)
    target = write_smaller(source, tmp_path, {"fc.weight": torch.ones(1, 3), "fc.bias": torch.ones(1)})
    written = torch.load(target, weights_only=True)["state_dict"]
    assert list(written) == [f"module.{name}" for name in state]
    assert written["module.fc.weight"].dtype == torch.bfloat16
    assert written["module.fc.weight"].tolist() == [[1, 1, 1]]
    assert torch.equal(written["module.steps"], state["steps"])
