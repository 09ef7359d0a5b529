"""Missing, damaged, lying and unsafe input: one sentence, and nothing runs."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.numpy import save as safetensors_bytes

from lqtheory.checkpoint import Checkpoint, CheckpointError, read

WEIGHTS = {"fc.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "fc.bias": np.zeros(3, np.float16)}
SOUND = safetensors_bytes(WEIGHTS)


def with_header(header: dict, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, start, stop, dtype="F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


TWICE = with_header({"a": entry([2], 0, 8), "b": entry([2], 8, 16)}, bytes(16)).replace(b'"b"', b'"a"')
LIES = {
    "empty": b"",
    "cut in the length": SOUND[:5],
    "cut in the header": SOUND[:40],
    "cut in the data": SOUND[:-1],
    "more data than told": SOUND + b"x",
    "header longer than the file": (len(SOUND) * 2).to_bytes(8, "little") + SOUND[8:],
    "header of 2^63 bytes": (1 << 63).to_bytes(8, "little") + SOUND[8:],
    "no JSON": (4).to_bytes(8, "little") + b"oops",
    "no object": (2).to_bytes(8, "little") + b"[]",
    "shape too large": with_header({"w": entry([4, 4], 0, 48)}, bytes(48)),
    "shape that overflows": with_header({"w": entry([2**62, 4], 0, 16)}, bytes(16)),
    "negative shape": with_header({"w": entry([-2, -2], 0, 16)}, bytes(16)),
    "offset behind the end": with_header({"w": entry([2, 2], 16, 32)}, bytes(16)),
    "offsets reversed": with_header({"w": entry([2, 2], 16, 0)}, bytes(16)),
    "overlap": with_header({"a": entry([2, 2], 0, 16), "b": entry([2, 2], 8, 24)}, bytes(24)),
    "hole": with_header({"a": entry([2, 2], 0, 16), "b": entry([2, 2], 24, 40)}, bytes(40)),
    "unknown type": with_header({"w": entry([2, 2], 0, 16, "F99")}, bytes(16)),
    "one name twice": TWICE,
    "no tensors": with_header({}, b""),
    "deep nesting": (20_000).to_bytes(8, "little") + b'{"a":' * 4000,
}


def sentence(source, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 400
    return text


@pytest.mark.parametrize("name", LIES)
def test_lying_safetensors(tmp_path, name):
    path = tmp_path / "w.safetensors"
    path.write_bytes(LIES[name])
    assert str(path) in sentence(path)


@given(st.data())
def test_random_damage_to_safetensors(tmp_path_factory, data):
    """A Checkpoint whose weights can all be touched, or a CheckpointError."""
    damaged = bytearray(SOUND)
    for _ in range(data.draw(st.integers(0, 6))):
        damaged[data.draw(st.integers(0, len(SOUND) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.one_of(st.just(len(SOUND)), st.integers(0, len(SOUND)))) :]
    outcome(tmp_path_factory.getbasetemp() / "damaged.safetensors", bytes(damaged))


def outcome(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        checkpoint = read(path)
    except CheckpointError:
        sentence(path)
        return
    assert isinstance(checkpoint, Checkpoint)
    for tensor in checkpoint.tensors:
        try:
            assert tensor.layout.as_rows(tensor.values()).size == tensor.parameters
        except CheckpointError:
            assert path.suffix == ".npz"  # whose checksums are looked at when an array is read


@pytest.mark.parametrize("kind", ["zip.pt", "legacy.pt", "plain.npz", "packed.npz"])
def test_random_damage_to_other_files(tmp_path, kind):
    path = tmp_path / kind
    if kind.endswith("npz"):
        (np.savez if kind.startswith("plain") else np.savez_compressed)(path, **WEIGHTS)
    else:
        network = {name: torch.from_numpy(array) for name, array in WEIGHTS.items()}
        torch.save({"state_dict": network}, path, _use_new_zipfile_serialization=kind.startswith("zip"))
    sound = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = np.frombuffer(sound, np.uint8).copy()
        damaged[random.integers(0, damaged.size, random.integers(1, 6))] = random.integers(0, 256)
        outcome(path, damaged[: random.choice([damaged.size, random.integers(0, damaged.size)])].tobytes())


class RunsCode:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"state_dict": {"w": torch.ones(2, 2), "x": evil}}])
def test_a_pickle_that_would_run_code_does_not(tmp_path, zipped, wrap):
    victim, path = tmp_path / "victim", tmp_path / "w.pth"
    torch.save(wrap(RunsCode(victim)), path, _use_new_zipfile_serialization=zipped)
    assert "mkdir" in sentence(path)
    assert not victim.exists()


def test_object_arrays_of_npz_are_not_unpickled(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "w.npz"
    np.savez(path, w=np.array([RunsCode(victim)], dtype=object), x=np.ones((2, 2)))
    assert [s.reason for s in read(path).skipped] == ["object values are not floating numbers"]
    assert not victim.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_whole_modules_are_refused_with_advice(tmp_path, zipped):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    text = sentence(tmp_path / "w.pt")
    assert "torch.nn.modules.linear.Linear" in text
    assert "torch.save(model.state_dict(), path)" in text


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused_with_advice(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "w.pt"))
    assert "TorchScript" in sentence(tmp_path / "w.pt")


def packed_again(path: Path, compression: int) -> Path:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(path.with_stem("packed"), "w", compression) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    return path.with_stem("packed")


@pytest.mark.parametrize("name", ["w.pt", "ww.pt", "www.pt"])
def test_torch_files_that_were_packed_again(tmp_path, name):
    """Compressed they would be misread and are refused; else the weights may lie at odd offsets."""
    torch.save({"w": torch.arange(4.0).reshape(2, 2)}, tmp_path / name)
    assert "compressed" in sentence(packed_again(tmp_path / name, zipfile.ZIP_DEFLATED))
    (tensor,) = read(packed_again(tmp_path / name, zipfile.ZIP_STORED)).tensors
    assert tensor.bits().flags.aligned
    assert tensor.values().tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.pt", b"", "is empty"),
        ("w.pt", b"PK\x03\x04 and nothing more", "damaged"),
        ("w.pt", b"no pickle at all", "damaged"),
        ("w.npz", b"no archive", "not a sound .npz"),
        ("w.h5", b"\x89HDF", "convert Keras files"),
        ("w.onnx", b"x", "kind that is not read"),
        ("w.txt", b"x", "known are .safetensors"),
        ("weights", b"x", "no suffix"),
    ],
)
def test_files_of_other_kinds(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert words in sentence(tmp_path / name)


@pytest.mark.parametrize("content", [[torch.ones(2)], 3, "text", {}, {"epoch": 3, "lr": 0.1}])
def test_torch_files_without_a_network(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    assert "w.pt" in sentence(tmp_path / "w.pt")


def test_things_that_are_no_file(tmp_path):
    assert "no file or folder" in sentence(tmp_path / "absent.pt")
    assert sentence("absent/model.safetensors") == "there is no file or folder 'absent/model.safetensors'."
    assert "no file or folder" in sentence("nul\0byte")
    assert "no path" in sentence("x" * 5000)
    assert "got a int" in sentence(3)
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "regular file" in sentence(tmp_path / "pipe.safetensors")


def test_a_file_that_changes_after_it_was_opened(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(SOUND)
    (tensor,) = read(path).tensors
    path.write_bytes(SOUND[:60])
    with pytest.raises(CheckpointError, match="has changed"):
        tensor.values()


def test_two_tensors_of_one_name():
    with pytest.raises(CheckpointError, match="state dict has two tensors named '1'"):
        read({1: torch.ones(2, 2), "1": torch.ones(2, 2)})


ODD_NAMES = ["", " ", ".", "a\nb", "ü.weight", "…/../x", "%s", "h.99999999999999999999999999999999.w", "*", "[", "re:"]


def test_odd_names(tmp_path):
    arrays = {name: np.full((2, 2), k, np.float32) for k, name in enumerate(ODD_NAMES)}
    (tmp_path / "w.safetensors").write_bytes(safetensors_bytes(arrays))
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path / "w.pt")
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pt"):
        found = {tensor.name: tensor.values() for tensor in read(path).tensors}
        assert set(found) == set(arrays)
        assert all((found[name] == arrays[name]).all() for name in arrays)


def test_names_that_cannot_be_printed_are_spelled_out():
    assert read({"a\ud800": torch.ones(2, 2)}).tensors[0].name == r"a\ud800"


def test_nested_and_cyclic_dicts_end():
    knot: dict = {"w": torch.ones(2, 2)}
    knot["model"] = knot["again"] = knot
    assert read(knot).parameters == 4
    wide: dict = {"w": torch.ones(2, 2)}
    for _ in range(60):
        wide = {"a": wide, "b": wide}
    assert read(wide).parameters == 4


def lying_npz(path: Path, shape: tuple[int, ...]) -> Path:
    """An archive with 8 float64 numbers and a header that promises another shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(118)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00v\x00" + header + bytes(64))
    return path


@pytest.mark.parametrize("shape", [(2**20, 2**20), (3, 7), (-2, 4), (-2, -4)])
def test_npz_with_too_few_bytes(tmp_path, shape):
    assert "too few for the shape" in sentence(lying_npz(tmp_path / "w.npz", shape))


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_tensors_that_reach_beyond_their_file(tmp_path, zipped):
    path = tmp_path / "w.pt"
    torch.save({"w": torch.ones(3, 4)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes().replace(b"K\x03K\x04\x86", b"K\xc8K\xc8\x86"))
    assert "damaged" in sentence(path)


LEAN = """
import resource, sys
from lqtheory.checkpoint import CheckpointError, read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        for tensor in read(path).tensors:
            tensor.bits()
    except CheckpointError:
        pass
assert "torch" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_lies_cost_no_memory_and_safetensors_need_no_torch(tmp_path):
    """Files that promise 2^40 weights: their reader stays within 20 MB, and torch is not imported."""
    paths = [tmp_path / f"{k}.safetensors" for k in range(len(LIES))]
    for path, content in zip(paths, LIES.values(), strict=True):
        path.write_bytes(content)
    lying_npz(tmp_path / "w.npz", (1048576, 1048576))
    arguments = [sys.executable, "-c", LEAN, *map(str, paths), str(tmp_path / "w.npz")]
    grown = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60).stdout
    assert int(grown) < 20_000
