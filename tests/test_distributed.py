"""Several processes give what one gives, and the loss of one ends the others with a sentence."""

import json
import os
import socket
import subprocess
import sys

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


def start(command, rank, port):
    world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | world | where
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_ranks_print_once_and_the_same(model):
    command = [sys.executable, "-m", "lqtheory", "analyze", str(model), "--format", "json"]
    alone = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    port = free_port()
    ranks = [start(command, rank, port) for rank in (0, 1)]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    assert outputs[1][0] == ""
    one, two = json.loads(alone), json.loads(outputs[0][0])
    assert one["network"]["indices"]["gini"] == two["network"]["indices"]["gini"]
    assert one["network"]["zeros"] == two["network"]["zeros"]
    for a, b in zip(one["tensors"], two["tensors"], strict=True):
        assert a["indices"]["pq_index"] == pytest.approx(b["indices"]["pq_index"], rel=1e-9)


def test_a_lost_rank_ends_the_run_with_one_sentence(model):
    port = free_port()
    dying = "import os, torch.distributed as d; d.init_process_group('gloo'); os._exit(9)"
    ranks = [
        start([sys.executable, "-m", "lqtheory", "analyze", str(model)], 0, port),
        start([sys.executable, "-c", dying], 1, port),
    ]
    output, errors = ranks[0].communicate(timeout=120)
    ranks[1].communicate(timeout=120)
    assert ranks[0].returncode == 2
    assert output == ""
    sentences = [line for line in errors.splitlines() if line.startswith("lqtheory: ")]
    assert len(sentences) == 1
    assert "another rank of this run was lost" in sentences[0]
    assert "Traceback" not in errors
