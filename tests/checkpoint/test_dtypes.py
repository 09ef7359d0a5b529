"""Every floating type comes through bit by bit, and its values exactly as torch converts them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lqtheory.checkpoint import read
from lqtheory.checkpoint.tensor import BYTES

DTYPES = sorted(BYTES)


def all_patterns(dtype: str) -> torch.Tensor:
    """Every bit pattern of the 8- and 16-bit types, random ones of the others, NaN and infinities among them."""
    width = BYTES[dtype]
    if width <= 2:
        bits = np.arange(2 ** (8 * width), dtype=f"u{width}")
    else:
        bits = np.random.default_rng(0).integers(0, 2 ** (8 * width), 4096, dtype=f"u{width}")
    return torch.from_numpy(bits.view(f"i{width}").copy()).view(getattr(torch, dtype)).reshape(-1, 16)


@pytest.fixture(params=["safetensors", "pt", "memory"])
def checkpoint_of(request, tmp_path):
    def build(tensors):
        if request.param == "memory":
            return read(tensors)
        path = tmp_path / f"w.{request.param}"
        (save_file if request.param == "safetensors" else torch.save)(tensors, path)
        return read(path)

    return build


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_and_values(checkpoint_of, dtype):
    stored = all_patterns(dtype)
    (tensor,) = checkpoint_of({"fc.weight": stored}).tensors
    width = BYTES[dtype]
    assert (tensor.dtype, tensor.shape, tensor.parameters) == (dtype, tuple(stored.shape), stored.numel())
    bits = tensor.bits()
    assert bits.dtype == np.dtype(f"u{width}")
    signed = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[width]
    np.testing.assert_array_equal(bits, stored.view(signed).numpy().view(bits.dtype).ravel())
    values = tensor.values()
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, stored.to(torch.float64).numpy())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, dtype, save):
    rows = np.random.default_rng(1).standard_normal((3, 4)).astype(dtype)
    swapped = rows.astype(rows.dtype.newbyteorder(">"))
    save(tmp_path / "w.npz", rows=rows, columns=np.asfortranarray(rows), swapped=swapped, empty=rows[:0])
    checkpoint = read(tmp_path / "w.npz")
    assert [t.name for t in checkpoint.tensors] == ["rows", "columns", "swapped"]
    assert [s.reason for s in checkpoint.skipped] == ["empty: no entries"]
    for tensor in checkpoint.tensors:
        assert tensor.dtype == dtype
        np.testing.assert_array_equal(tensor.values(), rows.astype(np.float64))


def test_bits_of_a_safetensors_file_are_read_only_pages(tmp_path):
    save_file({"fc.weight": torch.ones(4, 4, dtype=torch.bfloat16)}, tmp_path / "w.safetensors")
    bits = read(tmp_path / "w.safetensors").tensors[0].bits()
    assert not bits.flags.owndata
    assert not bits.flags.writeable


def test_bits_at_odd_offsets_are_aligned(tmp_path):
    path = tmp_path / "w.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}'
    numbers = np.array([1.5, -2.0], np.float32)
    path.write_bytes(len(header + b" ").to_bytes(8, "little") + header + b" " + numbers.tobytes())
    bits = read(path).tensors[0].bits()
    assert bits.flags.aligned
    np.testing.assert_array_equal(bits.view(np.float32), numbers)


def test_views_of_torch_are_read_in_their_own_order():
    base = torch.arange(24.0).reshape(4, 6).requires_grad_()
    (tensor,) = read({"fc.weight": base.t()}).tensors
    np.testing.assert_array_equal(tensor.values(), np.arange(24.0).reshape(4, 6).T)
    assert base.requires_grad


def test_arrays_in_memory():
    rows = np.arange(6.0).reshape(2, 3)
    network = {"plain": rows, "columns": rows.T, "swapped": rows.astype(">f4"), "half": rows.astype(np.float16)}
    tensors = read(network).tensors
    assert [tensor.name for tensor in tensors] == list(network)
    for tensor in tensors:
        np.testing.assert_array_equal(tensor.values(), rows.T if tensor.name == "columns" else rows)


def test_bits_of_a_tensor_in_memory_cannot_be_written():
    weight = torch.ones(2, 2)
    with pytest.raises(ValueError, match="read-only"):
        read({"fc.weight": weight}).tensors[0].bits()[0] = 0


@pytest.mark.parametrize(
    ("tensor", "reason", "parameters"),
    [
        (torch.ones(2, 3, dtype=torch.int8), "int8 values are not floating numbers of 8 to 64 bits", 6),
        (torch.ones(2, 3, dtype=torch.bool), "bool values are not floating numbers of 8 to 64 bits", 6),
        (torch.ones(2, 3, dtype=torch.complex64), "complex64 values are not floating numbers of 8 to 64 bits", 6),
        (torch.eye(3).to_sparse(), "sparse or nested tensor (torch.sparse_coo)", 9),
        (torch.ones(2, 3, device="meta"), "no values: on the meta device", 6),
        (torch.ones(1, 3).expand(1000, 3), "expanded tensor: several entries share one stored number", 3000),
    ],
)
def test_what_cannot_be_read_is_skipped_with_its_reason(tensor, reason, parameters):
    checkpoint = read({"fc.weight": tensor, "other.weight": torch.ones(2, 2)})
    (skipped,) = checkpoint.skipped_matrices
    assert (skipped.name, skipped.reason, skipped.parameters) == ("fc.weight", reason, parameters)
    assert checkpoint.parameters == parameters + 4


def test_unknown_types_of_safetensors_are_skipped(tmp_path):
    header = b'{"w":{"dtype":"F8_E8M0","shape":[2,4],"data_offsets":[0,8]}}'
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    (skipped,) = read(tmp_path / "w.safetensors").skipped
    assert (skipped.dtype, skipped.matrix, skipped.parameters) == ("F8_E8M0", True, 8)


def test_tensor_subclasses_and_lazy_parameters_are_skipped():
    class Odd(torch.Tensor):
        pass

    odd = torch.ones(2, 2).as_subclass(Odd)
    lazy = torch.nn.LazyLinear(3)
    assert read({"w": odd}).skipped[0].reason == "tensor of the class Odd"
    assert read(lazy).skipped[0].reason == "empty: no entries" or read(lazy).skipped[0].reason.startswith("no values")
