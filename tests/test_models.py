"""Networks and data by name; what cannot be had is said in a sentence."""

import gc
import gzip
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lqtheory.models import Data, load_data, load_model, stack_names


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "my_factories.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def network(): return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))\n"
        "def data(): return torch.zeros(4, 1, 5, 5), [0, 1, 0, 1]\n"
        "def nothing(): return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_factories", raising=False)
    return tmp_path


def test_factories_give_networks_and_data(factories):
    model = load_model("my_factories:network")
    assert not model.training
    found = load_data("my_factories:data")
    assert found.y.tolist() == [0, 1, 0, 1]
    assert found.x.shape == (4, 1, 5, 5)
    assert len(found.part(1, 3)) == 2


@pytest.mark.parametrize("kind", ["safetensors", "pth", "nested"])
def test_weights_come_from_the_checkpoint(factories, kind):
    state = {name: torch.full_like(value, 2) for name, value in load_model("my_factories:network").state_dict().items()}
    if kind == "safetensors":
        save_file(state, path := factories / "w.safetensors")
    else:
        content = state if kind == "pth" else {"epoch": 1, "state_dict": {f"module.{n}": v for n, v in state.items()}}
        torch.save(content, path := factories / "w.pth")
    model = load_model("my_factories:network", path)
    assert all(bool((value == 2).all()) for value in model.state_dict().values())


def test_a_checkpoint_must_fit(factories):
    torch.save({"0.weight": torch.zeros(2, 1, 3, 3)}, path := factories / "w.pth")
    with pytest.raises(ValueError, match=r"must fit the network, but .* lacks '0.bias'"):
        load_model("my_factories:network", path)


def test_a_checkpoint_must_have_the_shapes_of_the_network(factories):
    state = load_model("my_factories:network").state_dict()
    torch.save({**state, "1.weight": torch.zeros(3)}, path := factories / "w.pth")
    with pytest.raises(ValueError, match=r"must fit the network, but '1.weight' has shape \[3\] for \[2\] in .*w.pth"):
        load_model("my_factories:network", path)


@pytest.mark.parametrize("kind", ["pth", "safetensors", "npz"])
def test_what_was_cut_off_is_said_in_a_sentence_and_leaves_no_handle(factories, kind):
    path = factories / f"w.{kind}"
    state = load_model("my_factories:network").state_dict()
    if kind == "npz":
        np.savez(path, x=np.zeros((4, 9)), y=np.arange(4))
    else:
        (torch.save if kind == "pth" else save_file)(state, path)
    whole = path.read_bytes()
    for share in (0, 0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="must be whole"):
            load_data(str(path)) if kind == "npz" else load_model("my_factories:network", path)
        gc.collect()  # a handle left open would warn, and warnings are errors


@pytest.mark.parametrize("y", [[0.5, 1.0], [0.0, np.nan], [0.0, np.inf], ["a", "b"], [1j, 2]])
def test_labels_that_are_no_whole_numbers_are_refused(tmp_path, y):
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3)), y=np.array(y))
    with pytest.raises(ValueError, match=r"labels must be whole numbers, got .* in d.npz"):
        load_data(str(tmp_path / "d.npz"))


def test_whole_labels_of_any_type_are_taken(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3)), y=np.array([3.0, 0.0]))
    assert load_data(str(tmp_path / "d.npz")).y.tolist() == [3, 0]


def test_stacks_are_recognised_and_take_images(tmp_path):
    save_file({"fc2.weight": torch.ones(2, 3), "fc1.weight": torch.ones(3, 4)}, path := tmp_path / "w.safetensors")
    model = load_model(None, path)
    assert model(torch.ones(5, 1, 2, 2)).tolist() == [[12.0, 12.0]] * 5
    names = stack_names(path)
    assert {names[name] for name, _ in model.named_parameters()} >= {"fc1.weight", "fc2.weight"}
    assert names["1.weight"] == "fc1.weight"
    assert names["3.bias"] == "fc2.bias"


def test_an_exported_program_is_a_network(tmp_path):
    program = torch.export.export(nn.Sequential(nn.Linear(3, 2)), (torch.ones(1, 3),))
    torch.export.save(program, tmp_path / "net.pt2")
    assert load_model(str(tmp_path / "net.pt2"))(torch.ones(1, 3)).shape == (1, 2)


def test_idx_and_cifar_files(tmp_path):
    pixels, labels = np.arange(24, dtype=np.uint8), bytes([7, 3])
    header = b"\0\0\x08\x03" + np.array([2, 3, 4], ">i4").tobytes()
    (tmp_path / "t-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
    (tmp_path / "t-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(b"\0\0\x08\x01" + np.array([2], ">i4").tobytes() + labels)
    )
    found = load_data(str(tmp_path / "t-images-idx3-ubyte.gz"))
    assert found.y.tolist() == [7, 3]
    assert found.x.shape == (2, 1, 3, 4)
    assert float(found.x[1, 0, 2, 3]) == pytest.approx(23 / 255)
    row = bytes([5]) + bytes([255]) * 3072
    (tmp_path / "batch.bin").write_bytes(row * 2)
    cifar = load_data(str(tmp_path / "batch.bin"))
    assert cifar.x.shape == (2, 3, 32, 32)
    assert cifar.y.tolist() == [5, 5]
    assert bool((cifar.x == 1).all())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: load_model(None), "from --model or from a checkpoint, got neither"),
        (lambda p: load_model("nowhere"), r"--model must be package.module:function .* got 'nowhere'"),
        (lambda p: load_model("no_such_module:f"), "cannot be imported"),
        (lambda p: load_model("my_factories:nothing"), "must give an nn.Module, got int"),
        (lambda p: load_model("timm:resnet18"), "needs the package timm"),
        (lambda p: load_data("my_factories:nothing"), r"must return \(x, y\), got int"),
        (lambda p: load_data(str(p / "x.npz")), r"got no y in"),
        (lambda p: load_data(str(p / "x.bin")), "rows of 3073 bytes, got 5"),
        (lambda p: load_data(str(p / "x-images-idx3-ubyte")), "must start with 0, 0, 8"),
        (lambda p: Data("d", torch.zeros(2), torch.zeros(3)), "got 2 inputs, 3 labels in d"),
    ],
)
def test_what_cannot_be_had(factories, call, message):
    np.savez(factories / "x.npz", x=np.zeros(3))
    (factories / "x.bin").write_bytes(b"12345")
    (factories / "x-images-idx3-ubyte").write_bytes(b"12345")
    with pytest.raises(ValueError, match=message):
        call(factories)
