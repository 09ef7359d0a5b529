"""The pruned checkpoint is the original with zeros in it: names, dtypes, metadata, file kind."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from lqtheory.pruning.export import write_pruned

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
    assert list((tmp_path / "out").iterdir()) == []


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
