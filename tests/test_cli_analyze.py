"""`lqtheory analyze` while it runs: its progress, an interruption, and damage that shows up on the way."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios

import numpy as np
import pytest
from safetensors.numpy import save_file

from lqtheory.analysis import analyze
from lqtheory.checkpoint import read

SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in the background has it ignored
from lqtheory import scan
from lqtheory.cli import main
quick = scan.scan
def slow(*arguments):
    print("scanning", file=sys.stdout, flush=True)
    time.sleep(0.15)
    return quick(*arguments)
scan.scan = slow
main()
"""


@pytest.fixture
def model(tmp_path):
    """Eight tensors in two shards."""
    rng, owner = np.random.default_rng(0), {}
    for k in range(2):
        shard = f"model-{k + 1:05d}-of-00002.safetensors"
        tensors = {f"layer{4 * k + i}.weight": rng.standard_normal((40, 50)).astype(np.float32) for i in range(4)}
        save_file(tensors, tmp_path / shard)
        owner |= dict.fromkeys(tensors, shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": owner}))
    return tmp_path


def start(*arguments, **pipes):
    return subprocess.Popen([sys.executable, "-c", SLOW, "analyze", *map(str, arguments)], text=True, **pipes)


def test_an_interrupted_run_leaves_nothing_behind(model):
    before = sorted(path.name for path in model.iterdir())
    running = start(model, "-o", model / "out.json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.readline() == "scanning\n"
    running.send_signal(signal.SIGINT)
    output, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert output.count("scanning") < 7
    assert "Traceback" not in errors
    assert sorted(path.name for path in model.iterdir()) == before


def test_a_terminal_sees_how_far_it_is_and_how_long_it_takes(model):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    running = start(model, "--format", "json", "-o", model / "out.json", stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    while part := _read(ours):
        seen += part
    os.close(ours)
    assert running.wait(timeout=60) == 0
    assert json.loads((model / "out.json").read_text())["coverage"]["analysed"] == 16_000
    assert b" weights/s" in seen
    assert b"/16.0k [00:0" in seen  # done, of how many, in which time,
    assert b"<00:0" in seen  # and how long it will still take
    assert seen.rstrip(b" ").endswith(b"\r")  # and then it is gone


def _read(terminal):
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that the other end was closed
        return b""


def test_without_a_terminal_there_is_no_progress(model):
    done = start(model, "--format", "json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.communicate(timeout=60)[1] == ""


def test_a_shard_that_breaks_on_the_way_costs_only_what_was_in_it(model):
    checkpoint = read(model)
    shard = model / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10_000])
    result = analyze(checkpoint)
    assert [each.tensor.name for each in result.tensors] == [f"layer{k}.weight" for k in range(6)]
    assert result.coverage_counts == {"parameters": 16_000, "analysed": 12_000}
    assert [f"ends within tensor 'layer{k}.weight'" in why for k, why in zip((6, 7), result.damaged, strict=True)] == [
        True,
        True,
    ]
