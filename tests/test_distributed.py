"""Several processes give what one gives, and the loss of one ends the others with a sentence."""

import json
import os
import socket
import subprocess
import sys
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from safetensors.numpy import save_file

from lqtheory.distributed import share


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 5))
def test_every_weight_is_scanned_once(sizes, ranks):
    seen = [(k, i) for rank in range(ranks) for k, part in share(sizes, rank, ranks) for i in part]
    assert sorted(seen) == [(k, i) for k, size in enumerate(sizes) for i in range(size)]
    loads = [sum(len(part) for _, part in share(sizes, rank, ranks)) for rank in range(ranks)]
    assert max(loads) - min(loads) <= 1


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {f"layer{k}.weight": rng.standard_normal((50, 30 + k)).astype(np.float32) for k in range(5)}
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def start(command, rank, port, ranks=2, **more):
    world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | world | where | more
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lqtheory(*arguments):
    return [sys.executable, "-m", "lqtheory", *map(str, arguments)]


def without_rounding(document):
    """What must be the same bit for bit: all that is counted."""
    names = ("parameters", "neurons", "zeros", "nonfinite", "max_abs", "flags")
    rows = [{name: row[name] for name in names} | {"gini": row["indices"]["gini"]} for row in document["tensors"]]
    network = document["network"]
    return rows, [network[name] for name in names], network["outline"], network["indices"], document["coverage"]


@pytest.mark.parametrize(
    ("ranks", "more"),
    [(2, {}), (3, {}), (2, {"LOCAL_WORLD_SIZE": "1"})],
    ids=["two ranks", "three ranks", "two machines"],
)
def test_ranks_print_once_and_the_same(model, ranks, more):
    command = lqtheory("analyze", model, "--format", "json")
    alone = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    port = free_port()
    running = [start(command, rank, port, ranks, **more) for rank in range(ranks)]
    outputs = [rank.communicate(timeout=120) for rank in running]
    assert [rank.returncode for rank in running] == [0] * ranks, outputs
    assert [output for output, _ in outputs[1:]] == [""] * (ranks - 1)
    one, two = json.loads(alone), json.loads(outputs[0][0])
    assert without_rounding(one) == without_rounding(two)
    for a, b in zip(one["tensors"] + [one["network"]], two["tensors"] + [two["network"]], strict=True):
        for name, row in a["neurons_summary"].items():
            assert row == pytest.approx(b["neurons_summary"][name], rel=1e-9), name


DYING = {
    "before it calls": "import os; os._exit(9)",
    "while it works": "import lqtheory.distributed as d, os; next(iter([d._links(1, 2).__enter__()])); os._exit(9)",
    "on another machine": "import os, torch.distributed as d; d.init_process_group('gloo'); os._exit(9)",
}


@pytest.mark.parametrize("when", DYING)
def test_a_lost_rank_ends_the_run_with_one_sentence(model, when):
    port = free_port()
    more = {"LOCAL_WORLD_SIZE": "1"} if when == "on another machine" else {}
    patient = "import sys, lqtheory.distributed as d; d.PATIENCE = 3; from lqtheory.cli import main; main()"
    ranks = [
        start([sys.executable, "-c", patient, "analyze", str(model)], 0, port, 2, **more),
        start([sys.executable, "-c", DYING[when]], 1, port, 2, **more),
    ]
    output, errors = ranks[0].communicate(timeout=120)
    ranks[1].communicate(timeout=120)
    assert ranks[0].returncode == 2
    assert output == ""
    assert len(errors.splitlines()) == 1 or when == "on another machine"  # where torch adds lines of its own
    sentences = [line for line in errors.splitlines() if line.startswith("lqtheory: ")]
    assert len(sentences) == 1
    assert "must have started within 3 s" in sentences[0] or "another rank of this run was lost" in sentences[0]
    assert "Traceback" not in errors


def test_the_other_ranks_notice_when_the_first_is_lost(model):
    port = free_port()
    first = "import lqtheory.distributed as d, os; next(iter([d._links(0, 2).__enter__()])); os._exit(9)"
    ranks = [start([sys.executable, "-c", first], 0, port), start(lqtheory("analyze", model), 1, port)]
    output, errors = ranks[1].communicate(timeout=120)
    ranks[0].communicate(timeout=120)
    assert (ranks[1].returncode, output) == (2, "")
    assert errors.startswith("lqtheory: another rank of this run was lost")


def test_torch_is_not_loaded_by_ranks_of_one_machine(model):
    code = (
        "import sys, atexit; from lqtheory.cli import main\n"
        "atexit.register(lambda: print('torch' in sys.modules)); main()"
    )
    port = free_port()
    ranks = [start([sys.executable, "-c", code, "analyze", str(model)], rank, port) for rank in (0, 1)]
    assert [rank.communicate(timeout=120)[0].splitlines()[-1] for rank in ranks] == ["False", "False"]


def test_damage_in_one_share_names_the_tensor_on_the_first_rank(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "model.npz"
    layers: dict[str, Any] = {f"layer{k}": rng.standard_normal((40, 40)).astype(np.float32) for k in range(4)}
    np.savez(path, **layers)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("layer3.npy").header_offset + 500
    path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    port = free_port()
    ranks = [start(lqtheory("analyze", path, "--format", "json"), rank, port) for rank in (0, 1)]
    (output, errors), _ = (rank.communicate(timeout=120) for rank in ranks)
    assert ranks[0].returncode == 2
    assert "'layer3.npy'" in errors
    assert [tensor["name"] for tensor in json.loads(output)["tensors"]] == ["layer0", "layer1", "layer2"]
